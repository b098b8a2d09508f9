//! One payload of a plugin that does its own I/O, or drives the library's connections itself: nodes by the same
//! rules as a delivery's, the outcomes told by the plugin or by the connections.
//!
//! Invariant: each node that was handed out is told of once, when the payload goes on or ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::balance::roster::Turn;
use crate::balance::visits::{SetBack, Visits, next_of_attempt};
use crate::base::error::{Error, Phase, Result, Status, summary};
use crate::base::stats::count;
use crate::base::sync::Mutex;
use crate::set::conn::{Account, Conn, Course, Ended, Loan, Step, forked};
use crate::set::journey::{Leg, Stopped, ends};
use crate::set::node::Node;
use crate::set::outcome::{Blame, Outcome};
use crate::set::payload::PayloadId;
use crate::set::upstream::Upstream;

/// The nodes for one payload, none twice.
pub struct Attempt {
    upstream: Arc<Upstream>,
    books: Books,
    timeout: Duration,
    last: Option<Instant>,
    id: Option<PayloadId>,
}

/// The books of an attempt: its own until a connection of the library's serves it, which writes in them too.
#[expect(clippy::large_enum_variant, reason = "the attempt is on the heap as it is")]
enum Books {
    Own(State),
    Shared(Arc<Ledger>),
}

/// Books that a connection writes in.
struct Ledger(Mutex<State>);

struct State {
    visits: Visits,
    blame: Blame,
    current: Option<Current>,
    /// A connection of the library's is under way or in use.
    is_connected: bool,
    /// The last node that was settled was told something.
    has_said: bool,
    /// The payload reached a node that has not answered for it.
    may_have_arrived: bool,
    /// What failed so far, in words.
    setbacks: Vec<Error>,
    /// The attempt has ended, though a connection of it may live on.
    is_over: bool,
}

impl State {
    fn new(most: usize) -> State {
        let (visits, blame) = (Visits::new(most), Blame::default());
        State {
            visits,
            blame,
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
struct Current {
    /// Its place.
    place: usize,
    generation: u32,
    trial: Option<Turn>,
    /// What the node had been told by then.
    reports: u64,
    failed_alone: u64,
    /// The plugin told the node itself since.
    is_reported: bool,
    /// It is a visitor there.
    is_visitor: bool,
    /// What the plugin said of it.
    said: Option<Status>,
    /// What its connection, which is over, says of it.
    ended: Option<Box<Ended>>,
}

impl Current {
    /// Whether the plugin told the node itself.
    fn is_reported(&mut self, node: &Node) -> bool {
        self.is_reported = self.is_reported || node.reports.claim(self.reports);
        self.is_reported
    }

    /// It is no visitor there any more.
    fn leave(&self, node: &Node) {
        if self.is_visitor {
            node.visitors.fetch_sub(1, Relaxed);
        }
    }
}

impl State {
    /// The node asked last is done with; `word` is what the plugin says of it at last. What that leaves the payload
    /// with.
    fn settle(&mut self, up: &Upstream, word: Option<Status>) -> Option<SetBack> {
        let mut current = self.current.take()?;
        let node = &up.nodes()[current.place];
        let ended = current.ended.take();
        current.leave(node);
        // What the plugin did by itself went out, as far as anyone knows.
        let reached = match &ended {
            Some(ended) => ended.reached,
            None => !current.said.or(word).is_some_and(is_before_any_byte),
        };
        let may_have_arrived = ended.as_ref().is_some_and(|ended| ended.may_have_arrived);
        let is_told = ended.as_ref().is_some_and(|ended| ended.is_told) || current.is_reported(node);
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
            // By the node alone, or as the failure of a connection to it: it counts once.
            _ if is_told => Outcome::Nothing,
            Outcome::Bad(_) if is_alone && node.failed_alone.claim(current.failed_alone) => Outcome::Nothing,
            outcome => outcome,
        };
        self.has_said = is_told || !matches!(outcome, Outcome::Nothing);
        let how = match (&outcome, reached) {
            (Outcome::Busy(_), _) => SetBack::Answered,
            (_, true) => SetBack::MayHaveArrived,
            (_, false) => SetBack::Unsent { all_out: node.runtime.roster.is_all_out() },
        };
        if current.is_visitor && matches!(outcome, Outcome::Bad(_)) {
            node.spoken.add();
        }
        self.blame.take(node, current.generation, current.trial, reached, outcome);
        Some(how)
    }

    /// The error of an attempt that has come to its end by `last`.
    fn over(&mut self, last: Error) -> Error {
        let mut setbacks = std::mem::take(&mut self.setbacks);
        setbacks.push(last);
        Error { may_have_arrived: self.may_have_arrived, ..summary(setbacks) }
    }

    /// With `deliver.resend off`: the error of a payload that no other node is to have.
    fn at_most_once(&mut self) -> Error {
        let last = self.setbacks.pop();
        let last =
            last.unwrap_or_else(|| Error::new(Status::Closed, "the exchange was not brought to its end"));
        let cause = format!("{}; the payload may have arrived, and deliver.resend is off", last.cause);
        self.over(Error { cause, ..last })
    }

    /// A node is handed out; `is_visitor` where the plugin itself works there.
    fn hand_out(&mut self, node: &Arc<Node>, generation: u32, trial: Option<Turn>, is_visitor: bool) {
        if is_visitor {
            node.visitors.fetch_add(1, Relaxed);
        }
        self.current = Some(Current {
            place: node.place,
            generation,
            trial,
            reports: node.reports.count(),
            failed_alone: node.failed_alone.count(),
            is_reported: false,
            is_visitor,
            said: None,
            ended: None,
        });
    }
}

/// Whether nothing of a payload has gone where a plugin reports this.
fn is_before_any_byte(status: Status) -> bool {
    matches!(status, Status::Resolve | Status::Connect | Status::Tls | Status::Cert | Status::Limit)
}

fn passed_over(node: &Node) -> Error {
    // No way of its own: whoever does not say why it failed is not asked whether the payload made it.
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
        // The attempt has ended, or gone on, without it: what the plugin said then counts, and only once.
        let outcome = if state.has_said { Outcome::Nothing } else { exchange.outcome };
        drop(state);
        node.hear(exchange.generation, exchange.trial, outcome);
    }
}

impl Books {
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> T) -> T {
        match self {
            Books::Own(state) => work(state),
            Books::Shared(ledger) => work(&mut ledger.0.lock()),
        }
    }

