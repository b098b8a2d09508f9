//! Whose fault: what an exchange says of its node.
//!
//! Invariant: each exchange has one outcome and is told once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::balance::breaker::{Fault, Proof, Way};
use crate::base::error::{Blame, Error, Origin, Phase, Status};

/// How one exchange went, as far as it says anything of the node.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It says nothing.
    Nothing,
    /// It went well.
    Good(Proof),
    /// The node asks for so long without new turns; no time given takes `health.backoff`.
    Busy(Option<Duration>),
    /// It failed.
    Bad(Box<Error>),
}

/// What a failure says of the node, if anything: one whose reason lies on this side says nothing.
pub fn fault_of(error: &Error) -> Option<Fault> {
    if !error.may_blame_node() {
        return None;
    }
    let phase = match &error.origin {
        Origin::Node { phase, .. } => Some(*phase),
        _ => None,
    };
    let connecting =
        matches!(phase, Some(Phase::Wait | Phase::Resolve | Phase::Connect | Phase::Tls));
    match error.status {
        Status::Connect | Status::Tls | Status::Cert => Some(Fault::Hard(Way::Connect)),
        Status::Resolve if error.is_no_such_name() => Some(Fault::Hard(Way::Connect)),
        Status::Resolve => Some(Fault::Soft(Way::Connect)),
        Status::Timeout if connecting => Some(Fault::Soft(Way::Connect)),
        Status::Timeout if phase == Some(Phase::Write) => Some(Fault::Soft(Way::Stalled)),
        Status::Timeout => Some(Fault::Soft(Way::Silence)),
        Status::Closed | Status::Network => Some(Fault::Soft(Way::Broken)),
        Status::Io | Status::Protocol => Some(Fault::Soft(Way::Answer)),
        // C's habitual `return -1` of a deliver callback.
        Status::InvalidArg if phase == Some(Phase::Callback) => Some(Fault::Soft(Way::Answer)),
        _ => None,
    }
}

/// What a plugin says of its work with a node, as a status; `error` holds the words.
pub fn of_status(status: Status, answered: bool, error: impl FnOnce() -> Error) -> Outcome {
    match status {
        Status::Ok if answered => Outcome::Good(Proof::Answered),
        Status::Ok => Outcome::Good(Proof::Written),
        // A verdict on the payload, by which the node answered.
        Status::Stop => Outcome::Good(Proof::Answered),
        Status::Busy => Outcome::Busy(None),
        Status::WantRead | Status::WantWrite => Outcome::Nothing,
        _ => Outcome::Bad(Box::new(error())),
    }
}

/// Words about a node which may be about the same work as other words: numbered, so that each
/// stands in for one other at most, however many exchanges there are at once.
#[derive(Debug, Default)]
pub struct Words {
    said: AtomicU64,
    /// All up to this one have stood in for another, or are too old to.
    claimed: AtomicU64,
}

impl Words {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.said.load(Relaxed)
    }

    /// One more.
    pub fn add(&self) {
        self.said.fetch_add(1, Relaxed);
    }

    /// Whether one that was said after the first `since` of them stands in for the caller's, which
    /// is not to be told then.
    pub fn claim(&self, since: u64) -> bool {
        let said = self.count();
        if said == since {
            return false;
        }
        let next = |claimed: u64| Some(claimed.max(since) + 1).filter(|next| *next <= said);
        self.claimed.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// The way in which a payload itself may have made an exchange fail.
pub fn way_of_payload(error: &Error) -> Option<Way> {
    match (error.status, fault_of(error)) {
        (Status::Protocol | Status::Closed | Status::Network, Some(Fault::Soft(way))) => Some(way),
        _ => None,
    }
}

/// A black hole is to cost one attempt, once; a caller's own short limit is no proof of one.
pub fn is_black_hole(waited: Duration, connect_timeout: Duration) -> bool {
    waited >= SILENCE.min(connect_timeout.mul_f64(0.95))
}

/// Nothing for so long is no lost packet: Linux sends a SYN again after 1 s and after 3 s.
const SILENCE: Duration = Duration::from_secs(3);

/// Whether a silence of `waited` may count against a node that is allowed `allowed`: a shorter
/// limit of the caller's says nothing of it.
pub fn had_its_time(waited: Duration, allowed: Duration) -> bool {
    waited >= ENOUGH.min(allowed.mul_f64(0.95))
}

/// So long a node that is well has answered on any network.
const ENOUGH: Duration = Duration::from_secs(1);

/// Whose limit it was that a node was silent through.
pub fn blame_for_silence(waited: Duration, allowed: Duration) -> Blame {
    if had_its_time(waited, allowed) { Blame::Open } else { Blame::Caller }
}
