//! `upstream_node_t`: a node of the set.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use crate::balance::roster::NodeState;
use crate::base::error::Status;
use crate::base::log::Level;
use crate::base::text::brief;
use crate::config::value;
use crate::ffi::boundary::shared;
use crate::ffi::error::number;
use crate::ffi::handle::{self, Opaque};
use crate::ffi::status::{UPSTREAM_ERR_NOT_FOUND, UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::time::milliseconds;
use crate::ffi::user_data;
use crate::set::node::Node;

/// A node: one server of the set.
///
/// Ownership: borrowed. The handle and every string that you get from it live until
/// upstream_destroy() of the set, and beyond it for as long as a connection to the node is in your
/// hands.
///
/// Threads: any number of threads may use it at the same time.
pub struct upstream_node_t {
    _private: [u8; 0],
}

impl Opaque for upstream_node_t {
    type Inner = Node;
}

/// The pointer to a node that C gets.
#[inline(always)]
pub(crate) fn lend(node: &Arc<Node>) -> *mut upstream_node_t {
    Arc::as_ptr(node).cast_mut().cast()
}

/// The node behind a reference that came from [`lend`], as an Arc of its own.
pub(crate) fn share(node: &Node) -> Arc<Node> {
    let pointer: *const Node = node;
    // SAFETY: all node pointers of C come from `lend`, so this one points into a living Arc, which
    // the set or a connection holds.
    unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    }
}

/// In the rotation, or waiting in reserve (a higher `priority`).
pub const UPSTREAM_NODE_UP: i32 = 0;
/// It failed, and gets no turns until its time is up.
pub const UPSTREAM_NODE_EJECTED: i32 = 1;
/// On trial after an ejection: one caller tries it.
pub const UPSTREAM_NODE_PROBING: i32 = 2;
/// Its weight is 0: it gets no turns.
pub const UPSTREAM_NODE_DRAINING: i32 = 3;
/// It gets no turns for a while, because it asked for that.
pub const UPSTREAM_NODE_PAUSED: i32 = 4;

/// The name of the node.
///
/// Returns: the name; NULL if `n` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed, as the node is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_name(n: *const upstream_node_t) -> *const c_char {
    shared!(pure n, |_| null() => |node: &Node| node.target.name.as_ptr())
}

/// The host name or numeric address of the node, an IPv6 address without brackets; or `unix:` and a
/// path, such as "unix:/run/aggregator.sock", if it is a stream socket of this machine.
///
/// Returns: the host; NULL if `n` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed, as the node is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_host(n: *const upstream_node_t) -> *const c_char {
    shared!(pure n, |_| null() => |node: &Node| node.target.host.as_ptr())
}

/// The TCP port of the node.
///
/// Returns: the port; 0 if `n` is NULL, or its host is a stream socket of this machine.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_port(n: *const upstream_node_t) -> u16 {
    shared!(pure n, |_| 0 => |node: &Node| node.target.port)
}

/// Whether connections to the node use TLS.
///
/// Returns: 1 or 0; 0 if `n` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_tls(n: *const upstream_node_t) -> i32 {
    shared!(pure n, |_| 0 => |node: &Node| i32::from(node.target.tls.is_some()))
}

/// The value of `key`, as it is written.
///
/// It is looked for in the node, then in [UPSTREAM], then in the options. `key` is a key of the
/// library or of the plugin, in any letter case. You do not get the default of a key that is not
/// set.
///
/// Returns: the value; NULL if the key is set nowhere, or `n` or `key` is NULL.
///
/// Time: one lookup in a hash table. No lock, no system call.
///
/// Ownership: borrowed, as the node is.
///
/// ```c
/// const char *tag = upstream_node_get_prop(n, "tag");
/// int64_t limit = upstream_node_get_prop_size(n, "chunk_limit", 64 * 1024);
/// printf("%s %ld\n", tag != NULL ? tag : "none", (long)limit);
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop(
    n: *const upstream_node_t,
    key: *const c_char,
) -> *const c_char {
    let Some(key) = strings::bytes(key) else {
        return null();
    };
    shared!(pure n, |_| null() => |node: &Node| {
        node.property(key).map_or(null(), |value| value.as_ptr().cast())
    })
}

