//! Who is in the rotation: breakers, pauses, tiers and weights together. Pure but for one lock:
//! time is passed in, chance comes from a seed.
//!
//! Invariants: no ejected node is picked while another is eligible, its one trial aside, which
//! takes no turn from the others; a paused node is never handed out; a node of a lower tier is
//! picked only while no node above is eligible; with every node ejected the one whose time is up
//! first is picked, and a payload gets at most a few of them. A pick takes no lock and, while no
//! node is out, asks no clock; while one is, see [`pace`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::balance::breaker::{Breaker, BreakerSettings, State};
use crate::balance::{self, Ledger, Mode, Rotation};
use crate::base::random::SplitMix;
use crate::base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::base::sync::{Guard, Mutex};
use pace::Pace;
pub use pick::Rest;
pub use turns::{Ask, Trials};

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
    /// It is on trial: the caller has the one trial that is out.
    pub is_trial: bool,
    /// It is out, and was handed out because no node is up.
    pub last_resort: bool,
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
    OnTrial = 2,
    /// Its weight is 0.
    Draining = 3,
    /// It asked for some time without new turns.
    Paused = 4,
}

/// Nothing is due, ever.
const NEVER: u64 = u64::MAX;

/// No pause is longer: a server that asks for more is asked again after an hour.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The nodes of a set.
pub struct Roster {
    mode: Mode,
    rotation: Rotation,
    /// When the next trial may be had, or a pause ends.
    alarm: AtomicU64,
    /// The latest time at which something was put off. A clock that shows less has gone back.
    seen: AtomicU64,
    pace: Pace,
    /// When [`Roster::ring`] is going to be called.
    guarded: AtomicU64,
    /// No node is up and not paused.
    all_out: AtomicBool,
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
    /// It fell out because it was silent: see [`Roster::needs_a_payload`].
    silent: AtomicBool,
    /// A success has something to change.
    unclean: AtomicBool,
    ejections: AtomicU64,
    /// When its next trial is due; 0 if it is up.
    due: AtomicU64,
    /// When its pause ends; 0 if it is not paused.
    paused: AtomicU64,
    /// Times it was handed out beside its turns, less its turns that went to another (two's
    /// complement).
    beside: AtomicU64,
}

struct Table {
    breakers: Box<[Breaker]>,
    ledger: Ledger,
    /// What the rotation goes over, with weights; nothing if no node is to be handed out.
    eligible: Vec<(u32, u32)>,
    /// The tier in use; `None` if no node is up.
    tier: Option<u32>,
    /// Of each tier that was in use, the place it handed out last.
    left: BTreeMap<u32, u32>,
    /// The nodes that are out or paused, by when that ends.
    calendar: BTreeSet<(u64, u32)>,
    /// Of each place, when it was handed out last beside the rotation, or fell out: numbers in
    /// their order.
    asked: Box<[u64]>,
    last_asked: u64,
    chance: SplitMix,
}

impl Table {
    /// Notes that `place` was asked just now.
    fn ask(&mut self, place: usize) {
        self.last_asked += 1;
        self.asked[place] = self.last_asked;
    }
}

impl Roster {
    /// A roster of `members`, all up at `now`. The rotation starts with the node at `start`, or the
    /// next one that takes turns. `clock_runs` tells of a clock that goes on by itself: see
    /// [`Pace`].
    pub fn new(
        mode: Mode,
        members: Vec<Member>,
        start: usize,
        seed: u64,
        now: u64,
        clock_runs: bool,
    ) -> Roster {
        let capacity = capacity(&members);
        let breakers: Box<[Breaker]> =
            members.iter().map(|member| Breaker::new(member.breaker, now)).collect();
        let mut table = Table {
            breakers,
            ledger: Ledger::default(),
            eligible: Vec::new(),
            tier: None,
            left: BTreeMap::new(),
            calendar: BTreeSet::new(),
            asked: vec![0; members.len()].into(),
            last_asked: 0,
            chance: SplitMix::new(seed),
        };
        let standings: Box<[Standing]> = members.iter().map(|_| Standing::default()).collect();
        (table.tier, table.eligible) = eligible(&members, &table.breakers, &standings);
        let order = mode.order(&table.eligible);
        let first = order.places.iter().position(|place| *place as usize >= start).unwrap_or(0);
        let (rotation, ledger) = Rotation::new(&order, first, capacity, members.len());
        table.ledger = ledger;
        Roster {
            mode,
            rotation,
            alarm: AtomicU64::new(NEVER),
            seen: AtomicU64::new(0),
            pace: Pace::new(clock_runs),
            guarded: AtomicU64::new(NEVER),
            all_out: AtomicBool::new(table.tier.is_none()),
            standings,
            takers: members.iter().filter(|member| member.weight > 0).count(),
            members: members.into(),
            table: Mutex::new(table),
        }
    }

