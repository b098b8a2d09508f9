//! Waits for room at several nodes at once: whichever has a permit first serves, and the turns at
//! the others go on to who is next there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{check, never, spawn};
use crate::net::pool::{Permit, Pool, wait_for_any};

/// Two pools of one permit each, both in use.
struct Pools([Pool<u32>; 2]);

impl Pools {
    fn full() -> Arc<Pools> {
        let pools = [(); 2].map(|()| Pool::new(1, Duration::from_secs(86_400)));
        for pool in &pools {
            assert!(matches!(pool.acquire(never, gone), Permit::New));
        }
        Arc::new(Pools(pools))
    }

    /// Waits at both, and gives back what it gets. Which one it was.
    fn either(&self, deadline: Instant) -> Option<usize> {
        let [first, second] = &self.0;
        match wait_for_any(&[first, second], deadline, |_, item| gone(item)) {
            (at, Permit::New) => {
                self.0[at].leave();
                Some(at)
            }
            (_, Permit::None) => None,
            _ => panic!("nothing is idle, and nobody cancels"),
        }
    }

    /// Waits at one of them, and gives back what it gets.
    fn one(&self, at: usize) {
        assert!(matches!(self.0[at].acquire(never, gone), Permit::New));
        self.0[at].leave();
    }

    /// Every permit is free, and nobody is left in a line.
    fn are_free(&self) {
        for pool in &self.0 {
            assert_eq!(pool.gauge(), Some((0, 0)));
            assert!(matches!(pool.try_acquire(gone), Some(Permit::New)));
            assert!(pool.try_acquire(gone).is_none());
        }
    }
}

fn gone(_: u32) {
    panic!("nothing is old here");
}

#[test]
fn the_first_permit_of_any_ends_the_wait() {
    check(|| {
        let pools = Pools::full();
        let waiter = spawn(&pools, |pools| pools.either(never()));
        let other = spawn(&pools, |pools| pools.0[1].leave());
        pools.0[0].leave();
        assert!(waiter.join().unwrap().is_some());
        other.join().unwrap();
        pools.are_free();
    });
}

/// Both permits become free at once. The one that the first does not take is for the second,
/// although the first was called for it.
#[test]
fn a_call_that_is_not_needed_goes_to_the_next() {
    check(|| {
        let pools = Pools::full();
        let waiters = [
            spawn(&pools, |pools| {
                pools.either(never());
            }),
            spawn(&pools, |pools| pools.one(1)),
        ];
        pools.0[1].leave();
        pools.0[0].leave();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        pools.are_free();
    });
}

#[test]
fn a_wait_that_runs_out_passes_both_turns_on() {
    check(|| {
        let pools = Pools::full();
        let hasty = spawn(&pools, |pools| pools.either(Instant::now()));
        let patient = spawn(&pools, |pools| pools.one(0));
        pools.0[0].leave();
        hasty.join().unwrap();
        patient.join().unwrap();
        pools.0[1].leave();
        pools.are_free();
    });
}

#[test]
fn two_that_wait_at_both_are_served_by_one_of_them() {
    check(|| {
        let pools = Pools::full();
        let others = [(); 2].map(|()| spawn(&pools, |pools| pools.either(never())));
        pools.0[0].leave();
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Some(0)));
        pools.0[1].leave();
        pools.are_free();
    });
}

#[test]
fn a_cancel_of_one_ends_the_wait_at_both() {
    check(|| {
        let pools = Pools::full();
        let waiter = spawn(&pools, |pools| {
            let [first, second] = &pools.0;
            let (_, permit) = wait_for_any(&[first, second], never(), |_, item| gone(item));
            matches!(permit, Permit::Cancelled)
        });
        pools.0[1].cancel();
        assert!(waiter.join().unwrap());
        pools.0[0].leave();
        assert!(matches!(pools.0[0].try_acquire(gone), Some(Permit::New)), "nobody is in line");
    });
}
