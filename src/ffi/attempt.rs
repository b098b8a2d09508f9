//! `upstream_attempt_t`: for a plugin that does its own I/O, nodes chosen as a delivery chooses
//! them.

use std::ffi::c_char;
use std::ptr::{null, null_mut};

use crate::base::error::Status;
use crate::ffi::boundary::{mutable, shared};
use crate::ffi::connection::{self, upstream_conn_t};
use crate::ffi::deliver::{self, upstream_delivery_t};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::set::{self, upstream_t};
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::set::attempt::Attempt;
use crate::set::upstream::Upstream;

/// One payload on its way over the nodes, none of which it gets twice.
///
/// Ownership: yours, until upstream_attempt_end(). It may outlive its set, but then you can only
/// end it.
///
/// Threads: it may move between threads, one call at a time. Any number of attempts may run side by
/// side.
pub struct upstream_attempt_t {
    _private: [u8; 0],
}

impl Opaque for upstream_attempt_t {
    type Inner = Attempt;
}

/// Begins an attempt to deliver one payload.
///
/// It has deliver.timeout for its connections. That time starts with the first of them.
/// upstream_attempt_next() has no time limit.
///
/// Returns:
/// - UPSTREAM_OK: `*out` is yours. End it with upstream_attempt_end().
/// - UPSTREAM_ERR_INVALID_ARG: `up` or `out` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant. No lock, no system call.
///
/// ```c
/// upstream_status_t my_send(const char *host, uint16_t port);
///
/// static upstream_status_t send_payload(upstream_t *up)
/// {
///     upstream_attempt_t *attempt = NULL;
///     upstream_node_t *node;
///     upstream_status_t status = upstream_attempt_begin(up, &attempt);
///     if (status != UPSTREAM_OK) {
///         return status;
///     }
///     status = UPSTREAM_ERR_NO_NODE;
///     while (status < 0 && (node = upstream_attempt_next(attempt)) != NULL) {
///         status = my_send(upstream_node_host(node), upstream_node_port(node));
///         upstream_attempt_report(attempt, status);
///     }
///     upstream_attempt_end(attempt, status);
///     return status;
/// }
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_begin(
    up: *mut upstream_t,
    out: *mut *mut upstream_attempt_t,
) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    shared!(up.cast_const(), number => |up: &Upstream| {
        handle::store(out, handle::give(Attempt::new(set::share(up))));
        UPSTREAM_OK
    })
}

/// As upstream_attempt_begin(), with settings for this payload. A NULL `how` means all defaults.
///
/// The time for its connections is `how->timeout_ms`, or deliver.timeout if that is 0. It starts
/// now.
///
/// Returns: as upstream_attempt_begin(); UPSTREAM_ERR_INVALID_ARG also for what
/// upstream_deliver_with() refuses.
///
/// Time: constant. No lock, no system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_begin_with(
    up: *mut upstream_t,
    how: *const upstream_delivery_t,
    out: *mut *mut upstream_attempt_t,
) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    shared!(up.cast_const(), number => |up: &Upstream| match deliver::read(how) {
        Ok(how) => {
            let attempt = Attempt::with(set::share(up), how.timeout, how.id);
            handle::store(out, handle::give(attempt));
            UPSTREAM_OK
        }
        Err(error) => number(error.status),
    })
}

/// Picks the node to try next, for a plugin that does its own I/O: never one that this attempt had.
///
/// To call it again says that the last node failed, which counts as one of health.max_fails. If you
/// know more (refused: UPSTREAM_ERR_CONNECT), call upstream_attempt_report() first.
///
/// One of the nodes may be on trial after an ejection. If all nodes are ejected, up to three of
/// them are tried. deliver.attempts limits the number too.
///
/// Each further node takes a token from the retry budget of the set. A node after a busy one takes
/// none, nor does a trial while another node is up. The budget holds up to 10 tokens, and each
/// success adds 0.1. While it is empty, 10 retries a second are allowed.
///
/// Returns: the node. NULL if no node is left to try, if the retry budget is spent, or if `a` is
/// NULL. upstream_retry_after_ms() is above 0 while the budget is spent, and says how long to wait.
///
/// Time: one step for each node at most. It does not wait.
///
/// Ownership: borrowed until upstream_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_next(a: *mut upstream_attempt_t) -> *mut upstream_node_t {
    mutable!(a, |_| null_mut() => |attempt: &mut Attempt| {
        attempt.next_node().map_or(null_mut(), node::lend)
    })
}

