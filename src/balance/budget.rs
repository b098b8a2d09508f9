//! The retry budget of a set: it limits retries, so that they do not overload servers that already
//! fail. Pure: the caller passes the time in.
//!
//! There are two sources, and a retry needs one of them:
//!
//! - tokens, at most 10: a retry takes 1, a success gives 0.1 back (gRPC A6 with maxTokens 10 and
//!   tokenRatio 0.1)
//! - without a token, 10 retries a second (Finagle's RetryBudget, minRetriesPerSec 10)

use std::time::Duration;

use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// In tenths of a token.
const FULL: u64 = 100;
const RETRY: u64 = 10;
const SUCCESS: u64 = 1;
/// Nanoseconds between two of the 10 retries a second.
const INTERVAL: u64 = 100_000_000;
/// How many of these may come at once.
const BURST: u64 = 10;

/// The retry budget of a set.
#[derive(Debug)]
pub struct Budget {
    tokens: AtomicU64,
    /// The time by which all retries used so far without a token fit into 10 a second: the
    /// theoretical arrival time of a leaky bucket.
    paid_up: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { tokens: AtomicU64::new(FULL), paid_up: AtomicU64::new(0) }
    }
}

impl Budget {
    /// A payload was delivered. Returns whether this may have made a retry possible: those who wait
    /// for one should ask again.
    #[inline]
    pub fn succeeded(&self) -> bool {
        self.tokens.load(Relaxed) < FULL && self.refill()
    }

    #[cold]
    fn refill(&self) -> bool {
        let more = |tokens: u64| Some(FULL.min(tokens + SUCCESS));
        let before = self.tokens.fetch_update(Relaxed, Relaxed, more).unwrap_or(FULL);
        before + SUCCESS >= RETRY
    }

    /// How long until a retry is certain to be allowed.
    pub fn wait(&self, now: u64) -> Duration {
        if self.tokens.load(Relaxed) >= RETRY {
            return Duration::ZERO;
        }
        let ahead = self.paid_up.load(Relaxed).saturating_sub(now);
        let ahead = if ahead > INTERVAL * BURST { 0 } else { ahead };
        Duration::from_nanos(ahead.saturating_sub(INTERVAL * (BURST - 1)))
    }

    /// Takes one retry. `Err`: how long until the next one is certain to be allowed.
    pub fn retry(&self, now: u64) -> Result<(), Duration> {
        if self.tokens.fetch_update(Relaxed, Relaxed, |tokens| tokens.checked_sub(RETRY)).is_ok() {
            return Ok(());
        }
        let limit = INTERVAL * (BURST - 1);
        let taken = self.paid_up.fetch_update(Relaxed, Relaxed, |paid_up| {
            // Further ahead than a whole burst is possible only if the clock went back. If it then
            // passes that time again, one burst too many is allowed, once.
            let ahead = paid_up.saturating_sub(now);
            let ahead = if ahead > INTERVAL * BURST { 0 } else { ahead };
            (ahead <= limit).then_some(now.saturating_add(ahead + INTERVAL))
        });
        taken.map(drop).map_err(|paid_up| {
            Duration::from_nanos(paid_up.saturating_sub(now.saturating_add(limit)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &Budget, now: u64) -> usize {
        (0..1000).take_while(|_| budget.retry(now).is_ok()).count()
    }

    #[test]
    fn ten_tokens_and_ten_a_second() {
        let budget = Budget::default();
        assert_eq!(retries(&budget, 0), 20);
        assert_eq!(budget.retry(0), Err(Duration::from_millis(100)));
        assert_eq!(budget.retry(INTERVAL / 2), Err(Duration::from_millis(50)));
        assert_eq!(retries(&budget, INTERVAL), 1);
        assert_eq!(retries(&budget, 11 * INTERVAL), 10);
        assert_eq!(retries(&budget, 100_000 * INTERVAL), 10);
    }

    #[test]
    fn ten_successes_are_worth_a_retry() {
        let budget = Budget::default();
        retries(&budget, 0);
        assert!((0..9).all(|_| !budget.succeeded()), "less than a retry calls nobody");
        assert!(budget.retry(0).is_err());
        assert!(budget.succeeded());
        assert!(budget.retry(0).is_ok());
        (0..100_000).for_each(|_| {
            budget.succeeded();
        });
        assert!(!budget.succeeded(), "nobody waits while it is full");
        assert_eq!(retries(&budget, 0), 10);
    }

    #[test]
    fn a_clock_that_goes_back_stops_nothing() {
        let budget = Budget::default();
        assert_eq!(retries(&budget, 3_600_000_000_000), 20);
        assert_eq!(retries(&budget, 0), 10);
    }
}
