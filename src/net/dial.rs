//! Connections in the making. One library thread per set, started with the first dial, runs every
//! dial as a state machine over epoll: name, race of addresses, TLS handshake.
//!
//! Callers wait with their deadline and nothing of this touches their stacks; reading and writing
//! of a ready connection never come here.

mod desk;
mod mailbox;
mod pending;
mod progress;
mod reply;
mod running;
mod stage;
mod winners;

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
pub use mailbox::Task;
use mailbox::{Closed, LINGERING, MAILBOX};
pub use pending::Pending;
pub use reply::Orphan;
use reply::Reply;
use stage::{Dial, Stage};

/// The thread keeps each deadline and knows the phase of a dial; whoever waits a little longer
/// hears of it. The wait that is longer by this only guards against the thread.
pub const GUARD: Duration = Duration::from_millis(40);

/// The dialer of a set.
pub struct Dialer {
    first: Desk,
    /// Held while a lost desk gets its successor, and by the end of it all.
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

    /// The desk in use; it may be lost.
    fn last_desk(&self) -> &Desk {
        self.desks().last().unwrap_or(&self.first)
    }

    /// The desk in use with its thread running; a new one where the descriptors of the last were
    /// closed.
    fn desk(&self) -> Result<&Desk> {
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
                ..Error::io(Status::Connect, "the library's dialer cannot be made anew", &error)
            })?;
            let lost = desk.retire(Some(&next));
            desk = desk.next.get_or_init(|| Box::new(next));
            drop(stopped);
            lost.tell();
        }
        desk.start_thread()?;
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

    /// Begins to connect to `target`, TLS included; fails by `deadline`. `notify` asks for
    /// [`Pending::descriptor`]; `orphan` gets the outcome where the caller does not stay for it.
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
            stage: Stage::Resolving(None),
            answer_by: None,
        };
        // Made before the thread hears of the dial: it gives its half of the descriptor back with
        // the outcome.
        let pending = Pending::new(id, reply, Arc::clone(&desk.mailbox));
        if !desk.mailbox.post(|letters| letters.dials.push((id, dial))) {
            if desk.mailbox.is_whole() {
                return Err(target.cancelled(Phase::Connect)); // the set has ended
            }
            let error = io::Error::from_raw_os_error(libc::EBADF);
            return Err(target.system_error(Status::Connect, Phase::Connect, &error));
        }
        Ok(pending)
    }

    /// Has the thread look at the word to cancel, which is to be given before.
    pub fn cancel(&self) {
        let desk = self.last_desk();
        if desk.mailbox.is_whole() {
            desk.mailbox.post(|_| {});
        } else {
            desk.retire(None).tell(); // nobody else comes to its dials
        }
    }

    /// Takes a connection that was closed on this side, and holds it until the peer closes too or a
    /// second has passed. Were it dropped at once, unread bytes of the peer's (the tickets of TLS
    /// 1.3, an answer nobody waits for) would make the kernel reset it and throw away what was sent
    /// and has not arrived. Of more than [`LINGERING`] the oldest is dropped all the same: a storm
    /// of closings is not to take the process's last descriptors. `on_reset` is called, on the
    /// thread, if the peer resets it: it must not wait.
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

    /// Has the thread run `task` at `when`, or a little later. It must not wait. Dropped unrun
    /// where the dialer stops before.
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
    /// open. What a thread was at work on in the very moment of the fork stays open.
    pub fn give_up(&self) {
        self.desks().for_each(|desk| desk.give_up(self.birthplace));
    }
}

#[cfg(all(test, feature = "model"))]
#[path = "../tests/loom/dial.rs"]
mod loom_dial;
#[cfg(test)]
mod tests;
