//! The set of nodes: made from a definition, hands out nodes by turns, ends everything that belongs
//! to it.

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
use crate::config::{
    self, Balance, Definition, DeliverSettings, NameIndex, NodeDefinition, Options, Start,
};
use crate::net::thread;
use crate::net::tls::TlsClients;
use crate::set::node::Node;
use crate::set::runtime::Runtime;

/// Stack of the thread that reads a file: parsing, certificates, and scrypt of an encrypted key.
/// Hosts call from coroutines of 24 KiB.
const LOAD_STACK: usize = 1024 * 1024;

/// A set of nodes.
pub struct Upstream {
    /// Set after a defect was caught in a call on this set.
    pub poison: Poison,
    nodes: Vec<Arc<Node>>,
    by_name: NameIndex,
    deliver: DeliverSettings,
    runtime: Arc<Runtime>,
    /// What retries are taken from.
    pub budget: Budget,
    name: CString,
    /// Payloads that no node took.
    pub deliveries_failed: AtomicU64,
    /// The same as log lines.
    pub undelivered: Repeated,
    /// Payloads that a plugin dropped, as log lines.
    pub dropped: Repeated,
    /// A number that is no status was told of.
    pub odd_told: AtomicBool,
}

/// What the host hooks into a set.
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
    /// In memory, with the name that errors call it.
    Text(Vec<u8>, String),
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
            Error::io(Status::NoMemory, "a thread to read the file cannot be started", &error)
        })?;
        // A defect in there goes on to the boundary, which answers for it.
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
            .map_err(|error| Error::io(Status::NoMemory, "an eventfd cannot be had", &error))?;
        let runtime = Arc::new(runtime);
        let mut clients = TlsClients::default();
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

    /// The node of that name, letter case counting.
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

    /// The address of the node whose turn it is, in a few instructions; what takes longer is left
    /// to [`Upstream::finish_next_node`].
    #[inline(always)]
    pub fn try_next_node(&self) -> Result<*const Node, Rest> {
        self.runtime.roster.try_next().map(ptr::with_exposed_provenance)
    }

    /// What is left of a pick.
    pub fn finish_next_node(&self, rest: Rest) -> Option<&Arc<Node>> {
        self.runtime
            .roster
            .finish(rest, || self.runtime.clock.now())
            .map(|place| &self.nodes[place])
    }

    /// How long until it is worth coming again: zero if a node is up and retries are to be had,
    /// `None` if none ever will be.
    pub fn retry_after(&self) -> Option<Duration> {
        let now = self.runtime.clock.now();
        let nodes =
            self.runtime.roster.retry_after(now, !self.runtime.birthplace.is_elsewhere())?;
        Some(nodes.max(self.budget.wait(now)))
    }

    /// Sums over the nodes.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for node in &self.nodes {
            sum.add(&node.snapshot_without_picks());
        }
        // A node's count is of attempts; the set's is of payloads that no node took.
        let picks =
            self.runtime.roster.picks(!self.runtime.birthplace.is_elsewhere()).unwrap_or_default();
        Snapshot { picks, deliveries_failed: self.deliveries_failed.load(Relaxed), ..sum }
    }

    /// Ends every call in flight and every later one that would connect, wait, read or write.
    pub fn cancel(&self) {
        if self.runtime.birthplace.is_elsewhere() {
            return; // nothing is in flight in a forked child, and what it calls says so
        }
        self.runtime.cancel.set();
        self.runtime.dialer.cancel();
        for node in &self.nodes {
            node.pool.cancel();
        }
    }

    /// Ends the set: idle connections are closed (with up to a second for their peers to read what
    /// is on its way), waits for new ones end, threads are joined. Connections in use go on; they
    /// are closed when they are given back.
    pub fn close(&self) {
        self.runtime.closed.store(true, Relaxed);
        if self.runtime.birthplace.is_elsewhere() {
            // The threads and perhaps the holders of locks are the parent's. Its peers are told
            // nothing.
            self.runtime.dialer.give_up();
            self.runtime.cancel.give_up();
            for node in &self.nodes {
                drop(node.pool.close());
            }
            return;
        }
        for node in &self.nodes {
            for link in node.pool.close() {
                node.retire_quietly(*link);
            }
        }
        self.runtime.dialer.stop();
    }
}

/// A trial is a connect plus handshake, so it ends by net.connect_timeout; its outcome is told a
/// little later, on a loaded machine later still. Were the trial over by then, another caller would
/// have the next trial already, and a node that is silent would be tried without a pause: no such
/// outcome counts.
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
