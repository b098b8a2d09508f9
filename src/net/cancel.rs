//! Ends every running call on a set, and every later one: a flag to ask and a descriptor to poll.
//! It is never taken back, and nobody reads the descriptor empty: it stays readable for all who
//! wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::socket::{is_closed, poll_timeout};
use crate::base::process::Shared;
use crate::base::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether the calls of a set must end.
#[derive(Debug)]
pub struct Cancel {
    set: AtomicBool,
    event: Shared<EventFd>,
}

impl Cancel {
    /// Not cancelled.
    pub fn new() -> io::Result<Cancel> {
        Ok(Cancel { set: AtomicBool::new(false), event: shared_eventfd()? })
    }

    /// Cancels, for ever.
    pub fn set(&self) {
        self.set.store(true, Relaxed);
        if let Some(event) = self.event.get_here() {
            // Fails only if the counter is full, and then the descriptor is readable anyway.
            let _ = event.write(1);
        }
    }

    /// Whether it was cancelled. Costs one load.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.set.load(Relaxed)
    }

    /// The descriptor that becomes readable when it is cancelled. Not for a forked child.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.get().as_fd()
    }

    /// Waits for `time`, or until it is cancelled. Returns whether it was cancelled.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut word = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
            match poll(&mut word, poll_timeout(left)) {
                // Another part of the process has closed it: nothing can end the sleep early.
                Ok(_) if is_closed(&word[0]) => std::thread::sleep(left),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break, // ENOMEM: better too early than a busy loop
            }
        }
        self.is_set()
    }

    /// Closes the descriptor in a forked child.
    pub fn give_up(&self) {
        self.event.give_up();
    }
}

/// An eventfd, close-on-exec and non-blocking.
pub(crate) fn eventfd() -> io::Result<EventFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)
}

/// An eventfd that several threads share.
pub(super) fn shared_eventfd() -> io::Result<Shared<EventFd>> {
    let event = eventfd()?;
    let number = event.as_raw_fd();
    Ok(Shared::new(event, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_sleeper_wakes_and_nobody_sleeps_after() {
        let cancel = Arc::new(Cancel::new().unwrap());
        assert!(!cancel.sleep(Duration::from_millis(1)));
        let sleepers: Vec<_> = (0..4)
            .map(|_| {
                let cancel = Arc::clone(&cancel);
                std::thread::spawn(move || cancel.sleep(LONG))
            })
            .collect();
        let begun = Instant::now();
        cancel.set();
        assert!(sleepers.into_iter().all(|sleeper| sleeper.join().unwrap()));
        assert!(cancel.is_set() && cancel.sleep(LONG));
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn the_descriptor_stays_readable() {
        let cancel = Cancel::new().unwrap();
        let mut ask = [PollFd::new(cancel.descriptor(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ask, 0_u8), Ok(0));
        cancel.set();
        cancel.set();
        for _ in 0..3 {
            assert_eq!(poll(&mut ask, 0_u8), Ok(1));
        }
    }
}
