//! A member of the set: its properties, its counters, and the connections kept to it.

use std::any::Any;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::balance::breaker::{Fault, Proof, Way};
use crate::balance::roster::{Change, LONGEST_PAUSE, NodeState, Roster, Turn};
use crate::balance::visits::PATIENCE;
use crate::base::clock::Clock;
use crate::base::error::{Blame, Error, Poison, Status};
use crate::base::log::{Level, Logger, Repeated};
use crate::base::moment::Moment;
use crate::base::process::Birthplace;
use crate::base::stats::{Counters, Snapshot, count};
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::config::{HealthSettings, NodeDefinition, NodeSettings, Owner, Properties};
use crate::net::cancel::Cancel;
use crate::net::channel::{Channel, Ending, Look};
use crate::net::dial::{Dialer, Task};
use crate::net::patience::{after, jittered};
use crate::net::pool::{Pool, Put};
use crate::net::target::Target;
use crate::net::tls::TlsClient;
use crate::set::check::Checker;
use crate::set::outcome::{Outcome, Words, fault_of, of_status};
use crate::set::payload::PayloadIds;

/// What all nodes of a set share.
pub struct Runtime {
    /// Makes connections.
    pub dialer: Dialer,
    /// The host's log.
    pub logger: Logger,
    /// Whose turn it is, and who is out.
    pub roster: Roster,
    /// What the roster goes by.
    pub clock: Clock,
    /// The process the set was made in.
    pub birthplace: Birthplace,
    /// The word to end every call in flight and every later one.
    pub cancel: Arc<Cancel>,
    /// The set was destroyed: nothing new is begun.
    pub closed: AtomicBool,
    /// What payloads are called.
    pub payload_ids: PayloadIds,
}

impl Runtime {
    /// A runtime with no thread yet.
    pub fn new(roster: Roster, clock: Clock, logger: Logger) -> io::Result<Runtime> {
        let cancel = Arc::new(Cancel::new()?);
        Ok(Runtime {
            dialer: Dialer::new(Arc::clone(&cancel))?,
            cancel,
            logger,
            roster,
            clock,
            birthplace: Birthplace::here(),
            closed: AtomicBool::new(false),
            payload_ids: PayloadIds::default(),
        })
    }
}

impl Runtime {
    /// Adds when a node may be back, where none is up.
    pub fn outlook(&self, mut error: Error) -> Error {
        let wait = self.roster.retry_after(self.clock.now(), !self.birthplace.is_elsewhere());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let millis = millis(wait);
            error.cause = format!("{}; all nodes are out, one may be back in {millis} ms", error.cause);
        }
        error
    }

    /// Sees to it that picks that follow each other closely, and so seldom look at the clock, look at it when
    /// something is next due. Not called by a pick, which makes no system call.
    pub fn guard(self: &Arc<Runtime>) {
        let Some(when) = self.roster.wants_guard() else { return };
        let left = Duration::from_nanos(when.saturating_sub(self.clock.now()));
        let runtime = Arc::downgrade(self); // the timer keeps nothing alive
        let ring = move || {
            if let Some(runtime) = runtime.upgrade() {
                runtime.roster.ring();
            }
        };
        // Where no thread can be had picks look at the clock each.
        if self.dialer.at(after(Instant::now(), left), Box::new(ring)).is_ok() {
            self.roster.guard(when);
        }
    }

    /// Closes a connection in good order, without waiting for the peer. `on_reset` is called on the dialer thread
    /// if the peer resets it all the same.
    pub fn close(&self, channel: Channel, on_reset: Option<Task>) {
        if let Some(socket) = channel.close() {
            self.dialer.linger(socket, on_reset);
        }
    }
}

/// What is remembered of the signs that the kept connections of a node gave.
#[derive(Default)]
pub struct Signs {
    /// A look at them is to come.
    pub look_due: AtomicBool,
}

/// Anything a plugin attaches to a node or a connection; dropped with it.
pub type UserData = Box<dyn Any + Send>;

/// A connection that can be kept: the stream and its history.
pub struct Link {
    /// The stream.
    pub channel: Channel,
    /// When it was opened.
    pub opened: Moment,
    /// When it is too old to be kept, if `net.keepalive_max_lifetime` says so.
    pub expires: Option<Moment>,
    /// How often it was handed out.
    pub uses: u32,
    /// It was made by a trial that its caller had left, of a node that is still out.
    pub of_trial: bool,
    /// The node's generation when it was handed out last.
    pub generation: u32,
    /// Bytes of a payload were sent on it.
    pub carried: bool,
    /// It was still alive a second after it was opened, and the node was told so.
    pub stood: bool,
    /// What it was found ended by.
    pub found: Option<Box<Ending>>,
    /// The plugin's own data ("logged in").
    pub data: Option<UserData>,
}

