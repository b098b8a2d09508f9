//! `upstream_conn_t` in an event loop: the calls that never wait.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;

use crate::base::error::Status;
use crate::ffi::boundary::shared;
use crate::ffi::connection::{hand_over, upstream_conn_t, with};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::handle;
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::set::{self, upstream_t};
use crate::ffi::status::upstream_status_t;
use crate::ffi::strings;
use crate::ffi::time::milliseconds;
use crate::set::conn::{Conn, OneNode};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// Watch the descriptor until it is readable (POLLIN, EPOLLIN).
pub const UPSTREAM_POLL_IN: u32 = 1;
/// Watch the descriptor until it is writable (POLLOUT, EPOLLOUT).
pub const UPSTREAM_POLL_OUT: u32 = 2;

/// As upstream_connect(), without waiting.
///
/// Returns:
/// - UPSTREAM_OK: `*out` is yours and ready: a kept connection.
/// - UPSTREAM_WANT_READ: `*out` is yours and under way. Watch it, and go on with
///   upstream_conn_connect_continue(), or with a read or a write, which does the same first.
/// - An error of upstream_connect(): no connection could even be begun.
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_connect_start(
    up: *mut upstream_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_connect_start"));
    }
    let refused = |status| refuse(err, "upstream_connect_start", status);
    shared!(up.cast_const(), refused => |up: &Upstream| {
        hand_over(set::share(up).connect_start(), out, err)
    })
}

/// As upstream_connect_start(), but to this node alone, whatever its state is.
///
/// Returns: as upstream_connect_start(), without UPSTREAM_ERR_NO_NODE and UPSTREAM_ERR_BUSY.
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_connect_start(
    n: *mut upstream_node_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_node_connect_start"));
    }
    let refused = |status| refuse(err, "upstream_node_connect_start", status);
    shared!(n.cast_const(), refused => |node: &Node| {
        let conn = Conn::start(&node.runtime, Box::new(OneNode::new(node::share(node))));
        hand_over(conn.map(Conn::alone), out, err)
    })
}

/// Goes on connecting. Call it when upstream_conn_fd() is readable, or upstream_conn_timeout_ms()
/// has passed.
///
/// A node fails if it refuses, or if it does not answer within its net.connect_timeout. Then the
/// next one is tried, unless you asked for one node alone. A node at its net.max_connections is
/// passed over while another one has room. If none has, the first place that becomes free will do.
///
/// After an error you can only discard the connection. upstream_conn_last_error() tells of all
/// nodes.
///
/// Returns:
/// - UPSTREAM_OK: the connection is ready.
/// - UPSTREAM_WANT_READ: not yet.
/// - UPSTREAM_ERR_RESOLVE, _CONNECT, _TLS, _CERT, _TIMEOUT, _LIMIT, _CLOSED, _NETWORK, _NO_MEMORY:
///   no node is left to try. It is the status of the last one.
/// - For the connection of an attempt: UPSTREAM_ERR_NO_NODE if no node is left to try,
///   UPSTREAM_ERR_TIMEOUT if its time is over.
/// - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set, or the set was destroyed.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
/// - UPSTREAM_ERR_INVALID_ARG: `c` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_connect_continue(
    c: *mut upstream_conn_t,
) -> upstream_status_t {
    with(c, Conn::connect_continue)
}

/// Sends as many of `len` bytes as go without waiting. Stores in `*written` how many it took.
///
/// One call takes at most about 64 KiB, so that a fast server does not hold up your loop. Call it
/// again while `*written` is less than `len`, now or when your loop comes round: there may be room.
///
/// If the connection is not ready yet, it goes on connecting first. The last bytes that it took may
/// be held by TLS: upstream_conn_poll_events() then asks for UPSTREAM_POLL_OUT, and
/// upstream_conn_flush() or the next write sends them.
///
/// It does not read. If the server answers while it reads, call upstream_conn_try_read() too, or
/// you and the server wait for each other.
///
/// Returns:
/// - UPSTREAM_OK: `*written` is 1 to `len`. Call again with the rest.
/// - UPSTREAM_WANT_WRITE: nothing could be sent, and `*written` is 0.
/// - UPSTREAM_WANT_READ: it is still connecting.
/// - UPSTREAM_ERR_TIMEOUT: nothing could be sent, and the time of upstream_conn_timeout_ms() is
///   over.
/// - UPSTREAM_ERR_INVALID_ARG: `c`, `data` or `written` is NULL.
/// - Any other error of upstream_conn_write(). You can only discard the connection then.
///
/// Time: does not wait.
///
/// ```c
/// struct buffer {
///     const char *data;
///     size_t len;
/// };
///
/// static upstream_status_t send_some(upstream_conn_t *conn, struct buffer *rest)
/// {
///     upstream_status_t status = UPSTREAM_OK;
///     while (status == UPSTREAM_OK && rest->len > 0) {
///         size_t written;
///         status = upstream_conn_try_write(conn, rest->data, rest->len, &written);
///         rest->data += written;
///         rest->len -= written;
///     }
///     return status == UPSTREAM_OK ? upstream_conn_flush(conn) : status;
/// }
///
/// static int watch(upstream_conn_t *conn)
/// {
///     struct pollfd ready = {0};
///     uint32_t events = upstream_conn_poll_events(conn);
///     ready.fd = upstream_conn_fd(conn);
///     ready.events |= events & UPSTREAM_POLL_IN ? POLLIN : 0;
///     ready.events |= events & UPSTREAM_POLL_OUT ? POLLOUT : 0;
///     return poll(&ready, 1, (int)upstream_conn_timeout_ms(conn));
/// }
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_try_write(
    c: *mut upstream_conn_t,
    data: *const c_void,
    len: usize,
    written: *mut usize,
) -> upstream_status_t {
    let Some(bytes) = strings::slice(data.cast::<u8>(), len).filter(|_| !data.is_null()) else {
        return number(Status::InvalidArg);
    };
    if written.is_null() {
        return number(Status::InvalidArg);
    }
    handle::store(written, 0);
    with(c, |conn| {
        let (status, taken) = conn.try_write(bytes);
        handle::store(written, taken);
        status
    })
}