/// The value of `key` as a switch.
///
/// Returns: 1 for `on`, `true` and `yes`, 0 for `off`, `false` and `no`, in any letter case;
/// `fallback` if the key is set nowhere or an argument is NULL; `fallback` and a warning in the log
/// if the value is no switch.
///
/// Time: as upstream_node_get_prop().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_bool(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i32,
) -> i32 {
    typed(n, key, fallback, "a switch (on or off)", |text| value::parse_bool(text).map(i32::from))
}

/// The value of `key` as a whole number, which may be negative.
///
/// Returns: the number; `fallback` if the key is set nowhere or an argument is NULL; `fallback` and
/// a warning in the log if the value is no whole number of 64 bits.
///
/// Time: as upstream_node_get_prop().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_int(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i64,
) -> i64 {
    typed(n, key, fallback, "a whole number", value::parse_int)
}

/// The value of `key`, a duration, in milliseconds.
///
/// A duration is a whole number with a unit: "250ms", "5s", "2m", "1h", "1d". Without a unit it is
/// seconds.
///
/// Returns: the milliseconds; `fallback` if the key is set nowhere or an argument is NULL;
/// `fallback` and a warning in the log if the value is no duration.
///
/// Time: as upstream_node_get_prop().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_prop_ms(
    n: *const upstream_node_t,
    key: *const c_char,
    fallback: i64,
) -> i64 {
    typed(n, key, fallback, "a duration (such as 250ms or 5s)", value::parse_duration_ms)
}

/// The value of `key`, a size, in bytes.
///
/// A size is a whole number, alone or with k, M or G, which are powers of 1024: "512", "4k", "1M",
/// "1G".
///
/// Returns: the bytes; `fallback` if the key is set nowhere or an argument is NULL; `fallback` and
/// a warning in the log if the value is no size.
///
/// Time: as upstream_node_get_prop().
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
    shared!(n, |_| fallback => |node: &Node| {
        let Some(text) = node.property(key) else { return fallback };
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches('\0');
        parse(text).unwrap_or_else(|| {
            let key = String::from_utf8_lossy(key);
            let (key, name) = (brief(&key), brief(&node.target.name));
            // Not the value: it may be a secret, and the key says where it is.
            node.runtime.logger.log(
                Level::Warn,
                format_args!("{name}: the value of {key} is not {wanted}; the plugin's default is \
                     used instead"),
            );
            fallback
        })
    })
}

/// How many properties upstream_node_prop_at() lists.
///
/// Returns: the number; 0 if `n` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_prop_count(n: *const upstream_node_t) -> usize {
    shared!(pure n, |_| 0 => |node: &Node| node.count_of_properties())
}

/// Stores key and value of property number `i`, from 0.
///
/// The node's own properties come first, in the order of the file. Then come those of [UPSTREAM]
/// and of the options that the node does not set itself.
///
/// Returns:
/// - UPSTREAM_OK: `*key` and `*value` are set.
/// - UPSTREAM_ERR_NOT_FOUND: there are not so many.
/// - UPSTREAM_ERR_INVALID_ARG: `n`, `key` or `value` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
///
/// Ownership: both strings are borrowed, as the node is.
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
    shared!(pure n, number => |node: &Node| match node.property_at(i) {
        None => UPSTREAM_ERR_NOT_FOUND,
        Some((name, text)) => {
            handle::store(key, name.as_ptr().cast());
            handle::store(value, text.as_ptr().cast());
            UPSTREAM_OK
        }
    })
}

/// Attaches the plugin's own data to a node, in place of any data before.
///
/// `free_fn` may be NULL. A NULL `data` only removes what was there.
///
/// Returns:
/// - UPSTREAM_OK: done.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and a thread of the parent was in this
///   function or in upstream_node_get_data().
/// - UPSTREAM_ERR_INVALID_ARG: `n` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant, plus the time of `free_fn`.
///
/// Ownership: the data is the library's when the call returns UPSTREAM_OK. It calls `free_fn` with
/// it once: in the call that replaces it, or when the node ends.
///
/// Threads: `free_fn` is called on any thread. Do not replace data that another thread may still
/// use: it is freed at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_set_data(
    n: *mut upstream_node_t,
    data: *mut c_void,
    free_fn: Option<unsafe extern "C" fn(*mut c_void)>,
) -> upstream_status_t {
    shared!(n.cast_const(), number => |node: &Node| {
        let Some(mut held) = node.data.reach(node.runtime.birthplace) else {
            return number(Status::Forked); // a thread of the parent process held the lock
        };
        let before = std::mem::replace(&mut *held, user_data::attach(data, free_fn));
        drop(held);
        drop(before); // outside the lock: the plugin's function may call back
        UPSTREAM_OK
    })
}

