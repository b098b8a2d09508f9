//! The active check of a node that is out (`health.check`): the dialer thread opens a connection
//! every `health.interval`, without a caller. If a connection is all that the node needs to show,
//! this restores it at once.
//!
//! It never sends anything but a TLS handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crate::base::error::{Result, Status};
use crate::base::log::Level;
use crate::base::text::brief;
use crate::config::Check;
use crate::net::channel::Channel;
use crate::net::patience::{after, jittered};
use crate::net::target::Target;
use crate::set::node::{Checker, Node};

impl Checker {
    /// The checker of `target`.
    pub fn new(check: Check, target: &Arc<Target>) -> Checker {
        let target = match check {
            Check::Off => None,
            Check::Tcp if target.tls.is_some() => Some(Arc::new(target.without_tls())),
            Check::Tcp | Check::Tls => Some(Arc::clone(target)),
        };
        Checker { target, due: AtomicBool::new(false) }
    }
}

impl Node {
    /// Checks the node from now on until it is back, if `health.check` is on.
    pub fn check_until_back(self: &Arc<Node>) {
        let Some(target) = &self.checker.target else { return };
        if self.checker.due.swap(true, Relaxed) {
            return;
        }
        let node = Arc::downgrade(self); // the timer keeps nothing alive
        let check = move || {
            if let Some(node) = node.upgrade() {
                node.check();
            }
        };
        let when = after(Instant::now(), jittered(self.health.interval));
        if let Err(error) = self.runtime.dialer.at(when, Box::new(check)) {
            self.checker.due.store(false, Relaxed);
            self.runtime.logger.log(
                Level::Warn,
                format_args!("cannot check {} actively: {error}", brief(&target.name)),
            );
        }
    }

    fn check(self: &Arc<Node>) {
        self.checker.due.store(false, Relaxed);
        let Some(target) = &self.checker.target else { return };
        if self.runtime.roster.due(self.place).is_none() {
            return; // it came back without a check; its next ejection starts a new one
        }
        let (node, generation) = (Arc::downgrade(self), self.generation());
        let told = move |outcome: Result<Channel>| {
            if let Some(node) = node.upgrade() {
                node.checked(generation, outcome);
            }
        };
        let deadline = after(Instant::now(), target.net.connect_timeout);
        match self.runtime.dialer.start(target, deadline, false, Some(Box::new(told))) {
            Ok(pending) => drop(pending), // nobody waits for it; the closure gets the outcome
            Err(error) => self.checked(generation, Err(error)),
        }
    }

    fn checked(self: &Arc<Node>, generation: u32, outcome: Result<Channel>) {
        match outcome {
            Ok(channel) => {
                self.runtime.close(channel, None);
                self.connection_stands(generation);
            }
            Err(error) if error.status == Status::Cancelled => return,
            Err(error) => {
                self.runtime.logger.log(Level::Debug, format_args!("active check: {error}"))
            }
        }
        if self.runtime.roster.due(self.place).is_some() {
            self.check_until_back();
        }
    }
}
