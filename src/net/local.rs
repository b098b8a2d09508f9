//! Failures of this machine itself: no server is to blame, and another server would not help.
//!
//! If the system refuses at once, before it sends anything, the reason is here: no route, no free
//! port. If the same errno comes later, the network brought it, and it counts against the server.

use std::io;
use std::net::IpAddr;

use crate::base::error::Blame;

/// The fix if the library's descriptors are gone.
pub(super) const CLOSED_BY_HOST: &str = "another part of this process has closed the library's \
                                         descriptors; a program that closes all descriptors, as a \
                                         daemon does, must do so before it creates the upstream";

/// What the system was asked for when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A socket.
    Socket,
    /// To bind to `net.source_address`.
    Bind,
    /// To begin to connect; it answered at once.
    Connect,
    /// Anything later or else.
    Later,
}

/// Whether the reason for the system's refusal is on this machine.
pub(super) fn is_local(error: &io::Error) -> bool {
    is_local_at(error, Step::Later)
}

/// As [`is_local`], at this step.
pub(super) fn is_local_at(error: &io::Error, step: Step) -> bool {
    error.raw_os_error().is_some_and(|errno| fix(errno, step, None).is_some())
}

/// Whose fault it is, as far as errno shows.
pub(super) fn blame(error: &io::Error) -> Blame {
    if is_local(error) { Blame::Local } else { Blame::Open }
}

/// Whether the system ran out of descriptors or memory. Then nobody knows what the call would have
/// given.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// The system's text with the fix, if there is one. `source` is the node's `net.source_address`.
pub(super) fn explained(error: &io::Error, source: Option<IpAddr>) -> String {
    explained_at(error, Step::Later, source)
}

/// As [`explained`], at this step.
pub(super) fn explained_at(error: &io::Error, step: Step, source: Option<IpAddr>) -> String {
    match error.raw_os_error().and_then(|errno| fix(errno, step, source)) {
        Some(fix) => format!("{error}; {fix}"),
        None => error.to_string(),
    }
}

/// The fix for a failure of this machine; `None` if it is not one.
fn fix(errno: i32, step: Step, source: Option<IpAddr>) -> Option<String> {
    Some(match (step, source) {
        (Step::Bind, Some(source)) => fix_bind(errno, source.to_string()),
        (Step::Bind, None) => fix_bind(errno, "the address".to_owned()),
        (Step::Connect, source) => {
            let source = source.map(|source| format!("net.source_address {source}"));
            match (errno, source.as_deref()) {
                (libc::EINVAL, Some(source)) => {
                    format!(
                        "from {source} only this machine can be reached; set an address that the \
                         network knows"
                    )
                }
                (libc::EADDRNOTAVAIL | libc::EADDRINUSE, Some(source)) => format!(
                    "every port of {source} to this server is in use; widen the sysctl \
                     net.ipv4.ip_local_port_range, or keep more connections (net.keepalive)"
                ),
                (_, source) => {
                    always(errno).map(str::to_owned).or_else(|| fix_connect(errno, source))?
                }
            }
        }
        (Step::Socket, _) => {
            always(errno).unwrap_or("this machine gives no socket for it").to_owned()
        }
        (Step::Later, _) => always(errno)?.to_owned(),
    })
}

/// The fix for errnos that always mean this machine.
fn always(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EMFILE => {
            "this process has as many files open as it may; raise its limit (ulimit -n, or \
             LimitNOFILE= of its unit)"
        }
        libc::ENFILE => {
            "this machine has as many files open as it may; raise the sysctl fs.file-max"
        }
        libc::ENOMEM | libc::ENOBUFS => {
            "this machine has no memory left for a socket; free some, or raise the sysctl \
             net.ipv4.tcp_mem"
        }
        libc::EBADF | libc::ENOTSOCK => CLOSED_BY_HOST,
        libc::ENOSPC => {
            "this machine watches as many descriptors as it may; raise the sysctl \
             fs.epoll.max_user_watches"
        }
        libc::EADDRNOTAVAIL | libc::EADDRINUSE => {
            "this machine has no free port for it, or no address of that family; widen the sysctl \
             net.ipv4.ip_local_port_range, or keep more connections (net.keepalive)"
        }
        libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => {
            "this machine does not speak that family of addresses (is IPv6 switched off?); give \
             the node an address of the other family"
        }
        libc::EPERM => "a firewall or security policy of this machine forbids it",
        libc::EINVAL => "this machine cannot do that with these settings; check the keys net.*",
        _ => return None,
    })
}

fn fix_bind(errno: i32, source: String) -> String {
    match (errno, always(errno)) {
        (libc::EADDRINUSE, _) => format!(
            "every port of net.source_address {source} is in use; widen the sysctl \
             net.ipv4.ip_local_port_range, or keep more connections (net.keepalive)"
        ),
        (
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOMEM
            | libc::ENOBUFS
            | libc::EBADF
            | libc::ENOTSOCK,
            Some(fix),
        ) => fix.to_owned(),
        _ => format!("net.source_address {source} must be an address of this machine"),
    }
}

