//! Connections: names, sockets, TLS, the pool. Knows one node at a time, never which node comes
//! next.

pub mod cancel;
pub mod channel;
pub mod dial;
mod local;
pub mod patience;
pub mod pool;
mod race;
mod resolve;
pub mod socket;
pub mod target;
pub(crate) mod thread;
pub mod tls;