/// Connects to the next node, and to others if that fails: never to one that this attempt had.
///
/// End the connection with upstream_conn_release() or upstream_conn_discard() before you ask for
/// the next one. The node's outcome counts when you ask for the next one, or end the attempt.
///
/// If it would send again what may have arrived, and the retry budget is spent, it waits (see
/// upstream_deliver()).
///
/// Returns:
/// - UPSTREAM_OK: `*out` is yours.
/// - UPSTREAM_ERR_NO_NODE: no node is left to try. `*err` tells what failed at each.
/// - UPSTREAM_ERR_BUSY: each node is paused.
/// - UPSTREAM_ERR_TIMEOUT: the time of the attempt is over.
/// - The status of the last failure: the payload may have arrived, and deliver.resend is off.
/// - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set, or the set was destroyed.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
/// - UPSTREAM_ERR_INVALID_ARG: `a` or `out` is NULL, or the connection before is still in use.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: what is left of the time of the attempt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_connect(
    a: *mut upstream_attempt_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let call = "upstream_attempt_connect";
    connect(a, !out.is_null(), err, call, |attempt| {
        connection::hand_over(attempt.connect(), out, err)
    })
}

/// As upstream_attempt_connect(), without waiting.
///
/// While it waits for the retry budget, upstream_conn_fd() is -1, and upstream_conn_timeout_ms()
/// says when to go on.
///
/// Returns: UPSTREAM_OK if `*out` is ready; UPSTREAM_WANT_READ if it is under way, as
/// upstream_connect_start() says; else as upstream_attempt_connect().
///
/// Time: does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_connect_start(
    a: *mut upstream_attempt_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let call = "upstream_attempt_connect_start";
    connect(a, !out.is_null(), err, call, |attempt| {
        connection::hand_over(attempt.connect_start(), out, err)
    })
}

fn connect(
    a: *mut upstream_attempt_t,
    has_room: bool,
    err: *mut *mut upstream_error_t,
    call: &str,
    work: impl FnOnce(&mut Attempt) -> upstream_status_t,
) -> upstream_status_t {
    if !has_room {
        return tell(err, null_argument(call));
    }
    mutable!(a, |status| refuse(err, call, status) => work)
}

/// Tells how it went at the node that the attempt has now, as a status of this header.
///
/// For what each status means, see upstream_node_report(). The last report counts. After a report
/// the `outcome` of upstream_attempt_end() does not count for this node.
///
/// Returns:
/// - UPSTREAM_OK: done.
/// - UPSTREAM_ERR_INVALID_ARG: `a` is NULL, the attempt has no node now, or `outcome` is no status.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_report(
    a: *mut upstream_attempt_t,
    outcome: upstream_status_t,
) -> upstream_status_t {
    let Some(outcome) = Status::from_number(outcome) else {
        return number(Status::InvalidArg);
    };
    mutable!(a, number => |attempt: &mut Attempt| number(attempt.report(outcome)))
}

/// The id of the payload: see upstream_conn_payload_id().
///
/// Returns: the id; NULL if `a` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed until upstream_attempt_end().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_payload_id(
    a: *const upstream_attempt_t,
) -> *const c_char {
    mutable!(a.cast_mut(), |_| null() => |attempt: &mut Attempt| {
        attempt.payload_id().as_c_str().as_ptr()
    })
}

/// Ends an attempt and frees it. Takes NULL.
///
/// `outcome` says how it went at the last node, as for upstream_node_report(). It does not count
/// for a node if you called upstream_attempt_report() for the last one, or if
/// upstream_attempt_next() gave NULL.
///
/// Do not also call upstream_node_report() for that node.
///
/// Time: one step for each node that failed. It holds a lock for a moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_end(
    a: *mut upstream_attempt_t,
    outcome: upstream_status_t,
) {
    // A number that is no status says nothing of the node, as UPSTREAM_ERR_INVALID_ARG does.
    let outcome = Status::from_number(outcome).unwrap_or(Status::InvalidArg);
    mutable!(take a, |_| () => |mut attempt: Box<Attempt>| attempt.end(outcome))
}
