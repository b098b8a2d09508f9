//! What a plugin may ask about the other end of an `upstream_conn_t`.

use std::ffi::c_char;
use std::ptr::null;

use crate::base::error::Status;
use crate::ffi::boundary::shared;
use crate::ffi::connection::{upstream_conn_t, with};
use crate::ffi::error::number;
use crate::ffi::status::upstream_status_t;
use crate::ffi::strings;
use crate::set::conn::Conn;

/// Writes the address of the server to `buf`, such as "127.0.0.1:43000" or "[::1]:43000".
///
/// It is the address that the connection was made to: of a name with several addresses, the one
/// that answered. If `net.proxy` is set, it is the address of the proxy. Of a stream socket of this
/// machine it is `unix:` and the path.
///
/// A buffer of 64 bytes is large enough for every address, and one of 128 bytes for every path too.
///
/// Returns:
/// - UPSTREAM_OK: `buf` holds the address and a NUL.
/// - UPSTREAM_ERR_INVALID_ARG: `c` or `buf` is NULL; the connection is not ready; or `cap` is too
///   small. Then `buf` holds an empty string if `cap` is not 0, and upstream_conn_last_error() says
///   how many bytes are needed.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_peer(
    c: *const upstream_conn_t,
    buf: *mut c_char,
    cap: usize,
) -> upstream_status_t {
    let buffer = strings::slice_mut(buf.cast::<u8>(), cap).filter(|_| !buf.is_null());
    let Some(buffer) = buffer else { return number(Status::InvalidArg) };
    // A connection is used by one call at a time, and the last error is all that changes.
    with(c.cast_mut(), |conn| conn.peer(buffer))
}

/// The protocol that the server chose of those that tls.alpn offers to it (ALPN).
///
/// Returns: its name, such as "h2"; NULL if the server chose none, without tls.alpn or TLS, before
/// the connection is ready, or if `c` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed until you end the connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_conn_alpn(c: *const upstream_conn_t) -> *const c_char {
    shared!(pure c, |_| null() => |conn: &Conn| {
        let protocol = conn.channel().and_then(|channel| channel.alpn());
        protocol.map_or(null(), |protocol| protocol.as_ptr())
    })
}
