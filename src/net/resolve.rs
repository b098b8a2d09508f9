//! Looks names up. getaddrinfo may block for a long time and needs 9 KB of stack, so lookups run on
//! library threads; the dialer never waits for them.
//!
//! IPv4 and IPv6 addresses are asked for apart (RFC 8305 section 3), each family with its own
//! threads: a name server that never answers for one family must not hold the other one up. How
//! many lookups run at once is bounded; the others wait for their turn.

pub(super) mod cache;
mod family;
mod queue;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType};
pub(super) use family::Family;
use nix::errno::Errno;
use queue::{Queue, Turn};

use super::cancel::eventfd;
use super::{local, thread};
use crate::base::error::Blame;
use crate::base::sync::{Condvar, Mutex};

/// The result of a lookup of one family: its addresses (port 0, scope kept) in the system's order,
/// at least one, or why there are none.
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

/// How many addresses of a name are used. About 4,000 fit into an answer of DNS (64 KiB).
const MOST_ADDRESSES: usize = 4096;

/// How long destroying a set waits for running lookups. A thread that getaddrinfo holds longer ends
/// later by itself: it touches only its own answer.
const LINGER: Duration = Duration::from_secs(1);

/// The lookups of one set.
#[derive(Default)]
pub(super) struct Resolver {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue<Lookup>>,
    /// A thread has ended.
    ended: Condvar,
}

/// A lookup that waits for its turn.
struct Lookup {
    host: Arc<str>,
    family: Family,
    answer: Box<dyn FnOnce(Answer) + Send>,
}

impl Lookup {
    fn run(self) {
        let Lookup { host, family, answer } = self;
        // An answer must always come. The crate panics, for example, if the system's text is not
        // UTF-8.
        answer(catch_unwind(|| look_up(&host, family)).unwrap_or_else(|defect| {
            std::mem::forget(defect); // its drop may panic too
            let cause = "the system resolver failed".to_owned();
            Err(NoAnswer { cause, blame: Blame::Open, errno: 0 })
        }));
    }
}

