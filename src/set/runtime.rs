//! What all nodes of a set share: the dialer, the roster, the clock, the log.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balance::roster::Roster;
use crate::base::clock::{Clock, millis};
use crate::base::error::Error;
use crate::base::log::Logger;
use crate::base::process::Birthplace;
use crate::base::sync::atomic::AtomicBool;
use crate::net::cancel::Cancel;
use crate::net::channel::Channel;
use crate::net::dial::{Dialer, Task};
use crate::net::patience::after;
use crate::set::payload::PayloadIds;

/// What all nodes of a set share.
pub struct Runtime {
    /// Makes connections.
    pub dialer: Dialer,
    /// The host's log.
    pub logger: Logger,
    /// Whose turn it is, and which nodes are out.
    pub roster: Roster,
    /// The clock that the roster uses.
    pub clock: Clock,
    /// The process in which the set was made.
    pub birthplace: Birthplace,
    /// Ends every call in flight and every later one.
    pub cancel: Arc<Cancel>,
    /// The set was destroyed: nothing new may begin.
    pub closed: AtomicBool,
    /// Makes the names of payloads.
    pub payload_ids: PayloadIds,
}

impl Runtime {
    /// A runtime with no thread yet.
    pub fn new(roster: Roster, clock: Clock, logger: Logger) -> io::Result<Runtime> {
        let cancel = Arc::new(Cancel::new()?);
        Ok(Runtime {
            dialer: Dialer::new(Arc::clone(&cancel))?,
            cancel,
            logger,
            roster,
            clock,
            birthplace: Birthplace::here(),
            closed: AtomicBool::new(false),
            payload_ids: PayloadIds::default(),
        })
    }

    /// Adds to `error` when a node may be back, if none is up.
    pub fn outlook(&self, mut error: Error) -> Error {
        let wait = self.roster.retry_after(self.clock.now(), !self.birthplace.is_elsewhere());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let millis = millis(wait);
            error.cause =
                format!("{}; all nodes are out, one may be back in {millis} ms", error.cause);
        }
        error
    }

    /// Makes sure that picks ask the clock when something is next due, even if they follow each
    /// other so closely that they seldom ask. A pick does not call this, because it must make no
    /// system call.
    pub fn guard(self: &Arc<Runtime>) {
        let Some(when) = self.roster.wants_guard() else { return };
        let left = Duration::from_nanos(when.saturating_sub(self.clock.now()));
        let runtime = Arc::downgrade(self); // the timer keeps nothing alive
        let ring = move || {
            if let Some(runtime) = runtime.upgrade() {
                runtime.roster.ring();
            }
        };
        // If no thread can be started, each pick asks the clock.
        if self.dialer.at(after(Instant::now(), left), Box::new(ring)).is_ok() {
            self.roster.guard(when);
        }
    }

    /// Closes a connection cleanly, without waiting for the peer. If the peer resets it anyway, the
    /// dialer thread calls `on_reset`.
    pub fn close(&self, channel: Channel, on_reset: Option<Task>) {
        if let Some(socket) = channel.close() {
            self.dialer.linger(socket, on_reset);
        }
    }
}
