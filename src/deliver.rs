//! One payload, as many nodes as it takes.
//!
//! Invariant: no node is asked twice for one payload, but for the one fresh connection after a kept one
//! turned out dead. At least once: what may have arrived at a node that then failed is sent again
//! to another, unless `deliver.resend off`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::balance::Tried;
use crate::conn::{Candidate, Conn, Trial, forked};
use crate::error::{Error, Phase, Result, Status, summary};
use crate::log::Level;
use crate::net::patience::after;
use crate::node::{Node, Runtime};
use crate::stats::count;
use crate::upstream::Upstream;

/// What ended one attempt without success.
enum Setback {
    /// Another node may take the payload. Of which none has gone, where `unsent`.
    TryOn { error: Error, unsent: bool },
    /// No other node is to be asked.
    Final(Error),
}

/// The nodes one payload, or one wish for a connection, has been to.
#[derive(Debug, Default)]
struct Visits {
    tried: Tried,
    /// Nodes asked, probes that failed aside: those cost the caller nothing.
    attempts: usize,
    setbacks: Vec<Error>,
    /// The next attempt sends again what may have arrived, and so has to be paid for.
    pay: bool,
}

impl Upstream {
    /// Connects to the node whose turn it is; where that fails, to the others.
    pub fn connect(&self) -> Result<Conn> {
        self.visit(None, Ok)
    }

    /// As [`Upstream::connect`] without waiting: what it gives may still be connecting.
    pub fn connect_start(self: &Arc<Self>) -> Result<Conn> {
        let (up, mut tried) = (Arc::clone(self), Tried::new());
        Conn::start(self.runtime(), Box::new(move || up.candidate(&mut tried)))
    }

    /// Whom to connect to next: a node on trial, if it is due, else whose turn it is among those not in `tried`, to which it
    /// is added.
    fn candidate(&self, tried: &mut Tried) -> Option<Candidate> {
        let Runtime { roster, clock, .. } = self.runtime();
        let turn = roster.probe_due(tried, || clock.now()).or_else(|| roster.next_untried(tried, true))?;
        tried.insert(turn.place);
        let trial = turn.probe.then(|| Trial { turn, others: roster.has_eligible(tried) });
        Some(Candidate { node: Arc::clone(&self.nodes()[turn.place]), trial })
    }

    /// Runs `send` on a ready connection, node after node, until it says `Ok` or `Stop`, every node was
    /// tried, or `timeout` (zero: the configured one) has passed.
    pub fn deliver(&self, timeout: Duration, mut send: impl FnMut(&mut Conn) -> Status) -> Result<Status> {
        let timeout = if timeout.is_zero() { self.deliver_settings().timeout } else { timeout };
        let last = after(Instant::now(), timeout);
        let outcome = self.visit(Some(last), |conn| self.attempt(conn, last, &mut send));
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

    /// Connections to nodes by turns, none twice, until `work` succeeds.
    fn visit<T>(&self, last: Option<Instant>, mut work: impl FnMut(Conn) -> Result<T, Setback>) -> Result<T> {
        if self.runtime().birthplace.is_elsewhere() {
            return Err(forked());
        }
        let most = match self.deliver_settings().attempts as usize {
            most if most > 0 && last.is_some() => most,
            _ => usize::MAX,
        };
        let mut visits = Visits::default();
        while visits.attempts < most {
            if let Err(error) = self.may_go_on(&mut visits, last) {
                visits.setbacks.push(error);
                break;
            }
            let Some(conn) = self.next_conn(&mut visits, last, most) else { break };
            let outcome = match conn {
                Ok(conn) => work(conn),
                Err(error) => Err(Setback::TryOn { error, unsent: true }),
            };
            match outcome {
                Ok(done) => return Ok(done),
                Err(Setback::TryOn { error, unsent }) => {
                    visits.setbacks.push(error);
                    visits.pay = !unsent;
                }
                Err(Setback::Final(error)) => {
                    visits.setbacks.push(error);
                    break;
                }
            }
        }
        Err(self.runtime().outlook(summary(visits.setbacks)))
    }

    /// Whether there is time for another attempt, and the retry budget allows it: it is waited for, since the alternative is to
    /// lose the payload.
    fn may_go_on(&self, visits: &mut Visits, last: Option<Instant>) -> Result<()> {
        let runtime = self.runtime();
        loop {
            if runtime.closed.load(Relaxed) {
                return Err(Error::new(Status::Cancelled, "the upstream was destroyed"));
            }
            if runtime.cancel.is_set() {
                return Err(Error::cancelled());
            }
            let left = last.map_or(Duration::MAX, |last| last.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::new(
                    Status::Timeout,
                    "the time for the delivery is up; see deliver.timeout",
                ));
            }
            if !visits.pay {
                return Ok(());
            }
            match self.budget.retry(runtime.clock.now()) {
                Ok(()) => visits.pay = false,
                // Short sleeps: the successes of others pay too.
                Err(wait) => {
                    runtime.cancel.sleep(wait.min(PAY_AGAIN).min(left));
                }
            }
        }
    }

