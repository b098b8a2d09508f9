//! Why a stream cannot be used, or cannot be used again.

use std::io::{self, ErrorKind};

use crate::base::error::Status;
use crate::net::local::explained;

/// Why a read or write failed: status, errno, text. The caller adds the node.
pub type Failure = (Status, i32, String);

/// The state of an idle stream.
#[derive(Debug)]
pub enum Look {
    /// Nothing came, except messages of TLS itself: the stream is alive, as far as anyone can see.
    Quiet,
    /// It cannot be used again.
    Ended(Ending),
}

/// Why an idle stream cannot be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Bytes came that nobody has read.
    Unread,
    /// The peer has closed it properly.
    Closed,
    /// It broke: the peer reset it, or the kernel gave it up.
    Broken(Failure),
    /// TLS ended it: by an alert, or by bytes that are not a TLS record.
    Refused(Failure),
}

/// The failure of a call that upstream_cancel() ended.
pub fn cancelled() -> Failure {
    (Status::Cancelled, 0, "the upstream was cancelled".to_owned())
}

/// A failure of the socket, or of this machine.
#[cold]
pub(super) fn broken(error: &io::Error) -> Failure {
    let status = match error.kind() {
        ErrorKind::BrokenPipe => Status::Closed,
        ErrorKind::TimedOut => {
            // The kernel gave up because the peer acknowledged nothing or had no room. It may do so
            // before the library's own limit.
            let text = format!(
                "the server took no more data: it acknowledged nothing for net.io_timeout ({error})"
            );
            return (Status::Timeout, error.raw_os_error().unwrap_or(0), text);
        }
        _ => Status::Network,
    };
    (status, error.raw_os_error().unwrap_or(0), explained(error, None))
}
