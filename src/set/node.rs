//! A node of the set: its properties, its counters, and its kept connections.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::balance::roster::NodeState;
use crate::base::error::Poison;
use crate::base::log::{Level, Repeated};
use crate::base::moment::Moment;
use crate::base::stats::{Counters, Snapshot};
use crate::base::sync::Mutex;
use crate::base::sync::atomic::AtomicBool;
use crate::base::text::brief;
use crate::config::{HealthSettings, NodeDefinition, NodeSettings, Owner, Properties};
use crate::net::patience::jittered;
use crate::net::pool::{Pool, Put, Sight};
use crate::net::target::Target;
use crate::net::tls::TlsClient;
use crate::set::link::{Link, UserData};
use crate::set::runtime::Runtime;
use crate::set::told_once::ToldOnce;

/// What a look at the kept connections needs to remember.
#[derive(Default)]
pub struct Signs {
    /// A look at them is planned.
    pub look_due: AtomicBool,
}

/// The active check of a node.
pub struct Checker {
    /// What it connects to; `None` if the node is not checked.
    pub(super) target: Option<Arc<Target>>,
    /// A check is planned.
    pub(super) due: std::sync::atomic::AtomicBool,
}

/// A node.
pub struct Node {
    /// Set after a defect was caught in a call on this node.
    pub poison: Poison,
    /// Its place in the file, from 0.
    pub place: usize,
    /// The node, as the dialer knows it.
    pub target: Arc<Target>,
    /// The counters of this node.
    pub counters: Counters,
    /// What keeps a failure that is reported in two ways from counting twice.
    pub told_once: ToldOnce,
    /// Failures that change nothing: the first is logged, the others are counted.
    pub failures: Repeated,
    /// The connections to it.
    pub pool: Pool<Box<Link>>,
    /// Shared with the other nodes.
    pub runtime: Arc<Runtime>,
    /// `health.*`.
    pub health: Arc<HealthSettings>,
    /// `health.check`.
    pub checker: Checker,
    /// The plugin's own data.
    pub data: Mutex<Option<UserData>>,
    /// What a look at its kept connections needs to remember.
    pub signs: Signs,
    /// The properties of all nodes.
    properties: Arc<Properties>,
    /// Which of the properties are its own.
    owner: Owner,
}

impl Node {
    /// The node of a definition. `tls` is made from its settings; `properties` holds those of all
    /// nodes.
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
        let target = Arc::new(Target {
            name,
            host,
            port,
            net,
            tls: tls.map(Arc::new),
            wary: Default::default(),
        });
        Node {
            poison: Poison::default(),
            place,
            counters: Counters::default(),
            told_once: ToldOnce::default(),
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

    /// Keeps a connection, whose permit the caller holds; closes it if the pool takes none.
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

    /// Closes every idle connection; if they are many, the dialer thread closes the rest, few at a
    /// time.
    pub fn close_idle(self: &Arc<Node>) {
        let (first, is_more) = self.pool.take_idle();
        self.close_all(first, is_more);
    }

    fn close_all(self: &Arc<Node>, links: impl IntoIterator<Item = Box<Link>>, is_more: bool) {
        links.into_iter().for_each(|link| self.retire_quietly(*link));
        if !is_more {
            return;
        }
        let node: Weak<Node> = Arc::downgrade(self);
        let go_on = move || {
            if let Some(node) = node.upgrade() {
                let (links, is_more) = node.pool.take_leaving();
                node.close_all(links, is_more);
            }
        };
        // Fails only if the dialer thread has ended, which closes the connections too.
        let _ = self.runtime.dialer.at(Moment::now().instant(), Box::new(go_on));
    }

    /// Has the dialer thread close the connections that have been idle too long or that the server
    /// has closed.
    fn purge_at(self: &Arc<Node>, when: Moment) {
        let node: Weak<Node> = Arc::downgrade(self); // the timer keeps nothing alive
        let purge = move || {
            let Some(node) = node.upgrade() else { return };
            let mut portion = Link::shared_portion();
            let look = |link: &mut Box<Link>| match () {
                () if portion.is_used_up() => Sight::Later,
                () if !link.is_too_old() && link.is_quiet_among(&mut portion) => Sight::Good,
                () => Sight::Bad,
            };
            let (gone, next) = node.pool.purge(Moment::now(), look);
            gone.into_iter().for_each(|link| node.retire_quietly(*link));
            if let Some(next) = next {
                node.purge_at(next);
            }
        };
        // Fails only if the dialer thread has ended, which closes the connections too.
        let _ = self.runtime.dialer.at(when.instant(), Box::new(purge));
    }

    /// The value of `key`, in any letter case, with the NUL byte that ends it.
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

    /// The generation that an outcome of work which begins now must carry.
    pub fn generation(&self) -> u32 {
        self.runtime.roster.generation(self.place)
    }

    /// Logs a line about this node.
    pub fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        let target = &self.target;
        self.runtime
            .logger
            .log(level, format_args!("{} ({}): {line}", brief(&target.name), target.address()));
    }

    /// Whether it is in the rotation, or why not.
    pub fn state(&self) -> NodeState {
        self.runtime.roster.state(self.place, || self.runtime.clock.now())
    }

    /// How long until the node is tried again; zero if it is up.
    pub fn retry_after(&self) -> Duration {
        self.runtime.roster.wait_for(self.place, self.runtime.clock.now())
    }

    /// Counters and gauges.
    pub fn snapshot(&self) -> Snapshot {
        let wait = !self.runtime.birthplace.is_elsewhere();
        let picks = self.runtime.roster.picks_of(self.place, wait).unwrap_or_default();
        Snapshot { picks, ..self.snapshot_without_picks() }
    }

    /// As [`Node::snapshot`], without the picks: with unequal weights, counting the picks of one
    /// node means reading the whole cycle.
    pub fn snapshot_without_picks(&self) -> Snapshot {
        // In a forked child the pool may be locked for ever.
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
