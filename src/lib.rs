//! `upstream`: balances native agent plugins over several servers.
//!
//! The map of the house, in the order data flows through it; a lower room never imports a higher one:
//!
//! - [`error`]: the one error type and the status numbers.
//! - [`config`]: text to a checked [`config::Definition`].
//!
//! Everything is safe Rust but `ffi`.

#![deny(unsafe_code)]

pub mod config;
pub mod error;
