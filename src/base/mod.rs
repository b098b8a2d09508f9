//! What every room needs: errors, the log, counters, clocks, text, locks. Knows nothing of nodes or
//! connections.

pub mod clock;
pub mod error;
pub mod log;
pub mod moment;
pub mod process;
pub mod random;
pub mod stats;
pub mod sync;
pub mod text;
