//! Which nodes are in the rotation: breakers, pauses, tiers and weights together. Pure but for one
//! lock: the caller passes the time in, and chance comes from a seed.
//!
//! Invariants: while a node is eligible, an ejected node is handed out only as its one trial, which
//! takes no turn from the others. A paused node is never handed out. A node of a lower tier is
//! picked only while no node above it is eligible. If every node is ejected, the one whose time is
//! up first is picked, and one payload gets at most a few of them. A pick takes no lock; it asks
//! the clock only while a node is out, see [`pace`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::balance::breaker::{Breaker, BreakerSettings};
use crate::balance::schedule::SHARED;
use crate::balance::{Ledger, Mode, Order, Plan, Rotation};
use crate::base::random::SplitMix;
use crate::base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::base::sync::{Guard, Mutex};
use calendar::Calendar;
use pace::Pace;
pub use pick::Rest;
pub use turns::{Ask, Trials};

/// The settings of a node that the roster needs.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its share of the turns; 0 means none.
    pub weight: u32,
    /// Its tier. The tier in use is the lowest number that has an eligible node.
    pub priority: u32,
    /// `health.*`.
    pub breaker: BreakerSettings,
}

/// A node handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the file.
    pub place: usize,
    /// The outcome must carry it.
    pub generation: u32,
    /// It is handed out on trial; the caller has the only trial of this node.
    pub is_trial: bool,
    /// It is out, and was handed out because no node is up.
    pub last_resort: bool,
}

/// A change of the rotation that an outcome caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The node is out for so long.
    Ejected(Duration),
    /// It is back.
    Restored,
}

/// The state of a node, as `upstream_node_state()` returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NodeState {
    /// In the rotation, or well and in a lower tier than the one in use.
    Up = 0,
    /// Out of the rotation until its time is up.
    Ejected = 1,
    /// Out of the rotation; a caller has it on trial.
    OnTrial = 2,
    /// Its weight is 0.
    Draining = 3,
    /// It gets no new turns for a time that it asked for.
    Paused = 4,
}

/// For the one node that is handed out while no node is up.
const NO_PLAN: &Plan = &Plan::NONE;

/// Nothing will be due.
const NEVER: u64 = u64::MAX;

/// The longest pause: a server that asks for more is asked again after an hour.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The nodes of a set.
pub struct Roster {
    mode: Mode,
    rotation: Rotation,
    /// When the next trial may begin or a pause ends.
    alarm: AtomicU64,
    /// The latest time at which an ejection, trial or pause began. If the clock shows less, it went
    /// back.
    seen: AtomicU64,
    pace: Pace,
    /// When [`Roster::ring`] will be called.
    guarded: AtomicU64,
    /// Every node is out or paused.
    all_out: AtomicBool,
    standings: Box<[Standing]>,
    members: Box<[Member]>,
    takers: usize,
    /// The plan of each tier, in rising order of tiers.
    plans: Box<[(u32, Plan)]>,
    table: Mutex<Table>,
}

/// The state of a node, for readers that do not take the lock.
#[derive(Default)]
struct Standing {
    state: AtomicU32,
    generation: AtomicU32,
    /// It was ejected because it was silent: see [`Roster::needs_a_payload`].
    silent: AtomicBool,
    /// A success would change something.
    unclean: AtomicBool,
    ejections: AtomicU64,
    /// When its next trial is due; 0 if it is up.
    due: AtomicU64,
    /// When its pause ends; 0 if it is not paused.
    paused: AtomicU64,
    /// How often it was handed out without a turn of its own, minus its turns that went to another
    /// node (two's complement).
    beside: AtomicU64,
}

struct Table {
    breakers: Box<[Breaker]>,
    ledger: Ledger,
    /// Which places are up and not paused, and take turns.
    up: Box<[bool]>,
    /// The places in the rotation, with their weights; empty if no node may be handed out.
    eligible: Vec<(u32, u32)>,
    /// Memory for the next ones, and for their order.
    spare: Vec<(u32, u32)>,
    order: Order,
    /// The tier in use; `None` if no node is up.
    tier: Option<u32>,
    /// For each tier that was in use, the place that it handed out last.
    left: BTreeMap<u32, u32>,
    /// The nodes that are out or paused, sorted by when that ends.
    calendar: Calendar,
    /// For each place, when it was last ejected or handed out without a turn: consecutive numbers,
    /// not times.
    asked: Box<[u64]>,
    last_asked: u64,
    chance: SplitMix,
}

impl Table {
    /// Notes that `place` was asked now.
    fn ask(&mut self, place: usize) {
        self.last_asked += 1;
        self.asked[place] = self.last_asked;
    }
}

