//! Several threads take retries at once.

use std::sync::Arc;

use super::{check, spawn};
use crate::balance::budget::Budget;

/// The time between two of the 10 retries a second.
const INTERVAL: u64 = 100_000_000;

/// A budget that gives no retry at 0.
fn empty() -> Budget {
    let budget = Budget::default();
    assert_eq!(retries(&budget, 0), 20);
    budget
}

/// How many retries the budget gives at `now`.
fn retries(budget: &Budget, now: u64) -> usize {
    (0..30).take_while(|_| budget.retry(now).is_ok()).count()
}

#[test]
fn the_last_token_is_taken_once() {
    check(|| {
        let budget = Arc::new(empty());
        (0..10).for_each(|_| {
            budget.succeeded();
        });
        let others = [(); 2].map(|()| spawn(&budget, |budget| budget.retry(0).is_ok()));
        let mut taken = usize::from(budget.retry(0).is_ok());
        others.into_iter().for_each(|other| taken += usize::from(other.join().unwrap()));
        assert_eq!(taken, 1);
    });
}

#[test]
fn the_next_of_the_ten_a_second_is_taken_once() {
    check(|| {
        let budget = Arc::new(empty());
        let others = [(); 2].map(|()| spawn(&budget, |budget| budget.retry(INTERVAL).is_ok()));
        let mut taken = usize::from(budget.retry(INTERVAL).is_ok());
        others.into_iter().for_each(|other| taken += usize::from(other.join().unwrap()));
        assert_eq!(taken, 1);
    });
}

#[test]
fn successes_and_retries_lose_nothing_to_each_other() {
    check(|| {
        let budget = Arc::new(empty());
        (0..8).for_each(|_| {
            budget.succeeded();
        });
        let others = [(); 2].map(|()| spawn(&budget, Budget::succeeded));
        others.into_iter().for_each(|other| {
            other.join().unwrap();
        });
        assert_eq!(retries(&budget, 0), 1);

        let full = Arc::new(Budget::default());
        let others = [(); 2].map(|()| spawn(&full, Budget::succeeded));
        let taken = usize::from(full.retry(0).is_ok());
        others.into_iter().for_each(|other| {
            other.join().unwrap();
        });
        // At most the tenths of two successes came after it: less than a retry.
        assert_eq!(taken + retries(&full, 0), 20);
    });
}