/// The fix for other errnos that connect() returns at once.
fn fix_connect(errno: i32, source: Option<&str>) -> Option<String> {
    Some(match (errno, source) {
        // A peer on this same machine answers before the call returns.
        (libc::ECONNREFUSED | libc::ECONNRESET | libc::ETIMEDOUT | libc::EINPROGRESS, _) => {
            return None;
        }
        (libc::ENETUNREACH | libc::EHOSTUNREACH, Some(source)) => {
            format!("this machine has no route to it from {source}; see `ip route`")
        }
        (libc::ENETUNREACH | libc::EHOSTUNREACH, None) => {
            "this machine has no route to it; see `ip route`, or `ip -6 route` for an IPv6 address"
                .to_owned()
        }
        (libc::ENETDOWN, _) => "this machine's network is down; see `ip link`".to_owned(),
        (libc::EACCES, _) => "a firewall or security policy of this machine forbids it".to_owned(),
        (libc::EAGAIN, _) => {
            "this machine has no free port for it; widen the sysctl net.ipv4.ip_local_port_range"
                .to_owned()
        }
        _ => "this machine could not even begin to connect".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each errno that socket(), bind(), connect() and SO_ERROR can give, at once and later: whom
    /// it blames, and a part of the text.
    #[test]
    fn each_number_blames_whom_it_comes_from() {
        use Step::{Bind, Connect, Later, Socket};
        let source = [Bind, Connect];
        let table: &[(i32, &[Step], &[Step], &str)] = &[
            // errno, steps at which it is this machine's, those at which it is the server's, words
            (libc::EMFILE, &[Socket, Bind, Connect, Later], &[], "ulimit -n"),
            (libc::ENFILE, &[Socket, Bind, Connect, Later], &[], "fs.file-max"),
            (libc::ENOBUFS, &[Socket, Bind, Connect, Later], &[], "no memory left"),
            (libc::ENOMEM, &[Socket, Bind, Connect, Later], &[], "no memory left"),
            (libc::EBADF, &[Socket, Bind, Connect, Later], &[], "closed the library's descriptors"),
            (libc::EADDRINUSE, &source, &[], "ip_local_port_range"),
            (libc::EADDRNOTAVAIL, &[Connect, Later], &[], "ip_local_port_range"),
            (libc::EADDRNOTAVAIL, &[Bind], &[], "must be an address of this machine"),
            (libc::EINVAL, &[Bind, Connect, Later], &[], "net."),
            (libc::EAFNOSUPPORT, &[Socket, Connect, Later], &[], "IPv6 switched off"),
            (libc::EPROTONOSUPPORT, &[Socket], &[], "IPv6 switched off"),
            (libc::EPERM, &[Connect, Later], &[], "firewall"),
            (libc::EACCES, &[Connect], &[Later], "firewall"),
            (libc::ENETUNREACH, &[Connect], &[Later], "no route"),
            (libc::EHOSTUNREACH, &[Connect], &[Later], "no route"),
            (libc::ENETDOWN, &[Connect], &[Later], "network is down"),
            (libc::EAGAIN, &[Connect], &[Later], "no free port"),
            (libc::ENODEV, &[Connect], &[Later], "could not even begin"),
            (libc::ECONNREFUSED, &[], &[Connect, Later], ""),
            (libc::ECONNRESET, &[], &[Connect, Later], ""),
            (libc::ETIMEDOUT, &[], &[Connect, Later], ""),
            (libc::EPIPE, &[], &[Later], ""),
            (libc::EPROTO, &[], &[Later], ""),
        ];
        for (errno, local, servers, words) in table {
            let error = io::Error::from_raw_os_error(*errno);
            for step in *local {
                assert!(is_local_at(&error, *step), "{error} at {step:?}");
                let text = explained_at(&error, *step, None);
                assert!(
                    text.starts_with(&error.to_string()) && text.contains(words),
                    "{text} at {step:?}"
                );
            }
            for step in *servers {
                assert!(!is_local_at(&error, *step), "{error} at {step:?}");
                assert_eq!(explained_at(&error, *step, None), error.to_string());
            }
        }
    }

    #[test]
    fn a_source_address_that_is_too_short_of_ports_or_of_reach_is_named() {
        let source = Some([127, 0, 0, 9].into());
        let table = [
            (
                Step::Bind,
                libc::EADDRNOTAVAIL,
                "net.source_address 127.0.0.9 must be an address of this machine",
            ),
            (
                Step::Bind,
                libc::EADDRINUSE,
                "every port of net.source_address 127.0.0.9 is in use; widen",
            ),
            (
                Step::Connect,
                libc::EADDRNOTAVAIL,
                "every port of net.source_address 127.0.0.9 to this server is in use",
            ),
            (
                Step::Connect,
                libc::EINVAL,
                "from net.source_address 127.0.0.9 only this machine can be reached",
            ),
            (Step::Connect, libc::ENETUNREACH, "no route to it from net.source_address 127.0.0.9"),
            (Step::Connect, libc::EMFILE, "ulimit -n"),
        ];
        for (step, errno, words) in table {
            let text = explained_at(&io::Error::from_raw_os_error(errno), step, source);
            assert!(text.contains(words), "{text}");
        }
    }
}
