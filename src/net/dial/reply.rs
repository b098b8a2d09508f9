//! The place where the dialer thread leaves the outcome of a dial.
//!
//! Invariant: an outcome reaches either the caller or the orphan, never both and never neither,
//! whenever the caller gives up. Without an orphan, an outcome that the caller gave up is dropped.

use std::io;
use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use crate::base::error::Result;
use crate::base::process::Birthplace;
use crate::base::sync::{Condvar, Mutex};
use crate::net::cancel::eventfd;
use crate::net::channel::Channel;

/// Gets the outcome of a dial that its caller gave up. It is called on the dialer thread, so it
/// must not block.
pub type Orphan = Box<dyn FnOnce(Result<Channel>) + Send>;

/// Holds the outcome for the caller.
pub(super) struct Reply {
    pub(super) state: Mutex<State>,
    pub(super) came: Condvar,
    pub(super) birthplace: Birthplace,
}

pub(super) struct State {
    pub(super) outcome: Outcome,
    /// Dropped under the lock, with the outcome or when the caller gives up. So the caller's drop
    /// is the one that closes the descriptor. If this thread closed it later, the caller's epoll
    /// would still hold a number that the caller no longer knows.
    pub(super) notify: Option<Arc<EventFd>>,
    pub(super) orphan: Option<Orphan>,
}

pub(super) enum Outcome {
    Awaited,
    Came(Result<Channel>),
    /// The caller has it.
    Taken,
    /// The caller gave the dial up.
    Abandoned,
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

    /// Gives the outcome to the caller or to the orphan.
    pub(super) fn leave(&self, result: Result<Channel>) {
        let mut state = self.state.lock();
        if matches!(state.outcome, Outcome::Awaited) {
            state.outcome = Outcome::Came(result);
            self.came.notify_one();
            if let Some(notify) = state.notify.take() {
                // It is the first write, so the counter cannot be full.
                let _ = notify.write(1);
            }
        } else if let Some(orphan) = state.orphan.take() {
            drop(state);
            orphan(result);
        }
        // If nobody waits for the channel, its drop closes it.
    }

    /// Whether nobody waits for the outcome any more.
    pub(super) fn is_forsaken(&self) -> bool {
        let state = self.state.lock();
        matches!(state.outcome, Outcome::Abandoned) && state.orphan.is_none()
    }
}

impl State {
    pub(super) fn take(&mut self) -> Option<Result<Channel>> {
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
