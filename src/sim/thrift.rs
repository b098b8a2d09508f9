//! The retry budget once more, in plain words: never more than ten at once, ten a second and one for ten successes (and another ten at
//! once of those a second); never fewer than ten a second.

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
    /// When, in true time, the clock went back last.
    jumped_back: Option<u64>,
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

    pub fn jumped_back(&mut self, time: u64) {
        self.jumps_back += 1;
        self.jumped_back = Some(time);
    }

    /// One more, at true `time`, when the clock shows `now`.
    pub fn granted(&mut self, time: u64, now: u64) {
        self.at(now);
        self.spent += 1.0;
        assert!(
            self.spent < 20.0 + 10.0 * f64::from(self.jumps_back) + 1e-6,
            "{} retries too many",
            self.spent
        );
        self.granted.push_back(time);
    }

    /// None, for the time being. A jump back shorter than the burst looks like a burst, for as long.
    pub fn denied(&mut self, time: u64) {
        while self.granted.front().is_some_and(|then| then + SECOND <= time) {
            self.granted.pop_front();
        }
        let jumped = self.jumped_back.is_some_and(|then| then + SECOND > time);
        assert!(jumped || self.granted.len() >= 10, "denied after {} in the last second", self.granted.len());
    }
}
