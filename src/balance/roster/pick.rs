//! The plain pick: a few instructions if no trial can be due; the rest is kept out of line.
//!
//! Invariant: a turn that was taken is handed out, unless its order was replaced meanwhile.

use super::Roster;
use super::pace::{Pace, Watch};
use super::turns::Trials;
use crate::balance::{Pick, Taken, Tried};
use crate::base::sync::atomic::Ordering::Relaxed;

/// What is left to do for a pick that took more than a few instructions.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// The whole pick: a trial may be due.
    All,
    /// The turn is taken; its place is not known yet, or the clock must be asked.
    Turn(Taken),
}

impl Roster {
    /// Sets the token of each place: see
    /// [`Rotation::set_tokens`](crate::balance::Rotation::set_tokens).
    pub fn set_tokens(&self, tokens: impl Iterator<Item = usize>) {
        self.rotation.set_tokens(&mut self.table.lock().ledger, tokens);
    }

    /// The token of the next node of the rotation, for a caller that does not come back for another
    /// node. `Err` if it takes more than a few instructions: then call [`Roster::finish`].
    #[inline(always)]
    pub fn try_next(&self) -> Result<usize, Rest> {
        if self.pace.watch() == Watch::EachPick {
            return Err(Rest::All);
        }
        let pick = self.rotation.try_next().map_err(Rest::Turn)?;
        match Pace::is_marked(pick.position) && self.pace.watch() == Watch::NowAndThen {
            true => Err(Rest::Turn(pick.taken)),
            false => Ok(pick.token),
        }
    }

    /// Finishes a pick that [`Roster::try_next`] began.
    #[cold]
    #[inline(never)]
    pub fn finish(&self, rest: Rest, now: impl Fn() -> u64) -> Option<usize> {
        match rest {
            Rest::All => {
                let now = now();
                if let Some(turn) = self.trial(&Tried::new(), Trials::All, now) {
                    return Some(turn.place);
                }
                let pick = self.pick_of(self.rotation.take())?;
                if Pace::is_marked(pick.position) {
                    self.look(now);
                }
                Some(pick.place)
            }
            Rest::Turn(taken) => {
                let pick = self.pick_of(taken)?;
                if Pace::is_marked(pick.position) && self.pace.watch() == Watch::NowAndThen {
                    self.look(now());
                }
                Some(pick.place)
            }
        }
    }

    /// The place of a turn, which it is handed out for.
    fn pick_of(&self, taken: Taken) -> Option<Pick> {
        let pick = self.rotation.pick_of(taken)?;
        if pick.is_shared {
            self.handed_beside(pick.place);
        }
        if pick.many_laps {
            self.take_off_laps();
        }
        Some(pick)
    }

    /// Has laps taken off, if no other thread uses the table; the next lap asks again.
    #[cold]
    pub(super) fn take_off_laps(&self) {
        if let Some(mut table) = self.table.try_lock() {
            self.rotation.take_off_laps(&mut table.ledger);
        }
    }

    /// The next node, if the token of each node is its place + 1.
    #[cfg(test)]
    pub fn next(&self, now: impl Fn() -> u64) -> Option<usize> {
        self.try_next().map_or_else(|rest| self.finish(rest, now), |token| Some(token - 1))
    }

    /// Whether [`Roster::ring`] will be called when the next trial or end of a pause is due.
    fn is_guarded(&self) -> bool {
        self.guarded.load(Relaxed) <= self.alarm.load(Relaxed)
    }

    /// When [`Roster::ring`] must be called, if no call is planned in time.
    pub fn wants_guard(&self) -> Option<u64> {
        let alarm = self.alarm.load(Relaxed);
        let late =
            self.pace.clock_runs() && alarm != super::NEVER && self.guarded.load(Relaxed) > alarm;
        late.then_some(alarm)
    }

    /// [`Roster::ring`] will be called at `when`, or earlier.
    pub fn guard(&self, when: u64) {
        self.guarded.fetch_min(when, Relaxed);
    }

    /// Something may be due: from now on each pick asks the clock, however closely picks follow
    /// each other, so the next one finds it.
    pub fn ring(&self) {
        self.guarded.store(super::NEVER, Relaxed);
        self.pace.step();
    }

    fn look(&self, now: u64) {
        let due = now >= self.alarm.load(Relaxed) || now < self.seen.load(Relaxed);
        self.pace.look(now, due || !self.is_guarded());
    }
}
