//! The invented network: what a dial and a delivery come to with a node that behaves so.

use std::time::Duration;

use super::MILLI;
use super::history::{CONNECT_TIMEOUT, Manner, Server};
use crate::balance::breaker::{Fault, Way};
use crate::set::outcome::{had_its_time, is_black_hole};

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub place: usize,
    /// Of the node when the connection was asked for.
    pub generation: u32,
    /// It lay in the pool.
    pub reused: bool,
    /// The phase of its node when it was made. A later one has ended it.
    pub phase: usize,
}

/// What a delivery over a connection comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stored,
    /// Stored, but the caller is told that it failed.
    AckLost,
    Failed {
        unsent: bool,
    },
    /// The connection was dead before.
    Dead,
}

impl Server {
    /// The phase at `now`.
    pub fn phase(&self, now: u64) -> usize {
        self.phases.partition_point(|(since, _)| *since <= now).saturating_sub(1)
    }

    fn manner(&self, now: u64) -> Manner {
        self.phases[self.phase(now)].1
    }

    /// When a dial begun `now`, which must end by `by`, ends, and with which fault; `None` for a
    /// fault where the node has none.
    pub fn dial(&self, now: u64, by: u64) -> (u64, Result<(), Option<Fault>>) {
        let (took, outcome) = match self.manner(now) {
            Manner::Serves | Manner::Breaks { .. } | Manner::LosesAck => (MILLI, Ok(())),
            Manner::Slow(took) => (took, Ok(())),
            Manner::Refuses => (MILLI, Err(Some(Fault::Hard(Way::Connect)))),
            Manner::Full => (50 * MILLI, Err(None)),
            Manner::Silent => (u64::MAX, Ok(())),
        };
        let end = now.saturating_add(took);
        if end <= by {
            return (end, outcome);
        }
        let waited = Duration::from_nanos(by - now);
        let fault =
            match (is_black_hole(waited, CONNECT_TIMEOUT), had_its_time(waited, CONNECT_TIMEOUT)) {
                (true, _) => Some(Fault::Hard(Way::Connect)),
                (false, true) => Some(Fault::Soft(Way::Connect)),
                (false, false) => None,
            };
        (by, Err(fault))
    }

    /// Whether the cap keeps a new connection from being begun.
    pub fn is_full(&self, now: u64) -> bool {
        self.manner(now) == Manner::Full
    }

    /// Whether a connection shows at once that it is dead: its end takes a while to get here.
    pub fn is_seen_dead(&self, link: &Link, now: u64) -> bool {
        let phase = self.phase(now);
        phase != link.phase && now - self.phases[phase].0 >= MILLI
    }

    /// What a delivery begun `now` comes to, and when.
    pub fn send(&self, link: &Link, now: u64, last: u64) -> (u64, Fate) {
        if self.phase(now) != link.phase {
            return (now.saturating_add(MILLI / 2).min(last), Fate::Dead);
        }
        let (end, fate) = match self.manner(now) {
            Manner::Breaks { unsent } => (now + MILLI, Fate::Failed { unsent }),
            Manner::LosesAck => (now + MILLI, Fate::AckLost),
            _ => (now + 2 * MILLI, Fate::Stored),
        };
        if end <= last { (end, fate) } else { (last, Fate::Failed { unsent: false }) }
    }
}
