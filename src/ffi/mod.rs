//! The C boundary, and the only one: pointers to references, strings to strings, panics to a
//! status.
//! Conversion alone; what a call does is decided in the rooms below. One file per C object.
//!
//! Every export goes through one of the two macros of [`boundary`].

// The names are C's.
#![allow(non_camel_case_types)]
// Each pointer's contract is in its function's C comment; the rules common to all are in the
// header's top.
#![allow(clippy::missing_safety_doc)]

mod attempt;
mod boundary;
mod connection;
mod deliver;
mod error;
mod handle;
mod node;
mod nonblocking;
mod options;
mod panic;
mod set;
mod stats;
mod status;
mod strings;
mod time;
mod user_data;
