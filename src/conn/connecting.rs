//! A connection in the making that nobody waits for: for its turn at the cap, then for the dialer, node after node until
//! one stands.
//!
//! Invariant: while it goes on there is one descriptor to watch, and it is closed only once its successor is open, so
//! that a new number is the sign of a new descriptor.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::eventfd::EventFd;

use super::open::{Dial, cap_held, first_usable, may_connect};
use super::trial::{self, Trial};
use super::{Candidate, Conn, Ready};
use crate::error::{Error, Phase, Result, Status, summary};
use crate::net::cancel::eventfd;
use crate::net::dial::{GUARD, Pending};
use crate::net::pool::{Place, Ticket};
use crate::node::{Link, Node};

/// Names the nodes to try, none twice; `None` where none is left.
pub type NextNode = Box<dyn FnMut() -> Option<Candidate> + Send>;

/// A connection under way.
pub(super) struct Connecting {
    next: NextNode,
    setbacks: Vec<Error>,
    step: Step,
}

/// What a start gives.
pub(super) enum Begun {
    /// There was one in the pool.
    Ready(Ready),
    /// It is under way.
    Waiting(Connecting),
}

enum Step {
    Queued(Turn),
    Dialling(Dialling),
}

/// A place in the queue at the cap.
struct Turn {
    node: Arc<Node>,
    deadline: Instant,
    /// Until it was claimed.
    ticket: Option<Ticket>,
    ready: Arc<EventFd>,
}

/// A dial under way.
struct Dialling {
    node: Arc<Node>,
    dial: Dial,
    /// Until when it is waited for.
    until: Instant,
    pending: Pending,
    hold: Hold,
}

/// Who leaves the place in the pool that a dial holds.
#[derive(PartialEq)]
enum Hold {
    /// This one.
    Place,
    /// The dial itself, which goes on where it is given up: a trial.
    Trial,
    /// Nobody any more.
    Nothing,
}

enum Stand {
    Ready(Ready),
    At(Step),
}

impl Connecting {
    /// Begins with the first node of `next` that lets it; that node is the first of the answer.
    pub(super) fn start(mut next: NextNode) -> Result<(Arc<Node>, Begun)> {
        let mut setbacks = Vec::new();
        let (node, stand) = begin_with_next(&mut next, &mut setbacks)?;
        let begun = match stand {
            Stand::Ready(ready) => Begun::Ready(ready),
            Stand::At(step) => Begun::Waiting(Connecting { next, setbacks, step }),
        };
        Ok((node, begun))
    }

    /// Goes on by one step at most; `None` where it must wait, or where the next step has only begun: its descriptor tells, readable
    /// already if that step is over. Two steps in one call could open the second's descriptor under the number that the first
    /// gave back, and the caller would take it for the one it watches. After an error there is nothing left to go on with.
    pub(super) fn advance(&mut self) -> Option<Result<(Arc<Node>, Ready)>> {
        let (node, stand) = match self.step.advance() {
            Ok(None) => return None,
            Ok(Some(stand)) => (Arc::clone(self.node()), stand),
            Err(error) => {
                let over = is_final(&error);
                self.setbacks.push(error);
                let next = match over {
                    true => Err(summary(std::mem::take(&mut self.setbacks))),
                    false => begin_with_next(&mut self.next, &mut self.setbacks),
                };
                match next {
                    Ok(next) => next,
                    Err(error) => return Some(Err(self.node().runtime.outlook(error))),
                }
            }
        };
        match stand {
            Stand::Ready(ready) => Some(Ok((node, ready))),
            Stand::At(step) => {
                self.step = step;
                None
            }
        }
    }

    /// The node it is at.
    pub(super) fn node(&self) -> &Arc<Node> {
        match &self.step {
            Step::Queued(turn) => &turn.node,
            Step::Dialling(dialling) => &dialling.node,
        }
    }

    /// Readable when it can go on.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.step {
            Step::Queued(turn) => Some(turn.ready.as_fd()),
            Step::Dialling(dialling) => dialling.pending.descriptor(),
        }
    }

    /// When it must go on even if the descriptor was not readable.
    pub(super) fn deadline(&self) -> Instant {
        match &self.step {
            Step::Queued(turn) => turn.deadline,
            Step::Dialling(dialling) => dialling.until,
        }
    }
}

/// Begins with one node after the other until one is ready or under way.
fn begin_with_next(next: &mut NextNode, setbacks: &mut Vec<Error>) -> Result<(Arc<Node>, Stand)> {
    while let Some(candidate) = next() {
        match begin(&candidate) {
            Ok(stand) => return Ok((candidate.node, stand)),
            Err(error) => {
                let over = is_final(&error);
                setbacks.push(error);
                if over {
                    break;
                }
            }
        }
    }
    Err(summary(std::mem::take(setbacks)))
}

