//! What the C handles stand for: the set, its nodes, connections, deliveries and attempts. Brings
//! `balance` and `net` together; never sees a C pointer.

pub mod attempt;
mod check;
pub mod conn;
mod connect;
pub mod deliver;
mod journey;
pub mod link;
pub mod node;
pub mod outcome;
pub mod payload;
mod round;
mod runtime;
mod suspects;
pub mod upstream;
mod verdict;
