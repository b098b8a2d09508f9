//! Random histories of nodes and clients, run in virtual time through the rooms that decide:
//! `balance`, `health`, `roster`, `budget`, `visits`. Only the network is invented, and the order
//! in which `deliver` and `conn` call these rooms is told again.
//!
//! Every run checks every step against a second, plain telling of the rules (`expected`, `shares`,
//! `thrift`); the tests in `properties` differ in the histories they draw and in what must have
//! come of it at the end.

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
