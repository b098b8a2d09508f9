//! Which node next. Pure: no clock, no I/O; knows nodes only by their place in the file.
//!
//! Invariant: while the eligible set stays as it is, one cycle of consecutive picks hits each node
//! as often as its weight says, and with equal weights each node once. All threads share one order,
//! that of the atomic increments of one word.

pub(crate) mod breaker;
pub(crate) mod budget;
mod modes;
pub(crate) mod roster;
mod rotation;
mod schedule;
mod tried;
pub(crate) mod visits;

pub use modes::Mode;
pub use rotation::{Ledger, Rotation, Taken};
pub use schedule::{Order, cycle_length};
pub use tried::Tried;
