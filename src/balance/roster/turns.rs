//! The turns of payloads, which come back for another node where one fails: trials that are due,
//! the rotation, the reserve tiers, and at last the nodes that are out.
//!
//! Invariant: no payload gets a node twice.

use super::{Roster, Table, Turn};
use crate::balance::Tried;
use crate::balance::breaker::State;
use crate::base::sync::atomic::Ordering::Relaxed;

/// Which trials a caller takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trials {
    /// None: it has had its own.
    None,
    /// Those that a connection alone decides.
    ByConnection,
    /// All.
    All,
}

/// What a payload may get.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Which trials it takes while a node is up.
    pub trials: Trials,
    /// Whether it may have another node that is out, where none is up.
    pub last_resort: bool,
    /// Whether to wait for the table where it is in use.
    pub wait: bool,
}

impl Roster {
    /// The next node for a payload that has been to those in `tried`, to which it is added: a trial
    /// that is due, else one of the rotation, else one in reserve, else one that is out.
    pub fn turn(&self, tried: &mut Tried, ask: Ask, now: impl Fn() -> u64) -> Option<Turn> {
        let turn = self
            .trial_due(tried, ask.trials, &now)
            .or_else(|| self.next_untried(tried, ask, now))?;
        tried.insert(turn.place);
        Some(turn)
    }

    /// A trial that is due of a node not in `tried`. Never waits: where the table is in use another
    /// caller gets it later.
    #[inline]
    pub fn trial_due(
        &self,
        tried: &Tried,
        trials: Trials,
        now: impl FnOnce() -> u64,
    ) -> Option<Turn> {
        if trials == Trials::None || !self.is_watched() {
            return None;
        }
        self.trial(tried, trials, now())
    }

    /// As [`Roster::trial_due`] while a node is out.
    #[cold]
    pub(super) fn trial(&self, tried: &Tried, trials: Trials, now: u64) -> Option<Turn> {
        let went_back = now < self.seen.load(Relaxed);
        if !went_back && now < self.alarm.load(Relaxed) {
            return None;
        }
        let mut table = self.table.try_lock()?;
        self.end_pauses(&mut table, now);
        let mine = |place: &usize| {
            self.may_be_tried(&table, *place)
                && !tried.contains(*place)
                && (trials == Trials::All || !self.needs_a_payload(*place))
        };
        // Those that seem further away than their longest wait come first: after a clock has gone
        // back they would otherwise wait for ever behind a node that is tried in vain again and
        // again.
        let place = match went_back {
            true => self.astray(&table, now).find(mine).or_else(|| due(&table, now).find(mine)),
            false => due(&table, now).find(mine),
        }?;
        let generation = table.breakers[place].begin_trial(now)?;
        table.ask(place);
        self.put_off(now);
        self.moved(&mut table, place);
        self.handed_beside(place);
        Some(Turn { place, generation, is_trial: true, last_resort: false })
    }

    /// Places whose time is up by their own longest wait, though the clock shows an earlier one.
    fn astray(&self, table: &Table, now: u64) -> impl Iterator<Item = usize> {
        let places: Vec<usize> = table
            .calendar
            .iter()
            .map(|(_, place)| *place as usize)
            .filter(|place| {
                let (breaker, paused) = (&table.breakers[*place], &self.standings[*place].paused);
                let far = |due: u64| due > now && due - now > breaker.longest_wait();
                paused.load(Relaxed) == 0 && breaker.next_trial().is_some_and(far)
            })
            .collect();
        places.into_iter()
    }

    /// A node of a tier below the one in use is left alone until it is needed.
    fn may_be_tried(&self, table: &Table, place: usize) -> bool {
        self.is_watched_by(table, place) && self.standings[place].paused.load(Relaxed) == 0
    }

    /// The next node that is not in `tried`: of the rotation while it has one, then of the tiers in
    /// reserve, then of those that are out. Without `wait` what needs the table is left out if it
    /// is in use.
    pub fn next_untried(&self, tried: &Tried, ask: Ask, now: impl Fn() -> u64) -> Option<Turn> {
        if !self.all_out.load(Relaxed)
            && let Some(picked) = self.rotation.next_untried(tried)
        {
            self.handed_instead(picked.place, picked.turn_of);
            let generation = self.generation(picked.place);
            return Some(Turn {
                place: picked.place,
                generation,
                is_trial: false,
                last_resort: false,
            });
        }
        self.reserve(tried, ask, now)
    }

    fn reserve(&self, tried: &Tried, ask: Ask, now: impl Fn() -> u64) -> Option<Turn> {
        let now = now(); // the host's function, which is not to run under the lock
        let mut table = self.read(ask.wait)?;
        self.end_pauses(&mut table, now); // a caller that takes no trial has not
        let least = |place: &usize| (self.members[*place].priority, table.asked[*place]);
        let spare = self.up(&table, tried).min_by_key(least);
        let asked = |place: &usize| table.asked[*place];
        let out = || self.out(&table, tried, now).min_by_key(asked).filter(|_| ask.last_resort);
        let place = spare.or_else(out)?;
        let last_resort = spare.is_none();
        table.ask(place);
        let generation = table.breakers[place].generation();
        drop(table);
        self.handed_beside(place);
        Some(Turn { place, generation, is_trial: false, last_resort })
    }

    /// Nodes that may be handed out and are not in `tried`.
    fn open(&self, tried: &Tried) -> impl Iterator<Item = usize> {
        self.taking().filter(|place| {
            !tried.contains(*place) && self.standings[*place].paused.load(Relaxed) == 0
        })
    }

    /// Those of them that are up.
    fn up(&self, table: &Table, tried: &Tried) -> impl Iterator<Item = usize> {
        self.open(tried).filter(|place| table.breakers[*place].state() == State::Up)
    }

    /// Those that are out. One that is silent takes its time, not a moment: it waits for its trial.
    fn out(&self, table: &Table, tried: &Tried, now: u64) -> impl Iterator<Item = usize> {
        self.open(tried).filter(move |place| match table.breakers[*place].next_trial() {
            Some(due) => now >= due || !self.needs_a_payload(*place),
            None => false,
        })
    }

    /// Whether a payload that has been to those in `tried` gets another node.
    pub fn has_next(&self, tried: &Tried, last_resort: bool, now: impl Fn() -> u64) -> bool {
        let now = now();
        let table = self.table.lock();
        self.up(&table, tried).next().is_some()
            || last_resort && self.out(&table, tried, now).next().is_some()
    }

    /// Whether a connection alone does not show that a node is well again.
    pub fn needs_a_payload(&self, place: usize) -> bool {
        self.standings[place].silent.load(Relaxed)
    }

    /// Whether a node that is up is left beside those in `tried`, in use or in reserve.
    pub fn has_eligible(&self, tried: &Tried) -> bool {
        self.up(&self.table.lock(), tried).next().is_some()
    }

    /// `place` was handed out though it was nobody's turn.
    pub(super) fn handed_beside(&self, place: usize) {
        self.standings[place].beside.fetch_add(1, Relaxed);
    }

    /// `place` was handed out in the turn of another, which had been tried.
    fn handed_instead(&self, place: usize, turn_of: usize) {
        if place != turn_of {
            self.handed_beside(place);
            self.standings[turn_of].beside.fetch_sub(1, Relaxed);
        }
    }
}

/// Places whose time is up, the earliest first.
fn due(table: &Table, now: u64) -> impl Iterator<Item = usize> {
    table.calendar.iter().take_while(move |(due, _)| *due <= now).map(|(_, place)| *place as usize)
}
