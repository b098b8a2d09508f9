//! Log lines for the host: one callback for each set. Nothing is global, and nothing goes to stdout
//! or stderr.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::moment::Moment;
use crate::base::text::message;

/// How much a line matters; the numbers are the C API's `UPSTREAM_LOG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something failed that the host should act on.
    Error = 1,
    /// Something is wrong, but the work goes on.
    Warn = 2,
    /// Rare events in normal running.
    Info = 3,
    /// Each connection made or lost.
    Debug = 4,
    /// Each step of a connection.
    Trace = 5,
}

impl Level {
    /// Every level, the most important first.
    pub const ALL: [Level; 5] =
        [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
}

type Sink = dyn Fn(Level, &str) + Send + Sync;

/// Where log lines go. Any thread may call it, also the library's own threads.
#[derive(Clone, Default)]
pub struct Logger {
    sink: Option<(Level, Arc<Sink>)>,
}

impl Logger {
    /// A logger that hands every line up to `max` to `sink`.
    pub fn new(max: Level, sink: impl Fn(Level, &str) + Send + Sync + 'static) -> Self {
        Logger { sink: Some((max, Arc::new(sink))) }
    }

    /// Hands one line to the host. The text is only made if the host wants the line.
    pub fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        if let Some((max, sink)) = &self.sink
            && level <= *max
        {
            sink(level, &message(line.to_string()));
        }
    }
}

/// Log lines of one kind that may come in thousands. The first is logged at once. Those that follow
/// within [`SUMMARY`] are only counted, and the next line says how many there were.
#[derive(Debug, Default)]
pub struct Repeated {
    /// When the last line was logged, in milliseconds of the system's clock; 0 before the first.
    told: AtomicU64,
    /// How many lines were left out since then.
    counted: AtomicU64,
}

/// At most one line in this time, in milliseconds.
const SUMMARY: u64 = 1000;

impl Repeated {
    /// Logs the line, or counts it.
    pub fn log(&self, logger: &Logger, level: Level, line: fmt::Arguments<'_>) {
        let now = Moment::tick().millis().max(1);
        let told = self.told.load(Relaxed);
        let is_due = told == 0 || now.saturating_sub(told) >= SUMMARY;
        if !is_due || self.told.compare_exchange(told, now, Relaxed, Relaxed).is_err() {
            self.counted.fetch_add(1, Relaxed);
            return;
        }
        match self.counted.swap(0, Relaxed) {
            0 => logger.log(level, line),
            more => logger.log(level, format_args!("{line} ({more} more like it before)")),
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Logger").field(&self.sink.as_ref().map(|(max, _)| max)).finish()
    }
}
