//! The way of one payload over the nodes: whom it asks next, how long it stays there, what it pays
//! for another try. Pure: time is passed in, so that the simulator goes the very way that a
//! delivery goes.
//!
//! Invariants: no node is asked twice; a node on trial that others could stand in for costs no
//! attempt and no retry, and all such trials together cost one patience; of nodes that are out
//! while none is up, a payload asks a few.

use std::time::{Duration, Instant};

use crate::balance::Tried;
use crate::balance::budget::Budget;
use crate::balance::roster::{Ask, Roster, Trials, Turn};

/// How long a payload stays for trials: as long as RFC 8305 section 5 waits for an address before
/// it starts another.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// So many nodes that are out a payload asks while none is up. Any one may be back; asking them all
/// would cost each payload a connect to each dead node.
pub const LAST_RESORTS: usize = 3;

/// The nodes one payload, or one wish for a connection, has been to.
#[derive(Debug)]
pub struct Visits {
    tried: Tried,
    /// Nodes asked, trials that failed aside: those cost the caller nothing.
    attempts: usize,
    most: usize,
    /// Nodes asked while none was up.
    last_resorts: usize,
    /// What is left of [`PATIENCE`].
    patience: Duration,
    /// A trial was had whose connection alone does not tell.
    had_silent: bool,
    /// The next attempt has to be paid for.
    pay: Pay,
    /// The node that was asked last could not take it now.
    was_busy: bool,
}

/// What the next attempt costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pay {
    Nothing,
    /// It sends again what may have arrived: worth waiting for, since the alternative is to lose
    /// the payload.
    Resend,
    /// It asks one more of the nodes that are out.
    LastResort,
}

/// The part of a payload's time that one node may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// When it is over.
    pub ends: Instant,
    /// How long it was at first.
    pub time: Duration,
}

/// The next node of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The node.
    pub turn: Turn,
    /// If it is on trial, whether others could take the payload.
    pub others: Option<bool>,
}

