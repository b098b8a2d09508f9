//! Delivers one payload, over as many nodes as it takes.
//!
//! Invariants: no node is asked twice for one payload, except that a kept connection that turns out
//! dead is followed by one new connection to the same node. Delivery is at least once: a payload
//! that may have arrived at a node that then failed is sent again to another one, unless
//! `deliver.resend` is off. A payload that is not delivered is counted and logged.

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
use crate::set::round::{Failed, Round};
use crate::set::upstream::Upstream;

/// What a deliver callback returned.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    status: Status,
    /// The number it returned, if that is no status.
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

/// What the host says about a payload.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The time for all attempts; zero means the configured time.
    pub timeout: Duration,
    /// The name that the host gives it.
    pub id: Option<PayloadId>,
}

/// How a delivery ended without an error.
#[derive(Debug)]
pub enum Done {
    /// The payload is delivered.
    Delivered,
    /// The plugin dropped it, for this reason.
    Stopped(Error),
}

impl Upstream {
    /// Runs `send` on a ready connection, at one node after the other, until it returns `Ok` or
    /// `Stop`, every node was tried, or the time is up.
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
                    format_args!("a payload was dropped: {error}"),
                );
            }
            Ok(Done::Delivered) => self.arrived(),
        }
        outcome
    }

    /// With `deliver.wait`: waits until a node may be tried. Returns whether to go on.
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
                return true; // the next attempt reports the cancel
            }
        }
    }

    fn attempt<S: Into<Said>>(
        &self,
        mut conn: Conn,
        leg: &Leg,
        round: &mut Round,
        send: &mut impl FnMut(&mut Conn) -> S,
    ) -> Result<Done, Failed> {
        let node = &self.nodes()[leg.place];
        let settings = self.deliver_settings();
        let last = round.term.map_or_else(Instant::now, |(_, last)| last);
        let mut unconfirmed = false;
        let mut unsent = true;
        loop {
            // A silent node must leave time for the others.
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
                        "{} (in fact {number}, which is no status of upstream.h)",
                        error.cause
                    );
                }
                error
            };
            let error = (status != Status::Ok).then(|| word(&conn));
            // A positive status asks for something that a delivery does not offer: that is the
            // plugin's mistake, and says nothing of the node.
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
                return Err(Failed::TryOn { error, how });
            }
            round.may_have_arrived |= unconfirmed;
            if unconfirmed && !settings.resend {
                count(counter);
                let cause = format!(
                    "{}; the payload may have arrived, and deliver.resend is off",
                    error.cause
                );
                return Err(Failed::Final(Error { cause, ..error }));
            }
            if is_mistake || matches!(status, Status::Cancelled | Status::Forked) {
                count(counter);
                return Err(Failed::Final(error));
            }
            let how = if unsent { leg.set_back() } else { SetBack::MayHaveArrived };
            // The server may have closed a kept connection just as it was used again, which says
            // nothing of the node. A new connection to the same node decides, within the same share
            // of the time.
            let deadline = leg.share.map_or(last, |share| share.ends).min(connect_deadline(node));
            if !stale || Instant::now() >= deadline {
                count(counter);
                return Err(Failed::TryOn { error, how });
            }
            let fresh = Conn::open_fresh(Arc::clone(node), generation, deadline);
            conn = fresh
                .map_err(|error| {
                    count(counter);
                    Failed::TryOn { error, how }
                })?
                .into_conn();
        }
    }

    /// Logs once that the callback returned a number that is no status.
    fn tell_odd(&self, number: i32) {
        if !self.odd_told.swap(true, Relaxed) {
            let line = format_args!(
                "a deliver callback returned {number}, which is no status of upstream.h; return \
                 one of upstream_status_t. A negative number counts as a failure, and the payload \
                 goes to another node; a positive one ends the delivery"
            );
            self.runtime().logger.log(Level::Warn, line);
        }
    }
}

#[cfg(test)]
mod tests;
