//! `upstream_attempt_t`: the same choice of nodes for a plugin that does its own I/O.

use std::ptr::null_mut;

use crate::attempt::Attempt;
use crate::error::Status;
use crate::ffi::error::number;
use crate::ffi::handle::{self, Handle, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::panic::{KeepErrno, boundary, guard};
use crate::ffi::set::{self, upstream_t};
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::upstream::Upstream;

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
    fn poison(&self) -> Option<&crate::error::Poison> {
        None // borrowed mutably, and ended where a defect shows
    }
}

/// Begins with a payload. `*out` is the caller's. No lock, no system call.
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

/// The node to try next: never one that this attempt has had. Asking again says that the last one failed, which counts against its
/// health as one of health.max_fails; where the plugin knows more (refused: UPSTREAM_ERR_CONNECT), it tells by
/// upstream_node_report() before it asks, and that counts instead. A node on trial after an ejection may be among them. NULL once every node was
/// tried (or deliver.attempts of them), or the retry budget is spent: ten retries a second, and one more for every ten successes
/// up to ten. Then upstream_retry_after_ms() tells when to come again. Borrowed until upstream_destroy(). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_next(a: *mut upstream_attempt_t) -> *mut upstream_node_t {
    let _errno = KeepErrno::new();
    let Some(AttemptHandle(attempt)) = handle::borrow_mut(a) else {
        return null_mut();
    };
    guard(None, null_mut, || attempt.next_node().map_or(null_mut(), node::lend))
}

/// Ends with a payload: `outcome` is how it went at the last node, as upstream_node_report() takes it; where the last answer was NULL it
/// tells nothing of a node. Not to be told by upstream_node_report() besides. Frees the attempt. Takes NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_attempt_end(a: *mut upstream_attempt_t, outcome: upstream_status_t) {
    let _errno = KeepErrno::new();
    if let Some(attempt) = handle::take(a) {
        // A number that is no status tells nothing either.
        let outcome = Status::from_number(outcome).unwrap_or(Status::InvalidArg);
        guard(None, || (), || attempt.0.end(outcome));
    }
}
