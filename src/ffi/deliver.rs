//! `upstream_deliver`: the call most plugins need.

use std::ffi::c_void;
use std::time::Duration;

use crate::error::{Error, Status};
use crate::ffi::connection::{self, upstream_conn_t};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::panic::boundary;
use crate::ffi::set::upstream_t;
use crate::ffi::status::upstream_status_t;
use crate::upstream::Upstream;

/// Sends one payload over `conn`, which is lent for the call: not to be released, at most discarded. Returns UPSTREAM_OK when
/// the payload is delivered, UPSTREAM_STOP when it never can be, or the status of the failure; then the
/// connection is closed and the next node tried.
pub type upstream_deliver_fn =
    Option<unsafe extern "C" fn(conn: *mut upstream_conn_t, ctx: *mut c_void) -> upstream_status_t>;

/// Runs `fn` on a ready connection to the next node; where the connection or `fn` fails, on the next one not yet tried for this
/// payload, until `fn` says UPSTREAM_OK or UPSTREAM_STOP (returned as they are), every node was tried, or `timeout_ms`
/// milliseconds have passed (0 takes deliver.timeout). While another node is left, a read or write that meets silence ends after half of the
/// time that the delivery had when this node was asked (after net.io_timeout where that is less), unless
/// upstream_conn_set_timeout_ms() says otherwise; the last node gets all that is left. At least once: a payload of which a failed node may have had bytes
/// is sent again to another, unless `deliver.resend off`. On failure the status is the last attempt's, and `*err` (the
/// caller's; `err` may be NULL) tells of every attempt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_deliver(
    up: *mut upstream_t,
    r#fn: upstream_deliver_fn,
    ctx: *mut c_void,
    timeout_ms: u32,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let Some(function) = r#fn else {
        return tell(err, null_argument("upstream_deliver"));
    };
    boundary!(up.cast_const(), |status| refuse(err, "upstream_deliver", status) => |up: &Upstream| {
        let mut odd = None;
        let send = |conn: &mut crate::conn::Conn| {
            // SAFETY: the plugin's own function with its own `ctx`; the connection outlives the call.
            let status = unsafe { function(connection::lend(conn), ctx) };
            Status::from_number(status).unwrap_or_else(|| {
                odd = Some(status);
                Status::InvalidArg
            })
        };
        let outcome = up.deliver(Duration::from_millis(timeout_ms.into()), send);
        match (outcome, odd) {
            (Ok(status), _) => number(status),
            (Err(error), None) => tell(err, error),
            (Err(error), Some(odd)) => {
                let cause = format!("{}, in place of {odd}, which is no status of upstream.h", error.cause);
                tell(err, Error { cause, ..error })
            }
        }
    })
}
