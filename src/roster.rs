//! Who is in the rotation: breakers, tiers and weights together. Pure but for one lock: time is passed in, chance comes from a seed.
//!
//! Invariants: no ejected node is picked while another is eligible, its one leased probe aside, which takes no turn from the others;
//! a node of a lower tier is picked only while no node above is eligible; with every node ejected the one whose time is up
//! first is picked. A pick takes no lock and, while no node is ejected, asks no clock; while one is, see [`pace`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::balance::{self, Ledger, Order, Rotation, Tried};
use crate::health::{Breaker, BreakerSettings, Fault, State};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{Guard, Mutex};
use pace::Pace;
pub use pick::Rest;

/// What the roster knows of a node beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Share of the turns; 0 has none.
    pub weight: u32,
    /// Tier; the lowest number with an eligible node is in use.
    pub priority: u32,
    /// `health.*`.
    pub breaker: BreakerSettings,
}

/// A node handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the file.
    pub place: usize,
    /// To be given back with the outcome.
    pub generation: u32,
    /// It is on trial: the caller has the one probe that is out.
    pub probe: bool,
}

/// A change of the rotation that an outcome brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node is out of it for so long.
    Ejected(Duration),
    /// It is back.
    Restored,
}

/// The state of a node as `upstream_node_state` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NodeState {
    /// In the rotation, or in a tier that waits in reserve.
    Up = 0,
    /// Out of it until its time is up.
    Ejected = 1,
    /// Out of it, and being tried.
    Probing = 2,
    /// Its weight is 0.
    Draining = 3,
}

/// No probe is due, ever.
const NEVER: u64 = u64::MAX;

/// The nodes of a set.
pub struct Roster {
    rotation: Rotation,
    /// When the next probe may be had.
    alarm: AtomicU64,
    pace: Pace,
    /// An alarm further away shows a clock that went back.
    longest_wait: u64,
    standings: Box<[Standing]>,
    members: Box<[Member]>,
    takers: usize,
    table: Mutex<Table>,
}

/// A node's state as others read it without the lock.
#[derive(Default)]
struct Standing {
    state: AtomicU32,
    generation: AtomicU32,
    fails: AtomicU32,
    ejections: AtomicU64,
    /// When its next probe is due; 0 where it is up.
    due: AtomicU64,
}

struct Table {
    breakers: Box<[Breaker]>,
    ledger: Ledger,
    /// What the rotation goes over, with weights; nothing where every node is out.
    eligible: Vec<(u32, u32)>,
    /// The tier in use; `None` where every node is out.
    tier: Option<u32>,
    /// The nodes that are out, by when their probes are due.
    calendar: BTreeSet<(u64, u32)>,
    chance: Chance,
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Chance(u64);

impl Chance {
    /// In 0..1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Roster {
    /// A roster of `members`, all up at `now`. The rotation starts with the node at `start`, or the next one that takes turns.
    /// `clock_runs` tells of a clock that goes on by itself: see [`Pace`].
    pub fn new(members: Vec<Member>, start: usize, seed: u64, now: u64, clock_runs: bool) -> Roster {
        let capacity = capacity(&members);
        let breakers: Box<[Breaker]> =
            members.iter().map(|member| Breaker::new(member.breaker, now)).collect();
        let (tier, eligible) = eligible(&members, &breakers);
        let order = balance::order(&eligible);
        let first = order.places.iter().position(|place| *place as usize >= start).unwrap_or(0);
        let (rotation, ledger) = Rotation::new(&order, first, capacity, members.len());
        let longest_wait = breakers.iter().map(Breaker::longest_wait).max().unwrap_or(0);
        let table =
            Table { breakers, ledger, eligible, tier, calendar: BTreeSet::new(), chance: Chance(seed) };
        Roster {
            rotation,
            alarm: AtomicU64::new(NEVER),
            pace: Pace::new(clock_runs),
            longest_wait,
            standings: members.iter().map(|_| Standing::default()).collect(),
            takers: members.iter().filter(|member| member.weight > 0).count(),
            members: members.into(),
            table: Mutex::new(table),
        }
    }

    /// The next node for a payload that has been to those in `tried`, to which it is added: a probe that is due, else
    /// [`Roster::next_untried`].
    pub fn turn(&self, tried: &mut Tried, now: impl FnOnce() -> u64, wait: bool) -> Option<Turn> {
        let turn = self.probe_due(tried, now).or_else(|| self.next_untried(tried, wait))?;
        tried.insert(turn.place);
        Some(turn)
    }

    /// A probe that is due of a node not in `tried`. Never waits: where the table is in use another caller gets it later.
    #[inline]
    pub fn probe_due(&self, tried: &Tried, now: impl FnOnce() -> u64) -> Option<Turn> {
        if self.alarm.load(Relaxed) == NEVER {
            return None;
        }
        self.probe(tried, now())
    }

