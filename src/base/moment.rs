//! A moment of the system's monotonic clock in eight bytes, for example when a connection became
//! idle.
//!
//! Do not use [`Moment::tick`] for a deadline: it may be late by one tick of the kernel (10 ms at
//! 100 Hz). It is never ahead of the time.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the system's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The kernel's last tick. Costs a fraction of what [`Moment::now`] costs.
    #[inline]
    pub fn tick() -> Moment {
        Moment::of(ClockId::CLOCK_MONOTONIC_COARSE)
    }

    /// Now, to the nanosecond.
    pub fn now() -> Moment {
        Moment::of(ClockId::CLOCK_MONOTONIC)
    }

    /// Whole milliseconds since the system's start.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    #[inline]
    fn of(clock: ClockId) -> Moment {
        // Every Linux has both clocks, and 2^64 ns are 584 years.
        Moment(
            clock_gettime(clock)
                .map_or(0, |time| (time.tv_sec() * 1_000_000_000 + time.tv_nsec()) as u64),
        )
    }

    /// How long ago `earlier` was; zero if it is still to come.
    #[inline]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `time` later.
    pub fn after(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The same moment as an `Instant`, for a timer: never too early.
    pub fn instant(self) -> Instant {
        let left = self.since(Moment::now());
        Instant::now() + left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_never_ahead_and_a_timer_never_early() {
        for _ in 0..1000 {
            let (tick, now) = (Moment::tick(), Moment::now());
            assert!(tick <= now);
            assert!(now.since(tick) < Duration::from_secs(5), "the same clock");
        }
        let soon = Moment::now().after(Duration::from_millis(2));
        std::thread::sleep(soon.instant() - Instant::now());
        assert!(Moment::now() >= soon);
        assert_eq!(
            Moment::now().since(Moment::now().after(Duration::from_secs(9))),
            Duration::ZERO
        );
    }
}
