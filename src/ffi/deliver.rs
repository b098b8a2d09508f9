//! `upstream_deliver`: the call most plugins need.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crate::base::error::{Error, Result, Status};
use crate::ffi::boundary::shared;
use crate::ffi::connection::{self, upstream_conn_t};
use crate::ffi::error::{null_argument, refuse, tell, upstream_error_t};
use crate::ffi::set::upstream_t;
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::set::conn::Conn;
use crate::set::deliver::{Delivery, Done};
use crate::set::payload::PayloadId;
use crate::set::upstream::Upstream;

/// Sends one payload over `conn`, from its first byte. It may be called several times for one
/// payload.
///
/// Do not release `conn`: it is lent for the call. You may discard it.
///
/// - UPSTREAM_OK: the payload is delivered.
/// - UPSTREAM_STOP: no node will ever take it, so it is dropped. This node is well.
/// - UPSTREAM_ERR_CANCELLED, UPSTREAM_ERR_FORKED: give up. The delivery fails, and no other node
///   gets the payload.
/// - Any other negative number, and UPSTREAM_EOF: a failure of this node. The next node gets the
///   payload.
/// - Any other positive number is a mistake. It ends the delivery with UPSTREAM_ERR_INVALID_ARG.
///
/// Do not return -errno: -EPIPE is UPSTREAM_ERR_TLS, which ejects the node at once.
///
/// If you know more than a status says, call upstream_conn_report() or upstream_conn_busy() before
/// you return.
///
/// Threads: called on the thread that called upstream_deliver(), before that returns.
pub type upstream_deliver_fn =
    Option<unsafe extern "C" fn(conn: *mut upstream_conn_t, ctx: *mut c_void) -> upstream_status_t>;

/// Settings of one payload, for upstream_deliver_with() and upstream_attempt_begin_with().
///
/// Start from UPSTREAM_DELIVERY_INIT. Later versions add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct upstream_delivery_t {
    /// sizeof(upstream_delivery_t), as UPSTREAM_DELIVERY_INIT sets it.
    pub struct_size: usize,
    /// Time for all nodes together, in milliseconds; 0 means deliver.timeout.
    pub timeout_ms: u32,
    /// Your own id of the payload: 1 to 64 bytes of printable ASCII. Give the same one each time
    /// that you deliver this payload. NULL: the library makes one at random.
    pub payload_id: *const c_char,
    /// Reserved: NULL.
    pub key: *const c_void,
    /// Reserved: 0.
    pub key_len: usize,
}

/// Delivers one payload: runs `fn` on a connection to the next node, and on others if that fails.
///
/// It ends when `fn` returns UPSTREAM_OK or UPSTREAM_STOP, when each node was tried once, or after
/// `timeout_ms` milliseconds (0 means deliver.timeout). If all nodes are ejected, up to three of
/// them are tried; with `deliver.wait on` it then waits, within its time, for one that may be
/// tried.
///
/// While another node could take the payload, one node gets at most half of the time that is left.
/// The last one gets all of it.
///
/// A payload may come twice: if it may have arrived at a node that then failed, it is sent again to
/// another node, unless `deliver.resend` is off.
///
/// Each resend takes a token from the retry budget of the set. The budget holds up to 10 tokens,
/// and each success adds 0.1. While it is empty, 10 resends a second are allowed, and further ones
/// wait.
///
/// If a payload fails in the same way at every node that got it, and at two or more, the payload is
/// suspected and no node is blamed. The ways are UPSTREAM_ERR_PROTOCOL, and a connection that ended
/// after bytes were sent.
///
/// Returns:
/// - UPSTREAM_OK: delivered.
/// - UPSTREAM_STOP: `fn` dropped it. `*err` has the words of upstream_conn_report().
/// - UPSTREAM_ERR_BUSY: each node is paused, or the last one tried cannot take it now.
/// - UPSTREAM_ERR_NO_NODE: each node has weight 0, or is ejected and may not be tried now.
/// - UPSTREAM_ERR_TIMEOUT: the time is over, or the last failure is that of a time limit.
/// - UPSTREAM_ERR_CANCELLED: `fn` returned it, or upstream_cancel() was called on the set.
/// - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child; or `fn`
///   returned it.
/// - UPSTREAM_ERR_INVALID_ARG: `up` or `fn` is NULL; `fn` returned a positive number that it must
///   not return; or the last failure of `fn` was a negative number that is no status.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
/// - Any other negative status: that of the last failure, of connecting or of `fn`. `*err` tells of
///   all.
///
/// Ask upstream_error_may_have_arrived() before you send the payload again.
///
/// Time: `timeout_ms` or deliver.timeout, plus the time that `fn` spends outside of the library's
/// calls.
///
/// ```c
/// static upstream_status_t send_line(upstream_conn_t *conn, void *line)
/// {
///     return upstream_conn_write(conn, line, strlen(line));
/// }
///
/// static int deliver_line(upstream_t *up, char *line)
/// {
///     upstream_error_t *err = NULL;
///     upstream_status_t status = upstream_deliver(up, send_line, line, 0, &err);
///     if (status != UPSTREAM_OK) {
///         fprintf(stderr, "%s\n", upstream_error_message(err));
///         upstream_error_free(err);
///     }
///     return status == UPSTREAM_OK;
/// }
/// ```
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

/// As upstream_deliver(), with settings for this payload. A NULL `how` means all defaults.
///
/// Returns: as upstream_deliver(); UPSTREAM_ERR_INVALID_ARG also if `how` has a `struct_size` that
/// is too small, a `payload_id` of another form, or a `key`, which this version does not have.
///
/// Time: `how->timeout_ms` or deliver.timeout, as upstream_deliver().
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

/// Reads what C says of a payload.
pub(crate) fn read(how: *const upstream_delivery_t) -> Result<Delivery> {
    let invalid = |cause: String| Error::new(Status::InvalidArg, cause);
    if how.is_null() {
        return Ok(Delivery::default());
    }
    // SAFETY: not NULL, so by the API's rules a struct whose first member says how large it is.
    let size = unsafe { how.cast::<usize>().read() };
    if size < size_of::<upstream_delivery_t>() {
        return Err(invalid(format!(
            "struct_size is {size}; initialize the struct with UPSTREAM_DELIVERY_INIT"
        )));
    }
    // SAFETY: by its own size, as large as the struct of this version.
    let upstream_delivery_t { timeout_ms, payload_id, key, key_len, .. } = unsafe { how.read() };
    if !key.is_null() || key_len > 0 {
        return Err(invalid(
            "key is for balancing by key, which this version cannot do; leave it NULL".into(),
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
    shared!(up.cast_const(), |status| refuse(err, call, status) => |up: &Upstream| {
        // SAFETY: the plugin's own function with its own `ctx`; the connection outlives the call.
        let send = |conn: &mut Conn| unsafe { function(connection::lend(conn), ctx) };
        match how().and_then(|how| up.deliver(how, send)) {
            Ok(Done::Delivered) => UPSTREAM_OK,
            Ok(Done::Stopped(error)) | Err(error) => tell(err, error),
        }
    })
}
