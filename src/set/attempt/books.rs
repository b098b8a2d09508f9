//! The books of an attempt: which nodes it has been to, and what was reported of each.
//!
//! Invariant: the outcome at each node that was handed out is reported once, when the payload goes
//! on or ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::balance::roster::Turn;
use crate::balance::visits::{SetBack, Visits};
use crate::base::error::{Error, Phase, Status, summary};
use crate::base::sync::Mutex;
use crate::set::conn::{Account, Ended};
use crate::set::node::Node;
use crate::set::outcome::Outcome;
use crate::set::suspects::Suspects;
use crate::set::upstream::Upstream;

/// The books of an attempt. Once a connection of the library serves the attempt, the connection
/// writes in them too, so they are shared.
#[expect(clippy::large_enum_variant, reason = "the attempt is on the heap as it is")]
pub(super) enum Books {
    Own(State),
    Shared(Arc<Ledger>),
}

/// Books that a connection writes in.
pub(super) struct Ledger(pub(super) Mutex<State>);

pub(super) struct State {
    pub(super) visits: Visits,
    pub(super) suspects: Suspects,
    pub(super) current: Option<Current>,
    /// A connection of the library is being made or in use.
    pub(super) is_connected: bool,
    /// Something was reported of the last node that was settled.
    pub(super) has_said: bool,
    /// The payload reached a node that has not answered.
    pub(super) may_have_arrived: bool,
    /// What has failed so far.
    pub(super) setbacks: Vec<Error>,
    /// The attempt has ended, though a connection of it may live on.
    pub(super) is_over: bool,
}

impl State {
    pub(super) fn new(most: usize) -> State {
        let (visits, suspects) = (Visits::new(most), Suspects::default());
        State {
            visits,
            suspects,
            current: None,
            is_connected: false,
            has_said: false,
            may_have_arrived: false,
            setbacks: Vec::new(),
            is_over: false,
        }
    }
}

/// The node that was asked last.
pub(super) struct Current {
    /// Its place.
    pub(super) place: usize,
    pub(super) generation: u32,
    pub(super) trial: Option<Turn>,
    /// How many reports the node had when it was handed out: see
    /// [`ToldOnce`](crate::set::told_once::ToldOnce).
    pub(super) reports: u64,
    pub(super) failed_alone: u64,
    /// The plugin has reported on the node itself since then.
    pub(super) is_reported: bool,
    /// It counts as a visitor of the node: see [`ToldOnce`](crate::set::told_once::ToldOnce).
    pub(super) is_visitor: bool,
    /// What the plugin said of it.
    pub(super) said: Option<Status>,
    /// What its connection reported of it when it ended.
    pub(super) ended: Option<Box<Ended>>,
}

impl Current {
    /// Whether the plugin has reported on the node itself.
    pub(super) fn is_reported(&mut self, node: &Node) -> bool {
        self.is_reported = self.is_reported || node.told_once.reports.claim(self.reports);
        self.is_reported
    }

    /// It is no longer a visitor of the node.
    fn leave(&self, node: &Node) {
        if self.is_visitor {
            node.told_once.visitors.fetch_sub(1, Relaxed);
        }
    }
}

