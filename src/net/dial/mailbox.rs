//! The way to reach the dialer thread, and the descriptors of the thread that a forked child must
//! close: the wake-up and the epoll.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;

use super::reply::Orphan;
use super::stage::Dial;
use crate::base::error::Result;
use crate::base::process::Shared;
use crate::base::sync::Mutex;
use crate::net::cancel::shared_eventfd;
use crate::net::channel::Channel;
use crate::net::resolve::{Answer, Family};
use crate::net::socket::Socket;
use crate::net::tls::{Live, Looked};

/// The epoll token of the mailbox; dials and lingering sockets have tokens from 1.
pub(super) const MAILBOX: u64 = 0;

/// How many connections closed on this side are held for their peers; with one more, the oldest is
/// closed. A quarter of the 1,024 descriptors that a process may have by default.
pub(super) const LINGERING: usize = 256;

/// Work for later, see [`Dialer::at`](super::Dialer::at).
pub type Task = Box<dyn FnOnce() + Send>;

/// A connection that was closed on this side.
pub(super) struct Closed {
    pub(super) socket: Socket,
    pub(super) on_reset: Option<Task>,
}

/// The dialer thread's mailbox.
pub(super) struct Mailbox {
    pub(super) letters: Mutex<Letters>,
    pub(super) wake: Shared<EventFd>,
    pub(super) epoll: Shared<Epoll>,
}

#[derive(Default)]
pub(super) struct Letters {
    pub(super) dials: Vec<(u64, Dial)>,
    /// Dials that nobody waits for any more.
    pub(super) abandoned: Vec<u64>,
    /// Outcomes that the caller did not take before it gave up.
    pub(super) orphaned: Vec<(Orphan, Result<Channel>)>,
    pub(super) answers: Vec<(Arc<str>, Family, Answer)>,
    /// Looks at the files of TLS that are done.
    pub(super) looked: Vec<(Arc<Live>, Looked)>,
    /// Connections closed on this side.
    pub(super) closed: VecDeque<(u64, Closed)>,
    pub(super) timers: Vec<(Instant, Task)>,
    /// Gets the tasks for later when the descriptors are lost.
    pub(super) heir: Option<Arc<Mailbox>>,
    pub(super) stop: bool,
    /// The thread has read its last letter.
    pub(super) ended: bool,
}

impl Letters {
    /// Gives the tasks for later to the heir, if there is one. Locks the heir's letters while these
    /// are locked; never do it the other way round.
    pub(super) fn bequeath(&mut self) {
        if let Some(heir) = &self.heir {
            let timers = std::mem::take(&mut self.timers);
            heir.post(|letters| letters.timers.extend(timers));
        }
    }
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Mailbox> {
        let wake = shared_eventfd()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(wake.get(), EpollEvent::new(EpollFlags::EPOLLIN, MAILBOX))?;
        let number = epoll.0.as_raw_fd();
        Ok(Mailbox { letters: Mutex::default(), wake, epoll: Shared::new(epoll, number) })
    }

    /// Whether its descriptors are still the same. If another file has one of the numbers by now,
    /// this notices it, because epoll knows the wake-up by number and file. One system call.
    pub(super) fn is_whole(&self) -> bool {
        let mut letters = EpollEvent::new(EpollFlags::EPOLLIN, MAILBOX);
        !self.wake.is_given_up() && self.epoll.get().modify(self.wake.get(), &mut letters).is_ok()
    }

    /// Waits for something to do. If the descriptors are lost, every call is an error.
    pub(super) fn wait(
        &self,
        events: &mut [EpollEvent],
        timeout: PollTimeout,
    ) -> nix::Result<usize> {
        let check = || if self.wake.is_given_up() { Err(Errno::EBADF) } else { Ok(()) };
        check()?;
        let outcome = self.epoll.get().wait(events, timeout);
        check()?;
        if let Err(error) = outcome
            && error != Errno::EINTR
        {
            self.disown();
        }
        outcome
    }

    /// Another part of the process closed the descriptors: they must not be closed again. From now
    /// on no letter is accepted.
    pub(super) fn disown(&self) {
        self.wake.disown();
        self.epoll.disown();
    }

    /// Writes a letter and wakes the thread. Returns whether the thread will read it: not in a
    /// forked child, which has no such thread, and not after the thread's end.
    pub(super) fn post(&self, write: impl FnOnce(&mut Letters)) -> bool {
        let Some(wake) = self.wake.get_here().filter(|_| !self.wake.is_given_up()) else {
            return false;
        };
        let mut letters = self.letters.lock();
        if letters.ended {
            return false;
        }
        write(&mut letters);
        drop(letters);
        // Fails only if the counter is full, and then the thread is awake anyway.
        let _ = wake.write(1);
        true
    }

    /// Lets the thread call `orphan`, or calls it here if the thread has ended.
    pub(super) fn hand_over(&self, orphan: Orphan, result: Result<Channel>) {
        let Some(wake) = self.wake.get_here() else { return };
        let mut letters = self.letters.lock();
        if letters.ended || self.wake.is_given_up() {
            drop(letters);
            return orphan(result);
        }
        letters.orphaned.push((orphan, result));
        drop(letters);
        let _ = wake.write(1); // as in `post`
    }
}
