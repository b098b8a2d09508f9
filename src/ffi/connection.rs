//! `upstream_conn_t`: a connection that the plugin uses, and the calls on it that wait. The calls
//! for an event loop are in `nonblocking`.

use std::ffi::{c_char, c_void};
use std::io::IoSlice;
use std::ptr::{null, null_mut};
use std::time::Duration;

use crate::base::error::{Report, Result, Status};
use crate::ffi::boundary::{mutable, shared};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::set::upstream_t;
use crate::ffi::status::{UPSTREAM_ERR_BUSY, UPSTREAM_OK, UPSTREAM_WANT_READ, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::user_data;
use crate::set::conn::{Conn, connect_deadline};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// A connection to a node.
///
/// Each use of it, from the call that gave it to you until you end it, is an exchange. An exchange
/// counts once for the health of the node.
///
/// Ownership: yours if a connect call gave it to you. End it with upstream_conn_release() or
/// upstream_conn_discard(), before or after its set is destroyed. In a deliver callback it is the
/// delivery's.
///
/// Threads: it may move between threads, one call at a time.
pub struct upstream_conn_t {
    _private: [u8; 0],
}

impl Opaque for upstream_conn_t {
    type Inner = Conn;
}

/// Connects to the next node, and to others if that fails. A kept connection is used again.
///
/// The connection is ready for data: TCP, and TLS if the node has it. Each node is tried once. If
/// all nodes are ejected, up to three of them are tried. A node at its net.max_connections is
/// passed over while another one has room. If none has, the first place that becomes free will do.
///
/// Returns:
/// - UPSTREAM_OK: `*out` is yours.
/// - UPSTREAM_ERR_NO_NODE: each node has weight 0, or is ejected and may not be tried now.
/// - UPSTREAM_ERR_BUSY: each node is paused.
/// - UPSTREAM_ERR_RESOLVE, _CONNECT, _TLS, _CERT, _TIMEOUT, _LIMIT, _CLOSED, _NETWORK, _NO_MEMORY:
///   no node could be connected to. It is the status of the last one tried; `*err` tells of all.
///   _CLOSED and _NETWORK come from a kept connection that the server ended so early that its node
///   was ejected.
/// - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
/// - UPSTREAM_ERR_INVALID_ARG: `up` or `out` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: net.connect_timeout for each node that is tried. While a node is up, nodes on trial cost
/// 250 ms in all.
///
/// ```c
/// upstream_conn_t *conn = NULL;
/// upstream_error_t *err = NULL;
/// if (upstream_connect(up, &conn, &err) == UPSTREAM_OK) {
///     upstream_conn_write(conn, "hello\n", 6);
///     upstream_conn_release(conn);
/// } else {
///     fprintf(stderr, "%s\n", upstream_error_message(err));
///     upstream_error_free(err);
/// }
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_connect(
    up: *mut upstream_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_connect"));
    }
    shared!(up.cast_const(), |status| refuse(err, "upstream_connect", status) => |up: &Upstream| {
        hand_over(up.connect(), out, err)
    })
}

/// As upstream_connect(), but to this node alone, whatever its state is.
///
/// Returns: as upstream_connect(), without UPSTREAM_ERR_NO_NODE and UPSTREAM_ERR_BUSY.
///
/// Time: net.connect_timeout of the node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_connect(
    n: *mut upstream_node_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if out.is_null() {
        return tell(err, null_argument("upstream_node_connect"));
    }
    shared!(n.cast_const(), |status| refuse(err, "upstream_node_connect", status) => |node: &Node| {
        let conn = Conn::open(node::share(node), || connect_deadline(node));
        hand_over(conn.map(Conn::alone), out, err)
    })
}

/// Gives a connection to C; it may still be connecting.
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

/// Runs a call that changes the connection.
#[inline(always)]
pub(crate) fn with(
    c: *mut upstream_conn_t,
    work: impl FnOnce(&mut Conn) -> Status,
) -> upstream_status_t {
    mutable!(c, number => |conn: &mut Conn| number(work(conn)))
}

