//! The only C boundary: it turns pointers into references, C strings into Rust strings, and panics
//! into a status. It only converts; the rooms below decide what a call does. One file for each C
//! object.
//!
//! Every export goes through one of the two macros of [`boundary`].

// The names are C's.
#![allow(non_camel_case_types)]
// The contract of each pointer is in the C comment of its function; the rules that all share are at
// the top of the header.
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
mod peer;
mod set;
mod stats;
mod status;
mod strings;
mod time;
mod user_data;
