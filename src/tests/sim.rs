//! Random histories of nodes and clients, run in virtual time through the real code of `balance`:
//! the breaker, the roster, the rotation, the budget and the visits. Only the network is invented,
//! and the order in which `deliver` and `conn` call this code is written here once more.
//!
//! In every run, every step is checked against a second, plain version of the rules (`expected`,
//! `shares`, `thrift`). The tests in `properties` differ in the histories that they draw, and in
//! what must hold at the end.

mod clients;
mod expected;
mod history;
mod network;
mod properties;
mod shares;
mod strategies;
mod thrift;
mod world;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
