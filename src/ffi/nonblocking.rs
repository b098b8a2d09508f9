//! `upstream_conn_t` in an event loop: the calls that never wait.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;

use crate::base::error::{Result, Status};
use crate::ffi::connection::{upstream_conn_t, with};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::handle;
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::panic::{boundary, pure};
use crate::ffi::set::{self, upstream_t};
use crate::ffi::status::{UPSTREAM_OK, UPSTREAM_WANT_READ, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::time::milliseconds;
use crate::set::conn::{Conn, OneNode};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// Watch the descriptor until it is readable (POLLIN, EPOLLIN).
pub const UPSTREAM_POLL_IN: u32 = 1;
/// Watch the descriptor until it is writable (POLLOUT, EPOLLOUT).
pub const UPSTREAM_POLL_OUT: u32 = 2;

/// As upstream_connect(), without waiting. UPSTREAM_OK where `*out` is ready, as one from the pool is; UPSTREAM_WANT_READ where
/// it is under way: watch upstream_conn_fd() and go on with upstream_conn_connect_continue(). In both cases `*out` is the
/// caller's, to end with upstream_conn_release() or upstream_conn_discard(). An error, with `*out` as it was, where no node
/// can even be begun with.
///
/// The calls of an event loop (this and those below) go as far as they can and return UPSTREAM_WANT_READ or UPSTREAM_WANT_WRITE
/// where they would wait. Readiness is level-triggered: call until it wants, then watch upstream_conn_fd() for
/// upstream_conn_poll_events(), for upstream_conn_timeout_ms() at most, and call again. Do not wait for a descriptor that no
/// call has asked to be watched: TLS may hold bytes that it is silent about.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_connect_start(
    up: *mut upstream_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_connect_start"));
    }
    boundary!(up.cast_const(), |status| refuse(err, "upstream_connect_start", status) => |up: &Upstream| {
        hand_over(set::share(up).connect_start(), out, err)
    })
}

/// As upstream_connect_start(), to this node alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_connect_start(
    n: *mut upstream_node_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_node_connect_start"));
    }
    boundary!(n.cast_const(), |status| refuse(err, "upstream_node_connect_start", status) => |node: &Node| {
        let conn = Conn::start(&node.runtime, Box::new(OneNode::new(node::share(node))));
        hand_over(conn.map(Conn::alone), out, err)
    })
}

pub(crate) fn hand_over(
    conn: Result<Conn>,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    match conn {
        Ok(conn) => {
            let status = if conn.is_ready() { UPSTREAM_OK } else { UPSTREAM_WANT_READ };
            handle::store(out, handle::give(conn));
            status
        }
        Err(error) => tell(err, error),
    }
}

/// Goes on connecting: UPSTREAM_OK once the connection is ready, UPSTREAM_WANT_READ before. Due when upstream_conn_fd() is
/// readable or upstream_conn_timeout_ms() has passed. Where a node fails (refused, silent for its net.connect_timeout, at
/// net.max_connections for as long), the next one not yet tried is begun with, unless one node alone was asked for. An error
/// once none is left: the last node's status, and every node's words in upstream_conn_last_error(); the connection can only be
/// discarded then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_connect_continue(c: *mut upstream_conn_t) -> upstream_status_t {
    with(c, Conn::connect_continue)
}

/// Takes up to `len` bytes, as many as go without waiting, and stores how many in `*written`: UPSTREAM_OK with 1 to `len`, or
/// UPSTREAM_WANT_WRITE with 0. Of a TLS connection the last bytes taken may still be held encrypted, in which case
/// upstream_conn_poll_events() asks for UPSTREAM_POLL_OUT: upstream_conn_flush() or the next write sends them. Goes on connecting
/// first where that is not done (UPSTREAM_WANT_READ). Takes nothing in by itself: a server that answers as it reads must be read
/// from meanwhile. UPSTREAM_ERR_TIMEOUT where nothing could be taken and the time of upstream_conn_timeout_ms() has passed. On
/// failure the connection can only be discarded.
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

/// Receives what is there, at least one byte and at most `cap`, and stores how many in `*got`. UPSTREAM_WANT_READ, with
/// `*got` 0, where nothing is; UPSTREAM_EOF where the peer ended the stream. UPSTREAM_ERR_TIMEOUT where nothing is there and
/// the time of upstream_conn_timeout_ms() has passed. Goes on connecting first where that is not done.
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

/// Sends what TLS still holds of earlier writes: UPSTREAM_OK once nothing is left, UPSTREAM_WANT_WRITE before. Plaintext holds
/// nothing. Due before upstream_conn_release(), which sends only what goes at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_flush(c: *mut upstream_conn_t) -> upstream_status_t {
    with(c, Conn::flush)
}

/// The descriptor to watch; ask after each call. While connecting it is one of the library's own, and each call on the connection
/// may put another in its place: a new number is a new descriptor, to be registered anew, and the old one is closed and so gone
/// from any epoll; once ready it is the socket's and stays. (A blocking call that finishes the connecting gives a new
/// descriptor, whatever its number.) A loop in which a watched descriptor must not be closed (libuv) stops
/// watching before each call while connecting. Take it out of the loop before upstream_conn_release() and
/// upstream_conn_discard(): a kept connection's socket stays open, and a number comes back with another one. Never to be closed,
/// read or written. -1 where there is none: for NULL, after connecting has failed, and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_fd(c: *const upstream_conn_t) -> c_int {
    pure!(c, |_| -1 => |conn: &Conn| conn.descriptor().map_or(-1, |descriptor| descriptor.as_raw_fd()))
}

/// What to watch the descriptor for now, UPSTREAM_POLL_IN and UPSTREAM_POLL_OUT or-ed: what the last upstream_conn_try_read()
/// and upstream_conn_try_write() wanted and have not had since, and room for what TLS holds. 0 where nothing is wanted, and
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_poll_events(c: *const upstream_conn_t) -> u32 {
    pure!(c, |_| 0 => |conn: &Conn| {
        let wanted = conn.interest();
        (u32::from(wanted.read) * UPSTREAM_POLL_IN) | (u32::from(wanted.write) * UPSTREAM_POLL_OUT)
    })
}

/// Milliseconds, rounded up, until a call is due even if the descriptor stays silent: while connecting, until the present
/// node's net.connect_timeout ends; after that, while something is wanted, until no byte has moved either way for
/// net.io_timeout, or for the time of upstream_conn_set_timeout_ms(). The call that wanted then goes on or gives
/// UPSTREAM_ERR_TIMEOUT. 0 where it is due now, -1 where nothing is wanted, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_timeout_ms(c: *const upstream_conn_t) -> i64 {
    boundary!(c, |_| -1 => |conn: &Conn| conn.time_left().map_or(-1, milliseconds))
}
