//! What all nodes of a set share.

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
    /// Whose turn it is, and who is out.
    pub roster: Roster,
    /// What the roster goes by.
    pub clock: Clock,
    /// The process the set was made in.
    pub birthplace: Birthplace,
    /// The word to end every call in flight and every later one.
    pub cancel: Arc<Cancel>,
    /// The set was destroyed: nothing new is begun.
    pub closed: AtomicBool,
    /// What payloads are called.
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

    /// Adds when a node may be back, where none is up.
    pub fn outlook(&self, mut error: Error) -> Error {
        let wait = self.roster.retry_after(self.clock.now(), !self.birthplace.is_elsewhere());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let millis = millis(wait);
            error.cause =
                format!("{}; all nodes are out, one may be back in {millis} ms", error.cause);
        }
        error
    }

    /// Sees to it that picks that follow each other closely, and so seldom look at the clock, look
    /// at it when something is next due. Not called by a pick, which makes no system call.
    pub fn guard(self: &Arc<Runtime>) {
        let Some(when) = self.roster.wants_guard() else { return };
        let left = Duration::from_nanos(when.saturating_sub(self.clock.now()));
        let runtime = Arc::downgrade(self); // the timer keeps nothing alive
        let ring = move || {
            if let Some(runtime) = runtime.upgrade() {
                runtime.roster.ring();
            }
        };
        // Where no thread can be had picks look at the clock each.
        if self.dialer.at(after(Instant::now(), left), Box::new(ring)).is_ok() {
            self.roster.guard(when);
        }
    }

    /// Closes a connection in good order, without waiting for the peer. `on_reset` is called on the
    /// dialer thread if the peer resets it all the same.
    pub fn close(&self, channel: Channel, on_reset: Option<Task>) {
        if let Some(socket) = channel.close() {
            self.dialer.linger(socket, on_reset);
        }
    }
}