impl Roster {
    /// A roster of `members`, all up at `now`. The rotation starts with the node at `start`, or
    /// with the next one that takes turns. `clock_runs`: the clock goes on by itself, see [`Pace`].
    pub fn new(
        mode: Mode,
        members: Vec<Member>,
        start: usize,
        seed: u64,
        now: u64,
        clock_runs: bool,
    ) -> Roster {
        let plans = plans(&members);
        let takers = members.iter().filter(|member| member.weight > 0).count();
        let breakers: Box<[Breaker]> =
            members.iter().map(|member| Breaker::new(member.breaker, now)).collect();
        let mut table = Table {
            breakers,
            ledger: Ledger::default(),
            up: members.iter().map(|member| member.weight > 0).collect(),
            eligible: Vec::with_capacity(takers),
            spare: Vec::with_capacity(takers),
            order: Order::default(),
            tier: None,
            left: BTreeMap::new(),
            calendar: Calendar::new(takers),
            asked: vec![0; members.len()].into(),
            last_asked: 0,
            chance: SplitMix::new(seed),
        };
        let standings: Box<[Standing]> = members.iter().map(|_| Standing::default()).collect();
        table.tier = eligible(&members, &table.up, &mut table.eligible);
        if let Some((_, plan)) = plans.first() {
            mode.order(plan, &table.eligible, |_| true, &mut table.order);
        }
        let places = &table.order.places;
        let at_start = |place: &u32| *place as usize >= start && *place < SHARED;
        let first = places.iter().position(at_start).unwrap_or(0);
        let (rotation, ledger) = Rotation::new(&table.order, first, room(&plans), members.len());
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
            takers,
            plans,
            members: members.into(),
            table: Mutex::new(table),
        }
    }

    fn read(&self, wait: bool) -> Option<Guard<'_, Table>> {
        if wait { Some(self.table.lock()) } else { self.table.try_lock() }
    }

    /// How many nodes take turns.
    pub fn takers(&self) -> usize {
        self.takers
    }

    /// The generation that an outcome of work which begins now must carry.
    pub fn generation(&self, place: usize) -> u32 {
        self.standings[place].generation.load(Relaxed)
    }

    /// The state of a node. Asks the clock only if the node was paused.
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
            // A wait that is longer than the longest possible one means that the clock went back.
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

    /// How long until a node may be back: zero if one is up or may be tried now; `None` if no node
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

    /// Whether every node is out or paused.
    pub fn is_all_out(&self) -> bool {
        self.all_out.load(Relaxed)
    }

    /// The places that take turns.
    fn taking(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|place| self.members[*place].weight > 0)
    }

    /// How often any node was handed out; `None` if another thread uses the table and `wait` is
    /// false.
    pub fn picks(&self, wait: bool) -> Option<u64> {
        let table = self.read(wait)?;
        let turns = self.rotation.picks(&table.ledger);
        let beside = self.standings.iter().map(|standing| standing.beside.load(Relaxed));
        Some(beside.fold(turns, u64::wrapping_add))
    }

    /// How often one node was handed out; otherwise as [`Roster::picks`].
    pub fn picks_of(&self, place: usize, wait: bool) -> Option<u64> {
        let table = self.read(wait)?;
        let turns = self.rotation.picks_of(&table.ledger, place);
        Some(turns.wrapping_add(self.standings[place].beside.load(Relaxed)))
    }
}

#[cfg(test)]
impl Roster {
    /// How many turns one node had in the rotation, whichever node was handed out for them.
    pub fn turns_of(&self, place: usize) -> u64 {
        self.rotation.picks_of(&self.table.lock().ledger, place)
    }

    /// The same for all nodes.
    pub fn turns(&self) -> u64 {
        self.rotation.picks(&self.table.lock().ledger)
    }
}

/// Writes the places of the tier in use that are up, with their weights. Returns the tier.
fn eligible(members: &[Member], up: &[bool], nodes: &mut Vec<(u32, u32)>) -> Option<u32> {
    let up = members.iter().enumerate().filter(|(place, _)| up[*place]);
    let tier = up.clone().map(|(_, member)| member.priority).min();
    nodes.clear();
    nodes.extend(
        up.filter(|(_, member)| Some(member.priority) == tier)
            .map(|(place, member)| (place as u32, member.weight)),
    );
    tier
}

/// The plan of each tier.
fn plans(members: &[Member]) -> Box<[(u32, Plan)]> {
    let mut tiers: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
    for (place, member) in (0..).zip(members).filter(|(_, member)| member.weight > 0) {
        tiers.entry(member.priority).or_default().push((place, member.weight));
    }
    tiers.into_iter().map(|(tier, nodes)| (tier, Plan::new(&nodes))).collect()
}

/// The most that an order may hold. Any tier's may hold one place.
fn room(plans: &[(u32, Plan)]) -> (usize, usize) {
    let rooms = plans.iter().map(|(_, plan)| plan.room());
    rooms.fold((1, 0), |most, room| (most.0.max(room.0), most.1.max(room.1)))
}

mod calendar;
mod changes;
mod pace;
mod pick;
#[cfg(test)]
mod tests;
mod turns;