impl Visits {
    /// None yet, of at most so many; 0 sets no limit.
    pub fn new(most: usize) -> Visits {
        let most = if most == 0 { usize::MAX } else { most };
        Visits {
            tried: Tried::new(),
            attempts: 0,
            most,
            last_resorts: 0,
            patience: PATIENCE,
            had_silent: false,
            pay: Pay::Nothing,
            was_busy: false,
        }
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
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    /// Whether the next attempt is to be paid for.
    pub fn owes(&self) -> bool {
        self.pay != Pay::Nothing
    }

    /// Whether it sends again what may have arrived.
    #[cfg(test)]
    pub fn resends(&self) -> bool {
        self.pay == Pay::Resend
    }

    /// Nodes that are out asked so far.
    #[cfg(test)]
    pub fn last_resorts(&self) -> usize {
        self.last_resorts
    }

    /// Whether it may ask one more node, and there is one.
    pub fn has_next(&self, roster: &Roster, now: impl Fn() -> u64) -> bool {
        self.may_go_on() && roster.has_next(&self.tried, self.last_resorts < LAST_RESORTS, now)
    }

    /// Pays for the next attempt if it has to be paid for, or tells when to ask again. One more of
    /// the nodes that are out is never waited for: it takes what there is, so that little is left
    /// to send again with.
    pub fn pay(&mut self, budget: &Budget, now: impl FnOnce() -> u64) -> Result<(), Duration> {
        if self.pay != Pay::Nothing {
            let paid = budget.retry(now());
            if self.pay == Pay::Resend {
                paid.map_err(|wait| wait.min(PAY_AGAIN))?;
            }
            self.pay = Pay::Nothing;
        }
        Ok(())
    }

    /// The next node; `None` if all that it may ask were tried.
    pub fn next(&mut self, roster: &Roster, now: impl Fn() -> u64) -> Option<Next> {
        let (all_out, last_resort) = (roster.is_all_out(), self.last_resorts < LAST_RESORTS);
        if all_out && !last_resort {
            return None;
        }
        let ask = Ask { trials: self.trials(), last_resort, wait: true };
        let turn = roster.turn(&mut self.tried, ask, &now)?;
        self.last_resorts += usize::from(turn.last_resort || all_out);
        let others = turn.is_trial.then(|| roster.has_eligible(&self.tried));
        self.had_silent |= turn.is_trial && roster.needs_a_payload(turn.place);
        Some(Next { turn, others })
    }

    /// A trial is only waited for while there is patience, and no payload is risked twice with
    /// nodes that fell silent.
    pub fn trials(&self) -> Trials {
        match (self.patience.is_zero(), self.had_silent) {
            (true, _) => Trials::None,
            (false, true) => Trials::ByConnection,
            (false, false) => Trials::All,
        }
    }

    /// How long a trial may still be waited for.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// So much of it was used.
    pub fn waited(&mut self, time: Duration) {
        self.patience = self.patience.saturating_sub(time);
    }

    /// Whether another of `takers` nodes could take the payload after the one that was asked last.
    pub fn others_left(&self, takers: usize) -> bool {
        self.may_go_on() && self.tried.count() < takers
    }

    /// By when the attempt that begins `now` must be over: after half of the time that is left
    /// until `last`, if another of `takers` nodes could take the payload.
    pub fn share(&self, now: Instant, last: Instant, takers: usize) -> Option<Share> {
        let others_left = self.attempts + 1 < self.most && self.tried.count() < takers;
        let time = last.saturating_duration_since(now) / 2;
        others_left.then(|| Share { ends: last - time, time })
    }

    /// The node that was asked last counts as an attempt.
    pub fn attempted(&mut self) {
        self.attempts += 1;
    }

    /// It came to nothing.
    pub fn set_back(&mut self, how: SetBack) {
        self.was_busy = how == SetBack::Answered;
        self.pay = match how {
            SetBack::MayHaveArrived => Pay::Resend,
            SetBack::Unsent { all_out: true } => Pay::LastResort,
            SetBack::Unsent { all_out: false } | SetBack::Answered => Pay::Nothing,
        };
    }
}

/// What an attempt that came to nothing leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBack {
    /// None of the payload has gone.
    Unsent {
        /// No node is up, nor was the one on trial that was asked.
        all_out: bool,
    },
    /// The node answered that it cannot take it now, and another is up.
    Answered,
    /// Some of it has gone.
    MayHaveArrived,
}

/// How often a delivery that waits for the retry budget looks again: the successes of others pay
/// too.
const PAY_AGAIN: Duration = Duration::from_millis(5);

/// The next node of an attempt whose I/O is not the library's: at most `most` (0: as many as there
/// are), and each but the first as far as the budget goes, but for one after a node that is busy. A
/// trial costs nothing, and there is one while other nodes are up.
pub fn next_of_attempt(
    visits: &mut Visits,
    roster: &Roster,
    budget: &Budget,
    now: impl Fn() -> u64,
    wait: bool,
) -> Option<Turn> {
    let (all_out, last_resort) = (roster.is_all_out(), visits.last_resorts < LAST_RESORTS);
    if !visits.others_left(roster.takers()) || all_out && !last_resort {
        return None;
    }
    let pays = || {
        let has_next = roster.has_next(&visits.tried, last_resort, &now);
        has_next && budget.retry(now()).is_ok()
    };
    // While a node is up a trial is an aside; else it is an attempt like any other.
    if all_out && visits.tried.count() > 0 && !pays() {
        return None;
    }
    let trials = if visits.patience.is_zero() { Trials::None } else { Trials::All };
    if let Some(turn) = roster.trial_due(&visits.tried, trials, &now) {
        visits.tried.insert(turn.place);
        visits.last_resorts += usize::from(all_out);
        visits.patience = Duration::ZERO;
        return Some(turn);
    }
    if !all_out && visits.attempts > 0 && !visits.was_busy && !pays() {
        return None;
    }
    let ask = Ask { trials: Trials::None, last_resort, wait };
    let turn = roster.turn(&mut visits.tried, ask, now)?;
    visits.last_resorts += usize::from(turn.last_resort);
    visits.attempted();
    Some(turn)
}
