//! What the C handles stand for: the set, its nodes, connections, deliveries and attempts. This
//! room combines `balance` and `net`; it never sees a C pointer.

pub(crate) mod attempt;
mod check;
pub(crate) mod conn;
mod connect;
pub(crate) mod deliver;
mod journey;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod outcome;
pub(crate) mod payload;
pub(crate) mod retries;
mod room;
mod round;
mod runtime;
mod suspects;
mod told_once;
pub(crate) mod upstream;
mod verdict;
