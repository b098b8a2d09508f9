//! The locks of everything that a forked child may still touch: std's Mutex and Condvar without
//! poisoning, and std's atomics.
//!
//! Not parking_lot: one table holds the waiting threads of all its locks, and a child forked while
//! a thread uses it may hang. `ffi/panic.rs` and `net/tls/files.rs` keep it: they only try the
//! lock.
//!
//! A child must not wait for a lock that was made before the fork: the thread that holds it may not
//! exist in the child. Use [`Mutex::reach`] there.

use std::time::{Duration, Instant};

use crate::base::process::Birthplace;

#[cfg_attr(upstream_tsan, path = "sync/instrumented.rs")]
#[cfg_attr(all(test, feature = "model"), path = "sync/modelled/mod.rs")]
mod locks;

pub use locks::{Condvar, Guard, Mutex, atomic, hint};

/// How long a thread of a forked child tries to get a lock. Another thread of the child may hold
/// it, but only for a few instructions.
const REACH: Duration = Duration::from_millis(20);

impl<T> Mutex<T> {
    /// Takes the lock of something that was made in the process `birthplace`. In a forked child of
    /// that process, `None` if the lock stays held: its holder was a thread of the parent.
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
