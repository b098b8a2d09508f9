//! `upstream_attempt_t`: the same choice of nodes for a plugin that does its own I/O.

use std::ffi::c_char;
use std::ptr::{null, null_mut};

use crate::base::error::Status;
use crate::ffi::connection::{self, upstream_conn_t};
use crate::ffi::deliver::{self, upstream_delivery_t};
use crate::ffi::error::{null_argument, number, tell, upstream_error_t};
use crate::ffi::handle::{self, Handle, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::nonblocking;
use crate::ffi::panic::{self, KeepErrno, boundary, guard};
use crate::ffi::set::{self, upstream_t};
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::set::attempt::Attempt;
use crate::set::upstream::Upstream;

/// The nodes for one payload, none twice. One call at a time; any number of them side by side. It keeps the set's memory alive, and
/// ends with upstream_attempt_end().
pub struct upstream_attempt_t {
    _private: [u8; 0],
}

impl Opaque for upstream_attempt_t {
    type Inner = AttemptHandle;
}

/// What `upstream_attempt_t` stands for.
pub(crate) struct AttemptHandle(Attempt);

impl Handle for AttemptHandle {
    fn poison(&self) -> Option<&crate::base::error::Poison> {
        None // borrowed mutably, and ended where a defect shows
    }
}

/// Begins with a payload. `*out` is the caller's. No lock, no system call. The time of deliver.timeout for the
/// library's connections counts from the first of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_begin(
    up: *mut upstream_t,
    out: *mut *mut upstream_attempt_t,
) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    boundary!(up.cast_const(), number => |up: &Upstream| {
        handle::store(out, handle::give(AttemptHandle(Attempt::new(set::share(up)))));
        UPSTREAM_OK
    })
}

/// As upstream_attempt_begin(), with more said about the payload; the time counts from now. NULL `how` says nothing.
/// UPSTREAM_ERR_INVALID_ARG for what upstream_deliver_with() refuses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_begin_with(
    up: *mut upstream_t,
    how: *const upstream_delivery_t,
    out: *mut *mut upstream_attempt_t,
) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    boundary!(up.cast_const(), number => |up: &Upstream| match deliver::read(how) {
        Ok(how) => {
            let attempt = Attempt::with(set::share(up), how.timeout, how.id);
            handle::store(out, handle::give(AttemptHandle(attempt)));
            UPSTREAM_OK
        }
        Err(error) => number(error.status),
    })
}

/// The node to try next: never one that this attempt has had. Asking again says that the last one failed, which
/// counts against its health as one of health.max_fails; if you know more (refused: UPSTREAM_ERR_CONNECT), say so by
/// upstream_attempt_report() before you ask. A node on trial after an ejection may be among them, at most one while
/// others are up.
///
/// Returns NULL once every node was tried (or deliver.attempts of them; at most three of those that are out), or
/// while the retry budget is spent: ten retries a second, and one more for every ten successes up to ten. Then
/// upstream_retry_after_ms() is above 0 and tells when to come again. Borrowed until upstream_destroy(). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_next(a: *mut upstream_attempt_t) -> *mut upstream_node_t {
    let _errno = KeepErrno::new();
    let Some(AttemptHandle(attempt)) = handle::borrow_mut(a) else {
        return null_mut();
    };
    guard(None, null_mut, || attempt.next_node().map_or(null_mut(), node::lend))
}

/// Connects to the next node that this attempt has not had, and on to others on failure; waits for the retry budget.
/// All inside the attempt's time (deliver.timeout). `*out` is the caller's, to end by upstream_conn_release() or
/// upstream_conn_discard() before the next one is asked for; how it went counts when the attempt goes on or ends.
///
/// Returns: UPSTREAM_OK; UPSTREAM_ERR_NO_NODE if no node is left to try; UPSTREAM_ERR_BUSY if every node has asked for
/// a pause; UPSTREAM_ERR_TIMEOUT if the time is over; UPSTREAM_ERR_INVALID_ARG while the connection before is in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_connect(
    a: *mut upstream_attempt_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let call = "upstream_attempt_connect";
    connect(a, !out.is_null(), err, call, |attempt| connection::hand_over(attempt.connect(), out, err))
}

/// As upstream_attempt_connect() without waiting, for an event loop: UPSTREAM_OK if `*out` is ready,
/// UPSTREAM_WANT_READ if it is under way; see upstream_connect_start(). While it waits for the retry budget it has no
/// descriptor, and upstream_conn_timeout_ms() says when to go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_connect_start(
    a: *mut upstream_attempt_t,
    out: *mut *mut upstream_conn_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let call = "upstream_attempt_connect_start";
    connect(a, !out.is_null(), err, call, |attempt| nonblocking::hand_over(attempt.connect_start(), out, err))
}

fn connect(
    a: *mut upstream_attempt_t,
    has_room: bool,
    err: *mut *mut upstream_error_t,
    call: &str,
    work: impl FnOnce(&mut Attempt) -> upstream_status_t,
) -> upstream_status_t {
    let _errno = KeepErrno::new();
    let Some(AttemptHandle(attempt)) = handle::borrow_mut(a).filter(|_| has_room) else {
        return tell(err, null_argument(call));
    };
    guard(None, || tell(err, panic::report()), || work(attempt))
}

/// Tells how it went at the node that the attempt has now, as a status of this header; the last word counts, and what
/// upstream_attempt_end() is told about this node is then ignored. UPSTREAM_ERR_INVALID_ARG where the attempt has no
/// node, and for a number that is no status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_report(
    a: *mut upstream_attempt_t,
    outcome: upstream_status_t,
) -> upstream_status_t {
    let _errno = KeepErrno::new();
    let (Some(AttemptHandle(attempt)), Some(outcome)) = (handle::borrow_mut(a), Status::from_number(outcome))
    else {
        return number(Status::InvalidArg);
    };
    number(guard(None, || Status::Panic, || attempt.report(outcome)))
}

/// What the payload is called: 32 hex digits, or the host's own name for it, the same at every node and at every resend.
/// Borrowed until upstream_attempt_end(). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_payload_id(a: *const upstream_attempt_t) -> *const c_char {
    let Some(AttemptHandle(attempt)) = handle::borrow_mut(a.cast_mut()) else {
        return null();
    };
    guard(None, null, || attempt.payload_id().as_c_str().as_ptr())
}

/// Ends with a payload: `outcome` is how it went at the last node, as upstream_node_report() takes it; after
/// upstream_attempt_report(), and where the last answer was NULL, it tells nothing of a node. Do not also call
/// upstream_node_report() for it. Frees the attempt. Takes NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_end(a: *mut upstream_attempt_t, outcome: upstream_status_t) {
    let _errno = KeepErrno::new();
    if let Some(mut attempt) = handle::take(a) {
        // A number that is no status tells nothing either.
        let outcome = Status::from_number(outcome).unwrap_or(Status::InvalidArg);
        guard(None, || (), || attempt.0.end(outcome));
    }
}
