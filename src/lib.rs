//! `upstream`: balances native agent plugins over several servers. Six rooms, each using only those
//! below it:
//!
//! - [`ffi`]: the C boundary, and the only one. Conversion alone.
//! - [`set`]: what the C handles stand for: the set, its nodes, connections, deliveries and
//!   attempts.
//! - [`net`]: names, sockets, TLS, the pool. Knows nothing of balancing.
//! - [`balance`]: which node next, and who is well. Pure.
//! - [`config`]: text to a checked [`config::Definition`].
//! - [`base`]: errors, the log, counters, clocks, text, locks.

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

/// The key table as the documents show it, for the test that compares them.
#[doc(hidden)]
pub use config::keys::{overview, reference};
