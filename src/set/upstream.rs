//! The set of nodes. It is made from a definition, hands out nodes in turn, and ends everything
//! that belongs to it.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::balance::Mode;
use crate::balance::breaker::BreakerSettings;
use crate::balance::budget::Budget;
use crate::balance::roster::{Member, Rest, Roster};
use crate::base::clock::Clock;
use crate::base::error::{Error, Poison, Result, Status, c_string};
use crate::base::log::{Level, Logger, Repeated};
use crate::base::random::random;
use crate::base::stats::Snapshot;
use crate::base::wiped::Wiped;
use crate::config::{
    self, Balance, Definition, DeliverSettings, NameIndex, NodeDefinition, Options, Start,
};
use crate::net::thread;
use crate::net::tls::TlsClients;
use crate::set::node::Node;
use crate::set::retries::Retries;
use crate::set::runtime::Runtime;

/// Stack of the thread that reads a file. Parsing, certificates and the scrypt of an encrypted key
/// need it; hosts call from coroutines of 24 KiB.
const LOAD_STACK: usize = 1024 * 1024;

/// A set of nodes.
pub struct Upstream {
    /// Set after a defect was caught in a call on this set.
    pub poison: Poison,
    nodes: Vec<Arc<Node>>,
    by_name: NameIndex,
    deliver: DeliverSettings,
    runtime: Arc<Runtime>,
    /// The retry budget.
    pub budget: Budget,
    /// The payloads that wait for it.
    pub retries: Retries,
    name: CString,
    /// How many payloads no node took.
    pub deliveries_failed: AtomicU64,
    /// Their log lines.
    pub undelivered: Repeated,
    /// The log lines of payloads that a plugin dropped.
    pub dropped: Repeated,
    /// It was logged that a callback returned a number that is no status.
    pub odd_told: AtomicBool,
}

/// What the host provides to a set.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Its log.
    pub logger: Logger,
    /// Its clock.
    pub clock: Clock,
}

/// Where the upstream file is.
pub enum Source {
    /// In the file system.
    File(PathBuf),
    /// In memory, with the name that errors use for it.
    Text(Wiped<Vec<u8>>, String),
}

impl Upstream {
    /// Reads and checks `source` and everything it names.
    pub fn load(source: Source, options: Options, hooks: Hooks) -> Result<Arc<Upstream>> {
        let work = move || {
            let definition = match source {
                Source::File(path) => config::load(&path, &options)?,
                Source::Text(text, name) => config::parse(&text, &name, &options)?,
            };
            Upstream::new(definition, hooks)
        };
        let thread = thread::spawn("upstream-load", LOAD_STACK, work).map_err(|error| {
            Error::io(Status::NoMemory, "cannot start a thread to read the file", &error)
        })?;
        // A panic in there goes on to the boundary, which reports it.
        thread.join().unwrap_or_else(|defect| std::panic::resume_unwind(defect))
    }

    pub(crate) fn new(mut definition: Definition, hooks: Hooks) -> Result<Arc<Upstream>> {
        let Hooks { logger, clock } = hooks;
        for warning in &definition.warnings {
            logger.log(Level::Warn, format_args!("{warning}"));
        }
        let mode = match definition.settings.balance {
            Balance::RoundRobin => Mode::RoundRobin,
        };
        let definitions = &definition.nodes;
        let start = match definition.settings.start {
            Start::First => 0,
            // The bias of the remainder is below 2^-40 for any set that fits in memory.
            Start::Random => (random() % definitions.len() as u64) as usize,
        };
        let members = definitions.iter().map(member).collect();
        let roster =
            Roster::new(mode, members, start, random(), clock.now(), clock.runs_by_itself());
        let runtime = Runtime::new(roster, clock, logger)
            .map_err(|error| Error::io(Status::NoMemory, "cannot create an eventfd", &error))?;
        let runtime = Arc::new(runtime);
        let mut clients = TlsClients::new(&runtime.logger);
        let mut nodes = Vec::with_capacity(definition.nodes.len());
        for (place, node) in std::mem::take(&mut definition.nodes).into_iter().enumerate() {
            let tls = match &node.settings.tls {
                Some(tls) => {
                    Some(clients.client(tls, &node.host, || definition.position_of(&node))?)
                }
                None => None,
            };
            let properties = Arc::clone(&definition.properties);
            nodes.push(Arc::new(Node::new(place, node, tls, properties, Arc::clone(&runtime))));
        }
        for warning in &clients.warnings {
            runtime.logger.log(Level::Warn, format_args!("{warning}"));
        }
        runtime.roster.set_tokens(nodes.iter().map(|node| Arc::as_ptr(node).expose_provenance()));
        let Definition { name, settings, index, .. } = definition;
        Ok(Arc::new(Upstream {
            poison: Poison::default(),
            nodes,
            by_name: index,
            deliver: settings.deliver,
            runtime,
            budget: Budget::default(),
            retries: Retries::default(),
            name: c_string(&name),
            deliveries_failed: AtomicU64::new(0),
            undelivered: Repeated::default(),
            dropped: Repeated::default(),
            odd_told: AtomicBool::new(false),
        }))
    }

