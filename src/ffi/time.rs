//! Durations for C.

use std::time::Duration;

use crate::base::clock::millis;

/// Whole milliseconds, rounded up.
pub(crate) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(millis(time)).unwrap_or(i64::MAX)
}
