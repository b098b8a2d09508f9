//! Whose fault: what an exchange says of its node, and what the failures of one payload say of its nodes.
//!
//! Invariants: each exchange has one outcome and is told once; a payload that fails in the same way wherever it
//! comes is suspect itself, and no node is blamed for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::balance::breaker::{Fault, Proof, Way};
use crate::balance::roster::Turn;
use crate::base::error::{Error, Origin, Phase, Status};
use crate::set::node::Node;

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
    let connecting = matches!(phase, Some(Phase::Wait | Phase::Resolve | Phase::Connect | Phase::Tls));
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

/// Words about a node which may be about the same work as other words: numbered, so that each stands in for one other at
/// most, however many exchanges there are at once.
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

    /// Whether one that was said after the first `since` of them stands in for the caller's, which is not to be told
    /// then.
    pub fn claim(&self, since: u64) -> bool {
        let said = self.count();
        if said == since {
            return false;
        }
        let next = |claimed: u64| Some(claimed.max(since) + 1).filter(|next| *next <= said);
        self.claimed.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// The failures of one payload that may be its own fault, until it is known how it went elsewhere.
#[derive(Default)]
pub struct Blame {
    suspects: Vec<Suspect>,
    /// It reached a node and failed there in no such way, or not at all.
    differs: bool,
}

struct Suspect {
    node: Arc<Node>,
    generation: u32,
    trial: Option<Turn>,
    error: Box<Error>,
}

impl Blame {
    /// Takes the outcome of an exchange in which the node got bytes of the payload, or not. Tells the node, unless
    /// that has to wait for how the payload fares elsewhere.
    pub fn take(
        &mut self,
        node: &Arc<Node>,
        generation: u32,
        trial: Option<Turn>,
        reached: bool,
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Bad(error) if reached && way_of_payload(&error).is_some() => {
                self.suspects.push(Suspect { node: Arc::clone(node), generation, trial, error });
            }
            outcome => {
                self.differs |= reached && !matches!(outcome, Outcome::Nothing);
                node.hear(generation, trial, outcome);
            }
        }
    }

    /// The verdict, at the end of the payload's way.
    #[inline]
    pub fn settle(&mut self) {
        if !self.suspects.is_empty() {
            self.judge();
        }
    }

    #[cold]
    fn judge(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        let mut ways = suspects.iter().map(|suspect| way_of_payload(&suspect.error));
        let first = ways.next();
        let same = suspects.len() > 1 && ways.all(|way| Some(way) == first);
        for Suspect { node, generation, trial, error } in suspects {
            let outcome = if same && !self.differs { Outcome::Nothing } else { Outcome::Bad(error) };
            node.hear(generation, trial, outcome);
        }
    }
}

impl Drop for Blame {
    /// Whoever ends early, by a defect, blames as if the payload were good.
    fn drop(&mut self) {
        self.settle();
    }
}

/// The way in which a payload itself may have made an exchange fail.
fn way_of_payload(error: &Error) -> Option<Way> {
    match (error.status, fault_of(error)) {
        (Status::Protocol | Status::Closed | Status::Network, Some(Fault::Soft(way))) => Some(way),
        _ => None,
    }
}
