//! `upstream_error_t`: what went wrong, where, and how to fix it.

use std::ffi::{c_char, c_int};
use std::ptr::null;

use crate::base::error::{Error, Report, Status};
use crate::ffi::boundary::{mutable, shared};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::panic;
use crate::ffi::status::upstream_status_t;

/// An error in full: status, text, node or line.
///
/// Ownership: the calls that take `upstream_error_t **err` make one, and you free it with
/// upstream_error_free(). The one from upstream_conn_last_error() is the connection's.
///
/// Threads: it never changes, so any number of threads may read it at the same time.
pub struct upstream_error_t {
    _private: [u8; 0],
}

impl Opaque for upstream_error_t {
    type Inner = Report;
}

/// Gives `error` to C, if C asked for it, and returns its status.
pub(crate) fn tell(err: *mut *mut upstream_error_t, error: Error) -> upstream_status_t {
    let status = error.status as upstream_status_t;
    if !err.is_null() {
        handle::store(err, handle::give(Report::from(error)));
    }
    status
}

/// The status of an error: the same that the call returned.
///
/// Returns: the status; UPSTREAM_ERR_INVALID_ARG if `err` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_status(err: *const upstream_error_t) -> upstream_status_t {
    shared!(pure err, number => |report: &Report| number(report.error.status))
}

/// The text of an error, in one line of at most 2,000 bytes, for a log.
///
/// It names the node, what was being done and the cause; or the file, line and column, what is
/// wrong there, and how to fix it. After several failures it tells all of them.
///
/// Returns: the text; NULL if `err` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed. It lives as long as `err`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_message(err: *const upstream_error_t) -> *const c_char {
    shared!(pure err, |_| null() => |report: &Report| report.message.as_ptr())
}

/// The errno of the system that caused an error.
///
/// Returns: the number; 0 if the system gave none, or `err` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_errno(err: *const upstream_error_t) -> c_int {
    shared!(pure err, |_| 0 => |report: &Report| report.error.errno)
}

/// The name of the node that an error is about.
///
/// Returns: the name; NULL if the error is about no node, or `err` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed. It lives as long as `err`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_node(err: *const upstream_error_t) -> *const c_char {
    shared!(pure err, |_| null() => |report: &Report| {
        report.node.as_ref().map_or(null(), |name| name.as_ptr())
    })
}

/// Whether the payload may have arrived although the call failed.
///
/// If a payload must not come twice, do not send it again when this is 1. It is 1 if a node got
/// bytes of the payload and did not answer for them.
///
/// An answer is UPSTREAM_STOP, UPSTREAM_ERR_BUSY, or another status after bytes were read since the
/// last ones were sent. Half an answer is none: the end of the stream, a reset or silence took the
/// place of the rest.
///
/// Returns: 1 or 0; 0 if `err` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_may_have_arrived(err: *const upstream_error_t) -> i32 {
    shared!(pure err, |_| 0 => |report: &Report| i32::from(report.error.may_have_arrived))
}

/// The line of the configuration file that an error is about.
///
/// Returns: the line, from 1; 0 if the error is about no line, or `err` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_line(err: *const upstream_error_t) -> usize {
    shared!(pure err, |_| 0 => |report: &Report| report.error.line())
}

/// Frees an error and its strings. Takes NULL.
///
/// Do not free the error of upstream_conn_last_error(): it is borrowed.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_free(err: *mut upstream_error_t) {
    mutable!(take err, |_| () => drop)
}

/// The number of a status.
pub(crate) fn number(status: Status) -> upstream_status_t {
    status as upstream_status_t
}

/// The error of a call that got NULL.
pub(crate) fn null_argument(call: &str) -> Error {
    Error::new(Status::InvalidArg, format!("{call}: an argument is NULL that must not be NULL"))
}

/// Ends a call whose handle is NULL or poisoned, or which panicked: the error goes to `*err`.
pub(crate) fn refuse(
    err: *mut *mut upstream_error_t,
    call: &str,
    status: Status,
) -> upstream_status_t {
    match status {
        Status::Panic => tell(err, panic::report()),
        _ => tell(err, null_argument(call)),
    }
}
