//! The line of payloads that wait for the retry budget, in the order in which they came. The first
//! sleeps until the budget is certain to have a retry, or until a success of another payload
//! refills it; the others sleep until they are first.
//!
//! Invariant: a success that makes a retry possible, and the first that leaves, wake one sleeper.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::base::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, fence};
use crate::base::sync::{Condvar, Mutex};

/// The line.
#[derive(Default)]
pub struct Retries {
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Seat>>>,
}

/// Where one payload sleeps.
#[derive(Default)]
struct Seat {
    is_called: Mutex<bool>,
    called: Condvar,
}

impl Seat {
    fn call(&self) {
        *self.is_called.lock() = true;
        self.called.notify_one();
    }
}

/// A place in the line. It ends when it is dropped.
pub struct Stand<'a> {
    line: &'a Retries,
    seat: Arc<Seat>,
}

impl Retries {
    /// Whether somebody waits.
    #[inline]
    pub fn are_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// A place at the end of the line.
    pub fn join(&self) -> Stand<'_> {
        let seat = Arc::<Seat>::default();
        self.line.lock().push_back(Arc::clone(&seat));
        self.waiting.fetch_add(1, Relaxed);
        fence(SeqCst); // it asks the budget after this: see `refilled`
        Stand { line: self, seat }
    }

    /// The budget has got a retry.
    pub fn refilled(&self) {
        fence(SeqCst); // either this sees who waits, or that one sees the retry
        if self.are_awaited()
            && let Some(first) = self.line.lock().front()
        {
            first.call();
        }
    }

    /// Wakes everyone: the set has ended.
    pub fn call_all(&self) {
        self.line.lock().iter().for_each(|seat| seat.call());
    }
}

impl Stand<'_> {
    /// Whether nobody is ahead.
    pub fn is_first(&self) -> bool {
        self.line.line.lock().front().is_some_and(|first| Arc::ptr_eq(first, &self.seat))
    }

    /// Sleeps until it is called, or until `deadline`.
    pub fn sleep(&self, deadline: Instant) {
        let mut is_called = self.seat.is_called.lock();
        let mut passed = false;
        while !std::mem::take(&mut *is_called) && !passed {
            (is_called, passed) = self.seat.called.wait_until(is_called, deadline);
        }
    }
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        let mut line = self.line.line.lock();
        if let Some(at) = line.iter().position(|seat| Arc::ptr_eq(seat, &self.seat)) {
            line.remove(at);
            self.line.waiting.fetch_sub(1, Relaxed);
            if at == 0
                && let Some(next) = line.front()
            {
                next.call();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_refill_wakes_the_first_and_who_leaves_wakes_the_next() {
        let line = Retries::default();
        let (first, second) = (line.join(), line.join());
        assert_eq!((first.is_first(), second.is_first()), (true, false));
        line.refilled();
        first.sleep(later());
        assert!(!*second.seat.is_called.lock(), "one retry is for one payload");
        drop(first);
        second.sleep(later());
        assert!(second.is_first() && line.are_awaited());
        drop(second);
        assert!(!line.are_awaited());
    }

    #[test]
    fn who_leaves_from_the_middle_wakes_nobody() {
        let line = Retries::default();
        let stands = [line.join(), line.join(), line.join()];
        let [first, second, third] = stands;
        drop(second);
        assert!(!*first.seat.is_called.lock() && !*third.seat.is_called.lock());
        line.call_all();
        first.sleep(later());
        third.sleep(later());
        first.sleep(Instant::now() + Duration::from_millis(1)); // a call wakes once
    }
}
