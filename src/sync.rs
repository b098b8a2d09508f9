//! std's Mutex and Condvar, without poisoning. They wait on a futex of their own and share no state with other locks:
//! parking_lot's queue belongs to the process, and a child forked while other threads wait in it cannot wait safely.
//!
//! Never waits on a lock that was made before a fork: its holder may not exist in the child; see [`Mutex::reach`].

use std::sync::{self, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::process::Birthplace;

/// The hold on a [`Mutex`].
pub type Guard<'a, T> = sync::MutexGuard<'a, T>;

/// How long a thread of a forked child tries for a lock that another thread of the child may hold for a few instructions.
const REACH: Duration = Duration::from_millis(20);

/// A lock that a panic of its holder leaves usable: what each of them protects is whole between any two statements, and the
/// handle of a caught panic is poisoned anyway.
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

    /// The lock of something made at `birthplace`. In a forked child of that process, `None` where it stays held: its
    /// holder was a thread of the parent's.
    pub fn reach(&self, birthplace: Birthplace) -> Option<Guard<'_, T>> {
        if !birthplace.is_elsewhere() {
            return Some(self.lock());
        }
        let until = Instant::now() + REACH;
        loop {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// The value, for its only owner.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, out of the lock.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
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

    /// Waits to be woken, or until `deadline`; the second value tells whether that has passed. May wake for no reason.
    pub fn wait_until<'a, T>(&self, guard: Guard<'a, T>, deadline: Instant) -> (Guard<'a, T>, bool) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_panic_of_the_holder_leaves_the_lock_usable() {
        let lock = Arc::new(Mutex::new(1));
        let holder = Arc::clone(&lock);
        let panicked = std::thread::spawn(move || {
            let _guard = holder.lock();
            panic!("while it is held");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*lock.lock(), 1);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn the_lock_of_a_parent_is_not_waited_for() {
        let lock = Mutex::new(());
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        assert!(lock.reach(Birthplace::of_a_parent()).is_none());
        drop(guard);
        assert!(lock.reach(Birthplace::of_a_parent()).is_some());
        assert!(lock.reach(Birthplace::here()).is_some());
    }

    #[test]
    fn a_wait_ends_by_its_deadline() {
        let (lock, woken) = (Mutex::new(()), Condvar::new());
        let deadline = Instant::now() + Duration::from_millis(5);
        let mut guard = lock.lock();
        loop {
            let (next, passed) = woken.wait_until(guard, deadline);
            if passed {
                break;
            }
            guard = next;
        }
        assert!(Instant::now() >= deadline);
    }
}
