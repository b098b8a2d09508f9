//! `upstream_conn_t`: a connection in the plugin's hands, and the calls on it that wait. Those of an event loop are in
//! `nonblocking`.

use std::ffi::{c_char, c_void};
use std::io::IoSlice;
use std::ptr::{null, null_mut};
use std::time::Duration;

use crate::base::error::{Report, Result, Status};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::panic::{KeepErrno, boundary, guard, pure};
use crate::ffi::set::upstream_t;
use crate::ffi::status::{UPSTREAM_ERR_BUSY, UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::user_data;
use crate::set::conn::{Conn, connect_deadline};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// A connection. May move between threads; one call at a time. It ends with upstream_conn_release() or
/// upstream_conn_discard(), before or after its set is destroyed.
pub struct upstream_conn_t {
    _private: [u8; 0],
}

impl Opaque for upstream_conn_t {
    type Inner = Conn;
}

/// Connects to the next node (TCP, and TLS where it is set), and goes on to the others where that fails, each within its
/// net.connect_timeout. Kept connections are used again. `*out` is the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_connect(
    up: *mut upstream_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_connect"));
    }
    boundary!(up.cast_const(), |status| refuse(err, "upstream_connect", status) => |up: &Upstream| {
        hand_over(up.connect(), out, err)
    })
}

/// As upstream_connect(), to this node alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_connect(
    n: *mut upstream_node_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_node_connect"));
    }
    boundary!(n.cast_const(), |status| refuse(err, "upstream_node_connect", status) => |node: &Node| {
        let conn = Conn::open(node::share(node), || connect_deadline(node));
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
            handle::store(out, handle::give(conn));
            UPSTREAM_OK
        }
        Err(error) => tell(err, error),
    }
}

/// Runs a call that changes the connection.
#[inline(always)]
pub(crate) fn with(c: *mut upstream_conn_t, work: impl FnOnce(&mut Conn) -> Status) -> upstream_status_t {
    let _errno = KeepErrno::new();
    let Some(conn) = handle::borrow_mut(c) else {
        return number(Status::InvalidArg);
    };
    if conn.poison.is_set() {
        return number(Status::Panic);
    }
    let outcome = guard(None, || Status::Panic, || work(&mut *conn));
    if outcome == Status::Panic {
        conn.poison.set();
    }
    number(outcome)
}

/// Sends all `len` bytes, waiting for room up to the time limit (net.io_timeout without progress, or the
/// connection's own). One system call where the system takes it all. While it waits it takes in what the server sends, up to
/// 1 MiB, for the reads that follow: a server that answers as it reads is not held up by its own answers. On failure the
/// detail is in upstream_conn_last_error() and nothing more can be sent.
///
/// A server may answer before it has read everything ("413 too large") and close: then the write fails, and
/// upstream_conn_read() still gives the answer, as far as it had come. Discard the connection after that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_write(
    c: *mut upstream_conn_t,
    data: *const c_void,
    len: usize,
) -> upstream_status_t {
    let Some(bytes) = strings::slice(data.cast::<u8>(), len).filter(|_| !data.is_null()) else {
        return number(Status::InvalidArg);
    };
    with(c, |conn| conn.write(&[IoSlice::new(bytes)]))
}

/// As upstream_conn_write(), for `n` buffers in their order. The array is not changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_writev(
    c: *mut upstream_conn_t,
    iov: *const libc::iovec,
    n: usize,
) -> upstream_status_t {
    // SAFETY of the cast: std documents IoSlice as ABI-compatible with struct iovec on Unix.
    let Some(slices) = strings::slice(iov.cast::<IoSlice<'_>>(), n).filter(|_| !iov.is_null()) else {
        return number(Status::InvalidArg);
    };
    // SAFETY: `n` is as long as `slices`, whose memory this is; looked at as C's type to find NULL parts.
    let parts = unsafe { std::slice::from_raw_parts(iov, slices.len()) };
    if parts.iter().any(|part| part.iov_base.is_null() || !strings::fits::<u8>(part.iov_len)) {
        return write_without_null(c, parts);
    }
    with(c, |conn| conn.write(slices))
}

/// An empty part may be NULL in C, never in Rust.
#[cold]
fn write_without_null(c: *mut upstream_conn_t, parts: &[libc::iovec]) -> upstream_status_t {
    let Some(slices) = parts
        .iter()
        .map(|part| strings::slice(part.iov_base.cast::<u8>(), part.iov_len).map(IoSlice::new))
        .collect::<Option<Vec<_>>>()
    else {
        return number(Status::InvalidArg);
    };
    with(c, |conn| conn.write(&slices))
}