    /// A connection to the next node; `None` where all were tried.
    fn next_conn(&self, visits: &mut Visits, last: Option<Instant>, most: usize) -> Option<Result<Conn>> {
        let candidate = self.candidate(&mut visits.tried)?;
        let node = &candidate.node;
        // A trial costs the payload nothing: it is neither an attempt nor a failed delivery until its connection is used.
        let aside = candidate.trial.is_some_and(|trial| trial.others);
        let others_left = visits.attempts + 1 < most && visits.tried.count() < self.runtime().roster.takers();
        let conn = Conn::open_candidate(&candidate, connect_by(node, last, others_left));
        if aside && conn.is_err() {
            return Some(conn);
        }
        if let Some(_delivery) = last {
            if visits.attempts > 0 {
                count(&node.counters.redeliveries);
            }
            if conn.is_err() {
                count(&node.counters.deliveries_failed);
            }
        }
        visits.attempts += 1;
        Some(conn)
    }

    fn attempt(
        &self,
        mut conn: Conn,
        last: Instant,
        send: &mut impl FnMut(&mut Conn) -> Status,
    ) -> Result<Status, Setback> {
        let node = Arc::clone(conn.node());
        loop {
            conn.lend(last);
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
            let unsent = conn.sent() == 0;
            // The server may have closed a kept connection just as it was taken up again, which says
            // nothing about the node. A fresh one decides.
            let stale = conn.is_reused() && matches!(error.status, Status::Closed | Status::Network);
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
            if matches!(error.status, Status::InvalidArg | Status::Cancelled) {
                count(&node.counters.deliveries_failed);
                return Err(Setback::Final(error));
            }
            if !stale {
                count(&node.counters.deliveries_failed);
                return Err(Setback::TryOn { error, unsent });
            }
            let deadline = last.min(Conn::connect_deadline(&node));
            conn = Conn::open_fresh(&node, deadline).map_err(|error| {
                count(&node.counters.deliveries_failed);
                Setback::TryOn { error, unsent }
            })?;
        }
    }
}

/// By when a connection must stand: within half of the delivery's time that is left, where another node could take the payload.
fn connect_by(node: &Node, last: Option<Instant>, others_left: bool) -> Instant {
    let by = Conn::connect_deadline(node);
    let Some(last) = last else { return by };
    let left = last.saturating_duration_since(Instant::now());
    by.min(if others_left { last - left / 2 } else { last })
}

/// How often a delivery that waits for the retry budget looks again.
const PAY_AGAIN: Duration = Duration::from_millis(5);

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
            target.error(status, Phase::Callback, cause)
        }
        (_, None) => {
            target.error(status, Phase::Callback, format!("the deliver callback returned {}", status.name()))
        }
    }
}
