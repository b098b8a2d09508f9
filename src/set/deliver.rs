//! One payload, as many nodes as it takes.
//!
//! Invariant: no node is asked twice for one payload, but for the one fresh connection after a kept
//! one turned out dead. At least once: what may have arrived at a node that then failed is sent
//! again to another, unless `deliver.resend off`. A payload that is not delivered leaves a trace.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::balance::visits::{SetBack, Visits};
use crate::base::error::{Error, Result, Status};
use crate::base::log::Level;
use crate::base::stats::count;
use crate::net::patience::after;
use crate::set::conn::{Conn, Ending, Loan, connect_deadline};
use crate::set::journey::{Leg, nap};
use crate::set::payload::PayloadId;
use crate::set::round::{Round, Setback};
use crate::set::upstream::Upstream;

/// What a deliver callback says, as a number of its own.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    status: Status,
    /// It is no status.
    odd: Option<i32>,
}

impl From<Status> for Said {
    fn from(status: Status) -> Said {
        Said { status, odd: None }
    }
}

impl From<i32> for Said {
    fn from(number: i32) -> Said {
        match Status::from_number(number) {
            Some(status) => status.into(),
            None => Said { status: Status::InvalidArg, odd: Some(number) },
        }
    }
}

/// What is said of a payload beforehand.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// For all attempts; zero takes the configured time.
    pub timeout: Duration,
    /// What the host calls it.
    pub id: Option<PayloadId>,
}

/// How a delivery ended well enough.
#[derive(Debug)]
pub enum Done {
    /// The payload is delivered.
    Delivered,
    /// The plugin dropped it, for this reason.
    Stopped(Error),
}

impl Upstream {
    /// Runs `send` on a ready connection, node after node, until it says `Ok` or `Stop`, every node
    /// was tried, or the time is up.
    pub fn deliver<S: Into<Said>>(
        &self,
        how: Delivery,
        mut send: impl FnMut(&mut Conn) -> S,
    ) -> Result<Done> {
        let settings = self.deliver_settings();
        let timeout = if how.timeout.is_zero() { settings.timeout } else { how.timeout };
        let now = Instant::now();
        let last = after(now, timeout);
        let mut round = Round::new(settings.attempts as usize, Some((now, last)));
        round.id = how.id;
        let outcome = loop {
            let outcome = self
                .visit(&mut round, |conn, leg, round| self.attempt(conn, leg, round, &mut send));
            round.suspects.settle();
            match outcome {
                Err(error) if round.all_out && self.waits_for_a_node(&error, last) => {
                    round.visits = Visits::new(settings.attempts as usize);
                    round.later();
                }
                outcome => break outcome,
            }
        };
        let logger = &self.runtime().logger;
        match &outcome {
            Err(error) => {
                count(&self.deliveries_failed);
                self.undelivered.log(logger, Level::Error, format_args!("not delivered: {error}"));
            }
            Ok(Done::Stopped(error)) => {
                count(&self.deliveries_failed);
                self.dropped.log(
                    logger,
                    Level::Warn,
                    format_args!("a payload is dropped: {error}"),
                );
            }
            Ok(Done::Delivered) => self.budget.succeeded(),
        }
        outcome
    }

    /// With `deliver.wait`: waits until a node may be tried. Whether to go on.
    fn waits_for_a_node(&self, error: &Error, last: Instant) -> bool {
        let runtime = self.runtime();
        let is_final = matches!(error.status, Status::Cancelled | Status::Forked);
        if !self.deliver_settings().wait || is_final || error.is_final {
            return false;
        }
        loop {
            let left = last.saturating_duration_since(Instant::now());
            let Some(wait) = self.retry_after() else { return false };
            if left.is_zero() {
                return false;
            }
            if wait.is_zero() {
                return true;
            }
            if runtime.cancel.sleep(nap(runtime, wait).min(left)) {
                return true; // to be told so
            }
        }
    }

