//! The same locks and atomics built on loom, for the models only (`make test-model`). loom runs a
//! model under every order of its steps, and lets a load see each value that its ordering allows.
//! They do not work outside a model.

#![allow(missing_docs)] // locks.rs says what each is for

use std::ops::{Deref, DerefMut};
use std::sync::{self, OnceLock, PoisonError};
use std::time::Instant;

pub use loom::hint;

pub mod atomic;

pub struct Guard<'a, T> {
    lock: &'a loom::sync::Mutex<T>,
    held: Option<loom::sync::MutexGuard<'a, T>>,
}

impl<'a, T> Guard<'a, T> {
    fn hold(lock: &'a loom::sync::Mutex<T>) -> Self {
        Guard { lock, held: Some(lock.lock().unwrap_or_else(PoisonError::into_inner)) }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held, except during a wait")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held, except during a wait")
    }
}

/// The library's statics are made in a const, and a mutex of loom cannot be. So the first use makes
/// it.
#[derive(Debug)]
pub struct Mutex<T> {
    value: sync::Mutex<Option<T>>,
    lock: OnceLock<loom::sync::Mutex<T>>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex { value: sync::Mutex::new(Some(value)), lock: OnceLock::new() }
    }

    fn get(&self) -> &loom::sync::Mutex<T> {
        self.lock.get_or_init(|| {
            let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
            loom::sync::Mutex::new(value.expect("taken only here and by the only owner"))
        })
    }

    pub fn lock(&self) -> Guard<'_, T> {
        Guard::hold(self.get())
    }

    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let lock = self.get();
        Some(Guard { lock, held: Some(lock.try_lock().ok()?) })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

#[derive(Debug, Default)]
pub struct Condvar(OnceLock<loom::sync::Condvar>);

impl Condvar {
    pub const fn new() -> Self {
        Condvar(OnceLock::new())
    }

    fn get(&self) -> &loom::sync::Condvar {
        self.0.get_or_init(loom::sync::Condvar::new)
    }

    /// A model has no time. If the deadline has passed, the wait ends at once. If not, the deadline
    /// never ends the wait: a waiter that nobody wakes is then a deadlock, and loom reports it.
    pub fn wait_until<'a, T>(
        &self,
        mut guard: Guard<'a, T>,
        deadline: Instant,
    ) -> (Guard<'a, T>, bool) {
        let lock = guard.lock;
        if Instant::now() >= deadline {
            drop(guard);
            return (Guard::hold(lock), true);
        }
        let held = guard.held.take().expect("held by the caller");
        let held = self.get().wait(held).unwrap_or_else(PoisonError::into_inner);
        (Guard { lock, held: Some(held) }, false)
    }

    pub fn notify_one(&self) {
        self.get().notify_one();
    }

    pub fn notify_all(&self) {
        self.get().notify_all();
    }
}