/// Whether the other nodes would answer the same.
fn is_final(error: &Error) -> bool {
    matches!(error.status, Status::Forked | Status::Cancelled)
}

fn begin(candidate: &Candidate) -> Result<Stand> {
    let node = &candidate.node;
    let deadline = Conn::connect_deadline(node);
    if let Some(trial) = candidate.trial {
        return try_out(node, trial, deadline);
    }
    may_connect(node)?;
    if let Some(place) = node.pool.try_acquire(|link| node.runtime.close(*link)) {
        return take_place(node, place, deadline);
    }
    let mut turn = Turn::new(node, deadline)?;
    Ok(turn.advance()?.unwrap_or(Stand::At(Step::Queued(turn))))
}

/// What a place in the pool leads to.
fn take_place(node: &Arc<Node>, place: Place<Box<Link>>, deadline: Instant) -> Result<Stand> {
    match place {
        Place::Idle(link) => match first_usable(node, link, true) {
            Some(link) => Ok(Stand::Ready(Ready { link, reused: true, generation: node.generation() })),
            None => dial(node, deadline), // in the place of the dead one
        },
        Place::New => dial(node, deadline),
        Place::Cancelled => Err(node.target.cancelled(Phase::Wait)),
        Place::None => Err(cap_held(node)),
    }
}

fn dial(node: &Arc<Node>, deadline: Instant) -> Result<Stand> {
    let dial = Dial::of(node);
    match node.runtime.dialer.start(&node.target, deadline, true, None) {
        Ok(pending) => {
            let until = deadline + GUARD;
            let (node, hold) = (Arc::clone(node), Hold::Place);
            Ok(Stand::At(Step::Dialling(Dialling { node, dial, until, pending, hold })))
        }
        Err(error) => Err(dial.failed(node, error)),
    }
}

fn try_out(node: &Arc<Node>, trial: Trial, deadline: Instant) -> Result<Stand> {
    let trial::Trying { pending, dial, until } = trial::begin(node, trial, deadline, true)?;
    let (node, hold) = (Arc::clone(node), Hold::Trial);
    Ok(Stand::At(Step::Dialling(Dialling { node, dial, until, pending, hold })))
}

impl Step {
    fn advance(&mut self) -> Result<Option<Stand>> {
        match self {
            Step::Queued(turn) => turn.advance(),
            Step::Dialling(dialling) => dialling.advance(),
        }
    }
}

impl Turn {
    fn new(node: &Arc<Node>, deadline: Instant) -> Result<Turn> {
        let ready = eventfd()
            .map(Arc::new)
            .map_err(|error| node.target.system_error(Status::NoMemory, Phase::Wait, &error))?;
        let wake = Arc::clone(&ready);
        let ticket = node.pool.queue(Box::new(move || {
            // Fails only when the counter is full, and then the descriptor is readable anyway.
            let _ = wake.write(1);
        }));
        Ok(Turn { node: Arc::clone(node), deadline, ticket: Some(ticket), ready })
    }

    fn advance(&mut self) -> Result<Option<Stand>> {
        may_connect(&self.node)?;
        // Emptied before the pool is asked: a turn that comes in between fills it again.
        let _ = self.ready.read();
        let Some(ticket) = &self.ticket else { return Ok(None) };
        match self.node.pool.claim(ticket, |link| self.node.runtime.close(*link)) {
            Some(place) => {
                self.ticket = None;
                take_place(&self.node, place, self.deadline).map(Some)
            }
            None if Instant::now() >= self.deadline => Err(cap_held(&self.node)),
            None => Ok(None),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // In a forked child the queue is the parent's.
        if let Some(ticket) = self.ticket.take()
            && !self.node.runtime.birthplace.is_elsewhere()
        {
            self.node.pool.give_up_turn(ticket);
        }
    }
}

impl Dialling {
    fn advance(&mut self) -> Result<Option<Stand>> {
        let target = &self.node.target;
        let outcome = match self.pending.poll() {
            Some(outcome) => outcome,
            None if self.node.runtime.cancel.is_set() => return Err(target.cancelled(Phase::Connect)),
            None if Instant::now() < self.until => return Ok(None),
            None if self.hold == Hold::Trial => return Err(self.dial.left_alone(&self.node, self.until)),
            None => Err(target.error(Status::Timeout, Phase::Connect, "no connection within the time given")),
        };
        self.hold = Hold::Nothing;
        self.dial.ended(&self.node, outcome).map(|ready| Some(Stand::Ready(ready)))
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if self.hold == Hold::Place && !self.node.runtime.birthplace.is_elsewhere() {
            self.node.pool.leave();
        }
    }
}