/// Receives what is there, at least one byte and at most `cap`, and stores how many in `*got`. UPSTREAM_EOF, with
/// `*got` 0, where the peer ended the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_read(
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
        let (status, count) = conn.read(buffer);
        handle::store(got, count);
        status
    })
}

/// Receives exactly `len` bytes. UPSTREAM_ERR_CLOSED where the stream ends before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_read_exact(
    c: *mut upstream_conn_t,
    buf: *mut c_void,
    len: usize,
) -> upstream_status_t {
    let Some(buffer) = strings::slice_mut(buf.cast::<u8>(), len).filter(|_| !buf.is_null()) else {
        return number(Status::InvalidArg);
    };
    with(c, |conn| conn.read_exact(buffer))
}

/// Bounds each whole call after this one by `ms` milliseconds; 0 takes the configured limit again (net.io_timeout
/// without progress). For the calls of an event loop it is the time without progress. Inside a delivery or attempt its
/// deadline holds too, and so does the half of its time that one node may use while others could take the payload: your
/// limit may make that shorter, never longer. A limit of yours that strikes before the node had a second, or its
/// net.io_timeout, says nothing of the node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_set_timeout_ms(c: *mut upstream_conn_t, ms: u32) -> upstream_status_t {
    with(c, |conn| {
        conn.set_timeout(Duration::from_millis(ms.into()));
        Status::Ok
    })
}

/// The failure of the last I/O call on the connection. Borrowed until the next call on it. NULL where that call went
/// well, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_last_error(c: *const upstream_conn_t) -> *const upstream_error_t {
    pure!(c, |_| null() => |conn: &Conn| {
        conn.last_error().map_or(null(), |report| std::ptr::from_ref::<Report>(report).cast())
    })
}

/// Tells how this exchange went, in the plugin's words: `outcome` as a status, `text` (may be NULL) for the error and
/// the log. It decides what the exchange says of the node's health; the last word counts. Inside a deliver callback what
/// you return decides where the payload goes. Returns `outcome`, so that a callback may end with
/// `return upstream_conn_report(c, UPSTREAM_ERR_PROTOCOL, "HTTP 502");`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_report(
    c: *mut upstream_conn_t,
    outcome: upstream_status_t,
    text: *const c_char,
) -> upstream_status_t {
    say(c, |conn, text| conn.say(Status::from_number(outcome).unwrap_or(Status::InvalidArg), text), text);
    outcome
}

/// The server answered that it cannot take this now (429, 503): its node gets no new turns for `retry_after_ms`
/// milliseconds (0: health.backoff; at most an hour). It is no failure, and the connection is kept. `text` as for
/// upstream_conn_report(). Always returns UPSTREAM_ERR_BUSY, for a deliver callback to return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_busy(
    c: *mut upstream_conn_t,
    retry_after_ms: u32,
    text: *const c_char,
) -> upstream_status_t {
    let time = Duration::from_millis(retry_after_ms.into());
    say(c, |conn, text| conn.say_busy(time, text), text);
    UPSTREAM_ERR_BUSY
}

fn say(c: *mut upstream_conn_t, work: impl FnOnce(&mut Conn, Option<&str>), text: *const c_char) {
    let text = strings::text(text);
    with(c, |conn| {
        work(conn, text.as_deref());
        Status::Ok
    });
}

/// What is left of the time of the delivery or attempt that the connection serves, in milliseconds. -1 if it serves
/// none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_time_left_ms(c: *const upstream_conn_t) -> i64 {
    pure!(c, |_| -1 => |conn: &Conn| {
        conn.time_left_for_payload().map_or(-1, |left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
    })
}

/// What the payload is called: 32 hex digits, or the host's own name for it, the same at every node and at every resend
/// of one delivery or attempt, so that a receiver can drop what comes twice. Borrowed as long as the connection. NULL
/// if it serves none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_payload_id(c: *const upstream_conn_t) -> *const c_char {
    pure!(c, |_| null() => |conn: &Conn| conn.payload_id().map_or(null(), |id| id.as_c_str().as_ptr()))
}

