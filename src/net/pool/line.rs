//! The line of those who wait for a permit of one pool, in the order in which they came.
//!
//! Invariant: a permit that becomes free calls one of them, the first. Only if that one is an event
//! loop, which may be busy for long, the first thread in line is called too, so that it can go
//! ahead when the loop does not come. Whoever leaves the line has the next one called.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::seat::Seat;

/// Tells the holder of a ticket that its turn may have come. It is called under the pool's lock, so
/// it must not block.
pub type Waker = Box<dyn Fn() + Send>;

/// Who waits, and how to call it.
pub(super) enum Waiter {
    /// A thread that does nothing else. The pool has this number among those that it waits for.
    Thread(Arc<Seat>, usize),
    /// An event loop, which comes at once unless it is busy.
    Loop(Waker),
}

impl Waiter {
    fn call(&self) {
        match self {
            Waiter::Thread(seat, number) => seat.call(*number),
            Waiter::Loop(wake) => wake(),
        }
    }

    fn is_thread(&self) -> bool {
        matches!(self, Waiter::Thread(..))
    }
}

/// The line.
#[derive(Default)]
pub(super) struct Line {
    next: u64,
    /// In rising order of their tickets.
    waiting: VecDeque<(u64, Waiter)>,
    /// The ticket of the first, once it was called, and since when.
    called: Option<(u64, Instant)>,
    #[cfg(test)]
    calls: usize,
}

impl Line {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A ticket at the end of the line.
    pub(super) fn join(&mut self, waiter: Waiter) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.waiting.push_back((ticket, waiter));
        ticket
    }

    pub(super) fn leave(&mut self, ticket: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            self.waiting.remove(at);
        }
        self.came(ticket);
    }

    pub(super) fn is_first(&self, ticket: u64) -> bool {
        self.waiting.front().is_some_and(|(first, _)| *first == ticket)
    }

    /// The holder of `ticket` has come to look, so it is called again when there is room again.
    pub(super) fn came(&mut self, ticket: u64) {
        self.called = self.called.filter(|(called, _)| *called != ticket);
    }

    /// There is room: calls the first, unless it was called and has not come yet.
    pub(super) fn call_first(&mut self) {
        let Some((ticket, first)) = self.waiting.front() else { return };
        if self.called.is_none_or(|(called, _)| called != *ticket) {
            first.call();
            #[cfg(test)]
            {
                self.calls += 1;
            }
            self.called = Some((*ticket, Instant::now()));
        }
        if !first.is_thread()
            && let Some((_, thread)) = self.waiting.iter().find(|(_, waiter)| waiter.is_thread())
        {
            thread.call();
            #[cfg(test)]
            {
                self.calls += 1;
            }
        }
    }

    /// Calls everyone: the pool has ended.
    pub(super) fn call_all(&self) {
        self.waiting.iter().for_each(|(_, waiter)| waiter.call());
    }

    /// From when on a thread may go before those ahead of it: all of them must be event loops, and
    /// the first must have been called.
    pub(super) fn overtakes_at(&self, ticket: u64, comes_within: Duration) -> Option<Instant> {
        let (called, since) = self.called?;
        let first_thread = self.waiting.iter().find(|(_, waiter)| waiter.is_thread())?.0;
        (first_thread == ticket && called != ticket && self.is_first(called))
            .then_some(since + comes_within)
    }

    /// How often somebody was called because of room.
    #[cfg(test)]
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