impl Resolver {
    /// Looks the addresses of `host` up, now or as soon as there is a free thread; a library thread
    /// calls `answer` with the result. `in_vain`: the last lookup got no answer, so the others go
    /// first.
    pub(super) fn start(
        &mut self,
        host: &Arc<str>,
        family: Family,
        in_vain: bool,
        answer: impl FnOnce(Answer) + Send + 'static,
    ) -> io::Result<()> {
        self.threads.retain(|thread| !thread.is_finished());
        let lookup = Lookup { host: Arc::clone(host), family, answer: Box::new(answer) };
        let Some(turn) = self.shared.queue.lock().add(family, in_vain, lookup) else {
            return Ok(()); // a running thread takes it
        };
        let shared = Arc::clone(&self.shared);
        let started = thread::spawn("upstream-dns", STACK, move || shared.work(family, turn));
        match started {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                // The threads that run take the lookup later. Without any, nobody would.
                return match self.shared.queue.lock().withdraw(family, turn) {
                    None => Ok(()),
                    Some(_unasked) => Err(error),
                };
            }
        }
        Ok(())
    }

    /// Joins the threads of lookups that end within [`LINGER`].
    pub(super) fn stop(self) {
        let until = Instant::now() + LINGER;
        let mut queue = self.shared.queue.lock();
        let unasked = queue.close();
        while queue.is_running() {
            let (next, passed) = self.shared.ended.wait_until(queue, until);
            queue = next;
            if passed && queue.is_running() {
                return;
            }
        }
        drop(queue);
        drop(unasked);
        for thread in self.threads {
            // A panic there can no longer do harm.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The body of a thread: looks up until nothing is left that it may take.
    fn work(&self, family: Family, mut turn: Turn) {
        loop {
            let next = self.queue.lock().next(family, turn);
            let Some((lookup, kind)) = next else { break };
            turn = kind;
            lookup.run();
        }
        self.ended.notify_all();
    }
}

fn look_up(host: &str, family: Family) -> Answer {
    Errno::clear();
    // std's lookup says only in the host's language whether the name does not exist or the DNS
    // server did not answer.
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        address: match family {
            Family::V4 => AddrFamily::Inet.into(),
            Family::V6 => AddrFamily::Inet6.into(),
        },
        ..AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).map_err(no_answer)?;
    let found = found.filter_map(|found| Some(found.ok()?.sockaddr));
    // A resolver of the host's own may bring addresses that were not asked for.
    let mut addresses: Vec<SocketAddr> =
        found.filter(|address| Family::of(address.ip()) == family).take(MOST_ADDRESSES).collect();
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    match addresses.is_empty() {
        true => Err(NoAnswer {
            cause: "the name has no address of this family".to_owned(),
            blame: Blame::NoSuchName,
            errno: 0,
        }),
        false => Ok(addresses.into()),
    }
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

/// `EAI_ADDRFAMILY` of glibc's netdb.h: the name has no address of the family that was asked for.
const EAI_ADDRFAMILY: i32 = -9;

fn no_answer(error: LookupError) -> NoAnswer {
    let (kind, number) = (error.kind(), error.error_num());
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
        // A numeric address of the other family.
        _ if number == EAI_ADDRFAMILY => Blame::NoSuchName,
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
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn localhost_resolves_on_another_thread() {
        let mut resolver = Resolver::default();
        let (send, receive) = mpsc::channel();
        let tell = move |answer| send.send((std::thread::current().id(), answer)).unwrap();
        resolver.start(&"localhost".into(), Family::V4, false, tell).unwrap();
        let (thread, answer) = receive.recv().unwrap();
        assert_ne!(thread, std::thread::current().id());
        let answer = answer.unwrap();
        assert!(answer.iter().all(|address| address.ip().is_loopback() && address.is_ipv4()));
        resolver.stop();
    }

    #[test]
    fn a_name_that_cannot_exist_gives_the_systems_words() {
        for family in Family::BOTH {
            let answer = look_up("no-such-host.invalid", family).unwrap_err();
            assert!(!answer.cause.is_empty() && !answer.cause.contains("failed to lookup"));
        }
    }

    #[test]
    fn an_address_of_the_other_family_is_no_such_name() {
        for (host, family) in [("192.0.2.1", Family::V6), ("2001:db8::1", Family::V4)] {
            let answer = look_up(host, family).unwrap_err();
            assert_eq!(answer.blame, Blame::NoSuchName, "{host}: {}", answer.cause);
        }
    }

    /// Four hundred lookups that hang do not take four hundred threads, and do not hold the other
    /// family up.
    #[test]
    fn lookups_that_hang_are_few_and_hold_only_their_own_family() {
        let mut resolver = Resolver::default();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let release = Arc::new((Mutex::<bool>::default(), Condvar::default()));
        let (tell, told) = mpsc::channel();
        let host: Arc<str> = "127.0.0.1".into();
        for _ in 0..400 {
            let (running, most, release) =
                (Arc::clone(&running), Arc::clone(&most), Arc::clone(&release));
            let tell = tell.clone();
            // The answer holds the thread, as a name server that is silent does.
            let hang = move |_| {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                let mut released = release.0.lock();
                while !*released {
                    released = release.1.wait_until(released, Instant::now() + LONG).0;
                }
                running.fetch_sub(1, SeqCst);
                tell.send(Family::V6).unwrap();
            };
            resolver.start(&host, Family::V6, false, hang).unwrap();
        }
        let tell_other = tell.clone();
        let other = move |answer: Answer| {
            assert!(answer.is_ok());
            tell_other.send(Family::V4).unwrap();
        };
        resolver.start(&host, Family::V4, false, other).unwrap();
        assert_eq!(told.recv_timeout(LONG), Ok(Family::V4));
        let until = Instant::now() + LONG;
        while running.load(SeqCst) < queue::THREADS {
            assert!(Instant::now() < until, "fewer lookups run than may");
            std::thread::yield_now();
        }
        assert!(resolver.threads.len() <= 2 * queue::THREADS);
        *release.0.lock() = true;
        release.1.notify_all();
        for _ in 0..400 {
            assert_eq!(told.recv_timeout(LONG), Ok(Family::V6), "every lookup has its turn");
        }
        assert_eq!(most.load(SeqCst), queue::THREADS);
        resolver.stop();
    }
}
