//! Payloads that wait for the retry budget while others succeed.

use std::sync::Arc;

use super::{check, never, spawn};
use crate::balance::budget::Budget;
use crate::set::retries::Retries;

struct Room {
    budget: Budget,
    retries: Retries,
}

/// A budget that lacks `missing` successes to its next retry, and gets none with time.
fn room(missing: usize) -> Arc<Room> {
    let room = Room { budget: Budget::default(), retries: Retries::default() };
    while room.budget.retry(0).is_ok() {}
    (missing..10).for_each(|_| {
        room.budget.succeeded();
    });
    Arc::new(room)
}

/// Waits until there is a retry, and takes it.
fn take(room: &Room) {
    let stand = room.retries.join();
    while !stand.is_first() || room.budget.retry(0).is_err() {
        stand.sleep(never());
    }
}

fn succeed(room: &Room) {
    if room.budget.succeeded() {
        room.retries.refilled();
    }
}

#[test]
fn the_success_that_makes_a_retry_possible_wakes_who_waits() {
    check(|| {
        let room = room(2);
        let waiter = spawn(&room, take);
        let other = spawn(&room, succeed);
        succeed(&room);
        other.join().unwrap();
        waiter.join().unwrap();
        assert!(!room.retries.are_awaited());
    });
}

#[test]
fn who_has_its_retry_wakes_the_next() {
    check(|| {
        let room = room(1);
        (0..10).for_each(|_| {
            room.budget.succeeded();
        }); // one retry, and nearly another
        let waiters = [spawn(&room, take), spawn(&room, take)];
        succeed(&room);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}