impl Link {
    /// Whether its lifetime is over.
    pub fn is_too_old(&self) -> bool {
        self.expires.is_some_and(|expires| Moment::now() >= expires)
    }

    /// Whether it may be used again. If it has ended, [`Link::found`] says by what.
    #[inline(always)]
    pub fn is_quiet(&mut self) -> bool {
        match self.channel.look() {
            Look::Quiet => true,
            Look::Ended(ending) => {
                self.found = Some(Box::new(ending));
                false
            }
        }
    }
}

/// A node.
pub struct Node {
    /// Set after a defect was caught in a call on this node.
    pub poison: Poison,
    /// Its place in the file, from 0.
    pub place: usize,
    /// The node as the dialer knows it.
    pub target: Arc<Target>,
    /// What happened here.
    pub counters: Counters,
    /// What a plugin told of work here by the node alone.
    pub reports: Words,
    /// Failures of connections that were asked for by the node alone.
    pub failed_alone: Words,
    /// What attempts told of a plugin's own work here.
    pub spoken: Words,
    /// Attempts that are here with work of the plugin's own, which they speak for.
    pub visitors: AtomicUsize,
    /// See [`Node::note_failure`].
    is_failure_noted: AtomicBool,
    /// Failures that change nothing: told once, then counted.
    pub failures: Repeated,
    /// Connections to it.
    pub pool: Pool<Box<Link>>,
    /// Shared with the other nodes.
    pub runtime: Arc<Runtime>,
    /// `health.*`.
    pub health: Arc<HealthSettings>,
    /// `health.check`.
    pub checker: Checker,
    /// The plugin's own data.
    pub data: Mutex<Option<UserData>>,
    /// What its kept connections have shown.
    pub signs: Signs,
    /// Those of all nodes.
    properties: Arc<Properties>,
    /// Its own among them.
    owner: Owner,
}

impl Node {
    /// The node of a definition; `tls` is made from its settings, `properties` are those of all nodes.
    pub fn new(
        place: usize,
        definition: NodeDefinition,
        tls: Option<TlsClient>,
        properties: Arc<Properties>,
        runtime: Arc<Runtime>,
    ) -> Node {
        let NodeDefinition { name, host, port, owner, settings, .. } = definition;
        let NodeSettings { net, health, .. } = settings;
        // At least a millisecond, so that a timer for it never fires in a loop.
        let idle_timeout = jittered(net.keepalive_idle_timeout).max(Duration::from_millis(1));
        let cap = net.max_connections as usize;
        let target =
            Arc::new(Target { name, host, port, net, tls: tls.map(Arc::new), wary: Default::default() });
        Node {
            poison: Poison::default(),
            place,
            counters: Counters::default(),
            reports: Words::default(),
            failed_alone: Words::default(),
            spoken: Words::default(),
            visitors: AtomicUsize::new(0),
            is_failure_noted: AtomicBool::new(false),
            failures: Repeated::default(),
            pool: Pool::new(cap, idle_timeout),
            runtime,
            checker: Checker::new(health.check, &target),
            health,
            data: Mutex::new(None),
            signs: Signs::default(),
            properties,
            owner,
            target,
        }
    }

    /// Keeps a connection whose place the caller holds, or closes it where the pool takes none.
    pub fn keep(self: &Arc<Node>, link: Box<Link>) {
        self.look_again(&link);
        match self.pool.put(link, |old| self.retire_quietly(*old)) {
            Put::Kept { purge: None } => {}
            Put::Kept { purge: Some(when) } => self.purge_at(when),
            Put::Refused(link) => {
                self.retire_quietly(*link);
                self.pool.leave();
            }
        }
    }

    /// Closes every idle connection.
    pub fn close_idle(self: &Arc<Node>) {
        for link in self.pool.take_idle() {
            self.retire_quietly(*link);
        }
    }

    /// Has the dialer thread close what will have lain idle too long, and what the server has closed, without a caller.
    fn purge_at(self: &Arc<Node>, when: Moment) {
        let node: Weak<Node> = Arc::downgrade(self); // the timer keeps nothing alive
        let purge = move || {
            let Some(node) = node.upgrade() else { return };
            let good = |link: &mut Box<Link>| !link.is_too_old() && link.is_quiet();
            let (gone, next) = node.pool.purge(Moment::now(), good);
            gone.into_iter().for_each(|link| node.retire_quietly(*link));
            if let Some(next) = next {
                node.purge_at(next);
            }
        };
        // It fails only where no thread runs any more, which closes them too.
        let _ = self.runtime.dialer.at(when.instant(), Box::new(purge));
    }

    /// The node's name.
    pub fn name(&self) -> &CStr {
        self.target.name.as_c_str()
    }

