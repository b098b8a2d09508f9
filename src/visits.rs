//! The way of one payload over the nodes: whom it asks next, how long it stays there, what it pays for another try. Pure: time
//! is passed in, so that the simulator goes the very way that a delivery goes.
//!
//! Invariant: no node is asked twice, and a node on trial that others could stand in for costs no attempt.

use std::time::{Duration, Instant};

use crate::balance::Tried;
use crate::budget::Budget;
use crate::roster::{Roster, Turn};

/// The nodes one payload, or one wish for a connection, has been to.
#[derive(Debug)]
pub struct Visits {
    tried: Tried,
    /// Nodes asked, trials that failed aside: those cost the caller nothing.
    attempts: usize,
    most: usize,
    /// The next attempt sends again what may have arrived, and so has to be paid for.
    pay: bool,
}

impl Visits {
    /// None yet, of at most so many; 0 sets no limit.
    pub fn new(most: usize) -> Visits {
        let most = if most == 0 { usize::MAX } else { most };
        Visits { tried: Tried::new(), attempts: 0, most, pay: false }
    }

    /// Whether the next one would be a second attempt, or a later one.
    pub fn is_retry(&self) -> bool {
        self.attempts > 0
    }

    /// Whether `deliver.attempts` leaves one.
    pub fn may_go_on(&self) -> bool {
        self.attempts < self.most
    }

    /// Where it has been.
    #[cfg(test)]
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    /// Whether the next attempt is to be paid for.
    #[cfg(test)]
    pub fn owes(&self) -> bool {
        self.pay
    }

    /// Pays for the next attempt where it has to be paid for, or tells when to ask again.
    pub fn pay(&mut self, budget: &Budget, now: impl FnOnce() -> u64) -> Result<(), Duration> {
        if self.pay {
            budget.retry(now()).map_err(|wait| wait.min(PAY_AGAIN))?;
            self.pay = false;
        }
        Ok(())
    }

    /// The next node; `None` where all were tried. Beside it, where it is on trial, whether others could take the payload.
    pub fn next(&mut self, roster: &Roster, now: impl FnOnce() -> u64) -> Option<(Turn, Option<bool>)> {
        let turn = roster.turn(&mut self.tried, now, true)?;
        Some((turn, turn.probe.then(|| roster.has_eligible(&self.tried))))
    }

    /// Whether another of `takers` nodes could take the payload after the one that was asked last.
    pub fn others_left(&self, takers: usize) -> bool {
        self.may_go_on() && self.tried.count() < takers
    }

    /// By when a connection must stand that would be waited for until `by`: within half of the time that is left until `last`, where
    /// another of `takers` nodes could take the payload.
    pub fn connect_by(&self, by: Instant, now: Instant, last: Option<Instant>, takers: usize) -> Instant {
        let Some(last) = last else { return by };
        let others_left = self.attempts + 1 < self.most && self.tried.count() < takers;
        let left = last.saturating_duration_since(now);
        by.min(if others_left { last - left / 2 } else { last })
    }

    /// The node that was asked last counts as an attempt.
    pub fn attempted(&mut self) {
        self.attempts += 1;
    }

    /// It came to nothing. None of the payload has gone, where `unsent`.
    pub fn set_back(&mut self, unsent: bool) {
        self.pay = !unsent;
    }
}

/// How often a delivery that waits for the retry budget looks again: the successes of others pay too.
const PAY_AGAIN: Duration = Duration::from_millis(5);

/// The next node of an attempt whose I/O is not the library's: at most `most` (0: as many as there are) and each but the first as far
/// as the budget goes.
pub fn next_of_attempt(
    tried: &mut Tried,
    most: usize,
    roster: &Roster,
    budget: &Budget,
    now: impl Fn() -> u64,
    wait: bool,
) -> Option<Turn> {
    let asked = tried.count();
    let over = (most > 0 && asked >= most) || asked >= roster.takers();
    if over || (asked > 0 && budget.retry(now()).is_err()) {
        return None;
    }
    roster.turn(tried, now, wait)
}