/// The data attached to a node.
///
/// Returns: the data; NULL if there is none, if `n` is NULL, or when upstream_node_set_data() would
/// return UPSTREAM_ERR_FORKED.
///
/// Time: constant.
///
/// Ownership: borrowed until it is replaced, or the node ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_get_data(n: *const upstream_node_t) -> *mut c_void {
    shared!(pure n, |_| null_mut() => |node: &Node| {
        let held = node.data.reach(node.runtime.birthplace);
        user_data::pointer(held.as_ref().and_then(|data| data.as_ref()))
    })
}

/// Tells how your own I/O with a node went, as a status of this header.
///
/// - UPSTREAM_OK and UPSTREAM_STOP set the count of failures to 0, and bring an ejected node back.
/// - UPSTREAM_ERR_CONNECT, _TLS and _CERT eject the node at once.
/// - UPSTREAM_ERR_RESOLVE, _TIMEOUT, _CLOSED, _NETWORK, _PROTOCOL and _IO eject it after
///   health.max_fails in a row.
/// - UPSTREAM_ERR_BUSY pauses it for health.backoff.
/// - All others say nothing about the node.
///
/// For a connection of the library, call upstream_conn_report() instead. If you call both for one
/// exchange, it counts once, as long as you make this call before you end the connection. After an
/// exchange that failed you may also call it later, before another exchange begins at the node.
///
/// For the node of an attempt, call upstream_attempt_report() instead.
///
/// Returns:
/// - UPSTREAM_OK: done. In a forked child the health of the node stays as it is.
/// - UPSTREAM_ERR_INVALID_ARG: `n` is NULL, or `outcome` is no status.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: at most one lock, held for a moment. An ejection also closes the kept connections of the
/// node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_report(
    n: *mut upstream_node_t,
    outcome: upstream_status_t,
) -> upstream_status_t {
    let Some(outcome) = Status::from_number(outcome) else {
        return number(Status::InvalidArg);
    };
    shared!(n.cast_const(), number => |node: &Node| {
        share(node).told(outcome);
        UPSTREAM_OK
    })
}

/// Gives the node no turns for `ms` milliseconds, as a server asks for with Retry-After.
///
/// 0 means health.backoff. More than one hour counts as one hour. A pause is no failure. It ends by
/// itself, and no trial follows. If a node is paused twice, the pause that ends later holds.
///
/// Returns:
/// - UPSTREAM_OK: done. In a forked child it changes nothing.
/// - UPSTREAM_ERR_INVALID_ARG: `n` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: one lock, held for a moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_pause(
    n: *mut upstream_node_t,
    ms: u32,
) -> upstream_status_t {
    shared!(n.cast_const(), number => |node: &Node| {
        node.pause(Some(Duration::from_millis(ms.into())));
        UPSTREAM_OK
    })
}

/// The state of the node.
///
/// Returns: a number of UPSTREAM_NODE_*; -1 if `n` is NULL. Later versions may add states.
///
/// Time: constant, without a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_state(n: *const upstream_node_t) -> i32 {
    shared!(pure n, |_| -1 => |node: &Node| match node.state() {
        NodeState::Up => UPSTREAM_NODE_UP,
        NodeState::Ejected => UPSTREAM_NODE_EJECTED,
        NodeState::OnTrial => UPSTREAM_NODE_PROBING,
        NodeState::Draining => UPSTREAM_NODE_DRAINING,
        NodeState::Paused => UPSTREAM_NODE_PAUSED,
    })
}

/// How long until the node gets turns again, or is tried again, in milliseconds.
///
/// Returns: the time, rounded up; 0 if the node is up or may be tried now; -1 if `n` is NULL.
///
/// Time: constant, without a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_retry_after_ms(n: *const upstream_node_t) -> i64 {
    shared!(pure n, |_| -1 => |node: &Node| milliseconds(node.retry_after()))
}
