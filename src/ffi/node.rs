//! `upstream_node_t`: a member of the set.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use crate::balance::roster::NodeState;
use crate::base::error::Status;
use crate::base::log::Level;
use crate::config::value;
use crate::ffi::error::number;
use crate::ffi::handle::{self, Opaque};
use crate::ffi::panic::{boundary, pure};
use crate::ffi::status::{UPSTREAM_ERR_NOT_FOUND, UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::time::milliseconds;
use crate::ffi::user_data;
use crate::set::node::Node;

/// A node. Handle and strings live until upstream_destroy() of the set, and while a connection to the node
/// is out. Every call may be made from any number of threads at once.
pub struct upstream_node_t {
    _private: [u8; 0],
}

impl Opaque for upstream_node_t {
    type Inner = Node;
}

/// The pointer that C knows a node by.
#[inline(always)]
pub(crate) fn lend(node: &Arc<Node>) -> *mut upstream_node_t {
    Arc::as_ptr(node).cast_mut().cast()
}

/// The node behind a reference that came from [`lend`], with a share of its own.
pub(crate) fn share(node: &Node) -> Arc<Node> {
    let pointer: *const Node = node;
    // SAFETY: C's node pointers all come from `lend`, so this one points into a living Arc, which the set
    // or a connection holds.
    unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    }
}

/// The node is in the rotation.
pub const UPSTREAM_NODE_UP: i32 = 0;
/// The node failed and is left out until its time is up.
pub const UPSTREAM_NODE_EJECTED: i32 = 1;
/// The node is being tried again.
pub const UPSTREAM_NODE_PROBING: i32 = 2;
/// The node gets nothing new.
pub const UPSTREAM_NODE_DRAINING: i32 = 3;
/// The node asked for some time without new turns.
pub const UPSTREAM_NODE_PAUSED: i32 = 4;

/// The node's name. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_name(n: *const upstream_node_t) -> *const c_char {
    pure!(n, |_| null() => |node: &Node| node.target.name.as_ptr())
}

/// The node's host name or numeric address (an IPv6 one without brackets). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_host(n: *const upstream_node_t) -> *const c_char {
    pure!(n, |_| null() => |node: &Node| node.target.host.as_ptr())
}

/// The node's TCP port. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_port(n: *const upstream_node_t) -> u16 {
    pure!(n, |_| 0 => |node: &Node| node.target.port)
}

/// Whether connections to the node are TLS: 1 or 0. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_tls(n: *const upstream_node_t) -> i32 {
    pure!(n, |_| 0 => |node: &Node| i32::from(node.target.tls.is_some()))
}

/// The value of `key`, in any letter case, as written: from the node, else from [UPSTREAM], else from the options.
/// Every key is there, the library's and the plugin's own. NULL where it is unset, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop(
    n: *const upstream_node_t,
    key: *const c_char,
) -> *const c_char {
    let Some(key) = strings::bytes(key) else {
        return null();
    };
    pure!(n, |_| null() => |node: &Node| node.property(key).map_or(null(), |value| value.as_ptr().cast()))
}

/// The value of `key` as a switch: 1 for true, on, yes, 0 for false, off, no, in any letter case; `fallback` where
/// it is unset, and, with a log line, where it is something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_bool(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i32,
) -> i32 {
    typed(n, key, fallback, "a switch (on or off)", |text| value::parse_bool(text).map(i32::from))
}

/// The value of `key` as a whole number; `fallback` where it is unset, and, with a log line, where it is something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_int(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i64,
) -> i64 {
    typed(n, key, fallback, "a whole number", value::parse_int)
}

/// The value of `key`, a duration ("250ms", "5s", "2m", "1h", "1d"; a bare number is seconds), in milliseconds; `fallback`
/// where it is unset, and, with a log line, where it is something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_ms(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i64,
) -> i64 {
    typed(n, key, fallback, "a duration (such as 250ms or 5s)", value::parse_duration_ms)
}

/// The value of `key`, a size ("512", "4k", "1M", "1G"; powers of 1024), in bytes; `fallback` where it is unset, and,
/// with a log line, where it is something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_size(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i64,
) -> i64 {
    typed(n, key, fallback, "a size (such as 4k or 1M)", value::parse_size)
}

fn typed<T: Copy>(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: T,
    wanted: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> T {
    let Some(key) = strings::bytes(key) else {
        return fallback;
    };
    boundary!(n, |_| fallback => |node: &Node| {
        let Some(text) = node.property(key) else { return fallback };
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches('\0');
        parse(text).unwrap_or_else(|| {
            let key = String::from_utf8_lossy(key);
            let name = &node.target.name;
            node.runtime.logger.log(
                Level::Warn,
                format_args!("{name}: {key} \"{text}\" is not {wanted}; the plugin's default is used instead"),
            );
            fallback
        })
    })
}

/// The number of properties that upstream_node_prop_at() lists. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_prop_count(n: *const upstream_node_t) -> usize {
    pure!(n, |_| 0 => |node: &Node| node.count_of_properties())
}

