//! Looks names up. getaddrinfo may block for a long time and needs 9 KB of stack, so each lookup
//! runs on a library thread of its own; the dialer never waits for it.

pub(super) mod cache;

use std::io;
use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};
use nix::errno::Errno;

use super::cancel::eventfd;
use super::{local, thread};
use crate::base::error::Blame;
use crate::base::sync::{Condvar, Mutex};

/// The result of a lookup: the addresses (port 0, scope kept) in the system's order, or why there
/// are none.
pub(super) type Answer = Result<Arc<[SocketAddr]>, NoAnswer>;

/// Why there are no addresses.
#[derive(Clone, Debug)]
pub(super) struct NoAnswer {
    /// The system's text.
    pub(super) cause: String,
    /// Whether the name does not exist, or this machine could not ask.
    pub(super) blame: Blame,
    /// The system's errno; 0 if there is none.
    pub(super) errno: i32,
}

/// getaddrinfo with its plugins (nss, systemd) was measured at 9 KB; plugins of other systems may
/// need more.
const STACK: usize = 256 * 1024;

/// How long destroying a set waits for running lookups. A thread that getaddrinfo holds longer ends
/// later by itself: it touches only its own answer.
const LINGER: Duration = Duration::from_secs(1);

/// The running lookups of one set.
#[derive(Default)]
pub(super) struct Resolver {
    threads: Vec<JoinHandle<()>>,
    busy: Arc<Busy>,
}

#[derive(Default)]
struct Busy {
    count: Mutex<usize>,
    fell: Condvar,
}

impl Resolver {
    /// Starts a lookup of `host`; a library thread calls `answer` with the result.
    pub(super) fn start(
        &mut self,
        host: &str,
        answer: impl FnOnce(Answer) + Send + 'static,
    ) -> io::Result<()> {
        self.threads.retain(|thread| !thread.is_finished());
        let host = host.to_owned();
        let busy = Arc::clone(&self.busy);
        *busy.count.lock() += 1;
        let started = thread::spawn("upstream-dns", STACK, move || {
            // An answer must always come. The crate panics, for example, if the system's text is
            // not UTF-8.
            answer(catch_unwind(|| look_up(&host)).unwrap_or_else(|defect| {
                std::mem::forget(defect); // its drop may panic too
                let cause = "the system resolver failed".to_owned();
                Err(NoAnswer { cause, blame: Blame::Open, errno: 0 })
            }));
            *busy.count.lock() -= 1;
            busy.fell.notify_all();
        });
        match started {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                *self.busy.count.lock() -= 1;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Joins the threads of lookups that end within [`LINGER`].
    pub(super) fn stop(self) {
        let until = Instant::now() + LINGER;
        let mut count = self.busy.count.lock();
        while *count > 0 {
            let (next, passed) = self.busy.fell.wait_until(count, until);
            count = next;
            if passed && *count > 0 {
                return;
            }
        }
        drop(count);
        for thread in self.threads {
            // A panic there can no longer do harm.
            let _ = thread.join();
        }
    }
}

fn look_up(host: &str) -> Answer {
    Errno::clear();
    // std's lookup says only in the host's language whether the name does not exist or the DNS
    // server did not answer.
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).map_err(no_answer)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    // Addresses of other families than IPv4 and IPv6 are left out.
    for address in found.filter_map(|found| Some(found.ok()?.sockaddr)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses.into())
}

/// The error if this process has no descriptors or no memory left. Without a descriptor for its
/// files and its socket, glibc says that the name does not exist; the real reason may still be in
/// errno.
fn exhausted() -> Option<io::Error> {
    let left = io::Error::from(Errno::last());
    if local::is_exhausted(&left) {
        Some(left)
    } else {
        eventfd().err().filter(local::is_exhausted)
    }
}

fn no_answer(error: LookupError) -> NoAnswer {
    let kind = error.kind();
    let error = match exhausted() {
        Some(error) => {
            return NoAnswer {
                errno: error.raw_os_error().unwrap_or(0),
                blame: Blame::Local,
                cause: local::explained(&error, None),
            };
        }
        None => io::Error::from(error),
    };
    let blame = match kind {
        LookupErrorKind::NoName | LookupErrorKind::NoData => Blame::NoSuchName,
        LookupErrorKind::Memory => Blame::Local,
        LookupErrorKind::System if local::is_local(&error) => Blame::Local,
        _ => Blame::Open,
    };
    let text = error.to_string();
    // The crate puts this before gai_strerror's text, as std does.
    let cause =
        text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned();
    NoAnswer { cause, blame, errno: error.raw_os_error().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn localhost_resolves_on_another_thread() {
        let mut resolver = Resolver::default();
        let (send, receive) = mpsc::channel();
        resolver
            .start("localhost", move |answer| {
                send.send((std::thread::current().id(), answer)).unwrap()
            })
            .unwrap();
        let (thread, answer) = receive.recv().unwrap();
        assert_ne!(thread, std::thread::current().id());
        assert!(answer.unwrap().iter().all(|address| address.ip().is_loopback()));
        resolver.stop();
    }

    #[test]
    fn a_name_that_cannot_exist_gives_the_systems_words() {
        let answer = look_up("no-such-host.invalid").unwrap_err();
        assert!(!answer.cause.is_empty() && !answer.cause.contains("failed to lookup"));
    }
}
