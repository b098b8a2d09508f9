//! The way of one payload over the nodes: which node it asks next, how long it waits there, and
//! what it pays for another try. Pure: the caller passes the time in, so that the simulator and a
//! real delivery run the same code.
//!
//! Invariants: no node is asked twice. A trial costs no attempt and no retry while another node
//! could take the payload, and a payload waits for all such trials together at most [`PATIENCE`].
//! While no node is up, a payload asks at most [`LAST_RESORTS`] of the nodes that are out.

use std::time::{Duration, Instant};

use crate::balance::Tried;
use crate::balance::budget::Budget;
use crate::balance::roster::{Ask, Roster, Trials, Turn};

/// How long a payload waits for trials, in total: as long as RFC 8305 section 5 waits for one
/// address before it also tries the next.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How many nodes that are out one payload asks while none is up. Any of them may be back, but if
/// each payload asked them all, it would pay for a connect to each dead node.
pub const LAST_RESORTS: usize = 3;

/// The nodes that one payload, or one request for a connection, has been to.
#[derive(Debug)]
pub struct Visits {
    tried: Tried,
    /// Nodes asked. A failed trial does not count while other nodes could take the payload: it
    /// costs the caller nothing.
    attempts: usize,
    most: usize,
    /// Nodes that were asked while no node was up.
    last_resorts: usize,
    /// What is left of [`PATIENCE`].
    patience: Duration,
    /// There was a trial of a node that a connection alone does not restore.
    had_silent: bool,
    /// What the next attempt takes from the retry budget.
    pay: Pay,
    /// The node that was asked last was busy.
    was_busy: bool,
}

/// What an attempt takes from the retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pay {
    Nothing,
    /// One retry, because it sends again what may have arrived. The delivery waits for it: the
    /// alternative is to lose the payload.
    Resend,
    /// One retry, if there is one, because it asks one more of the nodes that are out.
    LastResort,
}

/// The part of a payload's time that one node may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// When it ends.
    pub ends: Instant,
    /// Its length at the start.
    pub time: Duration,
}

/// The next node of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The node.
    pub turn: Turn,
    /// Only for a trial: whether other nodes could take the payload.
    pub others: Option<bool>,
}

impl Visits {
    /// No node yet, and at most `most` attempts; 0 sets no limit.
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

    /// Whether there was an attempt already.
    pub fn is_retry(&self) -> bool {
        self.attempts > 0
    }

    /// Whether `deliver.attempts` allows one more.
    pub fn may_go_on(&self) -> bool {
        self.attempts < self.most
    }

    /// The nodes it has been to.
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    /// Whether the next attempt has to be paid for.
    pub fn owes(&self) -> bool {
        self.pay != Pay::Nothing
    }

    /// Whether the next attempt sends again what may have arrived: then it waits for the budget.
    pub fn resends(&self) -> bool {
        self.pay == Pay::Resend
    }

    /// How many nodes that are out it has asked.
    #[cfg(test)]
    pub fn last_resorts(&self) -> usize {
        self.last_resorts
    }

    /// Whether it may ask one more node and there is one.
    pub fn has_next(&self, roster: &Roster, now: impl Fn() -> u64) -> bool {
        self.may_go_on() && roster.has_next(&self.tried, self.last_resorts < LAST_RESORTS, now)
    }

    /// Pays for the next attempt, if it has to be paid for. `Err`: when a retry is certain to be
    /// allowed; the success of another payload may allow it earlier. Only a resend waits. To ask
    /// one more of the nodes that are out takes a retry if there is one, and goes on if there is
    /// none. So while all nodes are out, few retries are left for resends.
    pub fn pay(&mut self, budget: &Budget, now: impl FnOnce() -> u64) -> Result<(), Duration> {
        if self.pay != Pay::Nothing {
            let paid = budget.retry(now());
            if self.pay == Pay::Resend {
                paid?;
            }
            self.pay = Pay::Nothing;
        }
        Ok(())
    }

    /// The next node; `None` if it has been to all that it may ask.
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

    /// It goes to `place` too, because the node that it was given is at its cap.
    pub fn goes_to(&mut self, place: usize) {
        self.tried.insert(place);
    }

    /// It did not ask `place` after all.
    pub fn forget(&mut self, place: usize) {
        self.tried.remove(place);
    }

    /// Which trials it takes: none once its patience is used up, and at most one of a node that
    /// fell silent, because such a trial risks the payload.
    pub fn trials(&self) -> Trials {
        match (self.patience.is_zero(), self.had_silent) {
            (true, _) => Trials::None,
            (false, true) => Trials::ByConnection,
            (false, false) => Trials::All,
        }
    }

    /// What is left of its patience.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// It waited for a trial for `time`.
    pub fn waited(&mut self, time: Duration) {
        self.patience = self.patience.saturating_sub(time);
    }

    /// Whether another of `takers` nodes could take the payload after the one that was asked last.
    pub fn others_left(&self, takers: usize) -> bool {
        self.may_go_on() && self.tried.count() < takers
    }

    /// When the attempt that begins `now` must end, if another of `takers` nodes could take the
    /// payload: after half of the time that is left until `last`.
    pub fn share(&self, now: Instant, last: Instant, takers: usize) -> Option<Share> {
        let others_left = self.attempts + 1 < self.most && self.tried.count() < takers;
        let time = last.saturating_duration_since(now) / 2;
        others_left.then(|| Share { ends: last - time, time })
    }

    /// The node that was asked last counts as an attempt.
    pub fn attempted(&mut self) {
        self.attempts += 1;
    }

    /// The node that was asked last did not take the payload.
    pub fn set_back(&mut self, how: SetBack) {
        self.was_busy = how == SetBack::Answered;
        self.pay = match how {
            SetBack::MayHaveArrived => Pay::Resend,
            SetBack::Unsent { all_out: true } => Pay::LastResort,
            SetBack::Unsent { all_out: false } | SetBack::Answered => Pay::Nothing,
        };
    }
}

/// What a failed attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBack {
    /// No byte of the payload was sent.
    Unsent {
        /// No node is up, and the node that was asked was not up either.
        all_out: bool,
    },
    /// The node answered that it is busy, and another node is up.
    Answered,
    /// Some bytes of the payload were sent.
    MayHaveArrived,
}

/// The next node of an attempt for which the plugin does the I/O. There are at most `most` attempts
/// (see [`Visits::new`]). Each attempt after the first needs a retry from the budget, unless it
/// follows a node that was busy. A payload gets at most one trial; it costs nothing while other
/// nodes are up.
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
    // While a node is up, a trial costs nothing; if none is up, it is an attempt like any other.
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
