//! How long one call may wait. Under `net.io_timeout` alone the clock is read only when a call must wait at all.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// The limits of one read or write.
#[derive(Debug)]
pub struct Patience {
    limit: Limit,
    until: Option<Instant>,
    last: Option<Instant>,
}

/// What a time limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The time without a byte moving (`net.io_timeout`).
    Silence(Duration),
    /// The whole call (a caller's own timeout).
    Call(Duration),
}

impl Patience {
    /// A call of this `limit` that ends by `last` in any case.
    pub fn new(limit: Limit, last: Option<Instant>) -> Patience {
        let until = match limit {
            Limit::Call(limit) => Some(after(Instant::now(), limit)),
            Limit::Silence(_) => None,
        };
        Patience { limit, until, last }
    }

    /// Bytes have moved.
    pub fn progress(&mut self) {
        if let Limit::Silence(_) = self.limit {
            self.until = None;
        }
    }

    /// When the wait that begins now must end.
    pub fn deadline(&mut self) -> Instant {
        let (Limit::Silence(limit) | Limit::Call(limit)) = self.limit;
        let until = *self.until.get_or_insert_with(|| after(Instant::now(), limit));
        self.last.map_or(until, |last| last.min(until))
    }
}

/// `now + limit`, or a day far ahead where that is beyond the clock.
pub fn after(now: Instant, limit: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    now + limit.min(YEAR)
}

/// `time` less up to a tenth of it, at random, so that what began together does not all end together.
pub fn jittered(time: Duration) -> Duration {
    // The keys of a RandomState differ each time; hashing nothing with them gives 64 random bits.
    let random = RandomState::new().build_hasher().finish();
    time - time.mul_f64(0.1 * (random as f64 / u64::MAX as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_the_last_tenth_and_differs() {
        let time = Duration::from_secs(1000);
        let times: Vec<Duration> = (0..100).map(|_| jittered(time)).collect();
        assert!(times.iter().all(|jittered| *jittered <= time && *jittered >= time / 10 * 9));
        assert!(times.iter().any(|jittered| *jittered != times[0]));
    }

    #[test]
    fn progress_renews_silence_but_not_a_call() {
        let hour = Duration::from_secs(3600);
        let mut silence = Patience::new(Limit::Silence(hour), None);
        let first = silence.deadline();
        assert_eq!(silence.deadline(), first);
        silence.progress();
        assert!(silence.deadline() > first);

        let mut call = Patience::new(Limit::Call(hour), None);
        let first = call.deadline();
        call.progress();
        assert_eq!(call.deadline(), first);
    }

    #[test]
    fn the_last_moment_holds_and_no_limit_overflows() {
        let last = Instant::now();
        let mut patience = Patience::new(Limit::Silence(Duration::MAX), Some(last));
        assert_eq!(patience.deadline(), last);
    }
}
