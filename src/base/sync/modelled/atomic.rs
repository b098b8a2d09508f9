//! loom's atomics, changed so that loom leaves out no order of steps. loom (0.7) remembers only the
//! last access to an atomic and takes two loads to be independent. So it forgets a thread's load
//! when another thread loads, and never tries a store between the two.
//!
//! Here each load first stores to a twin of the atomic that nobody reads. So all accesses to one
//! atomic depend on each other. The twin adds no ordering, because nobody reads it.

pub use loom::sync::atomic::{Ordering, fence};

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub struct $name {
            value: loom::sync::atomic::$name,
            twin: loom::sync::atomic::AtomicBool,
        }

        #[allow(dead_code, reason = "std's interface, of which the code under test uses a part")]
        impl $name {
            pub fn new(value: $value) -> Self {
                $name { value: loom::sync::atomic::$name::new(value), twin: Default::default() }
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.twin.store(true, Ordering::Relaxed);
                self.value.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.value.store(value, order);
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.value.swap(value, order)
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code, reason = "as above")]
        impl $name {
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_add(value, order)
            }

            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_sub(value, order)
            }

            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_max(value, order)
            }

            pub fn fetch_min(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_min(value, order)
            }

            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.value.compare_exchange_weak(current, new, success, failure)
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(fetch);
                while let Some(next) = update(seen) {
                    match self.compare_exchange_weak(seen, next, set, fetch) {
                        Ok(before) => return Ok(before),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }
        }
    };
}

atomic!(AtomicBool, bool);
number!(AtomicU32, u32);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);
