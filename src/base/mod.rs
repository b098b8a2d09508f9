//! What every room needs: errors, the log, counters, clocks, text, locks, forks. It never touches a
//! node or a connection; it only knows how to name one in an error and what is counted of it.

pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod log;
pub(crate) mod moment;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod stats;
pub(crate) mod sync;
pub(crate) mod text;
pub(crate) mod wiped;
