//! Makes connections. Each set has one library thread for this, started with the first dial. It
//! runs every dial as a state machine over epoll: name lookup, race of addresses, TLS handshake.
//!
//! A caller only waits, with its deadline; this work does not use the caller's stack. Reading and
//! writing on a finished connection do not come here.

mod desk;
mod history;
mod looking;
mod lookup;
mod mailbox;
mod pending;
mod progress;
mod reply;
mod running;
mod stage;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::Cancel;
use super::channel::Channel;
use super::socket::Socket;
use super::target::Target;
use crate::base::error::{Blame, Error, Phase, Result, Status};
use crate::base::process::Birthplace;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};
use desk::{Desk, Thread};
use lookup::Lookup;
pub use mailbox::Task;
use mailbox::{Closed, LINGERING, MAILBOX};
pub use pending::Pending;
pub use reply::Orphan;
use reply::Reply;
use stage::{Dial, Stage};

/// How much longer than its deadline a caller waits. The dialer thread ends the dial at the
/// deadline and reports the phase that it was in, so the caller gets that error. The extra time is
/// only a guard in case the thread does not come to it.
pub const GUARD: Duration = Duration::from_millis(40);

/// The dialer of a set.
pub struct Dialer {
    first: Desk,
    /// Whether the dialer has stopped. The lock is held while a lost desk gets its successor.
    stopped: Mutex<bool>,
    cancel: Arc<Cancel>,
    next_id: AtomicU64,
    birthplace: Birthplace,
}

impl Dialer {
    /// A dialer whose thread is not started yet. `cancel` ends every dial.
    pub fn new(cancel: Arc<Cancel>) -> io::Result<Dialer> {
        Ok(Dialer {
            first: Desk::new(&cancel)?,
            stopped: Mutex::new(false),
            cancel,
            next_id: AtomicU64::new(MAILBOX + 1),
            birthplace: Birthplace::here(),
        })
    }

    fn desks(&self) -> impl Iterator<Item = &Desk> {
        std::iter::successors(Some(&self.first), |desk| desk.next.get().map(|next| &**next))
    }

    /// The current desk; it may be lost.
    fn last_desk(&self) -> &Desk {
        self.desks().last().unwrap_or(&self.first)
    }

    /// The current desk with its thread running.
    fn desk(&self) -> Result<&Desk> {
        let last = self.last_desk();
        let desk = if last.mailbox.is_whole() { last } else { self.whole_desk()? };
        desk.start_thread()?;
        Ok(desk)
    }

    /// The descriptors of the last desk were closed: makes a new desk.
    #[cold]
    #[inline(never)] // keeps it off the stack of what starts the thread
    fn whole_desk(&self) -> Result<&Desk> {
        let mut desk = self.last_desk();
        while !desk.mailbox.is_whole() {
            let stopped = self.stopped.lock();
            if *stopped {
                break;
            }
            if desk.next.get().is_some() {
                desk = self.last_desk(); // another caller was faster
                continue;
            }
            let next = Desk::new(&self.cancel).map_err(|error| Error {
                blame: Blame::Local,
                ..Error::io(Status::Connect, "the library cannot make a new dialer", &error)
            })?;
            let lost = desk.retire(Some(&next));
            desk = desk.next.get_or_init(|| Box::new(next));
            drop(stopped);
            lost.tell();
        }
        Ok(desk)
    }

    /// Connects to `target`, TLS included, or fails by `deadline`.
    pub fn dial(&self, target: &Arc<Target>, deadline: Instant) -> Result<Channel> {
        let mut pending = self.start(target, deadline, false, None)?;
        pending.wait(deadline + GUARD).unwrap_or_else(|| {
            Err(target.error(
                Status::Timeout,
                Phase::Connect,
                "no connection within the time given",
            ))
        })
    }

