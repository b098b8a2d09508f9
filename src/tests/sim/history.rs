//! What happens from outside: how the nodes behave and when, what the clients ask for, and when the
//! clock jumps. The history alone determines a run.

use std::time::Duration;

use crate::balance::roster::Member;

/// Everything a run needs.
#[derive(Clone, Debug)]
pub struct History {
    /// The seed of the roster's chance.
    pub seed: u64,
    /// What the health clock shows at the start.
    pub morning: u64,
    /// The place at which the rotation starts.
    pub start: usize,
    /// `deliver.attempts`.
    pub attempts: usize,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    /// Jumps of the health clock: when, and by how many nanoseconds.
    pub jumps: Vec<(u64, i64)>,
}

/// A node, seen from outside.
#[derive(Clone, Debug)]
pub struct Server {
    pub member: Member,
    /// How it behaves and since when, in rising order; the first entry counts from the start. Each
    /// change ends its connections.
    pub phases: Vec<(u64, Manner)>,
}

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Serves,
    /// Serves, but connecting takes so long.
    Slow(u64),
    Refuses,
    /// Answers nothing at all.
    Silent,
    /// Accepts, then fails each delivery, before or after bytes were sent.
    Breaks {
        unsent: bool,
    },
    /// Stores each record and fails before it acknowledges it.
    LosesAck,
    /// Other callers hold every permit of `net.max_connections`.
    Full,
}

/// A caller.
#[derive(Clone, Debug)]
pub struct Client {
    pub errand: Errand,
    /// When its first payload comes.
    pub begins: u64,
    /// The time between the end of one payload and the next.
    pub pause: u64,
    pub payloads: u32,
    /// The time for one delivery.
    pub timeout: Duration,
}

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// `upstream_deliver`.
    Deliver,
    /// `upstream_attempt_*`.
    Attempt,
    /// The same, but it never reports how it went.
    Forget,
    /// `upstream_next_node`.
    Pick,
    /// `upstream_next_node` and `upstream_node_report`.
    Report,
    /// The active check of a node.
    Check(usize),
    /// Reports late on a node: on work that began `age` generations ago.
    Late { place: usize, age: u32, good: bool },
}

/// `net.connect_timeout` of every node.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
