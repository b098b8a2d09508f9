//! Which node is next, and which nodes are well. Pure: no clock and no I/O. A node is known here
//! only by its place in the file.
//!
//! Invariant: while the set of eligible nodes does not change, each node gets, in one cycle of
//! consecutive picks, as many turns as its weight says; with equal weights that is one turn each.
//! All threads share one order: the order in which they increment one atomic word.

pub(crate) mod breaker;
pub(crate) mod budget;
mod modes;
mod plan;
pub(crate) mod roster;
mod rotation;
pub(crate) mod schedule;
mod tried;
pub(crate) mod visits;

pub use modes::Mode;
pub use plan::Plan;
pub use rotation::{Ledger, Pick, Rotation, Taken};
pub use schedule::Order;
pub use tried::Tried;
