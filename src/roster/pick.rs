//! The bare pick: in a few instructions where no probe can be due, and the rest out of line.
//!
//! Invariant: a turn that was taken is handed out, or was of an order that is no more.

use super::Roster;
use super::pace::{Pace, Watch};
use crate::balance::{Taken, Tried};
use crate::sync::atomic::Ordering::Relaxed;

/// What is left of a pick that could not be made in a few instructions.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// Everything: a probe may be due.
    All,
    /// To see what the turn is worth.
    Turn(Taken),
    /// To look at the clock; the place is had.
    Look(usize),
}

impl Roster {
    /// The next node, for whoever does not come back for another: a probe that is due, else the rotation's. `None` where no
    /// node is ever to be handed out.
    #[inline]
    pub fn next(&self, now: impl Fn() -> u64) -> Option<usize> {
        self.try_next().map_or_else(|rest| self.finish(rest, now), Some)
    }

    /// As [`Roster::next`] but for what takes longer, which is left to [`Roster::finish`]. See `Rotation::try_next` for why.
    #[inline(always)]
    pub fn try_next(&self) -> Result<usize, Rest> {
        let watch = self.pace.watch();
        if watch == Watch::EachPick {
            return Err(Rest::All);
        }
        let pick = self.rotation.try_next().map_err(Rest::Turn)?;
        match watch == Watch::NowAndThen && Pace::is_marked(pick.position) {
            true => Err(Rest::Look(pick.place)),
            false => Ok(pick.place),
        }
    }

    /// What is left of a pick.
    #[cold]
    #[inline(never)]
    pub fn finish(&self, rest: Rest, now: impl Fn() -> u64) -> Option<usize> {
        match rest {
            Rest::All => {
                let now = now();
                if let Some(turn) = self.probe(&Tried::new(), now) {
                    return Some(turn.place);
                }
                let pick = self.rotation.next_pick()?;
                if Pace::is_marked(pick.position) {
                    self.look(now);
                }
                Some(pick.place)
            }
            Rest::Turn(taken) => self.rotation.pick_of(taken).map(|pick| pick.place),
            Rest::Look(place) => {
                self.look(now());
                Some(place)
            }
        }
    }

    fn look(&self, now: u64) {
        self.pace.look(now, self.is_due(self.alarm.load(Relaxed), now));
    }
}