    #[cold]
    fn probe(&self, tried: &Tried, now: u64) -> Option<Turn> {
        if !self.is_due(self.alarm.load(Relaxed), now) {
            return None;
        }
        let mut table = self.table.try_lock()?;
        // Those that seem further away than any wait come first: after a clock has gone back they would otherwise wait for
        // ever behind a node that is tried in vain again and again.
        let astray = table.calendar.iter().rev().take_while(|(due, _)| *due > now && self.is_due(*due, now));
        let due = table.calendar.iter().take_while(|(due, _)| *due <= now);
        let place = astray
            .chain(due)
            .map(|(_, place)| *place as usize)
            .find(|place| self.may_be_probed(&table, *place) && !tried.contains(*place))?;
        let generation = table.breakers[place].lease(now);
        self.moved(&mut table, place);
        Some(Turn { place, generation: generation?, probe: true })
    }

    fn is_due(&self, due: u64, now: u64) -> bool {
        due != NEVER && (now >= due || due - now > self.longest_wait)
    }

    /// A node of a tier below the one in use is left alone until it is needed.
    fn may_be_probed(&self, table: &Table, place: usize) -> bool {
        table.tier.is_none_or(|tier| self.members[place].priority <= tier)
    }

    /// The next node that is not in `tried`: of the rotation while it has one, then of the tiers in reserve, then of the ejected the
    /// one whose time is up first. Without `wait` what needs the table is left out where it is in use.
    pub fn next_untried(&self, tried: &Tried, wait: bool) -> Option<Turn> {
        let place = self.rotation.next_untried(tried).or_else(|| self.reserve(tried, wait))?;
        Some(Turn { place, generation: self.generation(place), probe: false })
    }

    fn read(&self, wait: bool) -> Option<Guard<'_, Table>> {
        if wait { Some(self.table.lock()) } else { self.table.try_lock() }
    }

    fn reserve(&self, tried: &Tried, wait: bool) -> Option<usize> {
        let table = self.read(wait)?;
        let up = |place: &usize| table.breakers[*place].state() == State::Up;
        let open = || {
            (0..self.members.len()).filter(|place| self.members[*place].weight > 0 && !tried.contains(*place))
        };
        open()
            .filter(up)
            .min_by_key(|place| self.members[*place].priority)
            .or_else(|| open().min_by_key(|place| table.breakers[*place].probe_due()))
    }

    /// How many nodes are ever handed out.
    pub fn takers(&self) -> usize {
        self.takers
    }

    /// Whether a node of the rotation is left beside those in `tried`.
    pub fn has_eligible(&self, tried: &Tried) -> bool {
        let table = self.table.lock();
        table.tier.is_some() && table.eligible.iter().any(|(place, _)| !tried.contains(*place as usize))
    }

    /// The work of `generation` with a node went well.
    pub fn succeeded(&self, place: usize, generation: u32, now: impl FnOnce() -> u64) -> Option<Change> {
        self.pace.step();
        let standing = &self.standings[place];
        let nothing_to_tell = standing.fails.load(Relaxed) == 0 && standing.due.load(Relaxed) == 0;
        if nothing_to_tell {
            return None;
        }
        let now = now(); // the host's function, which is not to run under the lock
        let mut table = self.table.lock();
        let restored = table.breakers[place].succeeded(generation, now);
        self.moved(&mut table, place);
        restored.then_some(Change::Restored)
    }

    /// The work of `generation` with a node failed.
    pub fn failed(&self, place: usize, generation: u32, fault: Fault, now: u64) -> Option<Change> {
        self.pace.step();
        let mut table = self.table.lock();
        let chance = table.chance.next();
        let ejected = table.breakers[place].failed(generation, fault, now, chance);
        self.moved(&mut table, place);
        ejected.map(|time| {
            self.standings[place].ejections.fetch_add(1, Relaxed);
            Change::Ejected(time)
        })
    }

    /// A probe told nothing of its node; the next may be had at `at`.
    pub fn give_back(&self, turn: Turn, at: u64) {
        let mut table = self.table.lock();
        if table.breakers[turn.place].give_back(turn.generation, at) {
            self.moved(&mut table, turn.place);
        }
    }

    /// Brings everything in line with a breaker that may have changed.
    fn moved(&self, table: &mut Guard<'_, Table>, place: usize) {
        let breaker = &table.breakers[place];
        // 0 and the last number have meanings of their own.
        let due = breaker.probe_due().map(|due| due.clamp(1, NEVER - 1));
        let generation = breaker.generation();
        let standing = &self.standings[place];
        standing.fails.store(breaker.fails(), Relaxed);
        if standing.generation.swap(generation, Relaxed) == generation {
            return;
        }
        let state = match breaker.state() {
            State::Up => NodeState::Up,
            State::Ejected { .. } => NodeState::Ejected,
            State::Probing { .. } => NodeState::Probing,
        };
        standing.state.store(state as u32, Relaxed);
        let before = standing.due.swap(due.unwrap_or(0), Relaxed);
        if self.members[place].weight == 0 {
            return; // it takes no turns in any state
        }
        table.calendar.remove(&(before, place as u32));
        if let Some(due) = due {
            table.calendar.insert((due, place as u32));
        }
        self.refresh(table);
    }

