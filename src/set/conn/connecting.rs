//! A connection that is being made while its caller does not wait. It waits for a permit, then for
//! the dialer, at one node after the other until one connects.
//!
//! Invariant: while it goes on, there is one descriptor to watch, and it is closed only after the
//! next one is open. So a new number always means a new descriptor.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;

use super::outcome::{
    Dial, Ready, cap_held, caps_held, first_usable, hand_back, is_out, may_connect,
};
use super::terms::{Account, Choice, Course, Loan, Step, Trial, WAITS_AT, room_by};
use super::trial;
use crate::base::error::{Error, Phase, Result, Status, summary};
use crate::net::cancel::eventfd;
use crate::net::dial::{GUARD, Pending};
use crate::net::patience::after;
use crate::net::pool::{Permit, Ticket};
use crate::set::link::Link;
use crate::set::node::Node;

/// A connection under way.
pub(super) struct Connecting {
    course: Box<dyn Course>,
    setbacks: Vec<Error>,
    stage: Stage,
    begun: Instant,
}

/// What a start gives.
pub(super) enum Begun {
    /// The pool had a connection.
    Ready(Ready, Option<(Loan, Arc<dyn Account>)>),
    /// It is under way.
    Waiting(Connecting),
}

enum Stage {
    Queued(Turn),
    Dialling(Dialling),
    Resting { until: Instant, node: Arc<Node> },
}

/// A position in the line for a permit, at each of some nodes: all of `net.max_connections` are in
/// use.
struct Turn {
    lines: Vec<Place>,
    /// Which of the lines gave the permit.
    served: Option<usize>,
    deadline: Instant,
    ready: Arc<EventFd>,
}

/// A position in the line of one node.
struct Place {
    node: Arc<Node>,
    /// `None` once it was claimed or given up.
    ticket: Option<Ticket>,
}

/// A dial under way.
struct Dialling {
    node: Arc<Node>,
    dial: Dial,
    /// When the wait for it ends.
    until: Instant,
    pending: Pending,
    hold: Hold,
}

/// Who gives back the permit that a dial holds.
#[derive(PartialEq)]
enum Hold {
    /// This one.
    Permit,
    /// The dial itself, which goes on if the caller leaves: a trial.
    Trial,
    /// Nobody any more.
    Nothing,
}

enum Stand {
    Ready(Ready),
    At(Stage),
}

impl Connecting {
    /// Begins with the first node of `course` that can be tried, and returns that node too.
    pub(super) fn start(mut course: Box<dyn Course>) -> Result<(Arc<Node>, Begun)> {
        let mut setbacks = Vec::new();
        let (node, stand) = begin_with_next(&mut *course, &mut setbacks)?;
        let begun = match stand {
            Stand::Ready(ready) => Begun::Ready(ready, course.stands()),
            Stand::At(stage) => {
                Begun::Waiting(Connecting { course, setbacks, stage, begun: Instant::now() })
            }
        };
        Ok((node, begun))
    }

    /// Goes on by one step at most. `None` if it must wait, or if the next step has just begun:
    /// then its descriptor is readable already if that step is done. Two steps in one call might
    /// open the second descriptor under the number of the first, and the caller would take it for
    /// the one that it watches. After an error it must not be called again.
    pub(super) fn advance(&mut self) -> Option<Result<(Arc<Node>, Ready)>> {
        let step = self.stage.advance();
        if let Stage::Queued(turn) = &self.stage {
            match (&step, turn.served) {
                (_, Some(at)) => self.course.found(&turn.lines[at].node),
                (Err(_), None) => self.course.found_none(),
                (Ok(_), None) => {}
            }
        }
        let (node, stand) = match step {
            Ok(None) => return None,
            Ok(Some(stand)) => (Arc::clone(self.node()), stand),
            Err(error) => {
                let over = error.as_ref().is_some_and(is_final);
                if let Some(error) = error {
                    self.course.set_back(&error, self.begun.elapsed());
                    self.setbacks.push(error);
                }
                let next = match over {
                    true => Err(summary(std::mem::take(&mut self.setbacks))),
                    false => begin_with_next(&mut *self.course, &mut self.setbacks),
                };
                self.begun = Instant::now();
                match next {
                    Ok(next) => next,
                    Err(error) => return Some(Err(self.node().runtime.outlook(error))),
                }
            }
        };
        match stand {
            Stand::Ready(ready) => Some(Ok((node, ready))),
            Stand::At(stage) => {
                self.stage = stage;
                None
            }
        }
    }

