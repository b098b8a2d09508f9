//! One payload of a plugin that does its own I/O, or that drives the library's connections itself.
//! The nodes are chosen by the same rules as for a delivery; the plugin or the connections report
//! the outcomes.
//!
//! Invariant: the outcome at each node that was handed out is reported once, when the payload goes
//! on or ends.

mod books;
mod route;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balance::visits::next_of_attempt;
use crate::base::error::{Error, Poison, Result, Status, summary};
use crate::base::stats::count;
use crate::net::patience::after;
use crate::set::conn::{Conn, Course, Step, forked};
use crate::set::node::Node;
use crate::set::payload::PayloadId;
use crate::set::upstream::Upstream;
use books::{Books, Ledger, State};
use route::Route;

/// Hands out nodes for one payload, none twice.
pub struct Attempt {
    /// Set after a defect was caught in a call on this attempt.
    pub poison: Poison,
    upstream: Arc<Upstream>,
    books: Books,
    timeout: Duration,
    last: Option<Instant>,
    id: Option<PayloadId>,
}

impl Attempt {
    /// An attempt that has not been to any node yet.
    pub fn new(upstream: Arc<Upstream>) -> Attempt {
        let state = State::new(upstream.deliver_settings().attempts as usize);
        let timeout = upstream.deliver_settings().timeout;
        Attempt {
            poison: Poison::default(),
            upstream,
            books: Books::Own(state),
            timeout,
            last: None,
            id: None,
        }
    }

    /// The same, with a time and a name for the payload; its time starts now. A `timeout` of zero
    /// means the configured time.
    pub fn with(upstream: Arc<Upstream>, timeout: Duration, id: Option<PayloadId>) -> Attempt {
        let mut attempt = Attempt::new(upstream);
        if !timeout.is_zero() {
            attempt.timeout = timeout;
        }
        attempt.last = Some(after(Instant::now(), attempt.timeout));
        attempt.id = id;
        attempt
    }

    /// The name of the payload.
    pub fn payload_id(&mut self) -> &PayloadId {
        let ids = &self.upstream.runtime().payload_ids;
        self.id.get_or_insert_with(|| ids.make())
    }

    /// The next node. To ask again means that the last one failed. `None` if every node was tried,
    /// `deliver.attempts` is reached, or the retry budget is spent.
    pub fn next_node(&mut self) -> Option<&Arc<Node>> {
        let upstream = &*self.upstream;
        let runtime = upstream.runtime();
        let wait = !runtime.birthplace.is_elsewhere();
        let turn = self.books.with(|state| {
            if state.is_connected && state.current.is_none() {
                return None; // a connection is still being made
            }
            if let Some(current) = &mut state.current
                && current.said.is_none()
                && current.ended.is_none()
                && !current.is_reported(&upstream.nodes()[current.place])
            {
                count(&upstream.nodes()[current.place].counters.deliveries_failed);
            }
            if let Some(how) = state.settle(upstream, None) {
                state.visits.set_back(how);
            }
            let now = || runtime.clock.now();
            let turn =
                next_of_attempt(&mut state.visits, &runtime.roster, &upstream.budget, now, wait)?;
            let node = &upstream.nodes()[turn.place];
            if state.visits.tried().count() > 1 {
                count(&node.counters.redeliveries);
            }
            state.hand_out(node, turn.generation, turn.is_trial.then_some(turn), true);
            Some(turn)
        })?;
        Some(&upstream.nodes()[turn.place])
    }

    /// Reports how it went at the current node.
    pub fn report(&mut self, outcome: Status) -> Status {
        let upstream = &self.upstream;
        self.books.with(|state| match &mut state.current {
            Some(current) => {
                let node = &upstream.nodes()[current.place];
                if current.said.is_none() && !current.is_reported(node) {
                    node.book(outcome);
                }
                current.said = Some(outcome);
                Status::Ok
            }
            None => Status::InvalidArg,
        })
    }

