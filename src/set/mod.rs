//! What the C handles stand for: the set, its nodes, connections, deliveries and attempts. Brings `balance` and `net` together;
//! never sees a C pointer.

pub mod attempt;
pub mod check;
pub mod conn;
pub mod deliver;
mod journey;
pub mod node;
pub mod outcome;
pub mod payload;
pub mod upstream;