    /// The terms of the connection, once it is made.
    pub(super) fn stands(&mut self) -> Option<(Loan, Arc<dyn Account>)> {
        self.course.stands()
    }

    /// The node that is being tried.
    pub(super) fn node(&self) -> &Arc<Node> {
        match &self.stage {
            Stage::Queued(turn) => turn.node(),
            Stage::Dialling(dialling) => &dialling.node,
            Stage::Resting { node, .. } => node,
        }
    }

    /// Readable when it can go on.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Queued(turn) => Some(turn.ready.as_fd()),
            Stage::Dialling(dialling) => dialling.pending.descriptor(),
            Stage::Resting { .. } => None,
        }
    }

    /// When it must go on even if the descriptor was not readable.
    pub(super) fn deadline(&self) -> Instant {
        match &self.stage {
            Stage::Queued(turn) => turn.deadline,
            Stage::Dialling(dialling) => dialling.until,
            Stage::Resting { until, .. } => *until,
        }
    }
}

/// Begins with one node after the other until one is ready or under way.
fn begin_with_next(
    course: &mut dyn Course,
    setbacks: &mut Vec<Error>,
) -> Result<(Arc<Node>, Stand)> {
    loop {
        let choice = match course.next() {
            Step::Try(choice) => choice,
            Step::Wait(time, node) => {
                let until = after(Instant::now(), time);
                return Ok((Arc::clone(&node), Stand::At(Stage::Resting { until, node })));
            }
            Step::Over(why) => {
                setbacks.extend(why);
                break;
            }
        };
        let mut node = Arc::clone(&choice.node);
        match begin(course, choice, &mut node) {
            Ok(stand) => return Ok((node, stand)),
            Err(error) => {
                let over = is_final(&error);
                course.set_back(&error, Duration::ZERO);
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

/// Begins with the node of `choice`, or with another one if that is at its cap. `at` is the node
/// where it began.
fn begin(course: &mut dyn Course, mut choice: Choice, at: &mut Arc<Node>) -> Result<Stand> {
    let mut full = Vec::new();
    let by = loop {
        let (node, deadline) = (&choice.node, choice.deadline());
        *at = Arc::clone(node);
        if let Some(trial) = choice.trial {
            return try_out(node, trial, deadline);
        }
        may_connect(node)?;
        if let Some(permit) = node.pool.try_acquire(|link| node.retire_quietly(*link)) {
            if !full.is_empty() {
                course.found(node);
            }
            return take_permit(node, permit, deadline);
        }
        full.push(choice.node);
        choice = match course.beyond() {
            Ok(choice) => choice,
            Err(by) => break by,
        };
    };
    let mut turn = Turn::new(full, by)?;
    let step = turn.advance();
    *at = Arc::clone(turn.node());
    match (&step, turn.served) {
        (_, Some(_)) => course.found(at),
        (Err(_), None) => course.found_none(),
        (Ok(_), None) => {}
    }
    Ok(step?.unwrap_or(Stand::At(Stage::Queued(turn))))
}

/// What a permit leads to: an idle connection or a dial.
fn take_permit(node: &Arc<Node>, permit: Permit<Box<Link>>, deadline: Instant) -> Result<Stand> {
    match permit {
        Permit::Idle(link) => match first_usable(node, link, true)? {
            Some(link) => Ok(Stand::Ready(Ready {
                link,
                reused: true,
                generation: node.generation(),
                trial: None,
            })),
            None => dial(node, deadline), // with the permit of the dead one
        },
        Permit::New => dial(node, deadline),
        Permit::Cancelled => Err(node.target.cancelled(Phase::Wait)),
        Permit::None => Err(cap_held(node)),
    }
}

fn dial(node: &Arc<Node>, deadline: Instant) -> Result<Stand> {
    let dial = Dial::of(node);
    match node.runtime.dialer.start(&node.target, deadline, true, None) {
        Ok(pending) => {
            let until = deadline + GUARD;
            let (node, hold) = (Arc::clone(node), Hold::Permit);
            Ok(Stand::At(Stage::Dialling(Dialling { node, dial, until, pending, hold })))
        }
        Err(error) => Err(dial.failed(node, error)),
    }
}

fn try_out(node: &Arc<Node>, trial: Trial, deadline: Instant) -> Result<Stand> {
    let trial::Trying { pending, dial, until } = match trial::begin(node, trial, deadline, true)? {
        trial::Begun::Ready(ready) => return Ok(Stand::Ready(ready)),
        trial::Begun::Trying(trying) => trying,
    };
    let (node, hold) = (Arc::clone(node), Hold::Trial);
    Ok(Stand::At(Stage::Dialling(Dialling { node, dial, until, pending, hold })))
}

impl Stage {
    /// `Err(None)` only means that it is time to go on.
    fn advance(&mut self) -> Result<Option<Stand>, Option<Error>> {
        match self {
            Stage::Queued(turn) => turn.advance().map_err(Some),
            Stage::Dialling(dialling) => dialling.advance().map_err(Some),
            Stage::Resting { until, node } => match Instant::now() < *until {
                true => may_connect(node).map(|()| None).map_err(Some),
                false => Err(None),
            },
        }
    }
}

impl Turn {
    /// In the lines of `nodes`, until `by`, if there is such a limit.
    fn new(mut nodes: Vec<Arc<Node>>, by: Option<Instant>) -> Result<Turn> {
        let deadline = room_by(&nodes[0], by);
        nodes.truncate(WAITS_AT);
        let ready = eventfd()
            .map(Arc::new)
            .map_err(|error| nodes[0].target.system_error(Status::NoMemory, Phase::Wait, &error))?;
        let join = |node: Arc<Node>| {
            let wake = Arc::clone(&ready);
            let ticket = node.pool.queue(Box::new(move || {
                // It fails only if the counter is full, and then the descriptor is readable anyway.
                let _ = wake.write(1);
            }));
            Place { node, ticket: Some(ticket) }
        };
        let lines = nodes.into_iter().map(join).collect();
        Ok(Turn { lines, served: None, deadline, ready })
    }

    /// The node that gave the permit, or the first of those that it waits for.
    fn node(&self) -> &Arc<Node> {
        &self.lines[self.served.unwrap_or(0)].node
    }

    fn advance(&mut self) -> Result<Option<Stand>> {
        may_connect(self.node())?;
        // Emptied before the pools are asked: a permit that comes in between makes it readable
        // again.
        let _ = self.ready.read();
        let several = self.lines.len() > 1;
        for (at, Place { node, ticket }) in self.lines.iter_mut().enumerate() {
            let Some(claimed) = ticket else { continue };
            let expired = |link: Box<Link>| node.retire_quietly(*link);
            let Some(permit) = node.pool.claim(claimed, expired) else { continue };
            *ticket = None;
            if several && matches!(permit, Permit::Idle(_) | Permit::New) && is_out(node) {
                hand_back(node, permit);
                continue;
            }
            self.served = Some(at);
            let node = Arc::clone(node);
            self.leave(); // the next in the other lines need not wait for the end of the dial
            return take_permit(&node, permit, self.deadline).map(Some);
        }
        let waits = self.lines.iter().any(|line| line.ticket.is_some());
        match waits && Instant::now() < self.deadline {
            true => Ok(None),
            false => Err(caps_held(self.lines.iter().map(|line| &line.node))),
        }
    }

    fn leave(&mut self) {
        for Place { node, ticket } in &mut self.lines {
            if let Some(ticket) = ticket.take() {
                node.pool.give_up_turn(ticket);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // In a forked child the lines belong to the parent.
        if !self.lines[0].node.runtime.birthplace.is_elsewhere() {
            self.leave();
        }
    }
}

impl Dialling {
    fn advance(&mut self) -> Result<Option<Stand>> {
        let target = &self.node.target;
        let outcome = match self.pending.poll() {
            Some(outcome) => outcome,
            None if self.node.runtime.cancel.is_set() => {
                return Err(target.cancelled(Phase::Connect));
            }
            None if Instant::now() < self.until => return Ok(None),
            None if self.hold == Hold::Trial => {
                return Err(self.dial.left_alone(&self.node, self.until));
            }
            None => Err(target.error(
                Status::Timeout,
                Phase::Connect,
                "no connection before the deadline; see net.connect_timeout",
            )),
        };
        self.hold = Hold::Nothing;
        self.dial.ended(&self.node, outcome).map(|ready| Some(Stand::Ready(ready)))
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if self.hold == Hold::Permit && !self.node.runtime.birthplace.is_elsewhere() {
            self.node.pool.leave();
        }
    }
}
