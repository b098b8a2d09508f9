//! The loop of a blocking call over the nodes: one connection after the other, until its work
//! succeeds.

use std::time::{Duration, Instant};

use crate::balance::visits::{SetBack, Visits};
use crate::base::error::{Error, Result, summary};
use crate::base::stats::count;
use crate::set::conn::{Conn, Opened, forked};
use crate::set::journey::{Leg, Stopped, Term};
use crate::set::payload::PayloadId;
use crate::set::room::Search;
use crate::set::suspects::Suspects;
use crate::set::upstream::Upstream;

/// How long a call without an end of its own sleeps in the line for the retry budget.
const IDLE: Duration = Duration::from_secs(1);

/// Why one attempt failed.
pub(super) enum Failed {
    /// Another node may take the payload.
    TryOn { error: Error, how: SetBack },
    /// No other node may be asked.
    Final(Error),
}

/// The state of a blocking call on its way over the nodes.
pub(super) struct Round {
    pub(super) visits: Visits,
    /// When the current attempt began, and when the whole call must end.
    pub(super) term: Option<Term>,
    pub(super) setbacks: Vec<Error>,
    pub(super) suspects: Suspects,
    pub(super) id: Option<PayloadId>,
    pub(super) may_have_arrived: bool,
    /// It failed, and no node was up.
    pub(super) all_out: bool,
}

impl Round {
    pub(super) fn new(most: usize, term: Option<Term>) -> Round {
        Round {
            visits: Visits::new(most),
            term,
            setbacks: Vec::new(),
            suspects: Suspects::default(),
            id: None,
            may_have_arrived: false,
            all_out: false,
        }
    }

    /// Moves the start of the next attempt to now.
    pub(super) fn later(&mut self) {
        if let Some((now, _)) = &mut self.term {
            *now = Instant::now();
        }
    }
}

impl Upstream {
    /// Connects to one node after the other, to none twice, until `work` succeeds.
    pub(super) fn visit<T>(
        &self,
        round: &mut Round,
        mut work: impl FnMut(Conn, &Leg, &mut Round) -> Result<T, Failed>,
    ) -> Result<T> {
        if self.runtime().birthplace.is_elsewhere() {
            return Err(forked());
        }
        while round.visits.may_go_on() {
            if let Err(error) = self.wait_for_budget(round) {
                round.setbacks.push(error);
                break;
            }
            let Some((leg, conn)) = self.next_conn(round) else { break };
            let outcome = match conn {
                Ok(opened) => work(opened.into_conn(), &leg, round),
                Err(error) => Err(Failed::TryOn { error, how: leg.set_back() }),
            };
            match outcome {
                Ok(done) => return Ok(done),
                Err(Failed::TryOn { error, how }) => {
                    round.setbacks.push(error);
                    round.visits.set_back(how);
                    round.later();
                }
                Err(Failed::Final(error)) => {
                    round.setbacks.push(Error { is_final: true, ..error });
                    break;
                }
            }
        }
        round.all_out = self.runtime().roster.is_all_out();
        if round.setbacks.is_empty() {
            round.setbacks.push(self.nobody());
        }
        let may_have_arrived = round.may_have_arrived;
        let error = self.runtime().outlook(summary(std::mem::take(&mut round.setbacks)));
        Err(Error { may_have_arrived, ..error })
    }

    /// Waits until the retry budget allows another attempt.
    #[inline(always)]
    fn wait_for_budget(&self, round: &mut Round) -> Result<()> {
        if round.visits.resends() && self.retries.are_awaited() {
            return self.stand_in_line(round); // others came first
        }
        match self.may_go_on(&mut round.visits, round.term, false) {
            Ok(()) => Ok(()),
            Err(Stopped::Because(error)) => Err(error),
            Err(Stopped::For(_)) => self.stand_in_line(round),
        }
    }

    #[cold]
    fn stand_in_line(&self, round: &mut Round) -> Result<()> {
        let stand = self.retries.join();
        loop {
            let now = Instant::now();
            let mut until = round.term.map_or(now + IDLE, |(_, last)| last);
            if stand.is_first() {
                match self.may_go_on(&mut round.visits, round.term, true) {
                    Ok(()) => return Ok(()),
                    Err(Stopped::Because(error)) => return Err(error),
                    Err(Stopped::For(wait)) => until = until.min(now + self.until_retry(wait)),
                }
            } else {
                self.has_time(round.term, true)?;
            }
            stand.sleep(until);
            round.later();
        }
    }

    /// A connection to the next node; `None` if all were tried.
    #[inline(always)]
    fn next_conn(&self, round: &mut Round) -> Option<(Leg, Result<Opened>)> {
        let mut leg = self.next_leg(&mut round.visits, round.term)?;
        let begun = leg.is_aside.then(Instant::now);
        let choice = self.choice(&leg);
        let (visits, term) = (&mut round.visits, round.term);
        let conn = Conn::open_along(&mut Search { up: self, visits, leg: &mut leg, term }, choice);
        let node = &self.nodes()[leg.place];
        if let (Some(begun), Err(_)) = (begun, &conn) {
            round.visits.waited(begun.elapsed());
            return Some((leg, conn));
        }
        if round.term.is_some() {
            if round.visits.is_retry() {
                count(&node.counters.redeliveries);
            }
            if conn.is_err() {
                count(&node.counters.deliveries_failed);
            }
        }
        round.visits.attempted();
        Some((leg, conn))
    }
}
