//! `upstream_stats_t`: counters and gauges.

use crate::base::error::Status;
use crate::base::stats::{Snapshot, reading_as};
use crate::ffi::boundary::shared;
use crate::ffi::error::number;
use crate::ffi::node::upstream_node_t;
use crate::ffi::set::upstream_t;
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// Counters since the set was created, and gauges.
///
/// Start from UPSTREAM_STATS_INIT. The library fills as much as your `struct_size` has room for.
/// Later versions add fields at the end.
#[repr(C)]
pub struct upstream_stats_t {
    /// sizeof(upstream_stats_t), as UPSTREAM_STATS_INIT sets it.
    pub struct_size: usize,
    /// Times that the node, or any node of the set, was picked.
    pub picks: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connects_failed: u64,
    /// TLS handshakes that went well.
    pub handshakes: u64,
    /// Times that a kept connection was used again.
    pub reused: u64,
    /// Times that a node was ejected.
    pub ejections: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payloads delivered, and successes that the plugin reported.
    pub deliveries: u64,
    /// Payloads that came to this node after they had failed at another.
    pub redeliveries: u64,
    /// Of a node: payloads that failed there. Of a set: payloads that no node took, or that the
    /// plugin dropped.
    pub deliveries_failed: u64,
    /// Gauge: connections kept for reuse.
    pub idle: u64,
    /// Gauge: connections in use.
    pub active: u64,
    /// Gauge: nodes that are up.
    pub nodes_up: u64,
    /// Gauge: nodes.
    pub nodes: u64,
}

impl From<Snapshot> for upstream_stats_t {
    fn from(reading: Snapshot) -> Self {
        reading_as!(reading => upstream_stats_t { struct_size: size_of::<Self>() })
    }
}

/// Reads the counters of the whole set.
///
/// Returns:
/// - UPSTREAM_OK: `*out` is filled.
/// - UPSTREAM_ERR_INVALID_ARG: `up` or `out` is NULL, or `out->struct_size` is less than
///   sizeof(size_t).
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: one step for each node. It holds a lock for a moment. In a forked child it does not wait
/// for locks: what it cannot read is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_stats(
    up: *const upstream_t,
    out: *mut upstream_stats_t,
) -> upstream_status_t {
    shared!(up, number => |up: &Upstream| fill(out, up.snapshot()))
}

/// Reads the counters of one node.
///
/// Returns: as upstream_stats(), with `n` for `up`.
///
/// Time: constant; if weights differ, one step for each turn of the rotation. It holds locks for a
/// moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_stats(
    n: *const upstream_node_t,
    out: *mut upstream_stats_t,
) -> upstream_status_t {
    shared!(n, number => |node: &Node| fill(out, node.snapshot()))
}

fn fill(out: *mut upstream_stats_t, snapshot: Snapshot) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    // SAFETY: not NULL; by the API's rules there is at least a `struct_size`.
    let room = unsafe { (*out).struct_size };
    if room < size_of::<usize>() {
        return number(Status::InvalidArg);
    }
    let full = upstream_stats_t { struct_size: room, ..snapshot.into() };
    let bytes = room.min(size_of::<upstream_stats_t>());
    // SAFETY: the caller has room for `room` bytes, and `full` for `bytes`; the two do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), out.cast::<u8>(), bytes)
    };
    UPSTREAM_OK
}
