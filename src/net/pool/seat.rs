//! Where one thread sleeps until a pool calls it. Each thread has its own, so that a call wakes
//! that thread and no other.

use std::time::Instant;

use crate::base::sync::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct Seat {
    /// The numbers of the pools that have called.
    calls: Mutex<Vec<usize>>,
    called: Condvar,
}

impl Seat {
    /// Pool `number` may have a permit for the thread. It is called under the lock of that pool.
    pub(super) fn call(&self, number: usize) {
        let mut calls = self.calls.lock();
        if !calls.contains(&number) {
            calls.push(number);
        }
        drop(calls);
        self.called.notify_one();
    }

    /// Sleeps until a pool has called, or until `deadline`. The second value is true if `deadline`
    /// has passed. Call it without the lock of any pool.
    pub(super) fn wait(&self, deadline: Instant) -> (Vec<usize>, bool) {
        let mut calls = self.calls.lock();
        let mut passed = false;
        while calls.is_empty() && !passed {
            (calls, passed) = self.called.wait_until(calls, deadline);
        }
        (std::mem::take(&mut calls), passed)
    }
}
