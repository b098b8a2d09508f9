//! One payload, as many nodes as it takes.
//!
//! Invariant: no node is asked twice for one payload, but for the one fresh connection after a kept one
//! turned out dead. At least once: what may have arrived at a node that then failed is sent again
//! to another, unless `deliver.resend off`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::conn::{Candidate, Conn, Loan, Trial, forked};
use crate::error::{Error, Phase, Result, Status, summary};
use crate::log::Level;
use crate::net::patience::after;
use crate::node::Runtime;
use crate::stats::count;
use crate::upstream::Upstream;
use crate::visits::Visits;

/// What ended one attempt without success.
enum Setback {
    /// Another node may take the payload. Of which none has gone, where `unsent`.
    TryOn { error: Error, unsent: bool },
    /// No other node is to be asked.
    Final(Error),
}

/// The time of a delivery.
#[derive(Clone, Copy)]
struct Term {
    /// When the attempt that is under way began.
    now: Instant,
    /// When it all must be over.
    last: Instant,
}

impl Term {
    fn later(self) -> Term {
        Term { now: Instant::now(), ..self }
    }

    fn left(self) -> Duration {
        self.last.saturating_duration_since(self.now)
    }
}

impl Upstream {
    /// Connects to the node whose turn it is; where that fails, to the others.
    pub fn connect(&self) -> Result<Conn> {
        self.visit(None, |conn, _| Ok(conn))
    }

    /// As [`Upstream::connect`] without waiting: what it gives may still be connecting.
    pub fn connect_start(self: &Arc<Self>) -> Result<Conn> {
        let (up, mut visits) = (Arc::clone(self), Visits::new(0));
        Conn::start(self.runtime(), Box::new(move || up.candidate(&mut visits)))
    }

    /// Whom to connect to next.
    fn candidate(&self, visits: &mut Visits) -> Option<Candidate> {
        let Runtime { roster, clock, .. } = self.runtime();
        let (turn, others) = visits.next(roster, || clock.now())?;
        let trial = others.map(|others| Trial { turn, others });
        Some(Candidate { node: Arc::clone(&self.nodes()[turn.place]), trial })
    }

    /// Runs `send` on a ready connection, node after node, until it says `Ok` or `Stop`, every node was
    /// tried, or `timeout` (zero: the configured one) has passed.
    pub fn deliver(&self, timeout: Duration, mut send: impl FnMut(&mut Conn) -> Status) -> Result<Status> {
        let timeout = if timeout.is_zero() { self.deliver_settings().timeout } else { timeout };
        let now = Instant::now();
        let last = after(now, timeout);
        let outcome =
            self.visit(Some(Term { now, last }), |conn, others| self.attempt(conn, last, others, &mut send));
        match &outcome {
            Err(error) => {
                count(&self.deliveries_failed);
                self.runtime().logger.log(Level::Error, format_args!("not delivered: {error}"));
            }
            Ok(Status::Stop) => count(&self.deliveries_failed),
            Ok(_) => self.budget.succeeded(),
        }
        outcome
    }

    /// Connections to nodes by turns, none twice, until `work` succeeds, which hears whether another node is left.
    fn visit<T>(
        &self,
        mut term: Option<Term>,
        mut work: impl FnMut(Conn, bool) -> Result<T, Setback>,
    ) -> Result<T> {
        if self.runtime().birthplace.is_elsewhere() {
            return Err(forked());
        }
        let most = term.map_or(0, |_| self.deliver_settings().attempts as usize);
        let mut visits = Visits::new(most);
        let mut setbacks = Vec::new();
        while visits.may_go_on() {
            if let Err(error) = self.may_go_on(&mut visits, &mut term) {
                setbacks.push(error);
                break;
            }
            let Some(conn) = self.next_conn(&mut visits, term) else { break };
            let outcome = match conn {
                Ok(conn) => work(conn, visits.others_left(self.runtime().roster.takers())),
                Err(error) => Err(Setback::TryOn { error, unsent: true }),
            };
            match outcome {
                Ok(done) => return Ok(done),
                Err(Setback::TryOn { error, unsent }) => {
                    setbacks.push(error);
                    visits.set_back(unsent);
                    term = term.map(Term::later);
                }
                Err(Setback::Final(error)) => {
                    setbacks.push(error);
                    break;
                }
            }
        }
        Err(self.runtime().outlook(summary(setbacks)))
    }

