//! The terms between a connection and what it serves: whom it leads to, how long, and who hears how
//! it went.

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
    /// If it is on trial.
    pub trial: Option<Trial>,
    /// When the caller has no more time for it, if that is before the node's own time is over.
    pub by: Option<Instant>,
}

impl Choice {
    /// When a connection that is asked for now must stand.
    pub(in crate::set) fn deadline(&self) -> Instant {
        let own = connect_deadline(&self.node);
        self.by.map_or(own, |by| by.min(own))
    }
}

/// The one trial of a node that is out, as its caller has it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// As the roster gave it.
    pub turn: Turn,
    /// Another node could take the payload.
    pub others: bool,
    /// How long the caller stays for it, if so.
    pub patience: Duration,
}

/// When a connection to `node` that is asked for now must stand.
pub fn connect_deadline(node: &Node) -> Instant {
    after(Instant::now(), node.target.net.connect_timeout)
}

/// On what terms a delivery or attempt has a connection used.
#[derive(Clone, Copy, Debug)]
pub struct Loan {
    /// When it is over, and every call with it.
    pub last: Instant,
    /// The time of this one node, if other nodes could take the payload.
    pub share: Option<Share>,
    /// Not any more once bytes of the payload have gone: no other node is to have it then.
    pub until_sent: bool,
    /// It is lent to a deliver callback, which must not free it.
    pub is_lent: bool,
}

/// How an exchange comes to its end without a last word of the plugin's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Given back.
    Released,
    /// Trusted no longer.
    Discarded,
}

/// An exchange that is over.
pub struct Ended {
    /// The node's when it began.
    pub generation: u32,
    /// The trial that it was.
    pub trial: Option<Turn>,
    /// What it says of the node.
    pub outcome: Outcome,
    /// The plugin said so in this exchange.
    pub is_said: bool,
    /// The plugin told the node itself, so that nothing is left to say.
    pub is_told: bool,
    /// The node got bytes.
    pub reached: bool,
    /// Bytes went that the node has not answered for.
    pub may_have_arrived: bool,
}

/// Who keeps the account of a payload, where an exchange is one of several for it.
pub trait Account: Send + Sync {
    /// One exchange with this node is over.
    fn ended(&self, node: &Arc<Node>, exchange: Ended);
}

/// The way over the nodes that a connection in the making takes.
pub trait Course: Send {
    /// What to do next.
    fn next(&mut self) -> Step;

    /// The node that was tried last came to nothing; it was `waited` for so long.
    fn set_back(&mut self, error: &Error, waited: Duration);

    /// A connection stands: on which terms it is used, and who keeps the account.
    fn stands(&mut self) -> Option<(Loan, Arc<dyn Account>)> {
        None
    }
}

/// The way to one node alone.
pub struct OneNode(Option<Choice>);

impl OneNode {
    /// To this one.
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

/// What a connection in the making does next.
pub enum Step {
    /// Tries this node.
    Try(Choice),
    /// Goes on after so long; this is the node to show meanwhile.
    Wait(Duration, Arc<Node>),
    /// No node is left, or none may be tried; the words say why, unless what failed before does.
    Over(Option<Error>),
}

/// The error of a call that would touch the parent's connections or threads.
pub fn forked() -> Error {
    Error::new(
        Status::Forked,
        "the upstream was made before fork(); create one of its own in the child",
    )
}
