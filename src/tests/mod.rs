//! What only tests use, beside each room's own: random histories on a virtual clock, and models of
//! what threads share. Both run the real code.

#[cfg(feature = "model")]
pub(crate) mod loom;
mod sim;
