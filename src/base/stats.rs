//! Counters of a node, and their sums over a set. Plain relaxed atomics: exact, never a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What has happened at one node since the set was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections made (TCP, and TLS where it is set).
    pub connects: AtomicU64,
    /// Connections that could not be made.
    pub connects_failed: AtomicU64,
    /// TLS handshakes finished.
    pub handshakes: AtomicU64,
    /// Times a connection was taken from the pool.
    pub reused: AtomicU64,
    /// Payload bytes handed to the system.
    pub bytes_out: AtomicU64,
    /// Payload bytes received.
    pub bytes_in: AtomicU64,
    /// Deliveries that ended well here.
    pub deliveries: AtomicU64,
    /// Deliveries that came here after failing elsewhere.
    pub redeliveries: AtomicU64,
    /// Delivery attempts that failed here.
    pub deliveries_failed: AtomicU64,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Adds `n`.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// A reading of the counters and gauges, of a node or of a whole set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Times the node (any node) was handed out.
    pub picks: u64,
    /// See [`Counters::connects`].
    pub connects: u64,
    /// See [`Counters::connects_failed`].
    pub connects_failed: u64,
    /// See [`Counters::handshakes`].
    pub handshakes: u64,
    /// See [`Counters::reused`].
    pub reused: u64,
    /// Times a node was taken out of the rotation.
    pub ejections: u64,
    /// See [`Counters::bytes_out`].
    pub bytes_out: u64,
    /// See [`Counters::bytes_in`].
    pub bytes_in: u64,
    /// See [`Counters::deliveries`].
    pub deliveries: u64,
    /// See [`Counters::redeliveries`].
    pub redeliveries: u64,
    /// Of a node: attempts that failed there. Of a set: payloads that no node took.
    pub deliveries_failed: u64,
    /// Connections lying in the pool.
    pub idle: u64,
    /// Connections in use.
    pub active: u64,
    /// Nodes in the rotation.
    pub nodes_up: u64,
    /// Nodes.
    pub nodes: u64,
}

impl Snapshot {
    /// The counters of one node, without its gauges and picks.
    pub fn of(counters: &Counters) -> Self {
        Snapshot {
            connects: counters.connects.load(Relaxed),
            connects_failed: counters.connects_failed.load(Relaxed),
            handshakes: counters.handshakes.load(Relaxed),
            reused: counters.reused.load(Relaxed),
            bytes_out: counters.bytes_out.load(Relaxed),
            bytes_in: counters.bytes_in.load(Relaxed),
            deliveries: counters.deliveries.load(Relaxed),
            redeliveries: counters.redeliveries.load(Relaxed),
            deliveries_failed: counters.deliveries_failed.load(Relaxed),
            ..Snapshot::default()
        }
    }

    /// Adds another reading, field by field.
    pub fn add(&mut self, other: &Snapshot) {
        self.picks += other.picks;
        self.connects += other.connects;
        self.connects_failed += other.connects_failed;
        self.handshakes += other.handshakes;
        self.reused += other.reused;
        self.ejections += other.ejections;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.deliveries += other.deliveries;
        self.redeliveries += other.redeliveries;
        self.deliveries_failed += other.deliveries_failed;
        self.idle += other.idle;
        self.active += other.active;
        self.nodes_up += other.nodes_up;
        self.nodes += other.nodes;
    }
}