    fn read(&self, wait: bool) -> Option<Guard<'_, Table>> {
        if wait { Some(self.table.lock()) } else { self.table.try_lock() }
    }

    /// How many nodes are ever handed out.
    pub fn takers(&self) -> usize {
        self.takers
    }

    /// What an outcome of work begun now must carry.
    pub fn generation(&self, place: usize) -> u32 {
        self.standings[place].generation.load(Relaxed)
    }

    /// The state of a node; the clock is asked only if it was paused.
    pub fn state(&self, place: usize, now: impl FnOnce() -> u64) -> NodeState {
        if self.members[place].weight == 0 {
            return NodeState::Draining;
        }
        let standing = &self.standings[place];
        let paused = standing.paused.load(Relaxed);
        if paused > 0 && now() < paused {
            return NodeState::Paused;
        }
        match standing.state.load(Relaxed) {
            0 => NodeState::Up,
            1 => NodeState::Ejected,
            _ => NodeState::OnTrial,
        }
    }

    /// When the next trial of a node is due, in nanoseconds; `None` if it is up.
    pub fn due(&self, place: usize) -> Option<u64> {
        Some(self.standings[place].due.load(Relaxed)).filter(|due| *due > 0)
    }

    /// How long until a node is tried again: zero if it is up or may be tried now.
    pub fn wait_for(&self, place: usize, now: u64) -> Duration {
        let standing = &self.standings[place];
        let left = |until: u64, longest: u64| {
            let ahead = until.saturating_sub(now);
            // Further away than any wait is, it shows a clock that went back.
            if ahead > longest { 0 } else { ahead }
        };
        let on_trial = standing.state.load(Relaxed) == NodeState::OnTrial as u32;
        let longest = self.members[place].breaker.longest_wait(on_trial);
        let ejected = left(standing.due.load(Relaxed), longest);
        let paused = left(standing.paused.load(Relaxed), LONGEST_PAUSE.as_nanos() as u64);
        Duration::from_nanos(ejected.max(paused))
    }

    /// How often a node was ejected.
    pub fn ejections(&self, place: usize) -> u64 {
        self.standings[place].ejections.load(Relaxed)
    }

    /// How long until a node may be back: zero if one is up or may be tried now, `None` if none
    /// takes turns.
    pub fn retry_after(&self, now: u64, wait: bool) -> Option<Duration> {
        let Some(table) = self.read(wait) else { return Some(Duration::ZERO) };
        if table.tier.is_some() {
            return Some(Duration::ZERO);
        }
        self.taking().map(|place| self.wait_for(place, now)).min()
    }

    /// Whether every node that takes turns is paused at `now`.
    pub fn is_all_paused(&self, now: u64) -> bool {
        self.all_out.load(Relaxed)
            && self.takers > 0
            && self.taking().all(|place| self.state(place, || now) == NodeState::Paused)
    }

    /// Whether no node is up and not paused.
    pub fn is_all_out(&self) -> bool {
        self.all_out.load(Relaxed)
    }

    /// The places that are ever handed out.
    fn taking(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|place| self.members[*place].weight > 0)
    }

    /// Picks of all nodes; `None` if the table is in use and `wait` is false.
    pub fn picks(&self, wait: bool) -> Option<u64> {
        let table = self.read(wait)?;
        let turns = self.rotation.picks(&table.ledger);
        let beside = self.standings.iter().map(|standing| standing.beside.load(Relaxed));
        Some(beside.fold(turns, u64::wrapping_add))
    }

    /// Picks of one node; as [`Roster::picks`].
    pub fn picks_of(&self, place: usize, wait: bool) -> Option<u64> {
        let table = self.read(wait)?;
        let turns = self.rotation.picks_of(&table.ledger, place);
        Some(turns.wrapping_add(self.standings[place].beside.load(Relaxed)))
    }
}

#[cfg(test)]
impl Roster {
    /// Turns of the rotation of one node, whoever got them.
    pub fn turns_of(&self, place: usize) -> u64 {
        self.rotation.picks_of(&self.table.lock().ledger, place)
    }

    /// The same of all nodes.
    pub fn turns(&self) -> u64 {
        self.rotation.picks(&self.table.lock().ledger)
    }
}

/// The tier in use and its nodes that are up, with their weights.
fn eligible(
    members: &[Member],
    breakers: &[Breaker],
    standings: &[Standing],
) -> (Option<u32>, Vec<(u32, u32)>) {
    let up = || {
        (0..members.len())
            .filter(|place| members[*place].weight > 0 && breakers[*place].state() == State::Up)
            .filter(|place| standings[*place].paused.load(Relaxed) == 0)
    };
    let tier = up().map(|place| members[place].priority).min();
    let nodes = up()
        .filter(|place| Some(members[*place].priority) == tier)
        .map(|place| (place as u32, members[place].weight))
        .collect();
    (tier, nodes)
}

/// The longest cycle that any set of eligible nodes can have.
fn capacity(members: &[Member]) -> usize {
    let mut tiers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for member in members {
        tiers.entry(member.priority).or_default().push(member.weight);
    }
    tiers
        .values()
        .map(|weights| balance::cycle_length(weights.iter().copied()))
        .max()
        .unwrap_or(0)
        .max(1) as usize
}

mod changes;
mod pace;
mod pick;
#[cfg(test)]
mod tests;
mod turns;