    /// The set's name.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// The nodes in file order.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The node of that name; letter case counts.
    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.by_name
            .find(name, |place| &self.nodes[place].target.name)
            .map(|place| &self.nodes[place])
    }

    /// `deliver.*`.
    pub fn deliver_settings(&self) -> &DeliverSettings {
        &self.deliver
    }

    /// What the nodes share.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The address of the node whose turn it is, in a few instructions. `Err` if it takes longer:
    /// then call [`Upstream::finish_next_node`].
    #[inline(always)]
    pub fn try_next_node(&self) -> Result<*const Node, Rest> {
        self.runtime.roster.try_next().map(ptr::with_exposed_provenance)
    }

    /// Finishes a pick that [`Upstream::try_next_node`] began.
    pub fn finish_next_node(&self, rest: Rest) -> Option<&Arc<Node>> {
        self.runtime
            .roster
            .finish(rest, || self.runtime.clock.now())
            .map(|place| &self.nodes[place])
    }

    /// How long until the next attempt is worth making: zero if a node is up and the budget has a
    /// retry; `None` if no node takes turns.
    pub fn retry_after(&self) -> Option<Duration> {
        let now = self.runtime.clock.now();
        let nodes =
            self.runtime.roster.retry_after(now, !self.runtime.birthplace.is_elsewhere())?;
        Some(nodes.max(self.budget.wait(now)))
    }

    /// A payload was delivered.
    #[inline]
    pub fn arrived(&self) {
        if self.budget.succeeded() {
            self.retries.refilled();
        }
    }

    /// Sums over the nodes.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for node in &self.nodes {
            sum.add(&node.snapshot_without_picks());
        }
        // A node counts failed attempts; the set counts payloads that no node took.
        let picks =
            self.runtime.roster.picks(!self.runtime.birthplace.is_elsewhere()).unwrap_or_default();
        Snapshot { picks, deliveries_failed: self.deliveries_failed.load(Relaxed), ..sum }
    }

    /// Ends every call in flight, and every later one that would connect, wait, read or write.
    pub fn cancel(&self) {
        if self.runtime.birthplace.is_elsewhere() {
            return; // nothing is in flight in a forked child, and what it calls says so
        }
        self.runtime.cancel.set();
        self.runtime.dialer.cancel();
        self.retries.call_all();
        for node in &self.nodes {
            node.pool.cancel();
        }
    }

    /// Ends the set. Idle connections are closed; their peers have up to a second to read what is
    /// on its way. Waits for new connections end, and threads are joined. Connections in use go on,
    /// and are closed when they are given back.
    pub fn close(&self) {
        self.runtime.closed.store(true, Relaxed);
        if self.runtime.birthplace.is_elsewhere() {
            // The threads belong to the parent, and so may the holders of locks. The peers of the
            // parent must not notice anything.
            self.runtime.dialer.give_up();
            self.runtime.cancel.give_up();
            for node in &self.nodes {
                drop(node.pool.close());
            }
            return;
        }
        self.retries.call_all();
        for node in &self.nodes {
            for link in node.pool.close() {
                node.retire_quietly(*link);
            }
        }
        self.runtime.dialer.stop();
    }
}

/// How much longer a trial may take than net.connect_timeout. It is a connect with its handshake,
/// so it ends by that timeout, but its outcome is reported a little later, and later still on a
/// busy machine. If the trial were over by then, its outcome would not count and another caller
/// would already have the next trial: a silent node would be tried without a pause.
const TRIAL_MARGIN: Duration = Duration::from_secs(1);

fn member(definition: &NodeDefinition) -> Member {
    let settings = &definition.settings;
    Member {
        weight: settings.weight,
        priority: settings.priority,
        breaker: BreakerSettings {
            max_fails: settings.health.max_fails,
            backoff: settings.health.backoff,
            backoff_max: settings.health.backoff_max,
            trial_time: settings.net.connect_timeout + TRIAL_MARGIN,
        },
    }
}
