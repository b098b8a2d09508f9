//! Which process this is, without a system call: a count that every fork() raises in the child.
//! Also descriptors that a forked child can close although something in it still refers to them.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Runs in the child of each fork(): `ffi` registers it with pthread_atfork.
pub fn forked() {
    GENERATION.fetch_add(1, Relaxed);
}

static PRIVILEGED: AtomicBool = AtomicBool::new(false);

/// Tells that this process has privileges which its caller does not have (AT_SECURE: setuid, file
/// capabilities). `ffi` asks the kernel.
pub fn set_privileged() {
    PRIVILEGED.store(true, Relaxed);
}

/// Whether the environment comes from somebody with fewer privileges, so that it must not decide
/// whom to trust.
pub fn is_privileged() -> bool {
    PRIVILEGED.load(Relaxed)
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

    /// A process whose forked child this one would be.
    #[cfg(test)]
    pub fn of_a_parent() -> Self {
        Birthplace(GENERATION.load(Relaxed).wrapping_sub(1))
    }
}

/// A descriptor that threads share. In a forked child those threads are gone, but their references
/// are still counted, so the descriptor would stay open for ever. [`Shared::give_up`] closes it in
/// spite of them.
#[derive(Debug)]
pub struct Shared<T> {
    /// `None` only at the end of `drop`.
    descriptor: Option<T>,
    number: RawFd,
    given_up: AtomicBool,
    birthplace: Birthplace,
}

impl<T> Shared<T> {
    /// A descriptor of this process, and its number.
    pub fn new(descriptor: T, number: RawFd) -> Self {
        Shared {
            descriptor: Some(descriptor),
            number,
            given_up: AtomicBool::new(false),
            birthplace: Birthplace::here(),
        }
    }

    /// The descriptor, given up or not.
    pub fn get(&self) -> &T {
        match &self.descriptor {
            Some(descriptor) => descriptor,
            None => unreachable!("only drop takes it out"),
        }
    }

    /// The descriptor; `None` in a forked child, which must not use it.
    pub fn get_here(&self) -> Option<&T> {
        (!self.birthplace.is_elsewhere()).then(|| self.get())
    }

    /// Somebody else closed the descriptor, and its number may now belong to another file: nothing
    /// closes it any more.
    pub fn disown(&self) {
        self.given_up.store(true, Relaxed);
    }

    /// Whether it must no longer be used.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// In a forked child, closes the child's copy. Does nothing in the process that made it.
    pub fn give_up(&self) {
        if self.birthplace.is_elsewhere() && !self.given_up.swap(true, Relaxed) {
            // On Linux close() frees the number even if it fails, and nobody could act on a
            // failure.
            let _ = nix::unistd::close(self.number);
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if *self.given_up.get_mut() {
            // By now its number may belong to another file.
            std::mem::forget(self.descriptor.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    fn is_open(number: i32) -> bool {
        std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok()
    }

    #[test]
    fn only_a_child_gives_a_descriptor_up() {
        let (read, _write) = std::io::pipe().unwrap();
        let number = read.as_raw_fd();
        let here = Shared::new(read, number);
        here.give_up();
        assert!(here.get_here().is_some());
        assert!(is_open(number));

        let file = File::open("/proc/self/status").unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let number = file.as_raw_fd();
        let mut inherited = Shared::new(file, number);
        inherited.birthplace = Birthplace::of_a_parent();
        assert!(inherited.get_here().is_none());
        inherited.give_up();
        let after = std::fs::read_link(format!("/proc/self/fd/{number}"));
        assert!(
            after.is_err() || after.unwrap() != link,
            "another test may have the number by now"
        );
        inherited.give_up();
        drop(inherited);
    }
}
