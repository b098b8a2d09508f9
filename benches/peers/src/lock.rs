//! A value behind a pthread mutex: the lock that an agent written in C would put around its own
//! pick. It must stay a mutex of the default kind; other kinds cost more.

use std::cell::UnsafeCell;

pub struct Locked<T> {
    // Boxed: a mutex that was used may not move.
    mutex: Box<UnsafeCell<libc::pthread_mutex_t>>,
    value: UnsafeCell<T>,
}

// SAFETY: only `with` reaches the value, one thread at a time.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub fn new(value: T) -> Self {
        let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        Locked { mutex, value: UnsafeCell::new(value) }
    }

    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: an initialised mutex, which lives as long as self.
        let failed = unsafe { libc::pthread_mutex_lock(self.mutex.get()) };
        assert_eq!(failed, 0, "the lock of a default mutex that this thread does not hold");
        // SAFETY: the lock is held until the borrow is over. A panic in `f` ends the program.
        let result = f(unsafe { &mut *self.value.get() });
        // SAFETY: locked above by this thread.
        unsafe { libc::pthread_mutex_unlock(self.mutex.get()) };
        result
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: no thread can hold it while it is dropped.
        unsafe { libc::pthread_mutex_destroy(self.mutex.get()) };
    }
}