/// Receives what is there, up to `cap` bytes. Stores in `*got` how many.
///
/// If the connection is not ready yet, it goes on connecting first.
///
/// One call takes at most about 64 KiB. If a server sends only messages of TLS itself, such as
/// session tickets, the call ends after a few of them with UPSTREAM_WANT_READ, and
/// upstream_conn_timeout_ms() is 0: call it again when your loop comes round.
///
/// Returns:
/// - UPSTREAM_OK: `*got` is 1 to `cap`.
/// - UPSTREAM_WANT_READ: nothing for you is there, or it is still connecting. `*got` is 0.
/// - UPSTREAM_EOF: the server ended the stream. `*got` is 0.
/// - UPSTREAM_ERR_TIMEOUT: nothing is there, and the time of upstream_conn_timeout_ms() is over.
/// - UPSTREAM_ERR_INVALID_ARG: `c`, `buf` or `got` is NULL, or `cap` is 0.
/// - Any other error of upstream_conn_read().
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_try_read(
    c: *mut upstream_conn_t,
    buf: *mut c_void,
    cap: usize,
    got: *mut usize,
) -> upstream_status_t {
    if buf.is_null() || cap == 0 || got.is_null() {
        return number(Status::InvalidArg);
    }
    let Some(buffer) = strings::slice_mut(buf.cast::<u8>(), cap) else {
        return number(Status::InvalidArg);
    };
    handle::store(got, 0);
    with(c, |conn| {
        let (status, count) = conn.try_read(buffer);
        handle::store(got, count);
        status
    })
}

/// Sends what TLS still holds of earlier writes. Without TLS nothing is held.
///
/// Call it before upstream_conn_release(), which sends only what goes at once.
///
/// Returns:
/// - UPSTREAM_OK: nothing is held.
/// - UPSTREAM_WANT_WRITE: something still is.
/// - UPSTREAM_WANT_READ: it is still connecting.
/// - UPSTREAM_ERR_TIMEOUT: nothing could be sent, and the time of upstream_conn_timeout_ms() is
///   over.
/// - UPSTREAM_ERR_INVALID_ARG: `c` is NULL.
/// - Any other error of upstream_conn_write(). You can only discard the connection then.
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_flush(c: *mut upstream_conn_t) -> upstream_status_t {
    with(c, Conn::flush)
}

/// The descriptor to watch. Ask for it again after each call: it may be another one.
///
/// Never close, read or write it.
///
/// While it is connecting, the descriptor is one of the library's own, and each call may replace
/// it. A new number means a new descriptor: register it. The old one is closed, and so epoll has
/// dropped it. If your loop must never see a watched descriptor closed (libuv), stop watching
/// before each call.
///
/// Once the connection is ready, the descriptor is its socket and stays. (If a blocking call
/// finishes the connecting, the descriptor is new, even under the old number.)
///
/// Take it out of your loop before upstream_conn_release() and upstream_conn_discard(). The socket
/// of a kept connection stays open, and the number of a closed one is soon used again.
///
/// Returns: the descriptor; -1 if there is none: while a connection of an attempt waits for the
/// retry budget, after connecting has failed, in a forked child, or if `c` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_fd(c: *const upstream_conn_t) -> c_int {
    shared!(pure c, |_| -1 => |conn: &Conn| {
        conn.descriptor().map_or(-1, |descriptor| descriptor.as_raw_fd())
    })
}

/// What to watch the descriptor for: UPSTREAM_POLL_IN, UPSTREAM_POLL_OUT, or both.
///
/// They say what the last upstream_conn_try_read() and upstream_conn_try_write() still wait for.
/// UPSTREAM_POLL_OUT is also set while TLS holds bytes. While connecting, it is UPSTREAM_POLL_IN.
///
/// Returns: the bits; 0 if nothing is wanted, in a forked child, or if `c` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_poll_events(c: *const upstream_conn_t) -> u32 {
    shared!(pure c, |_| 0 => |conn: &Conn| {
        let wanted = conn.interest();
        (u32::from(wanted.read) * UPSTREAM_POLL_IN) | (u32::from(wanted.write) * UPSTREAM_POLL_OUT)
    })
}

/// How long to watch the descriptor at most, in milliseconds. Then make the call again.
///
/// That call goes on, or returns UPSTREAM_ERR_TIMEOUT. While connecting, the time is the
/// net.connect_timeout of the node that is being tried. After that, it is how long no byte may move
/// in either direction: net.io_timeout, or the limit of upstream_conn_set_timeout_ms(). The limits
/// of an attempt hold too.
///
/// Do not leave it out: it is 0 if the last call could have gone on, or if what you want to read is
/// already here, and the descriptor does not show that in each case.
///
/// Returns: the time, rounded up; 0 if a call is due now; -1 if nothing is wanted, in a forked
/// child, or if `c` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_timeout_ms(c: *const upstream_conn_t) -> i64 {
    shared!(c, |_| -1 => |conn: &Conn| conn.time_left().map_or(-1, milliseconds))
}
