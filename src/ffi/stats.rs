//! `upstream_stats_t`: counters and gauges.

use crate::base::error::Status;
use crate::base::stats::Snapshot;
use crate::ffi::error::number;
use crate::ffi::node::upstream_node_t;
use crate::ffi::panic::boundary;
use crate::ffi::set::upstream_t;
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// Counters since the set was created, and gauges. Set `struct_size` first (UPSTREAM_STATS_INIT does): the library
/// fills as much as the caller's struct has room for. It only ever grows at the end.
#[repr(C)]
pub struct upstream_stats_t {
    /// sizeof(upstream_stats_t), set by the caller.
    pub struct_size: usize,
    /// Times the node (of a set: any node) was handed out.
    pub picks: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connects_failed: u64,
    /// TLS handshakes finished.
    pub handshakes: u64,
    /// Times a connection was taken from the pool.
    pub reused: u64,
    /// Times the node was taken out of the rotation.
    pub ejections: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Deliveries that ended well.
    pub deliveries: u64,
    /// Deliveries that came to this node after failing at another.
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

impl From<Snapshot> for upstream_stats_t {
    fn from(s: Snapshot) -> Self {
        upstream_stats_t {
            struct_size: size_of::<Self>(),
            picks: s.picks,
            connects: s.connects,
            connects_failed: s.connects_failed,
            handshakes: s.handshakes,
            reused: s.reused,
            ejections: s.ejections,
            bytes_out: s.bytes_out,
            bytes_in: s.bytes_in,
            deliveries: s.deliveries,
            redeliveries: s.redeliveries,
            deliveries_failed: s.deliveries_failed,
            idle: s.idle,
            active: s.active,
            nodes_up: s.nodes_up,
            nodes: s.nodes,
        }
    }
}

/// Fills `*out` for the whole set. UPSTREAM_ERR_INVALID_ARG for NULL or a struct_size below sizeof(size_t).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_stats(
    up: *const upstream_t,
    out: *mut upstream_stats_t,
) -> upstream_status_t {
    boundary!(up, number => |up: &Upstream| fill(out, up.snapshot()))
}

/// As upstream_stats(), for one node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_stats(
    n: *const upstream_node_t,
    out: *mut upstream_stats_t,
) -> upstream_status_t {
    boundary!(n, number => |node: &Node| fill(out, node.snapshot()))
}

fn fill(out: *mut upstream_stats_t, snapshot: Snapshot) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    // SAFETY: not NULL; by the API's rules at least a `struct_size` stands there.
    let room = unsafe { (*out).struct_size };
    if room < size_of::<usize>() {
        return number(Status::InvalidArg);
    }
    let full = upstream_stats_t { struct_size: room, ..snapshot.into() };
    let bytes = room.min(size_of::<upstream_stats_t>());
    // SAFETY: the caller has room for `room` bytes, and `full` for `bytes`; the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), out.cast::<u8>(), bytes) };
    UPSTREAM_OK
}
