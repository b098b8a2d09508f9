//! Why a stream cannot be used, or not again.

use std::io::{self, ErrorKind};

use crate::base::error::Status;
use crate::net::local::explained;

/// Why a read or write failed: status, errno, text. The caller adds the node.
pub type Failure = (Status, i32, String);

/// What a look at an idle stream showed.
#[derive(Debug)]
pub enum Look {
    /// Nothing has come but what TLS keeps to itself: alive as far as anyone can tell.
    Quiet,
    /// It cannot be used again.
    Ended(Ending),
}

/// Why an idle stream cannot be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Bytes came that nobody has read.
    Unread,
    /// The peer has closed it in good order.
    Closed,
    /// It broke: reset, or given up by the kernel.
    Broken(Failure),
    /// TLS ended it: by an alert, or by a record that is none.
    Refused(Failure),
}

/// The failure of a call that upstream_cancel() ended.
pub fn cancelled() -> Failure {
    (Status::Cancelled, 0, "the upstream was cancelled".to_owned())
}

/// A failure of the socket itself, or of this machine at it.
#[cold]
pub(super) fn broken(error: &io::Error) -> Failure {
    let status = match error.kind() {
        ErrorKind::BrokenPipe => Status::Closed,
        ErrorKind::TimedOut => {
            // The kernel gave up what nobody acknowledges, or has room for: it may be faster than a
            // limit of this side's.
            let text = format!(
                "the server took no more: nothing was acknowledged for net.io_timeout ({error})"
            );
            return (Status::Timeout, error.raw_os_error().unwrap_or(0), text);
        }
        _ => Status::Network,
    };
    (status, error.raw_os_error().unwrap_or(0), explained(error, None))
}
