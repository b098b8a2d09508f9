//! The bare pick: in a few instructions if no trial can be due, and the rest out of line.
//!
//! Invariant: a turn that was taken is handed out, or was of an order that is no more.

use super::Roster;
use super::pace::{Pace, Watch};
use super::turns::Trials;
use crate::balance::{Taken, Tried};
use crate::base::sync::atomic::Ordering::Relaxed;

/// What is left of a pick that could not be made in a few instructions.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// Everything: a trial may be due.
    All,
    /// To see what the turn is worth, or to look at the clock.
    Turn(Taken),
}

impl Roster {
    /// Tells what each place is known by: see [`Rotation::name`](crate::balance::Rotation::name).
    pub fn set_tokens(&self, tokens: impl Iterator<Item = usize>) {
        self.rotation.set_tokens(&mut self.table.lock().ledger, tokens);
    }

    /// The next node, for whoever does not come back for another, by its token: the rotation's, in
    /// a few instructions. What takes longer is left to [`Roster::finish`].
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

    /// What is left of a pick.
    #[cold]
    #[inline(never)]
    pub fn finish(&self, rest: Rest, now: impl Fn() -> u64) -> Option<usize> {
        match rest {
            Rest::All => {
                let now = now();
                if let Some(turn) = self.trial(&Tried::new(), Trials::All, now) {
                    return Some(turn.place);
                }
                let pick = self.rotation.pick_of(self.rotation.take())?;
                if Pace::is_marked(pick.position) {
                    self.look(now);
                }
                Some(pick.place)
            }
            Rest::Turn(taken) => {
                let pick = self.rotation.pick_of(taken)?;
                if Pace::is_marked(pick.position) && self.pace.watch() == Watch::NowAndThen {
                    self.look(now());
                }
                Some(pick.place)
            }
        }
    }

    /// The next node, by tokens that are its place and one more.
    #[cfg(test)]
    pub fn next(&self, now: impl Fn() -> u64) -> Option<usize> {
        self.try_next().map_or_else(|rest| self.finish(rest, now), |token| Some(token - 1))
    }

    /// Whether somebody calls [`Roster::ring`] when something is next due.
    fn is_guarded(&self) -> bool {
        self.guarded.load(Relaxed) <= self.alarm.load(Relaxed)
    }

    /// When to call [`Roster::ring`], if nobody will do so in time.
    pub fn wants_guard(&self) -> Option<u64> {
        let alarm = self.alarm.load(Relaxed);
        let late =
            self.pace.clock_runs() && alarm != super::NEVER && self.guarded.load(Relaxed) > alarm;
        late.then_some(alarm)
    }

    /// [`Roster::ring`] is going to be called at `when`, or an earlier call for something else is.
    pub fn guard(&self, when: u64) {
        self.guarded.fetch_min(when, Relaxed);
    }

    /// Something may be due: picks look at the clock each, however closely they follow each other,
    /// and so the next one sees it.
    pub fn ring(&self) {
        self.guarded.store(super::NEVER, Relaxed);
        self.pace.step();
    }

    fn look(&self, now: u64) {
        let due = now >= self.alarm.load(Relaxed) || now < self.seen.load(Relaxed);
        self.pace.look(now, due || !self.is_guarded());
    }
}