impl State {
    /// The node that was asked last is done; `word` is what the plugin says of it at the end.
    /// Returns what this means for the next attempt.
    pub(super) fn settle(&mut self, up: &Upstream, word: Option<Status>) -> Option<SetBack> {
        let mut current = self.current.take()?;
        let node = &up.nodes()[current.place];
        let ended = current.ended.take();
        current.leave(node);
        // If the plugin did the I/O, the payload may have gone out, as far as the library knows.
        let reached = match &ended {
            Some(ended) => ended.reached,
            None => !current.said.or(word).is_some_and(is_before_any_byte),
        };
        let may_have_arrived = ended.as_ref().is_some_and(|ended| ended.may_have_arrived);
        let is_told =
            ended.as_ref().is_some_and(|ended| ended.is_told) || current.is_reported(node);
        let is_alone = ended.is_none();
        let of_word = word.map(|status| node.outcome_of(status));
        let outcome = match (current.said, ended) {
            (Some(status), _) => node.outcome_of(status),
            (None, Some(ended)) if ended.is_said => ended.outcome,
            (None, ended) => match (of_word, ended) {
                (Some(Outcome::Nothing) | None, Some(ended)) => ended.outcome,
                (Some(outcome), _) => outcome,
                (None, None) => Outcome::Bad(Box::new(passed_over(node))),
            },
        };
        self.may_have_arrived |= may_have_arrived;
        if let Outcome::Bad(error) = &outcome {
            self.setbacks.push((**error).clone());
        }
        let outcome = match outcome {
            Outcome::Busy(_) => outcome,
            // It was already reported, for the node alone or as the failure of a connection to it,
            // and counts once.
            _ if is_told => Outcome::Nothing,
            Outcome::Bad(_)
                if is_alone && node.told_once.failed_alone.claim(current.failed_alone) =>
            {
                Outcome::Nothing
            }
            outcome => outcome,
        };
        self.has_said = is_told || !matches!(outcome, Outcome::Nothing);
        let how = match (&outcome, reached) {
            (Outcome::Busy(_), _) => SetBack::Answered,
            (_, true) => SetBack::MayHaveArrived,
            (_, false) => SetBack::Unsent { all_out: node.runtime.roster.is_all_out() },
        };
        if current.is_visitor && matches!(outcome, Outcome::Bad(_)) {
            node.told_once.spoken.add();
        }
        self.suspects.take(node, current.generation, current.trial, reached, outcome);
        Some(how)
    }

    /// The error of an attempt that ended with `last`.
    pub(super) fn over(&mut self, last: Error) -> Error {
        let mut setbacks = std::mem::take(&mut self.setbacks);
        setbacks.push(last);
        Error { may_have_arrived: self.may_have_arrived, ..summary(setbacks) }
    }

    /// With `deliver.resend off`: the error of a payload that may not go to another node.
    pub(super) fn at_most_once(&mut self) -> Error {
        let last = self.setbacks.pop();
        let last =
            last.unwrap_or_else(|| Error::new(Status::Closed, "the exchange was not completed"));
        let cause =
            format!("{}; the payload may have arrived, and deliver.resend is off", last.cause);
        self.over(Error { cause, ..last })
    }

    /// A node is handed out. `is_visitor`: the plugin itself does the I/O there.
    pub(super) fn hand_out(
        &mut self,
        node: &Arc<Node>,
        generation: u32,
        trial: Option<Turn>,
        is_visitor: bool,
    ) {
        if is_visitor {
            node.told_once.visitors.fetch_add(1, Relaxed);
        }
        self.current = Some(Current {
            place: node.place,
            generation,
            trial,
            reports: node.told_once.reports.count(),
            failed_alone: node.told_once.failed_alone.count(),
            is_reported: false,
            is_visitor,
            said: None,
            ended: None,
        });
    }
}

/// Whether a plugin that reports this status has sent nothing of the payload.
fn is_before_any_byte(status: Status) -> bool {
    matches!(status, Status::Resolve | Status::Connect | Status::Tls | Status::Cert | Status::Limit)
}

fn passed_over(node: &Node) -> Error {
    // The plugin does not say why it failed, so this is not one of the failures that the payload
    // may have caused.
    node.target.error(Status::Io, Phase::Callback, "the plugin asked for another node")
}

impl Account for Ledger {
    fn ended(&self, node: &Arc<Node>, exchange: Ended) {
        let mut state = self.0.lock();
        state.is_connected = false;
        if let Some(current) = &mut state.current
            && current.place == node.place
        {
            (current.generation, current.trial) = (exchange.generation, exchange.trial);
            current.ended = Some(Box::new(exchange));
            return;
        }
        // The attempt has ended or gone on without this connection. What the plugin said then
        // counts, and counts once.
        let outcome = if state.has_said { Outcome::Nothing } else { exchange.outcome };
        drop(state);
        node.hear(exchange.generation, exchange.trial, outcome);
    }
}

impl Books {
    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        match self {
            Books::Own(state) => work(state),
            Books::Shared(ledger) => work(&mut ledger.0.lock()),
        }
    }

    /// Shares the books: from now on a connection writes in them too.
    pub(super) fn share(&mut self) -> Arc<Ledger> {
        if let Books::Own(state) = self {
            let state = std::mem::replace(state, State::new(0));
            *self = Books::Shared(Arc::new(Ledger(Mutex::new(state))));
        }
        match self {
            Books::Shared(ledger) => Arc::clone(ledger),
            Books::Own(_) => unreachable!("made shared above"),
        }
    }
}
