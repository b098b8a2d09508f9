//! The turns of payloads, which come back for another node if one fails: trials that are due, then
//! the rotation, then the tiers in reserve, and at last the nodes that are out.

use super::{Roster, Table, Turn};
use crate::balance::Tried;
use crate::balance::breaker::State;
use crate::base::sync::atomic::Ordering::Relaxed;

/// Which trials a caller takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trials {
    /// None: it has already waited for trials.
    None,
    /// Only trials of nodes that a connection alone restores.
    ByConnection,
    /// All.
    All,
}

/// What a payload may get.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Which trials it takes while a node is up.
    pub trials: Trials,
    /// Whether it may get one more node that is out, if no node is up.
    pub last_resort: bool,
    /// Whether to wait if another thread uses the table.
    pub wait: bool,
}

impl Roster {
    /// The next node for a payload that has been to the places in `tried`; its place is added to
    /// them. The first of: a trial that is due, a node of the rotation, a node in reserve, a node
    /// that is out.
    pub fn turn(&self, tried: &mut Tried, ask: Ask, now: impl Fn() -> u64) -> Option<Turn> {
        let turn = self
            .trial_due(tried, ask.trials, &now)
            .or_else(|| self.next_untried(tried, ask, now))?;
        tried.insert(turn.place);
        Some(turn)
    }

    /// A trial that is due, of a node that is not in `tried`. Never waits: if another thread uses
    /// the table, a later caller gets the trial.
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
        // If the clock went back, the nodes that seem to wait longer than their longest wait come
        // first. Otherwise they would wait for ever behind a node whose trials keep failing.
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

    /// Places that have waited for their longest wait, although the clock shows an earlier time.
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

    /// Whether `place` may be tried: a node of a tier below the one in use is left alone until it
    /// is needed.
    fn may_be_tried(&self, table: &Table, place: usize) -> bool {
        self.is_watched_by(table, place) && self.standings[place].paused.load(Relaxed) == 0
    }

    /// The next node that is not in `tried`: from the rotation, then from the tiers in reserve,
    /// then from the nodes that are out. Without `wait` it skips what needs the table if another
    /// thread uses it.
    pub fn next_untried(&self, tried: &Tried, ask: Ask, now: impl Fn() -> u64) -> Option<Turn> {
        if !self.all_out.load(Relaxed)
            && let Some(place) = self.hand_out_untried(tried)
        {
            let generation = self.generation(place);
            return Some(Turn { place, generation, is_trial: false, last_resort: false });
        }
        self.reserve(tried, ask, now)
    }

    /// The next node of the rotation that is not in `tried`, booked as handed out.
    #[inline]
    fn hand_out_untried(&self, tried: &Tried) -> Option<usize> {
        let picked = self.rotation.next_untried(tried)?;
        self.handed_instead(picked.place, picked.turn_of);
        if picked.many_laps {
            self.take_off_laps();
        }
        Some(picked.place)
    }

    /// Another node in place of `full`, which is at its cap: the next of the rotation that is not
    /// in `tried`, then one of the same tier in reserve. A node in reserve stays there while the
    /// tier above it is only busy.
    pub fn another(&self, tried: &Tried, full: usize) -> Option<Turn> {
        if self.all_out.load(Relaxed) {
            return None;
        }
        let place = match self.hand_out_untried(tried) {
            Some(place) => place,
            None => {
                let mut table = self.table.lock();
                let tier = self.members[full].priority;
                let place = self
                    .up(&table, tried)
                    .filter(|place| self.members[*place].priority == tier)
                    .min_by_key(|place| table.asked[*place])?;
                table.ask(place);
                drop(table);
                self.handed_beside(place);
                place
            }
        };
        let generation = self.generation(place);
        Some(Turn { place, generation, is_trial: false, last_resort: false })
    }

    /// `place` was picked, but it is at its cap, so it was not handed out.
    pub fn passed_over(&self, place: usize) {
        self.standings[place].beside.fetch_sub(1, Relaxed);
    }

    fn reserve(&self, tried: &Tried, ask: Ask, now: impl Fn() -> u64) -> Option<Turn> {
        let now = now(); // the host's function: it must not run under the lock
        let mut table = self.read(ask.wait)?;
        self.end_pauses(&mut table, now); // trial() does, but not every caller asks for trials
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

    /// The nodes among them that are up.
    fn up(&self, table: &Table, tried: &Tried) -> impl Iterator<Item = usize> {
        self.open(tried).filter(|place| table.breakers[*place].state() == State::Up)
    }

    /// The nodes among them that are out. A silent node would take the payload's whole time, so it
    /// is left for its trial.
    fn out(&self, table: &Table, tried: &Tried, now: u64) -> impl Iterator<Item = usize> {
        self.open(tried).filter(move |place| match table.breakers[*place].next_trial() {
            Some(due) => now >= due || !self.needs_a_payload(*place),
            None => false,
        })
    }

    /// Whether a payload that has been to the places in `tried` gets another node.
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

    /// Whether a node that is up and not in `tried` is left, in use or in reserve.
    pub fn has_eligible(&self, tried: &Tried) -> bool {
        self.up(&self.table.lock(), tried).next().is_some()
    }

    /// `place` was handed out without a turn of the rotation.
    pub fn handed_beside(&self, place: usize) {
        self.standings[place].beside.fetch_add(1, Relaxed);
    }

    /// `place` was handed out. If the turn was that of another place, that had been tried.
    fn handed_instead(&self, place: usize, turn_of: Option<usize>) {
        if turn_of != Some(place) {
            self.handed_beside(place);
            if let Some(other) = turn_of {
                self.standings[other].beside.fetch_sub(1, Relaxed);
            }
        }
    }
}

/// Places whose time is up, the earliest first.
fn due(table: &Table, now: u64) -> impl Iterator<Item = usize> {
    table.calendar.iter().take_while(move |(due, _)| *due <= now).map(|(_, place)| *place as usize)
}
