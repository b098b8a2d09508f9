//! What a connection in an event loop waits for, and since when nothing has moved on it. The caller
//! passes the clock in.

use std::time::{Duration, Instant};

use crate::net::channel::Heard;
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
    /// When bytes last came that are a part of something which is not all there yet.
    stirred: Option<Instant>,
    /// What came since the silence began, although nothing of it was for the plugin.
    heard: Heard,
    /// The last read, or the last write, could have gone on: a call is due now.
    due: Interest,
}

impl Waiting {
    pub(super) fn interest(&self) -> Interest {
        Interest { read: self.read, write: self.write }
    }

    /// Bytes have moved, in either direction: the silence begins again.
    pub(super) fn moved(&mut self, clock: impl FnOnce() -> Instant) {
        self.since = (self.read || self.write).then(clock);
        (self.stirred, self.heard) = (None, Heard::NOTHING);
    }

    /// A read heard this, and nothing for the plugin.
    pub(super) fn hear(&mut self, heard: Heard, clock: impl FnOnce() -> Instant) {
        self.heard = self.heard.and(heard);
        match heard {
            Heard::NOTHING => {}
            heard => self.stirred = heard.is_progress().then(clock),
        }
    }

    /// What came since the silence began.
    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// When bytes last came that are a part of something, if they did.
    pub(super) fn stirred(&self) -> Option<Instant> {
        self.stirred
    }

    /// The read that ends now could have gone on, or not.
    pub(super) fn read_due(&mut self, is_due: bool) {
        self.due.read = is_due;
    }

    /// The write that ends now could have gone on, or not.
    pub(super) fn write_due(&mut self, is_due: bool) {
        self.due.write = is_due;
    }

    /// Whether a call is due now, whatever the descriptor shows.
    pub(super) fn is_due(&self) -> bool {
        (self.due.read && self.read) || (self.due.write && self.write)
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
            (self.stirred, self.heard) = (None, Heard::NOTHING);
        } else if self.since.is_none() {
            self.since = Some(clock());
        }
    }

    /// When a silence of `limit` ends; `None` if nothing is wanted.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        let since = self.since?;
        Some(after(self.stirred.map_or(since, |stirred| stirred.max(since)), limit))
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
    fn a_part_on_its_way_is_progress_until_it_turns_out_to_be_of_tls_itself() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (part, messages) =
            (Heard { part: true, ..Heard::NOTHING }, Heard { messages: true, part: true });
        let mut waiting = Waiting::default();
        waiting.read(true, || at(0));
        waiting.hear(part, || at(9));
        assert_eq!(waiting.deadline(MINUTE), Some(at(69)));
        waiting.hear(Heard::NOTHING, never);
        assert_eq!(waiting.deadline(MINUTE), Some(at(69)));
        waiting.hear(messages, never);
        assert_eq!(waiting.deadline(MINUTE), Some(at(60)));
        assert!(waiting.heard().messages);
        waiting.hear(part, || at(10));
        assert_eq!(waiting.deadline(MINUTE), Some(at(70)));
        waiting.moved(|| at(20));
        assert_eq!((waiting.deadline(MINUTE), waiting.heard()), (Some(at(80)), Heard::NOTHING));
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
