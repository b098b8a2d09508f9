//! The invented network: how a dial or a delivery ends at a node that behaves in a given way.

use std::time::Duration;

use super::MILLI;
use super::history::{CONNECT_TIMEOUT, Manner, Server};
use crate::balance::breaker::{Fault, Way};
use crate::set::outcome::{had_its_time, is_black_hole};

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub place: usize,
    /// The generation of the node when the connection was begun.
    pub generation: u32,
    /// It came from the pool.
    pub reused: bool,
    /// The phase of its node when it was made. The next phase ended it.
    pub phase: usize,
}

/// How a delivery over a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stored,
    /// Stored, but the caller is told that it failed.
    AckLost,
    Failed {
        unsent: bool,
    },
    /// The connection was already dead.
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

    /// When a dial that begins `now` and must end by `by` ends, and with which fault. The fault is
    /// `None` if the node is not to blame.
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

    /// Whether there is no permit for a new connection.
    pub fn is_full(&self, now: u64) -> bool {
        self.manner(now) == Manner::Full
    }

    /// Whether a connection shows at once that it is dead: news of its end takes a while to arrive.
    pub fn is_seen_dead(&self, link: &Link, now: u64) -> bool {
        let phase = self.phase(now);
        phase != link.phase && now - self.phases[phase].0 >= MILLI
    }

    /// How a delivery that begins `now` ends, and when.
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
