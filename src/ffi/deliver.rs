//! `upstream_deliver`: the call most plugins need.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crate::base::error::{Error, Result, Status};
use crate::ffi::connection::{self, upstream_conn_t};
use crate::ffi::error::{null_argument, refuse, tell, upstream_error_t};
use crate::ffi::panic::boundary;
use crate::ffi::set::upstream_t;
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::set::deliver::{Delivery, Done};
use crate::set::payload::PayloadId;
use crate::set::upstream::Upstream;

/// Sends one payload over `conn`, which is lent for the call: do not release it; you may discard it.
/// Returns UPSTREAM_OK when the payload is delivered, UPSTREAM_STOP when it never can be, UPSTREAM_ERR_CANCELLED
/// to give up, or any other negative number for a failure: the payload then goes to the next node. Take care with
/// -errno: some of these numbers are statuses (-EPIPE is UPSTREAM_ERR_TLS, which ejects the node at once). What the
/// plugin knows beyond that, it tells by upstream_conn_report() or upstream_conn_busy().
pub type upstream_deliver_fn =
    Option<unsafe extern "C" fn(conn: *mut upstream_conn_t, ctx: *mut c_void) -> upstream_status_t>;

/// What is said of a payload beforehand. Start from UPSTREAM_DELIVERY_INIT. It only ever grows at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct upstream_delivery_t {
    /// sizeof(upstream_delivery_t), set by the caller.
    pub struct_size: usize,
    /// For all attempts, in milliseconds; 0 takes deliver.timeout.
    pub timeout_ms: u32,
    /// What the host calls the payload: 1 to 64 bytes of printable ASCII, the same each time it brings it. NULL: a
    /// name is made at random.
    pub payload_id: *const c_char,
    /// Reserved for balancing by key: NULL.
    pub key: *const c_void,
    /// Reserved for balancing by key: 0.
    pub key_len: usize,
}

/// Runs `fn` on a ready connection to the next node. If the connection or `fn` fails, the next node not yet tried
/// for this payload gets it, until `fn` says UPSTREAM_OK or UPSTREAM_STOP, every node was tried, or `timeout_ms`
/// milliseconds have passed (0 takes deliver.timeout).
///
/// While another node could take the payload, one node may use half of the time that is left, whatever
/// upstream_conn_set_timeout_ms() says; the last node gets all of it. With every node out, at most three are tried.
/// At least once: a payload that may have reached a node which then failed is sent again to another, unless
/// `deliver.resend off`.
///
/// A payload that fails in the same way at each of two or more nodes (UPSTREAM_ERR_PROTOCOL, or the connection ends
/// after bytes were sent) is suspect itself: none of them is blamed.
///
/// Returns: UPSTREAM_OK; UPSTREAM_STOP, with the plugin's words in `*err`; UPSTREAM_ERR_BUSY if every node has asked
/// for a pause; else the status of the last failure, and `*err` (the caller's; `err` may be NULL) tells of every
/// attempt. Ask upstream_error_may_have_arrived() before you bring the payload again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_deliver(
    up: *mut upstream_t,
    r#fn: upstream_deliver_fn,
    ctx: *mut c_void,
    timeout_ms: u32,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let timeout = Duration::from_millis(timeout_ms.into());
    deliver(up, r#fn, ctx, || Ok(Delivery { timeout, id: None }), err, "upstream_deliver")
}

/// As upstream_deliver(), with more said about the payload. NULL `how` says nothing.
///
/// Returns: as upstream_deliver(); UPSTREAM_ERR_INVALID_ARG for a `payload_id` that is none, and for a `key`, which
/// this version does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_deliver_with(
    up: *mut upstream_t,
    how: *const upstream_delivery_t,
    r#fn: upstream_deliver_fn,
    ctx: *mut c_void,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    deliver(up, r#fn, ctx, || read(how), err, "upstream_deliver_with")
}

/// What C says of a payload.
pub(crate) fn read(how: *const upstream_delivery_t) -> Result<Delivery> {
    let invalid = |cause: String| Error::new(Status::InvalidArg, cause);
    if how.is_null() {
        return Ok(Delivery::default());
    }
    // SAFETY: not NULL, so by the API's rules a struct whose first member tells how much of it there is.
    let size = unsafe { how.cast::<usize>().read() };
    if size < size_of::<upstream_delivery_t>() {
        return Err(invalid(format!("struct_size is {size}; start from UPSTREAM_DELIVERY_INIT")));
    }
    // SAFETY: as large as this version's struct, by its own word.
    let upstream_delivery_t { timeout_ms, payload_id, key, key_len, .. } = unsafe { how.read() };
    if !key.is_null() || key_len > 0 {
        return Err(invalid(
            "key is for balancing by key, which this version does not know; leave it NULL".into(),
        ));
    }
    let id = strings::bytes(payload_id).map(PayloadId::of_host).transpose()?;
    Ok(Delivery { timeout: Duration::from_millis(timeout_ms.into()), id })
}

fn deliver(
    up: *mut upstream_t,
    function: upstream_deliver_fn,
    ctx: *mut c_void,
    how: impl FnOnce() -> Result<Delivery>,
    err: *mut *mut upstream_error_t,
    call: &str,
) -> upstream_status_t {
    let Some(function) = function else {
        return tell(err, null_argument(call));
    };
    boundary!(up.cast_const(), |status| refuse(err, call, status) => |up: &Upstream| {
        // SAFETY: the plugin's own function with its own `ctx`; the connection outlives the call.
        let send = |conn: &mut crate::set::conn::Conn| unsafe { function(connection::lend(conn), ctx) };
        match how().and_then(|how| up.deliver(how, send)) {
            Ok(Done::Delivered) => UPSTREAM_OK,
            Ok(Done::Stopped(error)) | Err(error) => tell(err, error),
        }
    })
}
