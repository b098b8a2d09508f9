//! The clock of health and of the retry budget: the system's monotonic clock, or one that the host
//! supplies for tests and simulation. Deadlines of connections never use it; they always follow the
//! system's clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A clock that counts nanoseconds.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(Instant),
    Host(Arc<dyn Fn() -> u64 + Send + Sync>),
}

impl Default for Clock {
    fn default() -> Self {
        Clock(Source::System(Instant::now()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System(_) => "Clock::System",
            Source::Host(_) => "Clock::Host",
        })
    }
}

impl Clock {
    /// A clock that the host supplies.
    pub fn host(read: impl Fn() -> u64 + Send + Sync + 'static) -> Clock {
        Clock(Source::Host(Arc::new(read)))
    }

    /// Whether time passes by itself: true for the system's clock only.
    pub fn runs_by_itself(&self) -> bool {
        matches!(self.0, Source::System(_))
    }

    /// Nanoseconds since a start that the clock chooses.
    pub fn now(&self) -> u64 {
        match &self.0 {
            // 2^64 ns are 584 years.
            Source::System(start) => start.elapsed().as_nanos() as u64,
            Source::Host(read) => read(),
        }
    }
}

/// Whole milliseconds, rounded up, so that nobody comes back too early.
pub fn millis(time: Duration) -> u128 {
    time.as_nanos().div_ceil(1_000_000)
}
