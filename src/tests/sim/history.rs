//! What happens from outside: how the nodes behave and when, what the clients want, when the clock
//! jumps. A history alone determines a run.

use std::time::Duration;

use crate::balance::roster::Member;

/// Everything a run needs.
#[derive(Clone, Debug)]
pub struct History {
    /// Of the roster's chance.
    pub seed: u64,
    /// What the health clock shows at the beginning.
    pub morning: u64,
    /// The place the rotation starts at.
    pub start: usize,
    /// `deliver.attempts`.
    pub attempts: usize,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    /// Jumps of the health clock: when, and by how many nanoseconds.
    pub jumps: Vec<(u64, i64)>,
}

/// A node, from outside.
#[derive(Clone, Debug)]
pub struct Server {
    pub member: Member,
    /// Since when it behaves how, in rising order; the first from the beginning. Each change ends
    /// its connections.
    pub phases: Vec<(u64, Manner)>,
}

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Serves,
    /// Serves, but a connection takes so long.
    Slow(u64),
    Refuses,
    /// Answers nothing at all.
    Silent,
    /// Accepts, then fails each delivery, before a byte of it has gone or after.
    Breaks {
        unsent: bool,
    },
    /// Takes each record and fails before it says so.
    LosesAck,
    /// Every place at the connection cap is held by somebody else.
    Full,
}

/// A caller.
#[derive(Clone, Debug)]
pub struct Client {
    pub errand: Errand,
    /// When its first payload comes.
    pub begins: u64,
    /// Between the end of one and the next.
    pub pause: u64,
    pub payloads: u32,
    /// For one delivery.
    pub timeout: Duration,
}

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// `upstream_deliver`.
    Deliver,
    /// `upstream_attempt_*`.
    Attempt,
    /// The same, but it never says how it went.
    Forget,
    /// `upstream_next_node`.
    Pick,
    /// `upstream_next_node` and `upstream_node_report`.
    Report,
    /// The active check of a node.
    Check(usize),
    /// Tells late of a node what happened some generations ago.
    Late { place: usize, age: u32, good: bool },
}

/// `net.connect_timeout` of every node.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