    /// Begins to connect to `target`, TLS included; fails by `deadline`. `notify` asks for a
    /// [`Pending::descriptor`]. If the caller gives the dial up, `orphan` gets the outcome.
    pub fn start(
        &self,
        target: &Arc<Target>,
        deadline: Instant,
        notify: bool,
        orphan: Option<Orphan>,
    ) -> Result<Pending> {
        if self.cancel.is_set() {
            return Err(target.cancelled(Phase::Connect));
        }
        let desk = self.desk().map_err(|error| target.locate(Phase::Connect, error))?;
        let reply = Reply::new(notify, orphan)
            .map_err(|error| target.system_error(Status::Connect, Phase::Connect, &error))?;
        let reply = Arc::new(reply);
        let id = self.next_id.fetch_add(1, Relaxed);
        let now = Instant::now();
        let dial = Dial {
            target: Arc::clone(target),
            deadline,
            raced: now,
            granted: deadline.saturating_duration_since(now),
            reply: Arc::clone(&reply),
            stage: Stage::Resolving,
            lookup: Lookup::new(None, &target.net),
        };
        // Made before the thread gets the dial, because the thread drops its half of the descriptor
        // together with the outcome.
        let pending = Pending::new(id, reply, Arc::clone(&desk.mailbox));
        if !desk.mailbox.post(|letters| letters.dials.push((id, dial))) {
            if desk.mailbox.is_whole() {
                return Err(target.cancelled(Phase::Connect)); // the set was destroyed
            }
            let error = io::Error::from_raw_os_error(libc::EBADF);
            return Err(target.system_error(Status::Connect, Phase::Connect, &error));
        }
        Ok(pending)
    }

    /// Wakes the thread so that it sees the cancelling. Set [`Cancel`] before.
    pub fn cancel(&self) {
        let desk = self.last_desk();
        if desk.mailbox.is_whole() {
            desk.mailbox.post(|_| {});
        } else {
            desk.retire(None).tell(); // its thread does not wake for them
        }
    }

    /// Takes a connection that was closed on this side, and holds it until the peer closes too, but
    /// not longer than a second. If it were dropped at once, unread bytes of the peer (the tickets
    /// of TLS 1.3, an answer that nobody waits for) would make the kernel reset it, and what was
    /// sent but has not arrived would be lost. If more than [`LINGERING`] are held, the oldest is
    /// dropped, so that very many closings do not use up the process's descriptors. If the peer
    /// resets the connection, the thread calls `on_reset`, which must not block.
    pub fn linger(&self, socket: Socket, on_reset: Option<Task>) {
        let closed = Closed { socket, on_reset };
        let desk = self.last_desk();
        if let Thread::Running(_) = &*desk.thread.lock() {
            let id = self.next_id.fetch_add(1, Relaxed);
            let mut oldest = None; // closed outside the lock
            desk.mailbox.post(|letters| {
                if letters.closed.len() >= LINGERING {
                    oldest = letters.closed.pop_front();
                }
                letters.closed.push_back((id, closed));
            });
        }
    }

    /// Lets the thread run `task` at `when` or a little later. The task must not block. It is
    /// dropped without a run if the dialer stops before.
    pub fn at(&self, when: Instant, task: Task) -> Result<()> {
        self.desk()?.mailbox.post(|letters| letters.timers.push((when, task)));
        Ok(())
    }

    /// Ends every dial with `Cancelled` and joins the threads; later dials fail with `Cancelled`.
    pub fn stop(&self) {
        *self.stopped.lock() = true;
        let desk = self.last_desk();
        if desk.mailbox.is_whole() {
            return desk.stop();
        }
        desk.retire(None).tell();
    }

    /// In a forked child: forgets the threads, which do not exist there, and closes what they had
    /// open. What a thread was working on at the moment of the fork stays open.
    pub fn give_up(&self) {
        self.desks().for_each(|desk| desk.give_up(self.birthplace));
    }
}

#[cfg(all(test, feature = "model"))]
#[path = "../tests/loom/dial.rs"]
mod loom_dial;
#[cfg(test)]
mod tests;
