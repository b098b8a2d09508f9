//! What the outcome of work with a node does to the node: it is counted, and the node is ejected,
//! restored or paused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::breaker::{Fault, Proof, Way};
use crate::balance::roster::{Change, LONGEST_PAUSE, Turn};
use crate::balance::visits::PATIENCE;
use crate::base::clock::millis;
use crate::base::error::{Error, Status};
use crate::base::log::Level;
use crate::base::stats::count;
use crate::set::node::Node;
use crate::set::outcome::{Outcome, fault_of, had_its_time, is_black_hole, of_status};

impl Node {
    /// A plugin that does its own I/O reports how it went.
    pub fn told(self: &Arc<Self>, outcome: Status) {
        self.book(outcome);
        if (outcome as i32) < 0 && self.told_once.take_noted_failure() {
            return;
        }
        self.told_once.reports.add();
        self.hear(self.generation(), None, self.outcome_of(outcome));
    }

    /// Counts a delivery by its outcome.
    pub fn book(&self, outcome: Status) {
        if outcome == Status::Ok {
            count(&self.counters.deliveries);
        } else if outcome == Status::Stop || (outcome as i32) < 0 {
            count(&self.counters.deliveries_failed);
        }
    }

    /// What a status says of the node, if the plugin did the I/O.
    pub fn outcome_of(&self, status: Status) -> Outcome {
        of_status(status, true, || {
            Error::new(status, format!("the plugin reported {}", status.name()))
        })
    }

    /// Takes the outcome of an exchange of `generation`. Returns whether it says anything of the
    /// node.
    pub fn hear(self: &Arc<Self>, generation: u32, trial: Option<Turn>, outcome: Outcome) -> bool {
        let said = match outcome {
            Outcome::Nothing => false,
            Outcome::Good(proof) => {
                self.succeeded(generation, proof);
                true
            }
            Outcome::Busy(time) => {
                self.succeeded(generation, Proof::Busy);
                self.pause(time);
                true
            }
            Outcome::Bad(error) => match fault_of(&error) {
                Some(fault) => {
                    self.fails_by(generation, fault, &error.without_node());
                    true
                }
                None => false,
            },
        };
        if let Some(turn) = trial.filter(|_| !said) {
            // The trial had no result, so the next one need not wait until its time is over.
            self.give_back(turn, PATIENCE);
        }
        said
    }

    /// Gives the node no new turns for `time`, or for `health.backoff` if no time is given.
    pub fn pause(&self, time: Option<Duration>) {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return;
        }
        let time = time.filter(|time| !time.is_zero()).unwrap_or(self.health.backoff);
        if runtime.roster.pause(self.place, time, runtime.clock.now()) {
            let millis = millis(time.min(LONGEST_PAUSE));
            self.log(
                Level::Info,
                format_args!("paused for {millis} ms: the server cannot take more now"),
            );
        }
        self.runtime.guard();
    }

    /// Work of `generation` with this node went well.
    pub fn succeeded(&self, generation: u32, proof: Proof) {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return; // what the parent knows must not change
        }
        let now = || runtime.clock.now();
        if let Some(Change::Restored) = runtime.roster.succeeded(self.place, generation, proof, now)
        {
            self.log(Level::Info, format_args!("back in the rotation"));
            runtime.guard();
        }
    }

    /// A connection that carried payloads without an answer is still open some time later.
    pub fn stood(&self, generation: u32) {
        self.succeeded(generation, Proof::Stood);
    }

    /// A kept connection of `generation` ended in a way that says something of the node, though no
    /// call had failed: payloads that were counted as delivered may be lost. Returns whether the
    /// node was ejected.
    pub fn evidence(self: &Arc<Self>, generation: u32, error: &Error) -> bool {
        let fault = match fault_of(error) {
            Some(Fault::Soft(Way::Broken)) => Some(Fault::Soft(Way::Unanswered)),
            fault => fault,
        };
        let ejected =
            fault.is_some_and(|fault| self.fails_by(generation, fault, &error.without_node()));
        if !ejected && fault.is_some() {
            self.failures.log(&self.runtime.logger, Level::Warn, format_args!("{error}"));
        }
        ejected
    }

    /// Work of `generation` with this node failed. Does nothing if the node is not to blame.
    /// Returns whether the node was ejected.
    pub fn failed(self: &Arc<Self>, generation: u32, error: &Error) -> bool {
        fault_of(error).is_some_and(|fault| self.fails_by(generation, fault, &error.without_node()))
    }

    /// A new connection is open. Returns the generation that an exchange over it carries.
    pub fn connection_stands(&self, generation: u32) -> u32 {
        if self.runtime.roster.due(self.place).is_none() {
            return generation;
        }
        self.succeeded(generation, Proof::Connected);
        // If this restored the node, the exchange begins now. A node that must answer first is
        // still on trial.
        if self.runtime.roster.due(self.place).is_none() { self.generation() } else { generation }
    }

    /// No connection could be made in `waited`. Returns whether the node was ejected.
    pub fn connect_failed(
        self: &Arc<Self>,
        generation: u32,
        error: &Error,
        waited: Duration,
    ) -> bool {
        let allowed = self.target.net.connect_timeout;
        match error.status {
            Status::Timeout if is_black_hole(waited, allowed) => {
                self.fails_by(generation, Fault::Hard(Way::Connect), &error.without_node())
            }
            Status::Timeout if !had_its_time(waited, allowed) => false,
            _ => self.failed(generation, error),
        }
    }

    /// It failed. Returns whether this ejects it.
    fn fails_by(self: &Arc<Self>, generation: u32, fault: Fault, why: &dyn fmt::Display) -> bool {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return false;
        }
        let change = runtime.roster.failed(self.place, generation, fault, runtime.clock.now());
        let Some(Change::Ejected(time)) = change else { return false };
        let millis = time.as_millis();
        self.log(Level::Warn, format_args!("out of the rotation for {millis} ms, after {why}"));
        // The idle connections lead to the server that has just failed.
        self.close_idle();
        self.check_until_back();
        runtime.guard();
        true
    }

    /// Its trial had no result; another one may begin after `pause`.
    pub fn give_back(&self, turn: Turn, pause: Duration) {
        let runtime = &self.runtime;
        if runtime.birthplace.is_elsewhere() {
            return;
        }
        runtime.roster.give_back(turn, runtime.clock.now().saturating_add(pause.as_nanos() as u64));
    }
}
