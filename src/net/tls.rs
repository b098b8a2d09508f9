//! TLS for a node. The configuration is made from the node's `tls.*` keys when the set is created:
//! `live` keeps it and follows the files, `files` reads them, `build` makes it, `ciphers` chooses
//! suites and versions, `verifier` checks the server's certificate, `error`, `flaw`, `reasons` and
//! `breaches` explain failures.
//!
//! TLS is never weaker than the keys ask for: if the library cannot do what a key says, creating
//! the set fails, not a later handshake.

mod breaches;
mod build;
mod ciphers;
mod client;
mod dates;
mod error;
mod files;
mod flaw;
mod identity;
mod key_file;
mod lists;
mod live;
mod pem;
mod reading;
mod reasons;
mod sessions;
mod store;
mod verifier;
mod x509;

pub(super) use ciphers::iana_name;
pub use client::{TlsClient, TlsClients};
pub(super) use error::explain;
pub(super) use identity::{Asked, watch_for_certificate_request};
pub use live::{LOOK_WAIT, Live, Looked};

#[cfg(test)]
pub(super) use sessions::tests as samples;