    /// Ends the attempt; `outcome` says how it went at the last node.
    pub fn end(&mut self, outcome: Status) {
        let upstream = &*self.upstream;
        let asked = self.books.with(|state| {
            state.is_over = true;
            if let Some(current) = &mut state.current {
                let said = current.said;
                let node = &upstream.nodes()[current.place];
                if said.is_none() && !current.is_reported(node) {
                    node.book(outcome);
                }
                state.settle(upstream, Some(outcome));
                if said.unwrap_or(outcome) == Status::Ok {
                    upstream.arrived();
                    state.suspects.settle();
                    return 0;
                }
            }
            state.suspects.settle();
            state.visits.tried().count()
        });
        if asked > 0 {
            count(&upstream.deliveries_failed);
        }
    }

    /// Prepares the next connection: checks that no other is in use, and starts the time.
    fn begin(&mut self) -> Result<(Arc<Ledger>, Instant)> {
        if self.upstream.runtime().birthplace.is_elsewhere() {
            return Err(forked());
        }
        let timeout = self.timeout;
        let last = *self.last.get_or_insert_with(|| after(Instant::now(), timeout));
        let ledger = self.books.share();
        let mut state = ledger.0.lock();
        if state.is_connected {
            let cause =
                "the connection of this attempt is still in use; release or discard it first";
            return Err(Error::new(Status::InvalidArg, cause));
        }
        if let Some(how) = state.settle(&self.upstream, None) {
            state.visits.set_back(how);
        }
        drop(state);
        Ok((ledger, last))
    }

    /// A connection to the next untried node; if that fails, to the one after it, and so on.
    pub fn connect(&mut self) -> Result<Conn> {
        let (ledger, last) = self.begin()?;
        let mut route = self.route(ledger, last);
        let mut setbacks = Vec::new();
        let upstream = Arc::clone(&self.upstream);
        let mut stand = None;
        loop {
            let step = route.next();
            if !matches!(step, Step::Wait(..)) {
                stand = None; // it waits for the budget no longer
            }
            let choice = match step {
                Step::Try(choice) => choice,
                Step::Wait(time, _) => {
                    let stand = stand.get_or_insert_with(|| upstream.retries.join());
                    stand.sleep(after(Instant::now(), time));
                    continue;
                }
                Step::Over(why) => {
                    setbacks.extend(why);
                    return Err(self.upstream.runtime().outlook(summary(setbacks)));
                }
            };
            let begun = Instant::now();
            match Conn::open_along(&mut route, choice) {
                Ok(opened) => {
                    let mut conn = opened.into_conn();
                    if let Some((loan, account)) = route.stands() {
                        conn.lend(loan);
                        conn.keep_account(account);
                    }
                    conn.set_payload_id(Some(self.payload_id().clone()));
                    return Ok(conn);
                }
                Err(error) => {
                    route.set_back(&error, begun.elapsed());
                    let is_final = matches!(error.status, Status::Cancelled | Status::Forked);
                    setbacks.push(error);
                    if is_final {
                        return Err(summary(setbacks));
                    }
                }
            }
        }
    }

    /// As [`Attempt::connect`], but without waiting: the connection may still be connecting.
    pub fn connect_start(&mut self) -> Result<Conn> {
        let (ledger, last) = self.begin()?;
        let route = self.route(ledger, last);
        let id = self.payload_id().clone();
        let mut conn = Conn::start(self.upstream.runtime(), Box::new(route))?;
        conn.set_payload_id(Some(id));
        Ok(conn)
    }

    fn route(&self, ledger: Arc<Ledger>, last: Instant) -> Route {
        ledger.0.lock().is_connected = true;
        Route {
            up: Arc::clone(&self.upstream),
            ledger,
            last,
            held_up: false,
            leg: None,
            stands: false,
            is_redelivery: false,
        }
    }
}

#[cfg(test)]
mod tests;
