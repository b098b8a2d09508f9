//! `upstream`: balances native agent plugins over several servers.
//!
//! The map of the house, in the order data flows through it; a lower room never imports a higher one:
//!
//! - [`error`]: the one error type and the status numbers; [`log`], [`stats`], [`process`], [`sync`], [`text`] beside it.
//! - [`config`]: text to a checked [`config::Definition`].
//! - [`balance`]: which node next.
//! - [`net`]: names, sockets, TLS, the pool.
//! - [`node`], [`conn`], [`upstream`]: what the C handles stand for.
//! - [`visits`], [`deliver`]: attempts over the nodes not yet tried.
//! - [`ffi`]: the only C boundary, conversion alone.
//!
//! Everything is safe Rust but `ffi`.

#![deny(unsafe_code)]

pub mod attempt;
pub mod balance;
mod budget;
pub mod check;
mod clock;
pub mod config;
pub mod conn;
pub mod deliver;
pub mod error;
#[allow(unsafe_code)]
pub mod ffi;
pub mod health;
mod journey;
pub mod log;
#[cfg(all(test, feature = "model"))]
mod model;
pub mod net;
pub mod node;
pub mod outcome;
mod payload;
pub mod process;
pub mod roster;
#[cfg(test)]
mod sim;
pub mod stats;
pub mod sync;
pub mod text;
pub mod upstream;
pub mod visits;
mod words;
