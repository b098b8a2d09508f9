//! The locks themselves, as std has them.

use std::sync::{self, PoisonError, TryLockError};
use std::time::Instant;

/// What rooms that threads enter without a lock are made of.
pub use std::{hint, sync::atomic};

/// The hold on a [`Mutex`].
pub type Guard<'a, T> = sync::MutexGuard<'a, T>;

/// A lock that a panic of its holder leaves usable: what each of them protects is whole between any
/// two statements, and the handle of a caught panic is poisoned anyway.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Mutex(sync::Mutex::new(value))
    }

    /// Waits for the lock. Only in the process that made what it protects.
    pub fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, where it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Where threads wait for what a [`Mutex`] protects to change.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Self {
        Condvar(sync::Condvar::new())
    }

    /// Waits to be woken, or until `deadline`; the second value tells whether that has passed. May
    /// wake for no reason.
    pub fn wait_until<'a, T>(
        &self,
        guard: Guard<'a, T>,
        deadline: Instant,
    ) -> (Guard<'a, T>, bool) {
        let left = deadline.saturating_duration_since(Instant::now());
        let (guard, _) = self.0.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        (guard, Instant::now() >= deadline)
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
