//! How a call gets a connection to a node: a kept one from the pool, or a new one. It waits for a
//! permit and for the dialer, never past the deadline.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Conn;
use super::outcome::{
    Dial, Ready, cap_held, caps_held, first_usable, hand_back, is_out, may_connect,
};
use super::terms::{Choice, Detour, Trial, WAITS_AT, room_by};
use super::trial;
use crate::balance::roster::{NodeState, Turn};
use crate::base::error::{Phase, Result, Status};
use crate::net::patience::after;
use crate::net::pool::{Permit, wait_for_any};
use crate::set::link::Link;
use crate::set::node::Node;

/// What a connection is made of. It is small, and a [`Conn`] is not: that is made once, where it is
/// used, because each copy of it lies on the caller's stack while a deliver callback runs.
pub struct Opened {
    node: Arc<Node>,
    ready: Ready,
}

impl Opened {
    /// The connection.
    #[inline(always)]
    pub fn into_conn(self) -> Conn {
        Conn::new(self.node, self.ready)
    }
}

/// What [`open_now`] gives.
enum Opening {
    /// A connection.
    Stands(Opened),
    /// The node is at its cap.
    Full(Choice),
}

impl Conn {
    /// A connection to `node`, from the pool or new, by `deadline`, which is only worked out if
    /// there is something to wait for.
    pub fn open(node: Arc<Node>, deadline: impl FnOnce() -> Instant) -> Result<Conn> {
        acquire(node, deadline, true).map(Opened::into_conn)
    }

    /// A new connection to `node`, by `deadline`. Idle ones are closed, because one of them, of
    /// this `generation`, was just found dead in use.
    pub fn open_fresh(node: Arc<Node>, generation: u32, deadline: Instant) -> Result<Opened> {
        // The end of the dead connection may have ejected the node: then another node must be
        // asked.
        if node.generation() != generation && node.state() == NodeState::Ejected {
            let cause = "the node was ejected while the payload was being sent";
            return Err(node.target.error(Status::Closed, Phase::Connect, cause));
        }
        acquire(node, || deadline, false)
    }

    /// A connection to `choice`, or to another node if that one is at its cap.
    #[inline(always)]
    pub fn open_along(detour: &mut impl Detour, choice: Choice) -> Result<Opened> {
        match open_now(choice)? {
            Opening::Stands(opened) => Ok(opened),
            Opening::Full(choice) => open_elsewhere(detour, choice),
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

/// A connection to `choice`, on trial or not, unless it is at its cap.
#[inline(always)]
fn open_now(choice: Choice) -> Result<Opening> {
    if let Some(trial) = choice.trial {
        let deadline = choice.deadline();
        return try_out(choice.node, trial, deadline).map(Opening::Stands);
    }
    may_connect(&choice.node)?;
    let generation = choice.node.generation();
    let node = &choice.node;
    let Some(permit) = node.pool.try_acquire(|link| node.retire_quietly(*link)) else {
        return Ok(Opening::Full(choice));
    };
    let Choice { node, by, .. } = choice;
    let own = node.target.net.connect_timeout;
    let deadline = || {
        let own = after(Instant::now(), own);
        by.map_or(own, |by| by.min(own))
    };
    with_permit(node, permit, generation, deadline, true).map(Opening::Stands)
}

/// The node of `choice` is at its cap: the first node that has room, or at last the first one
/// that gets room.
#[cold]
fn open_elsewhere(detour: &mut impl Detour, choice: Choice) -> Result<Opened> {
    let mut full = vec![choice.node];
    let by = loop {
        let choice = match detour.beyond() {
            Ok(choice) => choice,
            Err(by) => break by,
        };
        let node = Arc::clone(&choice.node);
        let opened = match open_now(choice) {
            Ok(Opening::Full(choice)) => {
                full.push(choice.node);
                continue;
            }
            Ok(Opening::Stands(opened)) => Ok(opened),
            Err(error) => Err(error),
        };
        detour.found(&node);
        return opened;
    };
    let deadline = room_by(&full[0], by);
    full.truncate(WAITS_AT);
    loop {
        let pools: Vec<_> = full.iter().map(|node| &node.pool).collect();
        let expired = |at: usize, link: Box<Link>| full[at].retire_quietly(*link);
        let (at, permit) = wait_for_any(&pools, deadline, expired);
        drop(pools);
        let node = Arc::clone(&full[at]);
        match permit {
            Permit::None => {
                detour.found_none();
                return Err(caps_held(full.iter()));
            }
            Permit::Idle(_) | Permit::New if full.len() > 1 && is_out(&node) => {
                hand_back(&node, permit);
                full.remove(at);
            }
            permit => {
                detour.found(&node);
                let generation = node.generation();
                return with_permit(node, permit, generation, || deadline, true);
            }
        }
    }
}

#[inline(always)]
fn acquire(node: Arc<Node>, deadline: impl FnOnce() -> Instant, reuse: bool) -> Result<Opened> {
    may_connect(&node)?;
    let generation = node.generation();
    let deadline = LazyCell::new(deadline);
    let permit = node.pool.acquire(|| *deadline, |link| node.retire_quietly(*link));
    with_permit(node, permit, generation, || *deadline, reuse)
}

/// What a permit for `node` leads to: an idle connection or a dial.
#[inline(always)]
fn with_permit(
    node: Arc<Node>,
    permit: Permit<Box<Link>>,
    generation: u32,
    deadline: impl FnOnce() -> Instant,
    reuse: bool,
) -> Result<Opened> {
    let idle = match permit {
        Permit::Idle(link) => first_usable(&node, link, reuse)?,
        Permit::New => None,
        Permit::Cancelled => return Err(node.target.cancelled(Phase::Wait)),
        Permit::None => return Err(cap_held(&node)),
    };
    if let Some(link) = idle {
        let ready = Ready { link, reused: true, generation, trial: None };
        return Ok(Opened { node, ready });
    }
    let dial = Dial::of(&node); // the wait for a permit is not the node's fault
    let outcome = node.runtime.dialer.dial(&node.target, deadline());
    dial.ended(&node, outcome).map(|ready| Opened { node, ready })
}

/// A new connection to a node on trial, by `deadline`.
#[cold]
fn try_out(node: Arc<Node>, trial: Trial, deadline: Instant) -> Result<Opened> {
    let mut trying = match trial::begin(&node, trial, deadline, false)? {
        trial::Begun::Ready(ready) => return Ok(Opened { node, ready }),
        trial::Begun::Trying(trying) => trying,
    };
    match trying.pending.wait(trying.until) {
        Some(outcome) => trying.dial.ended(&node, outcome).map(|ready| Opened { node, ready }),
        None => Err(trying.dial.left_alone(&node, trying.until)),
    }
}
