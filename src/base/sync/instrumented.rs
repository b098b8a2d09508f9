//! The same locks built on parking_lot, for the thread sanitizer only: it must see every step of a
//! lock, and std is compiled without it. Never part of a library that is installed, because
//! parking_lot's queue does not survive a fork.

use std::time::Instant;

pub use std::{hint, sync::atomic};

pub type Guard<'a, T> = parking_lot::MutexGuard<'a, T>;

#[derive(Debug, Default)]
pub struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub fn lock(&self) -> Guard<'_, T> {
        self.0.lock()
    }

    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.0.try_lock()
    }
}

#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub const fn new() -> Self {
        Condvar(parking_lot::Condvar::new())
    }

    pub fn wait_until<'a, T>(
        &self,
        mut guard: Guard<'a, T>,
        deadline: Instant,
    ) -> (Guard<'a, T>, bool) {
        self.0.wait_until(&mut guard, deadline);
        (guard, Instant::now() >= deadline)
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
