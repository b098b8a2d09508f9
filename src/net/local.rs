//! Failures that are this machine's own: no server is to blame for them, and another one would not help.

use std::io;

use super::target::Target;
use crate::error::Blame;

/// The mend where descriptors of the library's are gone.
pub(super) const CLOSED_BY_HOST: &str = "another part of this process has closed the library's descriptors; one that closes all it \
     finds, as a daemon does, must do so before it creates the upstream";

/// Whether the system refused for a reason that lies on this side of the wire.
pub(super) fn is_local(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|errno| mend(errno, None).is_some())
}

/// Whose fault it is, as far as the system's number tells.
pub(super) fn blame(error: &io::Error) -> Blame {
    if is_local(error) { Blame::Local } else { Blame::Open }
}

/// Whether the system had none left of what the call needs: what it would have found elsewhere is not known then.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// The system's words with the mend, where there is one; `target` is what the call was about.
pub(super) fn explained(error: &io::Error, target: Option<&Target>) -> String {
    match error.raw_os_error().and_then(|errno| mend(errno, target)) {
        Some(mend) => format!("{error}; {mend}"),
        None => error.to_string(),
    }
}

fn mend(errno: i32, target: Option<&Target>) -> Option<String> {
    let source = target.and_then(|target| target.net.source_address);
    let words = match (errno, source) {
        (libc::EADDRNOTAVAIL | libc::EACCES | libc::EPERM, Some(source)) => {
            return Some(format!("net.source_address {source} must be an address of this machine"));
        }
        (libc::EMFILE, _) => {
            "this process has as many files open as it may; raise its limit (ulimit -n, or LimitNOFILE= of its unit)"
        }
        (libc::ENFILE, _) => "this machine has as many files open as it may; raise the sysctl fs.file-max",
        (libc::ENOMEM | libc::ENOBUFS, _) => {
            "this machine has no memory left for a socket; free some, or raise the sysctl net.ipv4.tcp_mem"
        }
        (libc::EBADF | libc::ENOTSOCK, _) => CLOSED_BY_HOST,
        (libc::ENOSPC, _) => {
            "this machine watches as many descriptors as it may; raise the sysctl fs.epoll.max_user_watches"
        }
        (libc::EADDRNOTAVAIL, None) => {
            "this machine has no free port for it, or no address of that family; widen the sysctl \
             net.ipv4.ip_local_port_range, or keep more connections (net.keepalive)"
        }
        (libc::EACCES | libc::EPERM, None) => "a firewall or security policy of this machine forbids it",
        _ => return None,
    };
    Some(words.to_owned())
}
