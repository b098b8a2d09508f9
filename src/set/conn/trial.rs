//! The trial of a node that is out of the rotation: one new connection, TLS included. The caller
//! that got it stays for it a moment only while others could take the payload; then it goes on with
//! them, and the dial goes on by itself.
//!
//! Invariant: a trial takes no turn from the healthy nodes and never waits for a place at the cap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::{Dial, Ready, cap_held, may_connect};
use super::terms::{Trial, connect_deadline};
use crate::balance::visits::PATIENCE;
use crate::base::error::{Phase, Result};
use crate::base::stats::count;
use crate::net::dial::{GUARD, Orphan, Pending};
use crate::net::patience::after;
use crate::net::pool::Permit;
use crate::set::link::Link;
use crate::set::node::Node;

/// A trial under way.
pub(super) struct Trying {
    pub(super) pending: Pending,
    pub(super) dial: Dial,
    pub(super) until: Instant,
}

/// How a trial begins.
pub(super) enum Begun {
    /// With a connection that an earlier trial has left.
    Ready(Ready),
    /// With a dial.
    Trying(Trying),
}

/// Begins a trial, which its caller stays for until `deadline` at most. The dial lives on if the
/// caller gives it up, and so has the node's own time: by a caller's short one a node that is slow
/// to connect would never be found well again. `notify` as for the dialer.
pub(super) fn begin(
    node: &Arc<Node>,
    trial: Trial,
    deadline: Instant,
    notify: bool,
) -> Result<Begun> {
    may_connect(node)?;
    match node.pool.try_acquire(|link| node.retire_quietly(*link)) {
        Some(Permit::New) => {}
        // One of an earlier trial in the same outage has shown that the node connects. What was
        // opened before the node fell out proves nothing; its place serves for the new one.
        Some(Permit::Idle(link)) => {
            if let Some(link) = usable_trial(node, link) {
                count(&node.counters.reused);
                let (generation, trial) = (trial.turn.generation, Some(trial.turn));
                return Ok(Begun::Ready(Ready { link, reused: false, generation, trial }));
            }
        }
        Some(Permit::Cancelled) => return Err(node.target.cancelled(Phase::Wait)),
        Some(Permit::None) | None => {
            node.give_back(trial.turn, PATIENCE);
            return Err(cap_held(node));
        }
    }
    let dial = Dial::on_trial(node, trial.turn);
    let ends = connect_deadline(node);
    let started = node.runtime.dialer.start(&node.target, ends, notify, Some(orphan(node, dial)));
    match started {
        Ok(pending) => {
            let until = stays_until(trial, deadline, ends);
            Ok(Begun::Trying(Trying { pending, dial, until }))
        }
        Err(error) => Err(dial.failed(node, error)),
    }
}

fn usable_trial(node: &Arc<Node>, mut link: Box<Link>) -> Option<Box<Link>> {
    if link.of_trial && link.is_quiet() {
        return Some(link);
    }
    node.retire_quietly(*link);
    None
}

/// What becomes of a trial that its caller gave up: where it works, the node is back and the
/// connection waits in the pool.
fn orphan(node: &Arc<Node>, dial: Dial) -> Orphan {
    let node = Arc::downgrade(node);
    Box::new(move |outcome| {
        let Some(node) = node.upgrade() else { return };
        // A failure is told to the node, and nobody else waits for it.
        let Ok(Ready { mut link, generation, trial, .. }) = dial.ended(&node, outcome) else {
            return;
        };
        link.of_trial = node.runtime.roster.due(node.place).is_some();
        if let Some(turn) = trial.filter(|turn| turn.generation == generation) {
            node.give_back(turn, Duration::ZERO); // it has yet to answer: the next payload tries it over this one
        }
        if node.target.net.keepalive {
            node.keep(link);
        } else {
            node.retire_quietly(*link);
            node.pool.leave();
        }
    })
}

/// Until when the caller, which has until `deadline`, stays for a dial that ends by `ends`.
fn stays_until(trial: Trial, deadline: Instant, ends: Instant) -> Instant {
    match trial.others {
        true => deadline.min(after(Instant::now(), trial.patience)),
        false if deadline + GUARD < ends => deadline,
        false => deadline + GUARD, // to hear how it ended
    }
}
