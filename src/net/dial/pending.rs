//! A running dial, as its caller holds it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::eventfd::EventFd;

use super::mailbox::Mailbox;
use super::reply::{Outcome, Reply};
use crate::base::error::Result;
use crate::net::channel::Channel;

/// A running dial, as its caller holds it. Dropping it gives the dial up: with an
/// [`Orphan`](super::Orphan) the dial goes on for the orphan; without one it ends and its sockets
/// are closed.
pub struct Pending {
    id: u64,
    reply: Arc<Reply>,
    notify: Option<Arc<EventFd>>,
    mailbox: Arc<Mailbox>,
}

impl Pending {
    pub(super) fn new(id: u64, reply: Arc<Reply>, mailbox: Arc<Mailbox>) -> Pending {
        let notify = reply.state.lock().notify.clone();
        Pending { id, reply, notify, mailbox }
    }

    /// The outcome, once; `None` if `until` comes first, or if it was taken before.
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

    /// The outcome, once; `None` if it is not there yet, or was taken before.
    pub fn poll(&mut self) -> Option<Result<Channel>> {
        self.reply.state.lock().take()
    }

    /// A descriptor that becomes readable with the outcome; `None` if `notify` was not asked for.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(|notify| notify.as_fd())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // In a forked child nobody works on the dial, and the holder of the lock may not exist.
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
