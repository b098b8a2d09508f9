//! TLS for a node. The configuration is made from the node's `tls.*` keys when the set is created:
//! `client` makes it, `files` reads the files, `ciphers` chooses suites and versions, `verifier`
//! checks the server's certificate, `error` and `reasons` explain failures.
//!
//! TLS is never weaker than the keys ask for: if the library cannot do what a key says, creating
//! the set fails, not a later handshake.

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

#[cfg(test)]
pub(super) use sessions::tests as samples;