    /// Host name or numeric address, without brackets.
    pub fn host(&self) -> &CStr {
        self.target.host.as_c_str()
    }

    /// The value of `key` in any letter case, with the NUL byte that ends it.
    #[inline]
    pub fn property(&self, key: &[u8]) -> Option<&[u8]> {
        self.properties.get(self.owner, key)
    }

    /// How many properties it has.
    pub fn count_of_properties(&self) -> usize {
        self.properties.count(self.owner)
    }

    /// Key and value of a property, as [`Properties::at`] orders them.
    pub fn property_at(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.properties.at(self.owner, index)
    }

    /// What an outcome of work begun now must carry.
    pub fn generation(&self) -> u32 {
        self.runtime.roster.generation(self.place)
    }

    /// A plugin that does its own I/O tells how it went.
    pub fn told(self: &Arc<Self>, outcome: Status) {
        self.book(outcome);
        if (outcome as i32) < 0 && self.is_failure_noted.swap(false, Relaxed) {
            return;
        }
        self.reports.add();
        self.hear(self.generation(), None, self.outcome_of(outcome));
    }

    /// A connection told of its own failure: the plugin's next word about the node, unless another exchange begins
    /// there before, is about the same and counts no more.
    pub fn note_failure(&self) {
        self.is_failure_noted.store(true, Relaxed);
    }

    /// An exchange begins.
    #[inline]
    pub fn forget_failure(&self) {
        if self.is_failure_noted.load(Relaxed) {
            self.is_failure_noted.store(false, Relaxed);
        }
    }

    /// Counts a delivery by its outcome.
    pub fn book(&self, outcome: Status) {
        if outcome == Status::Ok {
            count(&self.counters.deliveries);
        } else if outcome == Status::Stop || (outcome as i32) < 0 {
            count(&self.counters.deliveries_failed);
        }
    }

    /// What a status of the plugin's says, where it did the I/O.
    pub fn outcome_of(&self, status: Status) -> Outcome {
        of_status(status, true, || Error::new(status, format!("the plugin reported {}", status.name())))
    }

    /// How an exchange of `generation` went. Whether that says anything of the node.
    pub fn hear(self: &Arc<Self>, generation: u32, trial: Option<Turn>, outcome: Outcome) -> bool {
        let said = match outcome {
            Outcome::Nothing => false,
            Outcome::Good(proof) => {
                self.succeeded(generation, proof);
                true
            }
            Outcome::Busy(time) => {
                self.succeeded(generation, Proof::Busy);
                self.pause(time);
                true
            }
            Outcome::Bad(error) => match fault_of(&error) {
                Some(fault) => {
                    self.fell_out(generation, fault, &error.without_place());
                    true
                }
                None => false,
            },
        };
        if let Some(turn) = trial.filter(|_| !said) {
            self.give_back(turn, PATIENCE); // it told nothing of the node, which need not wait for the lease to end
        }
        said
    }

