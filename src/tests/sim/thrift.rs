//! The retry budget once more, in plain words: never more than ten at once, ten a second and one
//! for ten successes (and another ten at once of those a second); never fewer than ten a second.

use std::collections::VecDeque;

use super::SECOND;

/// Retries that were granted.
#[derive(Default)]
pub struct Thrift {
    /// In retries, what the two buckets together hold no longer.
    spent: f64,
    since: u64,
    /// In true time.
    granted: VecDeque<u64>,
    /// The clock went back so often: each time the ten a second may begin anew.
    jumps_back: u32,
    /// The latest that the clock ever showed at a retry.
    latest: u64,
    /// For each jump back, until when, in true time, the clock shows what it has shown before, or a
    /// burst after that: meanwhile retries of the past may look like those of the present, once.
    excuses: Vec<u64>,
    /// That has happened, and ends then.
    excused: u64,
}

impl Thrift {
    fn at(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since) as f64 / SECOND as f64;
        self.spent = (self.spent - 10.0 * passed).max(0.0);
        self.since = now;
    }

    pub fn succeeded(&mut self) {
        self.spent = (self.spent - 0.1).max(0.0);
    }

    /// At true `time`, to `now`.
    pub fn jumped_back(&mut self, time: u64, now: u64) {
        self.jumps_back += 1;
        self.excuses.push(time + self.latest.saturating_sub(now) + SECOND);
    }

    /// One more, at true `time`, when the clock shows `now`.
    pub fn granted(&mut self, time: u64, now: u64) {
        self.at(now);
        self.latest = self.latest.max(now);
        self.spent += 1.0;
        assert!(
            self.spent < 20.0 + 10.0 * f64::from(self.jumps_back) + 1e-6,
            "{} retries too many",
            self.spent
        );
        self.granted.push_back(time);
    }

    /// One more if there was one: it was not waited for. It counts where it might have been denied
    /// later for it.
    pub fn may_have_granted(&mut self, time: u64, now: u64) {
        self.at(now);
        self.latest = self.latest.max(now);
        self.granted.push_back(time);
    }

    /// None, for the time being.
    pub fn denied(&mut self, time: u64) {
        while self.granted.front().is_some_and(|then| then + SECOND <= time) {
            self.granted.pop_front();
        }
        if self.granted.len() >= 10 || time < self.excused {
            return;
        }
        self.excuses.retain(|until| time < *until);
        assert!(!self.excuses.is_empty(), "denied after {} in the last second", self.granted.len());
        self.excuses.remove(0);
        self.excused = time + SECOND;
    }
}
