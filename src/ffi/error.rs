//! `upstream_error_t`: what went wrong, where, and what mends it.

use std::ffi::{c_char, c_int};
use std::ptr::null;

use crate::base::error::{Error, Report, Status};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::panic::{self, pure};
use crate::ffi::status::upstream_status_t;

/// An error in full. Made by the calls that take `upstream_error_t **err`, freed with upstream_error_free().
/// It never changes, so any number of threads may read it.
pub struct upstream_error_t {
    _private: [u8; 0],
}

impl Opaque for upstream_error_t {
    type Inner = Report;
}

/// Hands `error` to C, if C wants it, and gives its status.
pub(crate) fn tell(err: *mut *mut upstream_error_t, error: Error) -> upstream_status_t {
    let status = error.status as upstream_status_t;
    if !err.is_null() {
        handle::store(err, handle::give(Report::from(error)));
    }
    status
}

/// The status of an error. UPSTREAM_ERR_INVALID_ARG for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_status(err: *const upstream_error_t) -> upstream_status_t {
    pure!(err, |status| status as upstream_status_t => |report: &Report| report.error.status as upstream_status_t)
}

/// The whole story in one line: node, phase and cause, or file:line:column, what is wrong, and the mend.
/// Borrowed until upstream_error_free(). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_message(err: *const upstream_error_t) -> *const c_char {
    pure!(err, |_| null() => |report: &Report| report.message.as_ptr())
}

/// The system's errno behind an error; 0 where the system gave none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_errno(err: *const upstream_error_t) -> c_int {
    pure!(err, |_| 0 => |report: &Report| report.error.errno)
}

/// The name of the node that an error concerns. Borrowed until upstream_error_free(). NULL where it concerns
/// none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_node(err: *const upstream_error_t) -> *const c_char {
    pure!(err, |_| null() => |report: &Report| report.node.as_ref().map_or(null(), |name| name.as_ptr()))
}

/// 1 if bytes of the payload reached a node that did not answer for it: whoever promises at most once does not bring it
/// again. An answer is UPSTREAM_STOP, UPSTREAM_ERR_BUSY, or another status after bytes were read since the last were sent;
/// half an answer, with the end, a reset or silence in place of the rest, is none. 0 otherwise, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_may_have_arrived(err: *const upstream_error_t) -> i32 {
    pure!(err, |_| 0 => |report: &Report| i32::from(report.error.may_have_arrived))
}

/// The line of the configuration file that an error concerns, from 1; 0 where it concerns none, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_line(err: *const upstream_error_t) -> usize {
    pure!(err, |_| 0 => |report: &Report| report.error.line())
}

/// Frees an error and its strings. Takes NULL. Not for errors that are borrowed
/// (upstream_conn_last_error()).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_error_free(err: *mut upstream_error_t) {
    drop(handle::take(err));
}

/// The number of a status.
pub(crate) fn number(status: Status) -> upstream_status_t {
    status as upstream_status_t
}

/// The error of a call that was handed NULL.
pub(crate) fn null_argument(call: &str) -> Error {
    Error::new(Status::InvalidArg, format!("{call} was handed NULL where it wants a value"))
}

/// How a call on a handle that is NULL or poisoned, or one that was caught in a panic, ends: with its words in `*err`.
pub(crate) fn refuse(err: *mut *mut upstream_error_t, call: &str, status: Status) -> upstream_status_t {
    match status {
        Status::Panic => tell(err, panic::report()),
        _ => tell(err, null_argument(call)),
    }
}