    /// No new turns for so long; `health.backoff` where no time is given.
    pub fn pause(&self, time: Option<Duration>) {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return;
        }
        let time = time.filter(|time| !time.is_zero()).unwrap_or(self.health.backoff);
        if runtime.roster.pause(self.place, time, runtime.clock.now()) {
            let millis = millis(time.min(LONGEST_PAUSE));
            self.log(Level::Info, format_args!("paused for {millis} ms: it cannot take more now"));
        }
        self.runtime.guard();
    }

    /// A line about this node.
    pub fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        let target = &self.target;
        self.runtime.logger.log(level, format_args!("{} ({}): {line}", target.name, target.address()));
    }

    /// Work of `generation` here went well.
    pub fn succeeded(&self, generation: u32, proof: Proof) {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return; // what the parent knows stays as it was
        }
        let now = || runtime.clock.now();
        if let Some(Change::Restored) = runtime.roster.succeeded(self.place, generation, proof, now) {
            self.log(Level::Info, format_args!("back in the rotation"));
            runtime.guard();
        }
    }

    /// A connection that carried payloads without an answer has lived on.
    pub fn stood(&self, generation: u32) {
        self.succeeded(generation, Proof::Stood);
    }

    /// A kept connection of `generation` ended in a way that says something of the node though no call had failed:
    /// payloads that were booked may be lost. Whether the node fell out over it.
    pub fn evidence(self: &Arc<Self>, generation: u32, error: &Error) -> bool {
        let fault = match fault_of(error) {
            Some(Fault::Soft(Way::Broken)) => Some(Fault::Soft(Way::Unanswered)),
            fault => fault,
        };
        let ejected = fault.is_some_and(|fault| self.fell_out(generation, fault, &error.without_place()));
        if !ejected && fault.is_some() {
            self.failures.log(&self.runtime.logger, Level::Warn, format_args!("{error}"));
        }
        ejected
    }

    /// Work of `generation` here failed. What is no fault of the node's changes nothing. Whether it fell out over it.
    pub fn failed(self: &Arc<Self>, generation: u32, error: &Error) -> bool {
        fault_of(error).is_some_and(|fault| self.fell_out(generation, fault, &error.without_place()))
    }

    /// A new connection stands; an exchange over it carries the generation that this gives.
    pub fn connected(&self, generation: u32) -> u32 {
        if self.runtime.roster.due(self.place).is_none() {
            return generation;
        }
        self.succeeded(generation, Proof::Connected);
        // Back by this, the exchange begins now; a node that has yet to answer is still on its trial.
        if self.runtime.roster.due(self.place).is_none() { self.generation() } else { generation }
    }

    /// No connection could be made in `waited`. Whether the node fell out over it.
    pub fn connect_failed(self: &Arc<Self>, generation: u32, error: &Error, waited: Duration) -> bool {
        let allowed = self.target.net.connect_timeout;
        match error.status {
            Status::Timeout if is_black_hole(waited, allowed) => {
                self.fell_out(generation, Fault::Hard(Way::Connect), &error.without_place())
            }
            Status::Timeout if !had_its_time(waited, allowed) => false,
            _ => self.failed(generation, error),
        }
    }

    /// It failed; whether it is out of the rotation over it.
    fn fell_out(self: &Arc<Self>, generation: u32, fault: Fault, why: &dyn fmt::Display) -> bool {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return false;
        }
        let change = runtime.roster.failed(self.place, generation, fault, runtime.clock.now());
        let Some(Change::Ejected(time)) = change else { return false };
        let millis = time.as_millis();
        self.log(Level::Warn, format_args!("out of the rotation for {millis} ms, after {why}"));
        // What still lies there was opened to what has just failed.
        self.close_idle();
        self.check_until_back();
        runtime.guard();
        true
    }

    /// The trial of it told nothing; another may be had after `pause`.
    pub fn give_back(&self, turn: Turn, pause: Duration) {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return;
        }
        runtime.roster.give_back(turn, runtime.clock.now().saturating_add(pause.as_nanos() as u64));
    }

    /// In or out of the rotation.
    pub fn state(&self) -> NodeState {
        self.runtime.roster.state(self.place, || self.runtime.clock.now())
    }

    /// How long until the node is tried again; zero where it is up.
    pub fn retry_after(&self) -> Duration {
        self.runtime.roster.wait_for(self.place, self.runtime.clock.now())
    }

    /// Counters and gauges.
    pub fn snapshot(&self) -> Snapshot {
        let wait = !self.runtime.birthplace.is_elsewhere();
        let picks = self.runtime.roster.picks_of(self.place, wait).unwrap_or_default();
        Snapshot { picks, ..self.snapshot_without_picks() }
    }

    /// As [`Node::snapshot`]: with uneven weights the picks of one node take a look at the whole cycle.
    pub fn snapshot_without_picks(&self) -> Snapshot {
        // In a forked child the pool may be out of reach.
        let (idle, open) = self.pool.gauge().unwrap_or_default();
        Snapshot {
            ejections: self.runtime.roster.ejections(self.place),
            idle: idle as u64,
            active: (open - idle) as u64,
            nodes_up: u64::from(self.state() == NodeState::Up),
            nodes: 1,
            ..Snapshot::of(&self.counters)
        }
    }
}

/// Whole milliseconds, rounded up: nobody is to come back too early.
pub fn millis(time: Duration) -> u128 {
    time.as_nanos().div_ceil(1_000_000)
}

/// A black hole is to cost one attempt, once; a caller's own short limit is no proof of one.
pub(crate) fn is_black_hole(waited: Duration, connect_timeout: Duration) -> bool {
    waited >= SILENCE.min(connect_timeout.mul_f64(0.95))
}

/// Nothing for so long is no lost packet: Linux sends a SYN again after 1 s and after 3 s.
const SILENCE: Duration = Duration::from_secs(3);

/// Whether a silence of `waited` may count against a node that is allowed `allowed`: a shorter limit of the caller's
/// says nothing of it.
pub(crate) fn had_its_time(waited: Duration, allowed: Duration) -> bool {
    waited >= ENOUGH.min(allowed.mul_f64(0.95))
}

/// So long a node that is well has answered on any network.
const ENOUGH: Duration = Duration::from_secs(1);

/// Whose limit it was that a node was silent through.
pub(crate) fn blame_for_silence(waited: Duration, allowed: Duration) -> Blame {
    if had_its_time(waited, allowed) { Blame::Open } else { Blame::Caller }
}
