//! `upstream`: balances the output plugins of log agents over several servers. It has six rooms;
//! each uses only those below it:
//!
//! - [`ffi`]: the only C boundary. It converts; it decides nothing.
//! - [`set`]: what the C handles stand for: the set, its nodes, connections, deliveries and
//!   attempts.
//! - [`net`]: names, sockets, TLS, the pool. Knows nothing of balancing.
//! - [`balance`]: which node next, and who is well. Pure.
//! - [`config`]: turns text into a checked [`config::Definition`].
//! - [`base`]: errors, the log, counters, clocks, text, locks, forks.

#![deny(unsafe_code)]

mod balance;
mod base;
mod config;
#[allow(unsafe_code)]
mod ffi;
mod net;
mod set;
#[cfg(test)]
mod tests;

/// The key table as the documents show it. A test compares the two.
#[doc(hidden)]
pub use config::keys::{overview, reference};