    /// From now on a connection writes in them too.
    fn share(&mut self) -> Arc<Ledger> {
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

impl Attempt {
    /// An attempt that has been nowhere yet.
    pub fn new(upstream: Arc<Upstream>) -> Attempt {
        let state = State::new(upstream.deliver_settings().attempts as usize);
        let timeout = upstream.deliver_settings().timeout;
        Attempt { upstream, books: Books::Own(state), timeout, last: None, id: None }
    }

    /// The same for a payload of which more is said: its time counts from now.
    pub fn with(upstream: Arc<Upstream>, timeout: Duration, id: Option<PayloadId>) -> Attempt {
        let mut attempt = Attempt::new(upstream);
        if !timeout.is_zero() {
            attempt.timeout = timeout;
        }
        attempt.last = Some(ends(Instant::now(), attempt.timeout));
        attempt.id = id;
        attempt
    }

    /// What the payload is called.
    pub fn payload_id(&mut self) -> &PayloadId {
        let ids = &self.upstream.runtime().payload_ids;
        self.id.get_or_insert_with(|| ids.make())
    }

    /// The next node; asking again says that the last one failed. `None` once every node was tried,
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
            let turn = next_of_attempt(&mut state.visits, &runtime.roster, &upstream.budget, now, wait)?;
            let node = &upstream.nodes()[turn.place];
            if state.visits.tried().count() > 1 {
                count(&node.counters.redeliveries);
            }
            state.hand_out(node, turn.generation, turn.probe.then_some(turn), true);
            Some(turn)
        })?;
        Some(&upstream.nodes()[turn.place])
    }

    /// How it went at the node it has now, with the generation of the pick.
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

    /// How it went at the last node.
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
                    upstream.budget.succeeded();
                    state.blame.settle();
                    return 0;
                }
            }
            state.blame.settle();
            state.visits.tried().count()
        });
        if asked > 0 {
            count(&upstream.deliveries_failed);
        }
    }

    /// What the next connection needs: no other is in use, and the time is running.
    fn begin(&mut self) -> Result<(Arc<Ledger>, Instant)> {
        if self.upstream.runtime().birthplace.is_elsewhere() {
            return Err(forked());
        }
        let timeout = self.timeout;
        let last = *self.last.get_or_insert_with(|| ends(Instant::now(), timeout));
        let ledger = self.books.share();
        let mut state = ledger.0.lock();
        if state.is_connected {
            let cause = "the connection of this attempt is still in use; release or discard it first";
            return Err(Error::new(Status::InvalidArg, cause));
        }
        if let Some(how) = state.settle(&self.upstream, None) {
            state.visits.set_back(how);
        }
        drop(state);
        Ok((ledger, last))
    }

    /// A connection to the next untried node, and on to others on failure.
    pub fn connect(&mut self) -> Result<Conn> {
        let (ledger, last) = self.begin()?;
        let mut route = self.route(ledger, last);
        let mut setbacks = Vec::new();
        loop {
            let candidate = match route.next() {
                Step::Try(candidate) => candidate,
                Step::Wait(time, _) => {
                    self.upstream.runtime().cancel.sleep(time);
                    continue;
                }
                Step::Over(why) => {
                    setbacks.extend(why);
                    return Err(self.upstream.runtime().outlook(summary(setbacks)));
                }
            };
            let begun = Instant::now();
            match Conn::open_candidate(candidate) {
                Ok(mut conn) => {
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

    /// As [`Attempt::connect`] without waiting: what it gives may still be connecting.
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
        Route { up: Arc::clone(&self.upstream), ledger, last, held_up: false, leg: None, stands: false }
    }
}

/// The way of an attempt's next connection.
struct Route {
    up: Arc<Upstream>,
    ledger: Arc<Ledger>,
    last: Instant,
    held_up: bool,
    leg: Option<Leg>,
    stands: bool,
}

impl Course for Route {
    fn next(&mut self) -> Step {
        let state = &mut *self.ledger.0.lock();
        if state.may_have_arrived && !self.up.deliver_settings().resend {
            return Step::Over(Some(state.at_most_once()));
        }
        let now = Instant::now();
        match self.up.may_go_on(&mut state.visits, Some((now, self.last)), self.held_up) {
            Ok(()) => {}
            Err(Stopped::Because(error)) => return Step::Over(Some(state.over(error))),
            Err(Stopped::For(wait)) => {
                self.held_up = true;
                let left = self.last.saturating_duration_since(now);
                return Step::Wait(wait.min(left), Arc::clone(&self.up.nodes()[0]));
            }
        }
        let may_go_on = state.visits.may_go_on();
        let leg = may_go_on.then(|| self.up.next_leg(&mut state.visits, Some((now, self.last))));
        let Some(leg) = leg.flatten() else {
            let error = match state.visits.tried().count() {
                0 => self.up.nobody(),
                _ => Error::new(Status::NoNode, "every node that this payload may ask was tried"),
            };
            return Step::Over(Some(state.over(error)));
        };
        if state.visits.is_retry() && !leg.is_aside {
            count(&self.up.nodes()[leg.place].counters.redeliveries);
        }
        let candidate = self.up.candidate(&leg);
        self.leg = Some(leg);
        Step::Try(candidate)
    }

    fn set_back(&mut self, _error: &Error, waited: Duration) {
        let Some(leg) = self.leg.take() else { return };
        let visits = &mut self.ledger.0.lock().visits;
        if leg.is_aside {
            visits.waited(waited);
        } else {
            count(&self.up.nodes()[leg.place].counters.deliveries_failed);
            visits.attempted();
        }
        visits.set_back(leg.set_back());
    }

    fn stands(&mut self) -> Option<(Loan, Arc<dyn Account>)> {
        let leg = self.leg.take()?;
        let state = &mut *self.ledger.0.lock();
        state.visits.attempted();
        let node = &self.up.nodes()[leg.place];
        if state.is_over {
            state.has_said = false; // it speaks for itself
        } else {
            state.hand_out(node, node.generation(), None, false);
        }
        self.stands = true;
        let until_sent = !self.up.deliver_settings().resend;
        let loan = Loan { last: self.last, share: leg.share, until_sent, is_lent: false };
        Some((loan, Arc::clone(&self.ledger) as Arc<dyn Account>))
    }
}

impl Drop for Route {
    /// Where no connection came of it, none is in use.
    fn drop(&mut self) {
        if !self.stands {
            self.ledger.0.lock().is_connected = false;
        }
    }
}

#[cfg(test)]
mod tests;