    /// Whether there is time for another attempt, and the retry budget allows it: it is waited for, since the alternative is to
    /// lose the payload.
    fn may_go_on(&self, visits: &mut Visits, term: &mut Option<Term>) -> Result<()> {
        let runtime = self.runtime();
        let mut held_up = false;
        loop {
            if runtime.birthplace.is_elsewhere() {
                return Err(forked()); // by a callback
            }
            if runtime.closed.load(Relaxed) {
                return Err(Error::new(Status::Cancelled, "the upstream was destroyed"));
            }
            if runtime.cancel.is_set() {
                return Err(Error::cancelled());
            }
            let left = term.map_or(Duration::MAX, Term::left);
            if left.is_zero() {
                let cause = match held_up {
                    false => "the time for the delivery is up; see deliver.timeout",
                    true => {
                        "the retry budget was spent until the time for the delivery was up: ten retries a second may send again \
                         what may have arrived, and one more for every ten deliveries that went well"
                    }
                };
                return Err(Error::new(Status::Timeout, cause));
            }
            match visits.pay(&self.budget, || runtime.clock.now()) {
                Ok(()) => return Ok(()),
                Err(wait) => {
                    held_up = true;
                    runtime.cancel.sleep(wait.min(left));
                    *term = term.map(Term::later);
                }
            }
        }
    }

    /// A connection to the next node; `None` where all were tried.
    fn next_conn(&self, visits: &mut Visits, term: Option<Term>) -> Option<Result<Conn>> {
        let candidate = self.candidate(visits)?;
        let node = &self.nodes()[candidate.node.place];
        // A trial costs the payload nothing: it is neither an attempt nor a failed delivery until its connection is used.
        let aside = candidate.trial.is_some_and(|trial| trial.others);
        let by = || {
            let now = term.map_or_else(Instant::now, |term| term.now);
            let own = after(now, node.target.net.connect_timeout);
            visits.connect_by(own, now, term.map(|term| term.last), self.runtime().roster.takers())
        };
        let conn = Conn::open_candidate(candidate, by);
        if aside && conn.is_err() {
            return Some(conn);
        }
        if let Some(_delivery) = term {
            if visits.is_retry() {
                count(&node.counters.redeliveries);
            }
            if conn.is_err() {
                count(&node.counters.deliveries_failed);
            }
        }
        visits.attempted();
        Some(conn)
    }

    fn attempt(
        &self,
        mut conn: Conn,
        last: Instant,
        others: bool,
        send: &mut impl FnMut(&mut Conn) -> Status,
    ) -> Result<Status, Setback> {
        let node = &self.nodes()[conn.node().place];
        let mut unsent = true;
        loop {
            // A node that is silent is to leave time for the others.
            let share = others.then(|| last.saturating_duration_since(Instant::now()) / 2);
            conn.lend(Loan { last, share, until_sent: !self.deliver_settings().resend });
            let status = send(&mut conn);
            let generation = conn.generation();
            if matches!(status, Status::Ok | Status::Stop) {
                let done = if status == Status::Ok {
                    &node.counters.deliveries
                } else {
                    &node.counters.deliveries_failed
                };
                count(done);
                node.succeeded(generation);
                conn.release();
                return Ok(status);
            }
            let error = failure(&conn, status);
            unsent &= conn.sent() == 0;
            // The server may have closed a kept connection just as it was taken up again, which says
            // nothing about the node. A fresh one decides.
            let broke = matches!(error.status, Status::Closed | Status::Network) && !error.is_local();
            let stale = conn.is_reused() && broke;
            drop(conn);
            if !stale {
                node.failed(generation, &error);
            }
            if !unsent && !self.deliver_settings().resend {
                count(&node.counters.deliveries_failed);
                let cause =
                    format!("{}; the payload may have arrived, and deliver.resend is off", error.cause);
                return Err(Setback::Final(Error { cause, ..error }));
            }
            if matches!(error.status, Status::InvalidArg | Status::Cancelled | Status::Forked) {
                count(&node.counters.deliveries_failed);
                return Err(Setback::Final(error));
            }
            if !stale {
                count(&node.counters.deliveries_failed);
                return Err(Setback::TryOn { error, unsent });
            }
            let deadline = last.min(Conn::connect_deadline(node));
            conn = Conn::open_fresh(Arc::clone(node), deadline).map_err(|error| {
                count(&node.counters.deliveries_failed);
                Setback::TryOn { error, unsent }
            })?;
        }
    }
}

/// The error behind a callback's word: the connection's own where it has one of that status.
fn failure(conn: &Conn, status: Status) -> Error {
    let target = &conn.node().target;
    match (status, conn.last_error()) {
        (_, Some(report)) if report.error.status == status => report.error.clone(),
        (Status::Eof, _) => target.error(Status::Closed, Phase::Read, "the server closed the connection"),
        (Status::WantRead | Status::WantWrite, _) => target.error(
            Status::InvalidArg,
            Phase::Callback,
            format!("the deliver callback returned {}, which only non-blocking calls know", status.name()),
        ),
        (_, Some(report)) => {
            let cause =
                format!("the deliver callback returned {} after: {}", status.name(), report.error.cause);
            // What this machine could not do is no fault of the node's, whatever the plugin calls it.
            Error { blame: report.error.blame, ..target.error(status, Phase::Callback, cause) }
        }
        (_, None) => {
            target.error(status, Phase::Callback, format!("the deliver callback returned {}", status.name()))
        }
    }
}

#[cfg(test)]
mod tests;
