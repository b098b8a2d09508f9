//! The trial of a node that is out of the rotation: one new connection, with TLS if the node uses
//! it. If other nodes could take the payload, the caller waits for it only a moment and then goes
//! on with them; the dial goes on by itself.
//!
//! Invariant: a trial takes no turn from the healthy nodes and never waits for a permit.

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
use crate::net::portion::Portion;
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
    /// With a connection that an earlier trial left in the pool.
    Ready(Ready),
    /// With a dial.
    Trying(Trying),
}

/// Begins a trial; its caller waits for it until `deadline` at most. The dial goes on if the caller
/// leaves, and has the node's own time for it: with the short time of its callers, a slow node
/// would never be restored. `notify` as for the dialer.
pub(super) fn begin(
    node: &Arc<Node>,
    trial: Trial,
    deadline: Instant,
    notify: bool,
) -> Result<Begun> {
    may_connect(node)?;
    match node.pool.try_acquire(|link| node.retire_quietly(*link)) {
        Some(Permit::New) => {}
        // A connection of an earlier trial since the ejection has shown that the node connects. One
        // that is older proves nothing; its permit serves for a new one.
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
    if link.of_trial && link.is_quiet(&mut Portion::new()) {
        return Some(link);
    }
    node.retire_quietly(*link);
    None
}

/// What happens to a trial whose caller has left: the node is told, and the connection, if there is
/// one, waits in the pool.
fn orphan(node: &Arc<Node>, dial: Dial) -> Orphan {
    let node = Arc::downgrade(node);
    Box::new(move |outcome| {
        let Some(node) = node.upgrade() else { return };
        // A failure is reported to the node, and nobody else waits for it.
        let Ok(Ready { mut link, generation, trial, .. }) = dial.ended(&node, outcome) else {
            return;
        };
        link.of_trial = node.runtime.roster.due(node.place).is_some();
        if let Some(turn) = trial.filter(|turn| turn.generation == generation) {
            // It must answer first: the next payload tries it over this connection.
            node.give_back(turn, Duration::ZERO);
        }
        if node.target.net.keepalive {
            node.keep(link);
        } else {
            node.retire_quietly(*link);
            node.pool.leave();
        }
    })
}

/// Until when a caller that has until `deadline` waits for a dial that ends by `ends`.
fn stays_until(trial: Trial, deadline: Instant, ends: Instant) -> Instant {
    match trial.others {
        true => deadline.min(after(Instant::now(), trial.patience)),
        false if deadline + GUARD < ends => deadline,
        false => deadline + GUARD, // to learn how it ended
    }
}
