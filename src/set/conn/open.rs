//! How a call gets a connection to a node: a kept one from the pool, or a new one. It waits for a
//! permit and for the dialer, never past the deadline.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Conn;
use super::outcome::{Dial, Ready, cap_held, first_usable, may_connect};
use super::terms::{Choice, Trial};
use super::trial;
use crate::balance::roster::{NodeState, Turn};
use crate::base::error::{Phase, Result, Status};
use crate::net::patience::after;
use crate::net::pool::Permit;
use crate::set::node::Node;

impl Conn {
    /// A connection to `node`, from the pool or new, by `deadline`, which is only worked out if
    /// there is something to wait for.
    pub fn open(node: Arc<Node>, deadline: impl FnOnce() -> Instant) -> Result<Conn> {
        Conn::acquire(node, deadline, true)
    }

    /// A new connection to `node`, by `deadline`. Idle ones are closed, because one of them, of
    /// this `generation`, was just found dead in use.
    pub fn open_fresh(node: Arc<Node>, generation: u32, deadline: Instant) -> Result<Conn> {
        // The end of the dead connection may have ejected the node: then another node must be
        // asked.
        if node.generation() != generation && node.state() == NodeState::Ejected {
            let cause = "the node was ejected while the payload was being sent";
            return Err(node.target.error(Status::Closed, Phase::Connect, cause));
        }
        Conn::acquire(node, || deadline, false)
    }

    /// A connection to `choice`, on trial or not.
    #[inline(always)]
    pub fn open_choice(choice: Choice) -> Result<Conn> {
        match choice.trial {
            Some(trial) => {
                let deadline = choice.deadline();
                Conn::try_out(choice.node, trial, deadline)
            }
            None => {
                let Choice { node, by, .. } = choice;
                let own = node.target.net.connect_timeout;
                Conn::open(node, || {
                    let own = after(Instant::now(), own);
                    by.map_or(own, |by| by.min(own))
                })
            }
        }
    }

    #[inline(always)]
    fn acquire(node: Arc<Node>, deadline: impl FnOnce() -> Instant, reuse: bool) -> Result<Conn> {
        may_connect(&node)?;
        let generation = node.generation();
        let deadline = LazyCell::new(deadline);
        let idle = match node.pool.acquire(|| *deadline, |link| node.retire_quietly(*link)) {
            Permit::Idle(link) => first_usable(&node, link, reuse)?,
            Permit::New => None,
            Permit::Cancelled => return Err(node.target.cancelled(Phase::Wait)),
            Permit::None => return Err(cap_held(&node)),
        };
        if let Some(link) = idle {
            return Ok(Conn::new(node, Ready { link, reused: true, generation, trial: None }));
        }
        let dial = Dial::of(&node); // the wait for a permit is not the node's fault
        let outcome = node.runtime.dialer.dial(&node.target, *deadline);
        dial.ended(&node, outcome).map(|ready| Conn::new(node, ready))
    }

    /// A new connection to a node on trial, by `deadline`.
    pub(super) fn try_out(node: Arc<Node>, trial: Trial, deadline: Instant) -> Result<Conn> {
        let mut trying = match trial::begin(&node, trial, deadline, false)? {
            trial::Begun::Ready(ready) => return Ok(Conn::new(node, ready)),
            trial::Begun::Trying(trying) => trying,
        };
        match trying.pending.wait(trying.until) {
            Some(outcome) => trying.dial.ended(&node, outcome).map(|ready| Conn::new(node, ready)),
            None => Err(trying.dial.left_alone(&node, trying.until)),
        }
    }

    /// Begins the trial of a node for which no caller waits. If a connection is all that the node
    /// needs to show, this restores it.
    pub fn try_out_aside(node: &Arc<Node>, turn: Turn) {
        let trial = Trial { turn, others: true, patience: Duration::ZERO };
        // A failure is reported to the node. The dial goes on when its handle is dropped.
        drop(trial::begin(node, trial, Instant::now(), false));
    }
}
