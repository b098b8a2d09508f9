//! What outcomes and pauses change: the breakers, and with them the rotation.

use super::{Change, LONGEST_PAUSE, NEVER, NO_PLAN, NodeState, Roster, Table, Turn, eligible};
use crate::balance::breaker::{Fault, Proof, State, Way};
use crate::base::sync::Guard;
use crate::base::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl Roster {
    /// The work of `generation` with a node went well.
    pub fn succeeded(
        &self,
        place: usize,
        generation: u32,
        proof: Proof,
        now: impl FnOnce() -> u64,
    ) -> Option<Change> {
        self.pace.step();
        if !self.standings[place].unclean.load(Relaxed) {
            return None;
        }
        let now = now(); // the host's function: it must not run under the lock
        let mut table = self.table.lock();
        let restored = table.breakers[place].succeeded(generation, proof, now);
        self.moved(&mut table, place);
        restored.then_some(Change::Restored)
    }

    /// The work of `generation` with a node failed.
    pub fn failed(&self, place: usize, generation: u32, fault: Fault, now: u64) -> Option<Change> {
        self.pace.step();
        let mut table = self.table.lock();
        let chance = table.chance.next_part();
        let time = table.breakers[place].failed(generation, fault, now, chance);
        if time.is_some() {
            self.standings[place].ejections.fetch_add(1, Relaxed);
            table.ask(place);
            self.put_off(now);
        }
        self.moved(&mut table, place);
        time.map(Change::Ejected)
    }

    /// A trial had no result; the next one may begin at `at`.
    pub fn give_back(&self, turn: Turn, at: u64) {
        let mut table = self.table.lock();
        if table.breakers[turn.place].give_back(turn.generation, at) {
            self.moved(&mut table, turn.place);
        }
    }

    /// Gives a node no new turns for `time`, at most [`LONGEST_PAUSE`]. Returns whether it was not
    /// paused before.
    pub fn pause(&self, place: usize, time: Duration, now: u64) -> bool {
        let time = time.min(LONGEST_PAUSE).as_nanos() as u64;
        let until = now.saturating_add(time).clamp(1, NEVER - 1);
        let mut table = self.table.lock();
        self.end_pauses(&mut table, now);
        let before = self.standings[place].paused.load(Relaxed);
        if until <= before {
            return false; // of two pauses the one that ends later counts
        }
        let event = self.event(place);
        self.standings[place].paused.store(until, Relaxed);
        self.put_off(now);
        self.rearrange(&mut table, place, event);
        before == 0
    }

    /// An ejection, trial or pause began at `now`.
    pub(super) fn put_off(&self, now: u64) {
        self.seen.fetch_max(now, Relaxed);
    }

    /// Whether a trial or the end of a pause will be due.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.alarm.load(Relaxed) != NEVER
    }

    /// Whether the alarm covers `place`. A node of a tier below the one in use is left alone until
    /// it is needed; only its pause ends by itself.
    pub(super) fn is_watched_by(&self, table: &Table, place: usize) -> bool {
        table.tier.is_none_or(|tier| self.members[place].priority <= tier)
            || self.standings[place].paused.load(Relaxed) > 0
    }

    /// Ends the pauses that are over at `now`.
    pub(super) fn end_pauses(&self, table: &mut Guard<'_, Table>, now: u64) {
        let went_back = now < self.seen.load(Relaxed);
        let over = |(due, place): &(u64, u32)| {
            let is_astray = |length| went_back && *due > now && *due - now > length;
            let place = *place as usize;
            let paused = self.standings[place].paused.load(Relaxed) > 0;
            paused && (*due <= now || is_astray(LONGEST_PAUSE.as_nanos() as u64))
        };
        let scanned = |entry: &&(u64, u32)| went_back || entry.0 <= now;
        let ended: Vec<u32> = table
            .calendar
            .iter()
            .take_while(scanned)
            .filter(|entry| over(entry))
            .map(|entry| entry.1)
            .collect();
        for place in ended {
            let event = self.event(place as usize);
            self.standings[place as usize].paused.store(0, Relaxed);
            self.rearrange(table, place as usize, event);
        }
    }

    /// Updates everything that follows from a breaker that may have changed.
    pub(super) fn moved(&self, table: &mut Guard<'_, Table>, place: usize) {
        let breaker = &table.breakers[place];
        // 0 and the highest number have special meanings.
        let due = breaker.next_trial().map(|due| due.clamp(1, NEVER - 1));
        let generation = breaker.generation();
        let standing = &self.standings[place];
        standing.unclean.store(!breaker.is_clean(), Relaxed);
        standing.silent.store(breaker.fell_by().is_some_and(Way::is_silence), Relaxed);
        if standing.generation.swap(generation, Relaxed) == generation {
            return;
        }
        let state = match breaker.state() {
            State::Up => NodeState::Up,
            State::Ejected { .. } => NodeState::Ejected,
            State::OnTrial { .. } => NodeState::OnTrial,
        };
        let event = self.event(place);
        standing.state.store(state as u32, Relaxed);
        standing.due.store(due.unwrap_or(0), Relaxed);
        self.rearrange(table, place, event);
    }

    /// When the wait of a place ends; 0 if it does not wait.
    fn event(&self, place: usize) -> u64 {
        let standing = &self.standings[place];
        let paused = standing.paused.load(Relaxed);
        if paused > 0 { paused } else { standing.due.load(Relaxed) }
    }

    /// Moves a place in the calendar from `before` to where it belongs now, and updates what
    /// follows.
    fn rearrange(&self, table: &mut Guard<'_, Table>, place: usize, before: u64) {
        if self.members[place].weight == 0 {
            return; // it never takes turns
        }
        let event = self.event(place);
        table.calendar.remove((before, place as u32));
        if event > 0 {
            table.calendar.insert((event, place as u32));
        }
        let is_up = table.breakers[place].state() == State::Up
            && self.standings[place].paused.load(Relaxed) == 0;
        let was_up = std::mem::replace(&mut table.up[place], is_up);
        if is_up != was_up || table.tier.is_none() {
            self.refresh(table);
        }
        let next =
            table.calendar.iter().find(|(_, place)| self.is_watched_by(table, *place as usize));
        self.alarm.store(next.map_or(NEVER, |(due, _)| *due), Relaxed);
        self.pace.set(next.is_some());
    }

    /// Publishes the rotation that follows from the table.
    fn refresh(&self, table: &mut Table) {
        let mut now_eligible = std::mem::take(&mut table.spare);
        let tier = eligible(&self.members, &table.up, &mut now_eligible);
        table.tier = tier;
        self.all_out.store(tier.is_none(), Relaxed);
        if tier.is_none() {
            now_eligible.extend(self.soonest(table).map(|place| (place, 1)));
        }
        if now_eligible != table.eligible {
            let plan = tier.and_then(|tier| {
                self.plans.iter().find(|(of_tier, _)| *of_tier == tier).map(|(_, plan)| plan)
            });
            let is_up = |place: u32| table.up[place as usize];
            let plan = plan.unwrap_or(NO_PLAN);
            self.mode.order(plan, &now_eligible, is_up, &mut table.order);
            let after = self.place_in_tier(table, tier);
            self.rotation.publish(&mut table.ledger, &table.order, after);
            std::mem::swap(&mut table.eligible, &mut now_eligible);
        }
        table.spare = now_eligible;
    }

    /// The place after which a tier goes on when it comes into use: the one it handed out last.
    /// Without this rule it would begin with its first node each time.
    fn place_in_tier(&self, table: &mut Table, tier: Option<u32>) -> Option<u32> {
        let last = self.rotation.last(&table.ledger);
        let tier_of_last = self.members.get(last as usize)?.priority;
        table.left.insert(tier_of_last, last);
        let tier = tier.filter(|tier| *tier != tier_of_last)?;
        table.left.get(&tier).copied()
    }

    /// The node to hand out if every node is out: not one that is paused, and not one that is on
    /// trial if there is another.
    fn soonest(&self, table: &Table) -> Option<u32> {
        let out = |place: &u32| self.standings[*place as usize].paused.load(Relaxed) == 0;
        let waits =
            |place: &u32| matches!(table.breakers[*place as usize].state(), State::Ejected { .. });
        let mut by_due = table.calendar.iter().map(|(_, place)| *place).filter(out);
        by_due.clone().find(waits).or_else(|| by_due.next())
    }
}
