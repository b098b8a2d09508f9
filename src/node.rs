//! A member of the set: its properties, its counters, and the connections kept to it.

use std::any::Any;
use std::ffi::{CStr, CString};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::balance::Rotation;
use crate::config::{NodeDefinition, NodeSettings, Property};
use crate::error::{Poison, Status, c_string};
use crate::log::Logger;
use crate::net::cancel::Cancel;
use crate::net::channel::Channel;
use crate::net::dial::Dialer;
use crate::net::pool::Pool;
use crate::net::target::Target;
use crate::net::tls::TlsClient;
use crate::process::Birthplace;
use crate::stats::{Counters, Snapshot, count};
use crate::sync::Mutex;

/// What all nodes of a set share.
pub struct Runtime {
    /// Makes connections.
    pub dialer: Dialer,
    /// The host's log.
    pub logger: Logger,
    /// Whose turn it is.
    pub rotation: Rotation,
    /// The process the set was made in.
    pub birthplace: Birthplace,
    /// The word to end every call in flight and every later one.
    pub cancel: Arc<Cancel>,
    /// The set was destroyed: nothing new is begun.
    pub closed: AtomicBool,
}

impl Runtime {
    /// A runtime with no thread yet.
    pub fn new(rotation: Rotation, logger: Logger) -> io::Result<Runtime> {
        let cancel = Arc::new(Cancel::new()?);
        Ok(Runtime {
            dialer: Dialer::new(Arc::clone(&cancel))?,
            cancel,
            logger,
            rotation,
            birthplace: Birthplace::here(),
            closed: AtomicBool::new(false),
        })
    }
}

impl Runtime {
    /// Closes a connection in good order, without waiting for the peer.
    pub fn close(&self, link: Link) {
        if let Some(socket) = link.channel.close() {
            self.dialer.linger(socket);
        }
    }
}

/// Anything a plugin attaches to a node or a connection; dropped with it.
pub type UserData = Box<dyn Any + Send>;

/// A connection that can be kept: the stream and its history.
pub struct Link {
    /// The stream.
    pub channel: Channel,
    /// When it is too old to be kept, if `net.keepalive_max_lifetime` says so.
    pub expires: Option<Instant>,
    /// How often it was handed out.
    pub uses: u32,
    /// The plugin's own data ("logged in").
    pub data: Option<UserData>,
}

impl Link {
    /// Whether its lifetime is over.
    pub fn is_too_old(&self) -> bool {
        self.expires.is_some_and(|expires| Instant::now() >= expires)
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
    /// Connections to it.
    pub pool: Pool<Box<Link>>,
    /// Shared with the other nodes.
    pub runtime: Arc<Runtime>,
    /// The plugin's own data.
    pub data: Mutex<Option<UserData>>,
    properties: Properties,
    name: CString,
    host: CString,
}

impl Node {
    /// The node of a definition; `tls` is made from its settings.
    pub fn new(
        place: usize,
        definition: NodeDefinition,
        tls: Option<TlsClient>,
        runtime: Arc<Runtime>,
    ) -> Node {
        let NodeDefinition { name, host, port, properties, settings, .. } = definition;
        let NodeSettings { net, .. } = settings;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let pool = Pool::new(net.max_connections as usize, net.keepalive_idle_timeout);
        Node {
            poison: Poison::default(),
            place,
            counters: Counters::default(),
            pool,
            runtime,
            data: Mutex::new(None),
            properties: Properties::new(&properties),
            name: c_string(&name),
            host: c_string(&host),
            target: Arc::new(Target { name: name.into(), host, port, address: address.into(), net, tls }),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// Host name or numeric address, without brackets.
    pub fn host(&self) -> &CStr {
        &self.host
    }

    /// The value of `key` in any letter case.
    pub fn property(&self, key: &[u8]) -> Option<&CStr> {
        self.properties.get(key)
    }

    /// All properties, in the order of [`NodeDefinition::properties`].
    pub fn properties(&self) -> &[(CString, CString)] {
        &self.properties.entries
    }

    /// How the work of a plugin that does its own I/O went.
    pub fn report(&self, outcome: Status) {
        match outcome {
            Status::Ok => count(&self.counters.deliveries),
            failed if (failed as i32) < 0 => count(&self.counters.deliveries_failed),
            _ => {}
        }
    }

    /// Counters and gauges.
    pub fn snapshot(&self) -> Snapshot {
        // In a forked child the pool may be out of reach.
        let (idle, open) = self.pool.gauge().unwrap_or_default();
        Snapshot {
            picks: self.runtime.rotation.picks_of(self.place),
            idle: idle as u64,
            active: (open - idle) as u64,
            nodes_up: 1,
            nodes: 1,
            ..Snapshot::of(&self.counters)
        }
    }
}

/// Properties by name. Small by nature, so a scan over hashes beats a table.
#[derive(Debug)]
struct Properties {
    hashes: Box<[u32]>,
    entries: Box<[(CString, CString)]>,
}

impl Properties {
    fn new(properties: &[Property]) -> Self {
        Properties {
            hashes: properties.iter().map(|property| hash(property.key.as_bytes())).collect(),
            entries: properties
                .iter()
                .map(|property| (c_string(&property.key), c_string(&property.value)))
                .collect(),
        }
    }

    fn get(&self, key: &[u8]) -> Option<&CStr> {
        let wanted = hash(key);
        self.hashes.iter().zip(&self.entries).find_map(|(hash, (name, value))| {
            (*hash == wanted && name.as_bytes().eq_ignore_ascii_case(key)).then_some(value.as_c_str())
        })
    }
}

/// FNV-1a (Fowler, Noll, Vo; 32 bit) over the lower-case letters.
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}
