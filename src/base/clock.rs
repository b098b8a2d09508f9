//! The time that health and the retry budget go by: the system's monotonic clock, or the host's own
//! for tests and simulation. Deadlines of connections never ask here; they are the system's.

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
    /// A clock of the host's own.
    pub fn host(read: impl Fn() -> u64 + Send + Sync + 'static) -> Clock {
        Clock(Source::Host(Arc::new(read)))
    }

    /// Whether it goes on while nobody turns it.
    pub fn runs_by_itself(&self) -> bool {
        matches!(self.0, Source::System(_))
    }

    /// Nanoseconds since a moment of the clock's choice.
    pub fn now(&self) -> u64 {
        match &self.0 {
            // 584 years fit.
            Source::System(start) => start.elapsed().as_nanos() as u64,
            Source::Host(read) => read(),
        }
    }
}

/// Whole milliseconds, rounded up: nobody is to come back too early.
pub fn millis(time: Duration) -> u128 {
    time.as_nanos().div_ceil(1_000_000)
}
