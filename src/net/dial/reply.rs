//! Where the dialer thread leaves the outcome of a dial.
//!
//! Invariant: an outcome reaches exactly one of the caller and the orphan's closure, whenever the
//! caller gives up.

use std::io;
use std::sync::Arc;

use nix::sys::eventfd::EventFd;

use crate::base::error::Result;
use crate::base::process::Birthplace;
use crate::base::sync::{Condvar, Mutex};
use crate::net::cancel::eventfd;
use crate::net::channel::Channel;

/// What becomes of a dial that its caller gave up: called with the outcome on the dialer thread,
/// where it must not wait.
pub type Orphan = Box<dyn FnOnce(Result<Channel>) + Send>;

/// Where the outcome is left.
pub(super) struct Reply {
    pub(super) state: Mutex<State>,
    pub(super) came: Condvar,
    pub(super) birthplace: Birthplace,
}

pub(super) struct State {
    pub(super) outcome: Outcome,
    /// Given back with the outcome or the giving up, under the lock: the caller's drop closes the
    /// descriptor then and there. Closed later by this thread it would leave a number in the
    /// caller's epoll that the caller knows no more.
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
