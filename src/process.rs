//! Which process this is, without a system call: a count that every fork() raises in the child.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Called in the child of each fork(); the boundary registers it with pthread_atfork.
pub fn forked() {
    GENERATION.fetch_add(1, Relaxed);
}

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birthplace(u32);

impl Birthplace {
    /// This process.
    pub fn here() -> Self {
        Birthplace(GENERATION.load(Relaxed))
    }

    /// Whether this process is a forked child of that one.
    pub fn is_elsewhere(self) -> bool {
        self != Birthplace::here()
    }
}
