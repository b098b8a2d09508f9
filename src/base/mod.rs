//! What every room needs: errors, the log, counters, clocks, text, locks. Knows nothing of nodes or
//! connections.

pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod log;
pub(crate) mod moment;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod stats;
pub(crate) mod sync;
pub(crate) mod text;
