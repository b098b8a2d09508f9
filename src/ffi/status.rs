//! Status numbers and the version.

use std::ffi::c_char;
use std::ptr::null;

use crate::base::error::Status;
use crate::ffi::boundary::shared;

/// How a call ended: 0 is success, a positive number asks you to wait or to stop, a negative number
/// is an error.
///
/// The numbers never change. Later versions may add some: treat an unknown negative number as an
/// error, and an unknown positive number as "not done yet".
pub type upstream_status_t = i32;

/// Success.
pub const UPSTREAM_OK: upstream_status_t = 0;
/// Call again when the descriptor is readable (event loop).
pub const UPSTREAM_WANT_READ: upstream_status_t = 1;
/// Call again when the descriptor is writable (event loop).
pub const UPSTREAM_WANT_WRITE: upstream_status_t = 2;
/// The server ended the stream, without an error.
pub const UPSTREAM_EOF: upstream_status_t = 3;
/// No node will ever take this payload: try no other (for plugins to return).
pub const UPSTREAM_STOP: upstream_status_t = 4;
/// An argument is NULL, or a value that the call cannot take.
pub const UPSTREAM_ERR_INVALID_ARG: upstream_status_t = -1;
/// There was no memory, thread or descriptor left for the library.
pub const UPSTREAM_ERR_NO_MEMORY: upstream_status_t = -2;
/// The library caught a defect of its own: destroy the handle.
pub const UPSTREAM_ERR_PANIC: upstream_status_t = -3;
/// The set was created before fork(), and this is the child.
pub const UPSTREAM_ERR_FORKED: upstream_status_t = -4;
/// The upstream file cannot be read.
pub const UPSTREAM_ERR_IO: upstream_status_t = -10;
/// The upstream file, a file that it names, or an option is refused.
pub const UPSTREAM_ERR_CONFIG: upstream_status_t = -11;
/// What you asked for does not exist.
pub const UPSTREAM_ERR_NOT_FOUND: upstream_status_t = -12;
/// No node is left to try.
pub const UPSTREAM_ERR_NO_NODE: upstream_status_t = -20;
/// All net.max_connections stayed in use until net.connect_timeout was over, at each node that
/// could take the payload.
pub const UPSTREAM_ERR_LIMIT: upstream_status_t = -21;
/// The host name did not resolve.
pub const UPSTREAM_ERR_RESOLVE: upstream_status_t = -30;
/// The TCP connection failed: refused, unreachable and the like.
pub const UPSTREAM_ERR_CONNECT: upstream_status_t = -31;
/// The TLS handshake or a TLS record failed.
pub const UPSTREAM_ERR_TLS: upstream_status_t = -32;
/// A certificate was refused, by either side.
pub const UPSTREAM_ERR_CERT: upstream_status_t = -33;
/// A time limit passed.
pub const UPSTREAM_ERR_TIMEOUT: upstream_status_t = -34;
/// The server closed the connection although more was expected.
pub const UPSTREAM_ERR_CLOSED: upstream_status_t = -35;
/// The connection broke, as by a reset.
pub const UPSTREAM_ERR_NETWORK: upstream_status_t = -36;
/// upstream_cancel() was called, or the set was destroyed.
pub const UPSTREAM_ERR_CANCELLED: upstream_status_t = -37;
/// The server broke the protocol (also for plugins to return).
pub const UPSTREAM_ERR_PROTOCOL: upstream_status_t = -38;
/// Not now, as HTTP 429 or 503: another node may take it (also for plugins to return).
pub const UPSTREAM_ERR_BUSY: upstream_status_t = -39;

/// The version of the library in use, such as "0.1.0".
///
/// UPSTREAM_VERSION_STRING is the version of the header that you compiled with.
///
/// Returns: a static string, never NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub extern "C" fn upstream_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    shared!(pure none, |_| null() => || VERSION.as_ptr().cast())
}

/// The name of a status, such as "UPSTREAM_ERR_TIMEOUT".
///
/// Returns: a static string, never NULL; "UPSTREAM_UNKNOWN" if the number is no status.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub extern "C" fn upstream_status_name(status: upstream_status_t) -> *const c_char {
    let name = || Status::from_number(status).map_or(c"UPSTREAM_UNKNOWN", Status::c_name).as_ptr();
    shared!(pure none, |_| null() => name)
}

/// The numbers are the same in C and in Rust.
const _: () = {
    let c = [
        UPSTREAM_OK,
        UPSTREAM_WANT_READ,
        UPSTREAM_WANT_WRITE,
        UPSTREAM_EOF,
        UPSTREAM_STOP,
        UPSTREAM_ERR_INVALID_ARG,
        UPSTREAM_ERR_NO_MEMORY,
        UPSTREAM_ERR_PANIC,
        UPSTREAM_ERR_FORKED,
        UPSTREAM_ERR_IO,
        UPSTREAM_ERR_CONFIG,
        UPSTREAM_ERR_NOT_FOUND,
        UPSTREAM_ERR_NO_NODE,
        UPSTREAM_ERR_LIMIT,
        UPSTREAM_ERR_RESOLVE,
        UPSTREAM_ERR_CONNECT,
        UPSTREAM_ERR_TLS,
        UPSTREAM_ERR_CERT,
        UPSTREAM_ERR_TIMEOUT,
        UPSTREAM_ERR_CLOSED,
        UPSTREAM_ERR_NETWORK,
        UPSTREAM_ERR_CANCELLED,
        UPSTREAM_ERR_PROTOCOL,
        UPSTREAM_ERR_BUSY,
    ];
    assert!(c.len() == Status::ALL.len());
    let mut at = 0;
    while at < c.len() {
        assert!(c[at] == Status::ALL[at] as upstream_status_t);
        at += 1;
    }
};