/// Sends all `len` bytes.
///
/// While it waits for room, it takes in up to 1 MiB of what the server sends and keeps it for your
/// reads. So a server that answers while it reads does not block itself and you.
///
/// A server may answer and close before it has read everything ("413 too large"). The write fails
/// then, but upstream_conn_read() still gives you the answer, as far as it had come. Discard the
/// connection after that.
///
/// After a failure nothing more can be sent on the connection. upstream_conn_last_error() has the
/// details.
///
/// Returns:
/// - UPSTREAM_OK: the system has taken all bytes. That does not mean that they arrived.
/// - UPSTREAM_ERR_TIMEOUT: the server took no more data in time.
/// - UPSTREAM_ERR_CLOSED: the server closed the connection; an earlier write was cut off; or TLS
///   1.2 allows no more data on this connection.
/// - UPSTREAM_ERR_NETWORK: the connection broke, as by a reset.
/// - UPSTREAM_ERR_TLS, UPSTREAM_ERR_CERT: the server sent a TLS alert, or a broken record.
/// - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
/// - A status of upstream_conn_connect_continue(): the connection was not ready yet, and could not
///   be made.
/// - UPSTREAM_ERR_INVALID_ARG: `c` or `data` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: net.io_timeout without progress, or the limit of upstream_conn_set_timeout_ms(). One
/// system call for each 64 KiB if the system takes all bytes at once.
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
///
/// Returns: as upstream_conn_write(); UPSTREAM_ERR_INVALID_ARG if `c` or `iov` is NULL, or a buffer
/// that is not empty.
///
/// Time: as upstream_conn_write().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_writev(
    c: *mut upstream_conn_t,
    iov: *const libc::iovec,
    n: usize,
) -> upstream_status_t {
    // SAFETY of the cast: std documents IoSlice as ABI-compatible with struct iovec on Unix.
    let Some(slices) = strings::slice(iov.cast::<IoSlice<'_>>(), n).filter(|_| !iov.is_null())
    else {
        return number(Status::InvalidArg);
    };
    // SAFETY: this is the memory of `slices`, seen as C's type to find parts that are NULL.
    let parts = unsafe { std::slice::from_raw_parts(iov, slices.len()) };
    if parts.iter().any(|part| part.iov_base.is_null() || !strings::fits::<u8>(part.iov_len)) {
        return write_without_null(c, parts);
    }
    with(c, |conn| conn.write(slices))
}

/// An empty part may be NULL in C, but never in Rust.
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

/// Receives at least one byte and at most `cap` bytes. Stores in `*got` how many.
///
/// Returns:
/// - UPSTREAM_OK: `*got` is 1 to `cap`.
/// - UPSTREAM_EOF: the server ended the stream. `*got` is 0, as on every error.
/// - UPSTREAM_ERR_TIMEOUT: nothing came in time. You may read again.
/// - UPSTREAM_ERR_CLOSED: a TLS stream was cut off without its goodbye (close_notify).
/// - UPSTREAM_ERR_NETWORK: the connection broke, as by a reset.
/// - UPSTREAM_ERR_TLS, UPSTREAM_ERR_CERT: the server sent a TLS alert, or a broken record.
/// - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
/// - A status of upstream_conn_connect_continue(): the connection was not ready yet, and could not
///   be made.
/// - UPSTREAM_ERR_INVALID_ARG: `c`, `buf` or `got` is NULL, or `cap` is 0.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: net.io_timeout without a byte, or the limit of upstream_conn_set_timeout_ms(). Messages of
/// TLS itself, such as session tickets, are no bytes for you; a part of a TLS record counts.
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

/// Receives exactly `len` bytes.
///
/// On failure do not read on: the bytes that came are in `buf`, but you cannot tell how many.
///
/// Returns: as upstream_conn_read(), but UPSTREAM_ERR_CLOSED in place of UPSTREAM_EOF if the stream
/// ends too early; UPSTREAM_ERR_INVALID_ARG if `c` or `buf` is NULL.
///
/// Time: net.io_timeout without a byte, or the limit of upstream_conn_set_timeout_ms() for the
/// whole call.
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

/// Limits each later call on the connection to `ms` milliseconds in all, also if bytes move all the
/// time.
///
/// 0 goes back to the limit of the file: net.io_timeout without progress. For the calls of an event
/// loop `ms` also limits the time without progress, not the whole call.
///
/// In a delivery or attempt your limit can only make calls shorter, never longer than the time that
/// is left for this node: half of all that is left while another node could take the payload, else
/// all of it.
///
/// If your limit ends a call before the node had 1 second to act (or its net.io_timeout, if that is
/// shorter), this is no failure of the node.
///
/// Returns:
/// - UPSTREAM_OK: done.
/// - UPSTREAM_ERR_INVALID_ARG: `c` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_set_timeout_ms(
    c: *mut upstream_conn_t,
    ms: u32,
) -> upstream_status_t {
    with(c, |conn| {
        conn.set_timeout(Duration::from_millis(ms.into()));
        Status::Ok
    })
}

