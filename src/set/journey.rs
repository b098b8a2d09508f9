//! The journey of one payload, or of one request for a connection, over the nodes: what blocking
//! calls and those of an event loop do alike. A leg is the part of it at one node. `visits` decides
//! which node is asked; here the nodes and the clock are real.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::balance::roster::Trials;
use crate::balance::visits::{Next, SetBack, Share, Visits};
use crate::base::clock::millis;
use crate::base::error::{Error, Result, Status};
use crate::set::conn::{Choice, Conn, Trial, forked};
use crate::set::runtime::Runtime;
use crate::set::upstream::Upstream;

/// How many trials one payload begins in addition to its own. That is all that are due, except in a
/// set of hundreds of nodes.
const TRIALS_ASIDE: usize = 64;

/// The time of a payload: now, and when it must be done.
pub type Term = (Instant, Instant);

/// The part of a journey at one node.
pub struct Leg {
    /// The node's place.
    pub place: usize,
    trial: Option<Trial>,
    /// It is a trial that costs the payload nothing: no attempt and no failed delivery, until its
    /// connection is used.
    pub is_aside: bool,
    /// The time for this node, if other nodes could take the payload.
    pub share: Option<Share>,
    by: Option<Instant>,
    /// No node is up.
    all_out: bool,
    /// The nodes of this leg that are at their caps.
    pub full: Vec<usize>,
}

/// Why a payload cannot go on now.
pub enum Stopped {
    /// Ask again after so long.
    For(Duration),
    /// It has ended, for this reason.
    Because(Error),
}

impl Upstream {
    /// Whether another attempt may be made: there is time left, and the retry budget allows it.
    /// `held_up`: the budget has already made it wait.
    pub fn may_go_on(
        &self,
        visits: &mut Visits,
        term: Option<Term>,
        held_up: bool,
    ) -> Result<(), Stopped> {
        let runtime = self.runtime();
        self.has_time(term, held_up).map_err(Stopped::Because)?;
        let now = || runtime.clock.now();
        if visits.owes() && !visits.has_next(&runtime.roster, now) {
            return Ok(()); // no node is left to pay for
        }
        visits.pay(&self.budget, now).map_err(Stopped::For)
    }

    /// Whether there is time left, and nothing has ended the set.
    pub fn has_time(&self, term: Option<Term>, held_up: bool) -> Result<()> {
        let runtime = self.runtime();
        if runtime.birthplace.is_elsewhere() {
            return Err(forked()); // a callback has forked
        }
        if runtime.closed.load(Relaxed) {
            return Err(Error::new(Status::Cancelled, "the upstream was destroyed"));
        }
        if runtime.cancel.is_set() {
            return Err(Error::cancelled());
        }
        match term {
            Some((now, last)) if now >= last => Err(out_of_time(held_up)),
            _ => Ok(()),
        }
    }

    /// How long to sleep if the budget has a retry in `wait` of its clock, which may be the host's
    /// own.
    pub fn until_retry(&self, wait: Duration) -> Duration {
        match self.runtime().clock.runs_by_itself() {
            true => wait,
            false => nap(self.runtime(), wait),
        }
    }

    /// The next node of a payload; `None` if there is none to ask.
    pub fn next_leg(&self, visits: &mut Visits, term: Option<Term>) -> Option<Leg> {
        let runtime = self.runtime();
        let all_out = runtime.roster.is_all_out();
        let Next { turn, others } = visits.next(&runtime.roster, || runtime.clock.now())?;
        let is_aside = others == Some(true);
        if is_aside {
            self.try_others_out(visits);
        }
        let trial = others.map(|others| Trial { turn, others, patience: visits.patience() });
        let share = term.and_then(|(now, last)| visits.share(now, last, runtime.roster.takers()));
        let last = term.map(|(_, last)| last);
        Some(Leg {
            place: turn.place,
            trial,
            by: share.map(|share| share.ends).or(last),
            is_aside,
            share,
            all_out,
            full: Vec::new(),
        })
    }

    /// What to connect to.
    pub fn choice(&self, leg: &Leg) -> Choice {
        Choice { node: Arc::clone(&self.nodes()[leg.place]), trial: leg.trial, by: leg.by }
    }

    /// Begins all other trials that are due, at once, and waits for none. One after the other, each
    /// would cost one payload its patience.
    fn try_others_out(&self, visits: &Visits) {
        let runtime = self.runtime();
        for _ in 0..TRIALS_ASIDE {
            let now = || runtime.clock.now();
            let Some(turn) = runtime.roster.trial_due(visits.tried(), Trials::ByConnection, now)
            else {
                return;
            };
            Conn::try_out_aside(&self.nodes()[turn.place], turn);
        }
    }

    /// The error of a payload for which there was no node.
    pub fn nobody(&self) -> Error {
        let runtime = self.runtime();
        match runtime.roster.is_all_paused(runtime.clock.now()) {
            true => {
                let wait =
                    runtime.roster.retry_after(runtime.clock.now(), true).unwrap_or_default();
                let cause = format!(
                    "every node has asked for a pause; the first pause ends in {} ms",
                    millis(wait)
                );
                Error::new(Status::Busy, cause)
            }
            false if runtime.roster.takers() == 0 => Error::new(
                Status::NoNode,
                "every node is drained (weight 0); give one a weight above 0",
            ),
            false => Error::new(Status::NoNode, "no node may be tried now"),
        }
    }
}

impl Leg {
    /// What it means for the next attempt if it fails to connect.
    pub fn set_back(&self) -> SetBack {
        SetBack::Unsent { all_out: self.all_out }
    }
}

fn out_of_time(held_up: bool) -> Error {
    let cause = match held_up {
        false => "the time for the delivery is up; raise deliver.timeout",
        true => {
            "the delivery waited for the retry budget until its time was up; the budget allows 10 \
             retries a second, and 1 more for every 10 payloads that were delivered; raise \
             deliver.timeout"
        }
    };
    Error::new(Status::Timeout, cause)
}

/// How long to sleep before asking again whether a node may be tried. The naps are short, because
/// the clock may be the host's own.
pub fn nap(runtime: &Runtime, wait: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(1);
    let most = if runtime.clock.runs_by_itself() {
        Duration::from_millis(50)
    } else {
        Duration::from_millis(5)
    };
    wait.clamp(LEAST, most)
}
