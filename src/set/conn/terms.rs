//! The terms between a connection and the call that it serves: which node it leads to, for how
//! long, and who is told how it went.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balance::roster::Turn;
use crate::balance::visits::Share;
use crate::base::error::{Error, Status};
use crate::net::patience::after;
use crate::set::node::Node;
use crate::set::outcome::Outcome;

/// A node to connect to next.
pub struct Choice {
    /// The node.
    pub node: Arc<Node>,
    /// Its trial, if it is on trial.
    pub trial: Option<Trial>,
    /// When the caller's time for it ends, if that is before the node's own time ends.
    pub by: Option<Instant>,
}

impl Choice {
    /// When a connection that is begun now must be open.
    pub(in crate::set) fn deadline(&self) -> Instant {
        let own = connect_deadline(&self.node);
        self.by.map_or(own, |by| by.min(own))
    }
}

/// The trial of a node that is out, as its caller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The turn that the roster gave.
    pub turn: Turn,
    /// Another node could take the payload.
    pub others: bool,
    /// How long the caller waits for it, if so.
    pub patience: Duration,
}

/// At how many nodes one call waits for room at once. Each of them has it in its line meanwhile.
pub(super) const WAITS_AT: usize = 64;

/// When the wait for room ends, at `node` and perhaps others, if the caller waits until `by`.
pub(super) fn room_by(node: &Node, by: Option<Instant>) -> Instant {
    let own = connect_deadline(node);
    by.map_or(own, |by| by.min(own))
}

/// When a connection to `node` that is begun now must be open.
pub fn connect_deadline(node: &Node) -> Instant {
    after(Instant::now(), node.target.net.connect_timeout)
}

/// The terms on which a delivery or attempt lends a connection.
#[derive(Clone, Copy, Debug)]
pub struct Loan {
    /// When it ends, and every call with it.
    pub last: Instant,
    /// The time for this one node, if other nodes could take the payload.
    pub share: Option<Share>,
    /// The share no longer counts once bytes of the payload were sent, because then no other node
    /// may get it.
    pub until_sent: bool,
    /// It is lent to a deliver callback, which must not free it.
    pub is_lent: bool,
}

/// How an exchange ends if the plugin does not report on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection was given back.
    Released,
    /// The connection was discarded: the plugin does not trust it.
    Discarded,
}

/// An exchange that is over.
pub struct Ended {
    /// The generation of the node when it began.
    pub generation: u32,
    /// Its trial, if it was one.
    pub trial: Option<Turn>,
    /// What it says of the node.
    pub outcome: Outcome,
    /// The plugin said so in this exchange.
    pub is_said: bool,
    /// The plugin reported on the node itself, so nothing is left to report.
    pub is_told: bool,
    /// Bytes were sent to the node.
    pub reached: bool,
    /// Bytes were sent that the node has not answered.
    pub may_have_arrived: bool,
}

/// Is told how each exchange for one payload ended, if there are several.
pub trait Account: Send + Sync {
    /// One exchange with this node has ended.
    fn ended(&self, node: &Arc<Node>, exchange: Ended);
}

/// What a search for a node with room does, once the node to try is at its cap.
pub trait Detour {
    /// The node is at its cap: another one to try. `Err` if each is at its cap: until when the
    /// caller may wait for one of them, if it has a limit of its own.
    fn beyond(&mut self) -> Result<Choice, Option<Instant>>;

    /// The search ended at this node: it had room.
    fn found(&mut self, node: &Arc<Node>);

    /// It ended without one.
    fn found_none(&mut self);
}

/// The way over the nodes while a connection is being made.
pub trait Course: Detour + Send {
    /// What to do next.
    fn next(&mut self) -> Step;

    /// The node that was tried last failed; the caller `waited` so long for it.
    fn set_back(&mut self, error: &Error, waited: Duration);

    /// A connection is open. Returns the terms on which it is used, and who is told how it went.
    fn stands(&mut self) -> Option<(Loan, Arc<dyn Account>)> {
        None
    }
}

/// The way to one node only.
pub struct OneNode(Option<Choice>);

impl OneNode {
    /// The way to this one.
    pub fn new(node: Arc<Node>) -> OneNode {
        OneNode(Some(Choice { node, trial: None, by: None }))
    }
}

impl Course for OneNode {
    fn next(&mut self) -> Step {
        self.0.take().map_or(Step::Over(None), Step::Try)
    }

    fn set_back(&mut self, _error: &Error, _waited: Duration) {}
}

impl Detour for OneNode {
    fn beyond(&mut self) -> Result<Choice, Option<Instant>> {
        Err(None)
    }

    fn found(&mut self, _node: &Arc<Node>) {}

    fn found_none(&mut self) {}
}

/// What comes next while a connection is being made.
pub enum Step {
    /// Tries this node.
    Try(Choice),
    /// Goes on after so long; meanwhile this is the node to show.
    Wait(Duration, Arc<Node>),
    /// No node is left, or none may be tried. The error says why, unless earlier failures do.
    Over(Option<Error>),
}

/// The error of a call that would touch the connections or threads of the parent process.
pub fn forked() -> Error {
    Error::new(
        Status::Forked,
        "the upstream was made before fork(); create a new one in the child process",
    )
}
