//! One payload, as many nodes as it takes.
//!
//! Invariant: no node is asked twice for one payload, but for the one fresh connection after a kept one
//! turned out dead. At least once: what may have arrived at a node that then failed is sent again
//! to another, unless `deliver.resend off`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::balance::Tried;
use crate::conn::{Conn, forked};
use crate::error::{Error, Phase, Result, Status, summary};
use crate::log::Level;
use crate::net::patience::after;
use crate::node::Node;
use crate::stats::count;
use crate::upstream::Upstream;

/// What ended one attempt without success.
enum Setback {
    /// Another node may take the payload.
    TryOn(Error),
    /// No other node is to be asked.
    Final(Error),
}

impl Upstream {
    /// Connects to the node whose turn it is; where that fails, to the others.
    pub fn connect(&self) -> Result<Conn> {
        self.visit(None, |node, deadline| Conn::open(node, deadline).map_err(Setback::TryOn))
    }

    /// As [`Upstream::connect`] without waiting: what it gives may still be connecting.
    pub fn connect_start(self: &Arc<Self>) -> Result<Conn> {
        let (up, mut tried) = (Arc::clone(self), Tried::new());
        Conn::start(Box::new(move || {
            let node = up.next_untried(&tried)?;
            tried.insert(node.place);
            Some(Arc::clone(node))
        }))
    }

    /// Runs `send` on a ready connection, node after node, until it says `Ok` or `Stop`, every node was
    /// tried, or `timeout` (zero: the configured one) has passed.
    pub fn deliver(&self, timeout: Duration, mut send: impl FnMut(&mut Conn) -> Status) -> Result<Status> {
        let timeout = if timeout.is_zero() { self.deliver_settings().timeout } else { timeout };
        let last = after(Instant::now(), timeout);
        let mut first = true;
        let outcome = self.visit(Some(last), |node, deadline| {
            if !std::mem::take(&mut first) {
                count(&node.counters.redeliveries);
            }
            self.attempt(node, deadline, last, &mut send)
        });
        match &outcome {
            Err(error) => {
                count(&self.deliveries_failed);
                self.runtime().logger.log(Level::Error, format_args!("not delivered: {error}"));
            }
            Ok(Status::Stop) => count(&self.deliveries_failed),
            Ok(_) => {}
        }
        outcome
    }

    /// Nodes by turns, none twice, until `work` succeeds.
    fn visit<T>(
        &self,
        last: Option<Instant>,
        mut work: impl FnMut(&Arc<Node>, Instant) -> Result<T, Setback>,
    ) -> Result<T> {
        if self.runtime().birthplace.is_elsewhere() {
            return Err(forked());
        }
        let most = match self.deliver_settings().attempts as usize {
            most if most > 0 && last.is_some() => most.min(self.nodes().len()),
            _ => self.nodes().len(),
        };
        let mut tried = Tried::new();
        let mut setbacks: Vec<Error> = Vec::new();
        while tried.count() < most
            && let Some(node) = self.next_untried(&tried)
        {
            if last.is_some_and(|last| Instant::now() >= last) {
                let error =
                    Error::new(Status::Timeout, "the time for the delivery is up; see deliver.timeout");
                setbacks.push(error);
                break;
            }
            tried.insert(node.place);
            let connect_by = Conn::connect_deadline(node);
            let deadline = last.map_or(connect_by, |last| last.min(connect_by));
            match work(node, deadline) {
                Ok(done) => return Ok(done),
                Err(Setback::TryOn(error)) => setbacks.push(error),
                Err(Setback::Final(error)) => {
                    setbacks.push(error);
                    break;
                }
            }
            if self.runtime().closed.load(Relaxed) || self.runtime().cancel.is_set() {
                break;
            }
        }
        Err(summary(setbacks))
    }

    fn attempt(
        &self,
        node: &Arc<Node>,
        deadline: Instant,
        last: Instant,
        send: &mut impl FnMut(&mut Conn) -> Status,
    ) -> Result<Status, Setback> {
        let mut conn = Conn::open(node, deadline).map_err(|error| {
            count(&node.counters.deliveries_failed);
            Setback::TryOn(error)
        })?;
        loop {
            conn.lend(last);
            let status = send(&mut conn);
            if matches!(status, Status::Ok | Status::Stop) {
                let done = if status == Status::Ok {
                    &node.counters.deliveries
                } else {
                    &node.counters.deliveries_failed
                };
                count(done);
                conn.release();
                return Ok(status);
            }
            let error = failure(&conn, status);
            let may_have_arrived = conn.sent() > 0 && !self.deliver_settings().resend;
            // The server may have closed a kept connection just as it was taken up again, which says
            // nothing about the node. A fresh one decides.
            let stale = conn.is_reused() && matches!(error.status, Status::Closed | Status::Network);
            drop(conn);
            if may_have_arrived {
                count(&node.counters.deliveries_failed);
                let cause =
                    format!("{}; the payload may have arrived, and deliver.resend is off", error.cause);
                return Err(Setback::Final(Error { cause, ..error }));
            }
            if error.status == Status::InvalidArg {
                count(&node.counters.deliveries_failed);
                return Err(Setback::Final(error));
            }
            if !stale {
                count(&node.counters.deliveries_failed);
                return Err(Setback::TryOn(error));
            }
            let deadline = last.min(Conn::connect_deadline(node));
            conn = Conn::open_fresh(node, deadline).map_err(|error| {
                count(&node.counters.deliveries_failed);
                Setback::TryOn(error)
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
            target.error(status, Phase::Callback, cause)
        }
        (_, None) => {
            target.error(status, Phase::Callback, format!("the deliver callback returned {}", status.name()))
        }
    }
}