/// The property at `i`, from 0: the node's own in file order, then those it has from [UPSTREAM] and the options. Both
/// strings are borrowed. UPSTREAM_ERR_NOT_FOUND past the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_prop_at(
    n: *const upstream_node_t,
    i: usize,
    key: *mut *const c_char,
    value: *mut *const c_char,
) -> upstream_status_t {
    if key.is_null() || value.is_null() {
        return number(Status::InvalidArg);
    }
    pure!(n, number => |node: &Node| match node.property_at(i) {
        None => UPSTREAM_ERR_NOT_FOUND,
        Some((name, text)) => {
            handle::store(key, name.as_ptr().cast());
            handle::store(value, text.as_ptr().cast());
            UPSTREAM_OK
        }
    })
}

/// Attaches the plugin's own data to a node; what was there before is freed first. `free_fn` (may be NULL) is called with it
/// on replacement and when the set is gone, on any thread. NULL `data` only removes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_set_data(
    n: *mut upstream_node_t,
    data: *mut c_void,
    free_fn: Option<unsafe extern "C" fn(*mut c_void)>,
) -> upstream_status_t {
    boundary!(n.cast_const(), number => |node: &Node| {
        let Some(mut held) = node.data.reach(node.runtime.birthplace) else {
            return number(Status::Forked); // a thread of the parent's held the lock
        };
        let before = std::mem::replace(&mut *held, user_data::attach(data, free_fn));
        drop(held);
        drop(before); // outside the lock: the plugin's function may call back
        UPSTREAM_OK
    })
}

/// The data attached to a node; it lives until it is replaced. NULL where there is none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_data(n: *const upstream_node_t) -> *mut c_void {
    pure!(n, |_| null_mut() => |node: &Node| {
        let held = node.data.reach(node.runtime.birthplace);
        user_data::pointer(held.as_ref().and_then(|data| data.as_ref()))
    })
}

/// For a plugin that does its own I/O: how its work with the node went, as a status of this header. UPSTREAM_OK zeroes the count of
/// failures and brings an ejected node back; so does UPSTREAM_STOP, by which the node answered. UPSTREAM_ERR_CONNECT, _TLS and _CERT take the node out of the rotation at once,
/// UPSTREAM_ERR_RESOLVE, _TIMEOUT, _CLOSED, _NETWORK, _PROTOCOL and _IO after health.max_fails in a row; the others
/// say nothing of it. UPSTREAM_ERR_INVALID_ARG for a number that is no status. About a connection of the library's say it by
/// upstream_conn_report(); told here too, it counts once: while you have the connection, or as the next word after it ended
/// in a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_report(
    n: *mut upstream_node_t,
    outcome: upstream_status_t,
) -> upstream_status_t {
    let Some(outcome) = Status::from_number(outcome) else {
        return number(Status::InvalidArg);
    };
    boundary!(n.cast_const(), number => |node: &Node| {
        share(node).told(outcome);
        UPSTREAM_OK
    })
}

/// Gives the node no new turns for `ms` milliseconds, as a server asks for by Retry-After (0: health.backoff; at most an
/// hour). It is no failure, nothing has to be tried, and it ends by itself. Of two pauses the later end holds. While
/// every node is paused upstream_next_node() gives NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_pause(n: *mut upstream_node_t, ms: u32) -> upstream_status_t {
    boundary!(n.cast_const(), number => |node: &Node| {
        node.pause(Some(Duration::from_millis(ms.into())));
        UPSTREAM_OK
    })
}

/// The node's state, UPSTREAM_NODE_*. -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_state(n: *const upstream_node_t) -> i32 {
    pure!(n, |_| -1 => |node: &Node| match node.state() {
        NodeState::Up => UPSTREAM_NODE_UP,
        NodeState::Ejected => UPSTREAM_NODE_EJECTED,
        NodeState::Probing => UPSTREAM_NODE_PROBING,
        NodeState::Draining => UPSTREAM_NODE_DRAINING,
        NodeState::Paused => UPSTREAM_NODE_PAUSED,
    })
}

/// How long until the node is tried again, in milliseconds; 0 where it is up or may be tried now. -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_retry_after_ms(n: *const upstream_node_t) -> i64 {
    pure!(n, |_| -1 => |node: &Node| milliseconds(node.retry_after()))
}