    fn attempt<S: Into<Said>>(
        &self,
        mut conn: Conn,
        leg: &Leg,
        round: &mut Round,
        send: &mut impl FnMut(&mut Conn) -> S,
    ) -> Result<Done, Setback> {
        let node = &self.nodes()[leg.place];
        let settings = self.deliver_settings();
        let last = round.term.map_or_else(Instant::now, |(_, last)| last);
        let mut unconfirmed = false;
        let mut unsent = true;
        loop {
            // A node that is silent is to leave time for the others.
            let (until_sent, is_lent) = (!settings.resend, true);
            conn.lend(Loan { last, share: leg.share, until_sent, is_lent });
            conn.set_payload_id(round.id.take());
            let Said { status, odd } = send(&mut conn).into();
            round.id = conn.known_payload_id();
            conn.returned(status);
            let word = |conn: &Conn| {
                let mut error = conn.error_of_return(status);
                if let Some(number) = odd {
                    error.cause = format!(
                        "{}, in place of {number}, which is no status of upstream.h",
                        error.cause
                    );
                }
                error
            };
            let error = (status != Status::Ok).then(|| word(&conn));
            // A positive word asks for nothing that a delivery could do: it is a mistake, and no
            // node's.
            let is_mistake = matches!(status, Status::WantRead | Status::WantWrite)
                || odd.is_some_and(|n| n > 0);
            if let Some(number) = odd {
                self.tell_odd(number);
            }
            if is_mistake {
                conn.say_nothing();
            }
            let (stale, may_have_arrived) = (conn.is_stale(), conn.may_have_arrived(status));
            let is_failure = !matches!(status, Status::Ok | Status::Stop | Status::Busy);
            unsent &= conn.sent() == 0;
            unconfirmed |= is_failure && may_have_arrived;
            if let Some(ended) = conn.end_exchange(Ending::Released) {
                round.suspects.take(
                    node,
                    ended.generation,
                    ended.trial,
                    ended.reached,
                    ended.outcome,
                );
            }
            let generation = node.generation();
            if !is_failure {
                conn.release();
            } else {
                drop(conn);
            }
            let counter = match status {
                Status::Ok => &node.counters.deliveries,
                _ => &node.counters.deliveries_failed,
            };
            if !is_failure {
                count(counter);
            }
            let Some(error) = error else { return Ok(Done::Delivered) };
            if status == Status::Stop {
                let may_have_arrived = round.may_have_arrived;
                return Ok(Done::Stopped(Error { status, may_have_arrived, ..error }));
            }
            if status == Status::Busy {
                let others = self.runtime().roster.has_eligible(round.visits.tried());
                let how = match (others, unsent) {
                    (true, _) => SetBack::Answered,
                    (false, true) => leg.set_back(),
                    (false, false) => SetBack::MayHaveArrived,
                };
                return Err(Setback::TryOn { error, how });
            }
            round.may_have_arrived |= unconfirmed;
            if unconfirmed && !settings.resend {
                count(counter);
                let cause = format!(
                    "{}; the payload may have arrived, and deliver.resend is off",
                    error.cause
                );
                return Err(Setback::Final(Error { cause, ..error }));
            }
            if is_mistake || matches!(status, Status::Cancelled | Status::Forked) {
                count(counter);
                return Err(Setback::Final(error));
            }
            let how = if unsent { leg.set_back() } else { SetBack::MayHaveArrived };
            // The server may have closed a kept connection just as it was taken up again, which
            // says nothing about the node. A fresh one decides, within the same share of the time.
            let deadline = leg.share.map_or(last, |share| share.ends).min(connect_deadline(node));
            if !stale || Instant::now() >= deadline {
                count(counter);
                return Err(Setback::TryOn { error, how });
            }
            conn = Conn::open_fresh(Arc::clone(node), generation, deadline).map_err(|error| {
                count(counter);
                Setback::TryOn { error, how }
            })?;
        }
    }

    /// A number that is no status is told once.
    fn tell_odd(&self, number: i32) {
        if !self.odd_told.swap(true, Relaxed) {
            let line = format_args!(
                "a deliver callback returned {number}, which is no status of upstream.h; a \
                 negative one is taken for a \
                 failure, and the payload goes on to another node"
            );
            self.runtime().logger.log(Level::Warn, line);
        }
    }
}

#[cfg(test)]
mod tests;
