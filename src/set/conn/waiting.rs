//! What a connection in an event loop waits for, and since when nothing has moved on it. The caller
//! passes the clock in.

use std::time::{Duration, Instant};

use crate::net::patience::after;
use crate::net::socket::Interest;

/// What the last non-blocking calls want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    read: bool,
    write: bool,
    /// When the silence began: with the first want, or with the last byte that moved while
    /// something was wanted.
    since: Option<Instant>,
}

impl Waiting {
    pub(super) fn interest(&self) -> Interest {
        Interest { read: self.read, write: self.write }
    }

    /// Bytes have moved, in either direction: the silence begins again.
    pub(super) fn moved(&mut self, clock: impl FnOnce() -> Instant) {
        self.since = (self.read || self.write).then(clock);
    }

    /// A read has finished, or must wait.
    pub(super) fn read(&mut self, wants: bool, clock: impl FnOnce() -> Instant) {
        self.read = wants;
        self.settle(clock);
    }

    /// A write has finished, or must wait.
    pub(super) fn write(&mut self, wants: bool, clock: impl FnOnce() -> Instant) {
        self.write = wants;
        self.settle(clock);
    }

    /// Since when nothing has moved although something is wanted.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    fn settle(&mut self, clock: impl FnOnce() -> Instant) {
        if !self.read && !self.write {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(clock());
        }
    }

    /// When a silence of `limit` ends; `None` if nothing is wanted.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        self.since.map(|since| after(since, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn never() -> Instant {
        panic!("the clock must not be read")
    }

    #[test]
    fn the_silence_counts_from_the_first_want_and_from_each_byte() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waiting = Waiting::default();
        assert_eq!(waiting.deadline(MINUTE), None);
        waiting.read(true, || at(1));
        waiting.read(true, never);
        waiting.write(true, never);
        assert_eq!(waiting.deadline(MINUTE), Some(at(61)));
        waiting.moved(|| at(5));
        assert_eq!(waiting.deadline(MINUTE), Some(at(65)));
        waiting.write(false, never);
        assert_eq!(waiting.interest(), Interest::READ);
        assert_eq!(waiting.deadline(MINUTE), Some(at(65)));
        waiting.read(false, never);
        assert_eq!(waiting, Waiting::default());
        assert_eq!(waiting.deadline(MINUTE), None);
    }

    #[test]
    fn without_a_want_no_clock_is_read() {
        let mut waiting = Waiting::default();
        waiting.moved(never);
        waiting.read(false, never);
        waiting.write(false, never);
        assert_eq!(waiting, Waiting::default());
    }
}