/// Receives up to and with the bytes of `end` (a line's end), at most `cap`, and stores how many in `*got`. What came
/// behind it stays for the next read.
///
/// Returns: UPSTREAM_OK; UPSTREAM_ERR_PROTOCOL if `cap` bytes hold no end; UPSTREAM_ERR_CLOSED if the stream ends
/// before; or as upstream_conn_read(). On any error `*got` is 0 and what came stays for upstream_conn_read().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_read_until(
    c: *mut upstream_conn_t,
    buf: *mut c_void,
    cap: usize,
    end: *const c_char,
    end_len: usize,
    got: *mut usize,
) -> upstream_status_t {
    if buf.is_null() || got.is_null() {
        return number(Status::InvalidArg);
    }
    handle::store(got, 0);
    let end = strings::slice(end.cast::<u8>(), end_len).filter(|_| !end.is_null() && end_len > 0);
    let (Some(buffer), Some(end)) = (strings::slice_mut(buf.cast::<u8>(), cap).filter(|_| cap > 0), end)
    else {
        return number(Status::InvalidArg);
    };
    with(c, |conn| {
        let (status, count) = conn.read_until(buffer, end);
        handle::store(got, count);
        status
    })
}

/// The node the connection leads to, or the one it is being made to at the moment; good at least as long as the connection. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_node(c: *const upstream_conn_t) -> *mut upstream_node_t {
    pure!(c, |_| null_mut() => |conn: &Conn| node::lend(conn.node()))
}

/// 1 where the connection came from the pool, 0 where it is new. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_reused(c: *const upstream_conn_t) -> i32 {
    pure!(c, |_| 0 => |conn: &Conn| i32::from(conn.is_reused()))
}

/// The TLS version of the connection, "TLSv1.2" or "TLSv1.3". Static. NULL on a plaintext one, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_tls_version(c: *const upstream_conn_t) -> *const c_char {
    pure!(c, |_| null() => |conn: &Conn| {
        conn.channel().and_then(|channel| channel.tls_version()).map_or(null(), |version| version.as_ptr())
    })
}

/// Attaches the plugin's own data ("logged in") to the connection, where it stays while the connection is kept in the
/// pool. What was there before is freed. `free_fn` (may be NULL) is called with it on replacement and when the
/// connection ends, on any thread, where it is not to wait for a connection. NULL `data` only removes. UPSTREAM_ERR_INVALID_ARG, and nothing is freed, on one that is not
/// connected yet: it may still come from the pool, with its data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_set_data(
    c: *mut upstream_conn_t,
    data: *mut c_void,
    free_fn: Option<unsafe extern "C" fn(*mut c_void)>,
) -> upstream_status_t {
    let mut before = None;
    let status = with(c, |conn| {
        if !conn.is_ready() {
            return Status::InvalidArg;
        }
        before = conn.set_data(user_data::attach(data, free_fn));
        Status::Ok
    });
    drop(before); // only now that nothing borrows the connection: the plugin's function may call back
    status
}

/// The data attached to the connection. NULL where there is none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_get_data(c: *const upstream_conn_t) -> *mut c_void {
    pure!(c, |_| null_mut() => |conn: &Conn| user_data::pointer(conn.data()))
}

/// Gives the connection back: kept for the next one to use, or closed where a call on it failed, it is in the middle of a
/// message, bytes are held that cannot be sent at once (see upstream_conn_flush()), or
/// it may not be kept (net.keepalive and its limits). One that is still connecting is given up. Takes NULL. Inside a deliver callback it does nothing: the
/// connection is the delivery's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_release(c: *mut upstream_conn_t) {
    end(c, |_| {}, |mut conn| conn.release());
}

/// Closes the connection: the plugin no longer trusts it. What was written on it still arrives, unless a call on it
/// failed: the library says goodbye and waits up to a second, on a thread of its own, for the server to close too.
/// Takes NULL. Inside a deliver callback the connection is only
/// marked, and closed when the callback has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_discard(c: *mut upstream_conn_t) {
    end(c, Conn::distrust, drop);
}

fn end(c: *mut upstream_conn_t, if_lent: impl FnOnce(&mut Conn), if_owned: impl FnOnce(Box<Conn>)) {
    let _errno = KeepErrno::new();
    let Some(conn) = handle::borrow_mut(c) else {
        return;
    };
    guard(
        None,
        || (),
        || {
            if conn.is_lent() {
                if_lent(conn);
            } else if let Some(conn) = handle::take(c) {
                if_owned(conn);
            }
        },
    );
}

/// Only for the deliver room: a connection that is lent to C.
pub(crate) fn lend(conn: &mut Conn) -> *mut upstream_conn_t {
    std::ptr::from_mut(conn).cast()
}