    /// Publishes the rotation and the alarm that follow from the table.
    fn refresh(&self, table: &mut Table) {
        let (tier, mut now_eligible) = eligible(&self.members, &table.breakers);
        table.tier = tier;
        if tier.is_none() {
            now_eligible = self.soonest(table).into_iter().map(|place| (place, 1)).collect();
        }
        if now_eligible != table.eligible {
            let order: Order = balance::order(&now_eligible);
            self.rotation.publish(&mut table.ledger, &order);
            table.eligible = now_eligible;
        }
        let next = table.calendar.iter().find(|(_, place)| self.may_be_probed(table, *place as usize));
        self.alarm.store(next.map_or(NEVER, |(due, _)| *due), Relaxed);
        self.pace.set(next.is_some());
    }

    /// Of the nodes that are out the one to hand out where nothing else is left: not one that somebody is trying, if there is another.
    fn soonest(&self, table: &Table) -> Option<u32> {
        let waits = |place: &u32| matches!(table.breakers[*place as usize].state(), State::Ejected { .. });
        let mut by_due = table.calendar.iter().map(|(_, place)| *place);
        by_due.clone().find(waits).or_else(|| by_due.next())
    }

    /// What an outcome of work begun now must carry.
    pub fn generation(&self, place: usize) -> u32 {
        self.standings[place].generation.load(Relaxed)
    }

    /// The state of a node.
    pub fn state(&self, place: usize) -> NodeState {
        if self.members[place].weight == 0 {
            return NodeState::Draining;
        }
        match self.standings[place].state.load(Relaxed) {
            0 => NodeState::Up,
            1 => NodeState::Ejected,
            _ => NodeState::Probing,
        }
    }

    /// When the next probe of a node is due, in nanoseconds; `None` where it is up.
    pub fn due(&self, place: usize) -> Option<u64> {
        Some(self.standings[place].due.load(Relaxed)).filter(|due| *due > 0)
    }

    /// How long until a node is tried again: zero where it is up or may be tried now.
    pub fn wait_for(&self, place: usize, now: u64) -> Duration {
        let ahead = self.due(place).filter(|due| !self.is_due(*due, now));
        Duration::from_nanos(ahead.map_or(0, |due| due - now))
    }

    /// How often a node was ejected.
    pub fn ejections(&self, place: usize) -> u64 {
        self.standings[place].ejections.load(Relaxed)
    }

    /// How long until a node may be back: zero where one is up or may be tried now, `None` where none takes turns.
    pub fn retry_after(&self, now: u64, wait: bool) -> Option<Duration> {
        let Some(table) = self.read(wait) else { return Some(Duration::ZERO) };
        if table.tier.is_some() {
            return Some(Duration::ZERO);
        }
        let (due, _) = table.calendar.first()?;
        Some(if self.is_due(*due, now) { Duration::ZERO } else { Duration::from_nanos(*due - now) })
    }

    /// Picks of all nodes; `None` where the table is in use and `wait` is false.
    pub fn picks(&self, wait: bool) -> Option<u64> {
        let table = self.read(wait)?;
        Some(self.rotation.picks(&table.ledger))
    }

    /// Picks of one node; as [`Roster::picks`].
    pub fn picks_of(&self, place: usize, wait: bool) -> Option<u64> {
        let table = self.read(wait)?;
        Some(self.rotation.picks_of(&table.ledger, place))
    }
}

/// The tier in use and its nodes that are up, with their weights.
fn eligible(members: &[Member], breakers: &[Breaker]) -> (Option<u32>, Vec<(u32, u32)>) {
    let up = || {
        members
            .iter()
            .zip(breakers)
            .enumerate()
            .filter(|(_, (member, breaker))| member.weight > 0 && breaker.state() == State::Up)
    };
    let tier = up().map(|(_, (member, _))| member.priority).min();
    let nodes = up()
        .filter(|(_, (member, _))| Some(member.priority) == tier)
        .map(|(place, (member, _))| (place as u32, member.weight))
        .collect();
    (tier, nodes)
}

/// The longest cycle that any set of eligible nodes can have.
fn capacity(members: &[Member]) -> usize {
    let mut tiers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for member in members {
        tiers.entry(member.priority).or_default().push(member.weight);
    }
    tiers.values().map(|weights| balance::cycle_length(weights.iter().copied())).max().unwrap_or(0).max(1)
        as usize
}

mod pace;
mod pick;
#[cfg(test)]
mod tests;
