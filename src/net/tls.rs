//! TLS for a node. The configuration is made from the node's `tls.*` keys when the set is created:
//! `client` makes it, `files` reads the files, `verifier` checks the server's certificate, `error`
//! explains failures.
//!
//! Never weaker than the keys ask for: if a key cannot be honoured, creating the set fails; the
//! handshake does not come as a surprise.

mod ciphers;
mod client;
mod dates;
mod error;
mod files;
mod identity;
mod reasons;
mod sessions;
mod verifier;

pub(super) use ciphers::iana_name;
pub use client::{TlsClient, TlsClients};
pub(super) use error::explain;
pub(super) use identity::{Asked, watch_for_certificate_request};
