//! Code that only tests use, in addition to the tests of each room: random histories on a virtual
//! clock, and models of what threads share. Both run the library's real code.

#[cfg(feature = "model")]
pub(crate) mod loom;
mod sim;
