//! The trial of a node that is out of the rotation: one new connection, TLS included. The caller that got it stays for it a moment
//! only while others could take the payload; then it goes on with them, and the dial goes on by itself.
//!
//! Invariant: a trial takes no turn from the healthy nodes and never waits for a place at the cap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::open::{Dial, cap_held, may_connect};
use super::{Conn, Ready};
use crate::error::{Phase, Result};
use crate::net::dial::{GUARD, Orphan, Pending};
use crate::net::patience::after;
use crate::net::pool::Place;
use crate::node::Node;
use crate::roster::Turn;

/// How long a caller stays for a trial: as long as RFC 8305 section 5 waits for an address before it starts another.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// A node to connect to next.
pub struct Candidate {
    /// The node.
    pub node: Arc<Node>,
    /// Where it is on trial.
    pub trial: Option<Trial>,
}

/// The one probe of a node that is out, as its caller has it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// As the roster gave it.
    pub turn: Turn,
    /// Another node could take the payload.
    pub others: bool,
}

impl Trial {
    /// Until when the caller, which has until `deadline`, stays for a dial that ends by `ends`.
    fn stays_until(self, deadline: Instant, ends: Instant) -> Instant {
        match self.others {
            true => deadline.min(after(Instant::now(), PATIENCE)),
            false if deadline + GUARD < ends => deadline,
            false => deadline + GUARD, // to hear how it ended
        }
    }
}

/// A trial under way.
pub(super) struct Trying {
    pub(super) pending: Pending,
    pub(super) dial: Dial,
    pub(super) until: Instant,
}

impl Conn {
    /// A new connection to a node on trial, by `deadline`.
    pub(super) fn try_out(node: Arc<Node>, trial: Trial, deadline: Instant) -> Result<Conn> {
        let mut trying = begin(&node, trial, deadline, false)?;
        match trying.pending.wait(trying.until) {
            Some(outcome) => trying.dial.ended(&node, outcome).map(|ready| Conn::new(node, ready)),
            None => Err(trying.dial.left_alone(&node, trying.until)),
        }
    }
}

/// Begins a trial, which its caller stays for until `deadline` at most. The dial lives on where the caller gives it up, and so has
/// the node's own time: by a caller's short one a node that is slow to connect would never be found well again. `notify` as for
/// the dialer.
pub(super) fn begin(node: &Arc<Node>, trial: Trial, deadline: Instant, notify: bool) -> Result<Trying> {
    may_connect(node)?;
    match node.pool.try_acquire(|link| node.runtime.close(*link)) {
        Some(Place::New) => {}
        // What was opened before the node fell out proves nothing. Its place serves for the new one.
        Some(Place::Idle(link)) => node.runtime.close(*link),
        Some(Place::Cancelled) => return Err(node.target.cancelled(Phase::Wait)),
        Some(Place::None) | None => {
            node.give_back(trial.turn, PATIENCE);
            return Err(cap_held(node));
        }
    }
    let dial = Dial::on_trial(node, trial.turn);
    let ends = Conn::connect_deadline(node);
    let started = node.runtime.dialer.start(&node.target, ends, notify, Some(orphan(node, dial)));
    match started {
        Ok(pending) => Ok(Trying { pending, dial, until: trial.stays_until(deadline, ends) }),
        Err(error) => Err(dial.failed(node, error)),
    }
}

/// What becomes of a trial that its caller gave up: where it works, the node is back and the connection waits in the pool.
fn orphan(node: &Arc<Node>, dial: Dial) -> Orphan {
    let node = Arc::downgrade(node);
    Box::new(move |outcome| {
        let Some(node) = node.upgrade() else { return };
        // A failure is told to the node, and nobody else waits for it.
        let Ok(Ready { link, .. }) = dial.ended(&node, outcome) else { return };
        if node.target.net.keepalive {
            node.keep(link);
        } else {
            node.runtime.close(*link);
            node.pool.leave();
        }
    })
}
