//! The two halves of a dial under way: what its caller holds, and where the dialer thread leaves the outcome.
//!
//! Invariant: an outcome reaches exactly one of the caller and the orphan's closure, whenever the caller gives up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::eventfd::EventFd;

use super::mailbox::Mailbox;
use crate::base::error::Result;
use crate::base::process::Birthplace;
use crate::base::sync::{Condvar, Mutex};
use crate::net::cancel::eventfd;
use crate::net::channel::Channel;

/// What becomes of a dial that its caller gave up: called with the outcome on the dialer thread, where it must not wait.
pub type Orphan = Box<dyn FnOnce(Result<Channel>) + Send>;

/// A dial under way, as its caller holds it. Dropping it gives the dial up: with an [`Orphan`] the dial goes on for
/// that; without one it is ended and its sockets are closed.
pub struct Pending {
    id: u64,
    reply: Arc<Reply>,
    notify: Option<Arc<EventFd>>,
    mailbox: Arc<Mailbox>,
}

/// Where the outcome is left.
pub(super) struct Reply {
    state: Mutex<State>,
    came: Condvar,
    birthplace: Birthplace,
}

struct State {
    outcome: Outcome,
    /// Given back with the outcome or the giving up, under the lock: the caller's drop closes the descriptor then and there.
    /// Closed later by this thread it would leave a number in the caller's epoll that the caller knows no more.
    notify: Option<Arc<EventFd>>,
    orphan: Option<Orphan>,
}

enum Outcome {
    Awaited,
    Came(Result<Channel>),
    /// The caller has it.
    Taken,
    /// The caller gave the dial up.
    Abandoned,
}

impl Pending {
    pub(super) fn new(id: u64, reply: Arc<Reply>, mailbox: Arc<Mailbox>) -> Pending {
        let notify = reply.state.lock().notify.clone();
        Pending { id, reply, notify, mailbox }
    }

    /// The outcome, once; `None` where `until` comes first, or it was taken before.
    pub fn wait(&mut self, until: Instant) -> Option<Result<Channel>> {
        let mut state = self.reply.state.lock();
        while matches!(state.outcome, Outcome::Awaited) {
            let (next, passed) = self.reply.came.wait_until(state, until);
            state = next;
            if passed {
                break;
            }
        }
        state.take()
    }

    /// The outcome, once; `None` where it is not there yet, or was taken before.
    pub fn poll(&mut self) -> Option<Result<Channel>> {
        self.reply.state.lock().take()
    }

    /// Readable once the outcome is there; `None` where that was not asked for.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(|notify| notify.as_fd())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // In a forked child nobody works on the dial, and the lock's holder may not exist.
        let Some(mut state) = self.reply.state.reach(self.reply.birthplace) else { return };
        state.notify = None;
        match std::mem::replace(&mut state.outcome, Outcome::Abandoned) {
            Outcome::Awaited if state.orphan.is_none() => {
                drop(state);
                self.mailbox.post(|letters| letters.abandoned.push(self.id));
            }
            Outcome::Came(result) => {
                let orphan = state.orphan.take();
                drop(state);
                if let Some(orphan) = orphan {
                    self.mailbox.hand_over(orphan, result);
                }
            }
            Outcome::Awaited | Outcome::Taken | Outcome::Abandoned => {}
        }
    }
}

impl Reply {
    /// For an outcome to come; `notify` asks for the descriptor.
    pub(super) fn new(notify: bool, orphan: Option<Orphan>) -> io::Result<Reply> {
        let notify = if notify { Some(Arc::new(eventfd()?)) } else { None };
        Ok(Reply {
            state: Mutex::new(State { outcome: Outcome::Awaited, notify, orphan }),
            came: Condvar::new(),
            birthplace: Birthplace::here(),
        })
    }

    /// Leaves the outcome for whoever is to have it.
    pub(super) fn leave(&self, result: Result<Channel>) {
        let mut state = self.state.lock();
        if matches!(state.outcome, Outcome::Awaited) {
            state.outcome = Outcome::Came(result);
            self.came.notify_one();
            if let Some(notify) = state.notify.take() {
                // The first write to it, which cannot find the counter full.
                let _ = notify.write(1);
            }
        } else if let Some(orphan) = state.orphan.take() {
            drop(state);
            orphan(result);
        }
        // Else a channel that nobody waits for: its drop closes it.
    }

    /// Whether nobody is there for the outcome any longer.
    pub(super) fn is_forsaken(&self) -> bool {
        let state = self.state.lock();
        matches!(state.outcome, Outcome::Abandoned) && state.orphan.is_none()
    }
}

impl State {
    fn take(&mut self) -> Option<Result<Channel>> {
        match std::mem::replace(&mut self.outcome, Outcome::Taken) {
            Outcome::Came(result) => {
                self.orphan = None;
                Some(result)
            }
            other => {
                self.outcome = other;
                None
            }
        }
    }
}
