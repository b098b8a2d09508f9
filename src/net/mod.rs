//! Connections: names, sockets, TLS, the pool. It works on one node at a time and never chooses
//! which node is next.

pub(crate) mod address;
pub(crate) mod cancel;
pub(crate) mod channel;
pub(crate) mod dial;
mod errands;
mod local;
pub(crate) mod patience;
pub(crate) mod pool;
pub(crate) mod portion;
pub(crate) mod race;
pub(crate) mod resolve;
pub(crate) mod socket;
pub(crate) mod target;
pub(crate) mod thread;
pub(crate) mod tls;
mod tunnel;
