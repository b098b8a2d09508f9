//! Status numbers and the version.

use std::ffi::c_char;

use crate::base::error::Status;

/// How a call ended: 0 is success, a positive number asks to wait or to stop, a negative one is an error.
/// The numbers are never renumbered.
pub type upstream_status_t = i32;

/// Done.
pub const UPSTREAM_OK: upstream_status_t = 0;
/// A non-blocking call needs the descriptor to become readable.
pub const UPSTREAM_WANT_READ: upstream_status_t = 1;
/// A non-blocking call needs the descriptor to become writable.
pub const UPSTREAM_WANT_WRITE: upstream_status_t = 2;
/// The peer ended the stream in good order.
pub const UPSTREAM_EOF: upstream_status_t = 3;
/// A deliver callback's word: done with this payload, do not try on.
pub const UPSTREAM_STOP: upstream_status_t = 4;
/// NULL, or a value that the call cannot take.
pub const UPSTREAM_ERR_INVALID_ARG: upstream_status_t = -1;
/// Memory, a thread or a descriptor of the library's own could not be had.
pub const UPSTREAM_ERR_NO_MEMORY: upstream_status_t = -2;
/// A defect of the library was caught; the handle is of no more use.
pub const UPSTREAM_ERR_PANIC: upstream_status_t = -3;
/// The set was made before fork() and this is the child.
pub const UPSTREAM_ERR_FORKED: upstream_status_t = -4;
/// A file cannot be read.
pub const UPSTREAM_ERR_IO: upstream_status_t = -10;
/// The content of the upstream file, or an option, is refused.
pub const UPSTREAM_ERR_CONFIG: upstream_status_t = -11;
/// What was asked for does not exist.
pub const UPSTREAM_ERR_NOT_FOUND: upstream_status_t = -12;
/// No node could be handed out.
pub const UPSTREAM_ERR_NO_NODE: upstream_status_t = -20;
/// All of net.max_connections stayed in use through the bounded wait.
pub const UPSTREAM_ERR_LIMIT: upstream_status_t = -21;
/// The name did not resolve.
pub const UPSTREAM_ERR_RESOLVE: upstream_status_t = -30;
/// No TCP connection could be made.
pub const UPSTREAM_ERR_CONNECT: upstream_status_t = -31;
/// The TLS handshake or a record failed.
pub const UPSTREAM_ERR_TLS: upstream_status_t = -32;
/// A certificate was refused, by either side.
pub const UPSTREAM_ERR_CERT: upstream_status_t = -33;
/// The deadline passed.
pub const UPSTREAM_ERR_TIMEOUT: upstream_status_t = -34;
/// The peer closed the connection where more was expected.
pub const UPSTREAM_ERR_CLOSED: upstream_status_t = -35;
/// The connection broke: reset and the like.
pub const UPSTREAM_ERR_NETWORK: upstream_status_t = -36;
/// The call was cancelled.
pub const UPSTREAM_ERR_CANCELLED: upstream_status_t = -37;
/// The peer broke the protocol (for plugins to return).
pub const UPSTREAM_ERR_PROTOCOL: upstream_status_t = -38;
/// The server answered that it cannot take this now, as by 429 or 503; another node may (for plugins to return).
pub const UPSTREAM_ERR_BUSY: upstream_status_t = -39;

/// The library's version, such as "0.1.0": that of the shared object in use, where
/// UPSTREAM_VERSION_STRING is that of the header. Static.
#[unsafe(no_mangle)]
pub extern "C" fn upstream_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The name of a status, such as "UPSTREAM_ERR_TIMEOUT"; "UPSTREAM_UNKNOWN" for a number that is none.
/// Static, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn upstream_status_name(status: upstream_status_t) -> *const c_char {
    Status::from_number(status).map_or(c"UPSTREAM_UNKNOWN", Status::c_name).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_both_sides_are_the_same() {
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
        let rust: Vec<i32> = Status::ALL.iter().map(|status| *status as i32).collect();
        assert_eq!(rust, c);
    }
}
