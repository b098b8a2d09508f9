//! Whose fault a failure is: what an exchange says of its node.
//!
//! Invariant: each exchange has one outcome and is reported once.

use std::time::Duration;

use crate::balance::breaker::{Fault, Proof, Way};
use crate::base::error::{Blame, Error, Origin, Phase, Status};

/// What one exchange says of its node.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing.
    Nothing,
    /// It went well.
    Good(Proof),
    /// The node wants no new turns for this long; `None` means for `health.backoff`.
    Busy(Option<Duration>),
    /// It failed.
    Bad(Box<Error>),
}

/// What a failure says of the node. `None` if its cause is on this side.
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

/// The outcome of what a plugin reports of its work with a node, as a status. `error` makes the
/// error for a failure.
pub fn of_status(status: Status, answered: bool, error: impl FnOnce() -> Error) -> Outcome {
    match status {
        Status::Ok if answered => Outcome::Good(Proof::Answered),
        Status::Ok => Outcome::Good(Proof::Written),
        // UPSTREAM_STOP is a verdict on the payload, so the node has answered.
        Status::Stop => Outcome::Good(Proof::Answered),
        Status::Busy => Outcome::Busy(None),
        Status::WantRead | Status::WantWrite => Outcome::Nothing,
        _ => Outcome::Bad(Box::new(error())),
    }
}

/// The way in which an exchange failed, if the payload itself may be the cause.
pub fn way_of_payload(error: &Error) -> Option<Way> {
    match (error.status, fault_of(error)) {
        (Status::Protocol | Status::Closed | Status::Network, Some(Fault::Soft(way))) => Some(way),
        _ => None,
    }
}

/// Whether a connect that got no answer for `waited` shows a black hole, which ejects at once. A
/// short limit of the caller's own proves nothing.
pub fn is_black_hole(waited: Duration, connect_timeout: Duration) -> bool {
    waited >= SILENCE.min(connect_timeout.mul_f64(0.95))
}

/// After so long without an answer it is not just a lost packet: Linux sends a SYN again after 1 s
/// and after 3 s.
const SILENCE: Duration = Duration::from_secs(3);

/// Whether a silence of `waited` counts against a node that is allowed `allowed`. It does not if
/// the caller's own limit was shorter.
pub fn had_its_time(waited: Duration, allowed: Duration) -> bool {
    waited >= ENOUGH.min(allowed.mul_f64(0.95))
}

/// A node that is well answers within this time on any network.
const ENOUGH: Duration = Duration::from_secs(1);

/// Who is to blame if a limit ended a silence of `waited`.
pub fn blame_for_silence(waited: Duration, allowed: Duration) -> Blame {
    if had_its_time(waited, allowed) { Blame::Open } else { Blame::Caller }
}