/// The error of the last call that read, wrote or connected on the connection.
///
/// Returns: the error; NULL if that call went well, or `c` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed until the next call on the connection. Do not free it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_last_error(
    c: *const upstream_conn_t,
) -> *const upstream_error_t {
    shared!(pure c, |_| null() => |conn: &Conn| {
        conn.last_error().map_or(null(), |report| std::ptr::from_ref::<Report>(report).cast())
    })
}

/// Tells how this exchange went, in your words, and returns `outcome`.
///
/// `outcome` is a status. For the health of the node it means what upstream_node_report() says.
/// Also, UPSTREAM_EOF counts as UPSTREAM_ERR_CLOSED; UPSTREAM_ERR_INVALID_ARG, and a number that is
/// no status, count as one of health.max_fails. The last report counts. Without one the library
/// judges by what it saw.
///
/// `text` may be NULL. Up to 500 characters of it appear in the error and in the log.
///
/// In a deliver callback, this decides about the node. What the callback returns decides where the
/// payload goes.
///
/// Returns: `outcome`, whatever it is, and also if `c` is NULL: a callback can return what this
/// call returns.
///
/// Time: constant.
///
/// ```c
/// static upstream_status_t judge(upstream_conn_t *conn, int http)
/// {
///     if (http == 429 || http == 503) {
///         return upstream_conn_busy(conn, 5000, "HTTP 429 or 503");
///     }
///     if (http == 400) {
///         return upstream_conn_report(conn, UPSTREAM_STOP, "HTTP 400");
///     }
///     return upstream_conn_report(conn, http == 200 ? UPSTREAM_OK : UPSTREAM_ERR_PROTOCOL, NULL);
/// }
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_report(
    c: *mut upstream_conn_t,
    outcome: upstream_status_t,
    text: *const c_char,
) -> upstream_status_t {
    say(
        c,
        |conn, text| conn.say(Status::from_number(outcome).unwrap_or(Status::InvalidArg), text),
        text,
    );
    outcome
}

/// Tells that the server cannot take this now (HTTP 429, 503): its node is paused.
///
/// The pause is `retry_after_ms` milliseconds. 0 means health.backoff, and more than one hour
/// counts as one hour. It is no failure, and the connection is kept. `text` is as for
/// upstream_conn_report(): see the example there.
///
/// Returns: UPSTREAM_ERR_BUSY, always. A deliver callback returns it, and the payload goes to
/// another node.
///
/// Time: constant.
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

/// How much time is left for the delivery or attempt that the connection serves, in milliseconds.
///
/// Returns: the time; 0 if it is over; -1 if the connection serves none, or `c` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_time_left_ms(c: *const upstream_conn_t) -> i64 {
    shared!(pure c, |_| -1 => |conn: &Conn| {
        let millis = |left: Duration| i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        conn.time_left_for_payload().map_or(-1, millis)
    })
}

/// The id of the payload, for a receiver that drops what comes twice.
///
/// It is your own id (upstream_delivery_t), or 32 hex digits made at random. One delivery or
/// attempt sends the same id to each node and each time. Use it as an Idempotency-Key, a Forward
/// chunk id, an Elasticsearch _id.
///
/// Returns: the id; NULL if the connection serves no delivery or attempt, or `c` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed for as long as you have the connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_payload_id(c: *const upstream_conn_t) -> *const c_char {
    shared!(pure c, |_| null() => |conn: &Conn| {
        conn.payload_id().map_or(null(), |id| id.as_c_str().as_ptr())
    })
}

/// Receives everything up to the bytes of `end`, and `end` too: a line, for example. Stores in
/// `*got` how many bytes that is.
///
/// What came after `end` stays for the next read. On any error `*got` is 0, and all that came stays
/// for upstream_conn_read().
///
/// Returns:
/// - UPSTREAM_OK: `*got` is 1 to `cap`, and the last of them are `end`.
/// - UPSTREAM_ERR_PROTOCOL: `cap` bytes came without `end`.
/// - UPSTREAM_ERR_CLOSED: the stream ended before `end` came. There is no UPSTREAM_EOF here.
/// - UPSTREAM_ERR_INVALID_ARG: a pointer is NULL, or `cap` or `end_len` is 0.
/// - Any other status of upstream_conn_read().
///
/// Time: net.io_timeout without a byte, or the limit of upstream_conn_set_timeout_ms() for the
/// whole call.
///
/// ```c
/// static upstream_status_t ask(upstream_conn_t *conn, void *question)
/// {
///     char answer[128];
///     size_t got;
///     upstream_status_t status = upstream_conn_write(conn, question, strlen(question));
///     if (status == UPSTREAM_OK) {
///         status = upstream_conn_read_until(conn, answer, sizeof(answer), "\n", 1, &got);
///     }
///     return status;
/// }
/// ```
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
    let (Some(buffer), Some(end)) =
        (strings::slice_mut(buf.cast::<u8>(), cap).filter(|_| cap > 0), end)
    else {
        return number(Status::InvalidArg);
    };
    with(c, |conn| {
        let (status, count) = conn.read_until(buffer, end);
        handle::store(got, count);
        status
    })
}

