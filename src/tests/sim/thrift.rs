//! A second, plain version of the retry budget. At most: 10 retries at once, 10 a second, 1 for 10
//! successes, and once another 10 at the rate of 10 a second. At least: 10 a second.

use std::collections::VecDeque;

use super::SECOND;

/// The retries that were granted.
#[derive(Default)]
pub struct Thrift {
    /// How many retries are missing in the two buckets together.
    spent: f64,
    since: u64,
    /// When retries were granted in the last second, in true time.
    granted: VecDeque<u64>,
    /// How often the clock went back. Each time the 10 a second may start again.
    jumps_back: u32,
    /// The latest time that the clock showed at a retry.
    latest: u64,
    /// For each jump back: until when, in true time, the clock shows times that it has shown
    /// before, plus the time of one burst. Meanwhile, once, old retries may be counted as new ones.
    excuses: Vec<u64>,
    /// That has happened, and ends at this time.
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

    /// The clock jumped back to `now` at true `time`.
    pub fn jumped_back(&mut self, time: u64, now: u64) {
        self.jumps_back += 1;
        self.excuses.push(time + self.latest.saturating_sub(now) + SECOND);
    }

    /// One more retry was granted at true `time`, when the clock showed `now`.
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

    /// One more retry was taken if there was one; nobody waited for it. It counts as granted here,
    /// because a later retry may be denied because of it.
    pub fn may_have_granted(&mut self, time: u64, now: u64) {
        self.at(now);
        self.latest = self.latest.max(now);
        self.granted.push_back(time);
    }

    /// A retry was denied at true `time`.
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
