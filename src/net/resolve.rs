//! Names to addresses. getaddrinfo blocks for as long as it likes and takes 9 KB of stack, so each
//! look-up runs on a library thread; the dialer never waits for it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::thread;
use crate::sync::{Condvar, Mutex};

/// What a look-up gave: the addresses (port 0, scope kept) in the system's order, or the system's words on
/// why there are none.
pub(super) type Answer = Result<Vec<SocketAddr>, String>;

/// getaddrinfo with its plugins (nss, systemd) was seen to need 9 KB; modules of other systems need more.
const STACK: usize = 256 * 1024;

/// How long the end of a set waits for look-ups that are under way. A thread that getaddrinfo holds longer
/// is left to end by itself: it touches nothing but its own answer.
const LINGER: Duration = Duration::from_secs(1);

/// The look-ups under way for one set.
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
    /// Starts a look-up of `host`; `answer` is called with the result on a library thread.
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
            answer(look_up(&host));
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

    /// Joins the look-ups that end within the linger time.
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
            // A panic in there has nothing left to spoil.
            let _ = thread.join();
        }
    }
}

fn look_up(host: &str) -> Answer {
    match (host, 0).to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        Err(error) => {
            let text = error.to_string();
            // std puts a preamble of its own before gai_strerror's text.
            let cause = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            Err(cause.to_owned())
        }
    }
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
            .start("localhost", move |answer| send.send((std::thread::current().id(), answer)).unwrap())
            .unwrap();
        let (thread, answer) = receive.recv().unwrap();
        assert_ne!(thread, std::thread::current().id());
        assert!(answer.unwrap().iter().all(|address| address.ip().is_loopback()));
        resolver.stop();
    }

    #[test]
    fn a_name_that_cannot_exist_gives_the_systems_words() {
        let answer = look_up("no-such-host.invalid");
        assert!(!answer.unwrap_err().is_empty());
    }
}