/// The node of the connection; while it is connecting, the node that is being tried.
///
/// Returns: the node; NULL if `c` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed at least for as long as you have the connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_node(c: *const upstream_conn_t) -> *mut upstream_node_t {
    shared!(pure c, |_| null_mut() => |conn: &Conn| node::lend(conn.node()))
}

/// Whether the connection was kept from an earlier use.
///
/// Returns: 1 if it was, 0 if it is new or not ready yet, or `c` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_reused(c: *const upstream_conn_t) -> i32 {
    shared!(pure c, |_| 0 => |conn: &Conn| i32::from(conn.is_reused()))
}

/// The TLS version of the connection.
///
/// Returns: "TLSv1.2" or "TLSv1.3", a static string; NULL without TLS, before the connection is
/// ready, or if `c` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_tls_version(c: *const upstream_conn_t) -> *const c_char {
    shared!(pure c, |_| null() => |conn: &Conn| {
        let version = conn.channel().and_then(|channel| channel.tls_version());
        version.map_or(null(), |version| version.as_ptr())
    })
}

/// Attaches the plugin's own data to the connection, such as "logged in", in place of any data
/// before.
///
/// It stays there while the connection is kept, and you find it there when you get the connection
/// again. `free_fn` may be NULL. A NULL `data` only removes what was there.
///
/// Returns:
/// - UPSTREAM_OK: done.
/// - UPSTREAM_ERR_INVALID_ARG: `c` is NULL, or the connection is not ready. The data is still
///   yours.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant, plus the time of `free_fn`.
///
/// Ownership: the data is the library's when the call returns UPSTREAM_OK. It calls `free_fn` with
/// it once: in the call that replaces it, or when the connection ends.
///
/// Threads: `free_fn` is called on any thread. It must not wait for a connection.
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
    // Only now, when nothing borrows the connection: the plugin's function may call back.
    drop(before);
    status
}

/// The data attached to the connection.
///
/// Returns: the data; NULL if there is none, or `c` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed until it is replaced, or the connection ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_get_data(c: *const upstream_conn_t) -> *mut c_void {
    shared!(pure c, |_| null_mut() => |conn: &Conn| user_data::pointer(conn.data()))
}

/// Gives the connection back. The library keeps it for the next use of that node. Takes NULL.
///
/// It is closed instead if a call on it failed, if a message on it is unfinished or an answer
/// unread, if TLS holds bytes that cannot be sent at once (see upstream_conn_flush()), or if
/// net.keepalive and its limits do not let it be kept. One that is still connecting is given up.
///
/// In a deliver callback it does nothing: the connection is the delivery's.
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_release(c: *mut upstream_conn_t) {
    end(c, |_| {}, |mut conn| conn.release());
}

/// Closes the connection, because you no longer trust it. Takes NULL.
///
/// What you wrote on it still arrives, unless a call on it failed: a thread of the library waits up
/// to a second for the server to close too.
///
/// In a deliver callback the connection is closed after the callback has returned.
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_discard(c: *mut upstream_conn_t) {
    end(c, Conn::distrust, drop);
}

fn end(c: *mut upstream_conn_t, if_lent: impl FnOnce(&mut Conn), if_owned: impl FnOnce(Box<Conn>)) {
    let is_owned = mutable!(even poisoned c, |_| false => |conn: &mut Conn| {
        if conn.is_lent() {
            if_lent(conn);
            return false;
        }
        true
    });
    if is_owned {
        mutable!(take c, |_| () => if_owned)
    }
}

/// A connection that is lent to C for a deliver callback.
pub(crate) fn lend(conn: &mut Conn) -> *mut upstream_conn_t {
    std::ptr::from_mut(conn).cast()
}
