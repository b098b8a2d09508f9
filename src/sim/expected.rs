//! Health once more, in plain words: how each node must stand after what was told of it. Chance alone is taken from the roster, and
//! checked against its bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use super::SECOND;
use super::history::Server;
use crate::balance::Tried;
use crate::health::{Fault, JITTER};
use crate::roster::{Change, Member, NodeState, Roster, Turn};

/// A node as it must stand.
#[derive(Clone, Debug)]
pub struct Standing {
    pub member: Member,
    /// Out of the rotation until its next probe is due.
    pub due: Option<u64>,
    /// One caller has it on trial.
    pub probing: bool,
    generation: u32,
    fails: u32,
    /// Ejections whose growth still counts.
    steps: i32,
    up_since: u64,
    ejections: u64,
    /// When the last ejection was to end at the latest, to hold a probe to it.
    ejected: Option<(u64, Duration)>,
}

impl Standing {
    fn takes_turns(&self) -> bool {
        self.member.weight > 0
    }

    fn is_up(&self) -> bool {
        self.takes_turns() && self.due.is_none()
    }

    fn changes(&mut self, due: Option<u64>, probing: bool) {
        (self.due, self.probing) = (due, probing);
        self.generation += 1;
    }

    /// The ejection that must come next, chance aside.
    fn backoff(&self) -> f64 {
        let settings = &self.member.breaker;
        let grown = settings.backoff.as_secs_f64() * 1.6f64.powi(self.steps);
        grown.min(settings.backoff_max.as_secs_f64())
    }

    fn ejects(&mut self, now: u64, got: Option<Change>) {
        let Some(Change::Ejected(time)) = got else { panic!("not ejected, but {got:?}") };
        let backoff = self.backoff();
        let part = time.as_secs_f64() / backoff;
        assert!((1.0 - JITTER - 1e-6..=1.0 + JITTER + 1e-6).contains(&part), "{time:?} for {backoff} s");
        if backoff < self.member.breaker.backoff_max.as_secs_f64() {
            self.steps += 1;
        }
        self.fails = 0;
        self.ejections += 1;
        self.ejected = Some((now, time));
        self.changes(Some(now + time.as_nanos() as u64), false);
    }
}

/// All nodes.
pub struct Expected {
    pub standings: Vec<Standing>,
    /// An end of an ejection or lease further away shows a clock that went back.
    pub longest_wait: u64,
    /// The clock has gone back: what lies in its future is no proof of anything for so long.
    pub clock_went_back: bool,
}

impl Expected {
    pub fn new(servers: &[Server], now: u64) -> Expected {
        let up = |server: &Server| Standing {
            member: server.member,
            due: None,
            probing: false,
            generation: 0,
            fails: 0,
            steps: 0,
            up_since: now,
            ejections: 0,
            ejected: None,
        };
        let longest = |server: &Server| {
            let breaker = server.member.breaker;
            breaker.backoff_max.max(breaker.backoff).mul_f64(1.0 + JITTER).max(breaker.lease)
        };
        let longest_wait = servers.iter().map(longest).max().unwrap_or_default().as_nanos() as u64;
        Expected { standings: servers.iter().map(up).collect(), longest_wait, clock_went_back: false }
    }

    fn is_due(&self, due: u64, now: u64) -> bool {
        now >= due || due - now > self.longest_wait
    }

    /// The tier in use.
    pub fn tier(&self) -> Option<u32> {
        self.standings.iter().filter(|node| node.is_up()).map(|node| node.member.priority).min()
    }

    /// What the rotation goes over, with weights.
    pub fn rotation(&self) -> Vec<(usize, u32)> {
        let Some(tier) = self.tier() else {
            return self.soonest(&Tried::new()).first().map(|place| (*place, 1)).into_iter().collect();
        };
        let in_use = |(_, node): &(usize, &Standing)| node.is_up() && node.member.priority == tier;
        let nodes = self.standings.iter().enumerate().filter(in_use);
        nodes.map(|(place, node)| (place, node.member.weight)).collect()
    }

    /// Of the nodes that are out and not in `tried` those that may be handed out where nothing else is left: the one whose ejection ends
    /// first, or whose trial does.
    fn soonest(&self, tried: &Tried) -> Vec<usize> {
        let out = || {
            let nodes = self.standings.iter().enumerate();
            nodes.filter(|(place, node)| node.takes_turns() && node.due.is_some() && !tried.contains(*place))
        };
        let waiting = out().filter(|(_, node)| !node.probing).min_by_key(|(_, node)| node.due);
        let any = out().min_by_key(|(_, node)| node.due);
        waiting.into_iter().chain(any).map(|(place, _)| place).collect()
    }

    /// Nodes one of which must be handed out on trial to a payload that has been to those in `tried`.
    pub fn probes(&self, tried: &Tried, now: u64) -> BTreeSet<usize> {
        let tier = self.tier().unwrap_or(u32::MAX);
        let may = |place: &usize| {
            let node = &self.standings[*place];
            node.takes_turns()
                && node.member.priority <= tier
                && node.due.is_some_and(|due| self.is_due(due, now))
                && !tried.contains(*place)
        };
        (0..self.standings.len()).filter(may).collect()
    }

    /// Holds a turn to the rules; `tried` is without it.
    pub fn turn(&mut self, turn: Option<Turn>, tried: &Tried, now: u64) {
        let probes = self.probes(tried, now);
        let open = |place: usize| self.standings[place].takes_turns() && !tried.contains(place);
        let Some(Turn { place, probe, generation }) = turn else {
            assert!(!(0..self.standings.len()).any(open), "no node, though one was left");
            return;
        };
        assert!(open(place), "{place} has no weight, or was tried before");
        if probe {
            assert!(probes.contains(&place), "{place} on trial, which is not due");
            self.lease(place, now, generation);
            return;
        }
        // After a jump back of the clock a probe may come later, but within the longest wait; see `properties`.
        assert!(
            probes.is_empty() || self.clock_went_back,
            "{place} handed out, though {probes:?} must be tried"
        );
        assert_eq!(generation, self.standings[place].generation);
        let up = (0..self.standings.len()).filter(|place| open(*place) && self.standings[*place].is_up());
        match up.map(|place| self.standings[place].member.priority).min() {
            Some(best) => {
                let node = &self.standings[place];
                assert!(node.is_up() && node.member.priority == best, "{place}, though better is up");
            }
            None => {
                let due = |place: &usize| self.standings[*place].due;
                let soonest = self.soonest(tried);
                assert!(soonest.iter().any(|other| due(other) == due(&place)), "{place}, not {soonest:?}");
            }
        }
    }

    fn lease(&mut self, place: usize, now: u64, generation: u32) {
        let back = self.clock_went_back;
        let node = &mut self.standings[place];
        if let (Some((since, time)), false, false) = (node.ejected, node.probing, back) {
            assert!(now >= since + time.as_nanos() as u64, "tried before its ejection was over");
        }
        let until = now + node.member.breaker.lease.as_nanos() as u64;
        node.changes(Some(until), true);
        assert_eq!(generation, node.generation);
    }

    pub fn succeeded(&mut self, place: usize, generation: u32, now: u64, got: Option<Change>) {
        let node = &mut self.standings[place];
        let counts = generation == node.generation;
        assert_eq!(got, (counts && node.due.is_some()).then_some(Change::Restored));
        if counts {
            node.fails = 0;
            if node.due.is_some() {
                node.up_since = now;
                node.changes(None, false);
            }
        }
    }

    pub fn failed(&mut self, place: usize, generation: u32, fault: Fault, now: u64, got: Option<Change>) {
        let node = &mut self.standings[place];
        let on_leave = node.due.is_some() && !node.probing;
        if generation != node.generation || on_leave {
            assert_eq!(got, None, "an old outcome, or one of a node that is out, changed something");
            return;
        }
        if node.due.is_none() {
            node.fails += 1;
            if fault == Fault::Soft && node.fails < node.member.breaker.max_fails {
                assert_eq!(got, None);
                return;
            }
            let healthy = now.saturating_sub(node.up_since) / (10 * SECOND);
            node.steps = (i64::from(node.steps) - healthy.min(1000) as i64).max(0) as i32;
        }
        node.ejects(now, got);
    }

    pub fn gave_back(&mut self, turn: Turn, at: u64) {
        let node = &mut self.standings[turn.place];
        if node.probing && node.generation == turn.generation {
            node.ejected = None;
            node.changes(Some(at), false);
        }
    }

    /// Whether a node of the rotation is left.
    pub fn has_eligible(&self, tried: &Tried) -> bool {
        self.tier().is_some() && self.rotation().iter().any(|(place, _)| !tried.contains(*place))
    }

    /// Holds what the roster shows to what must be.
    pub fn agrees(&self, roster: &Roster, now: u64) {
        for (place, node) in self.standings.iter().enumerate() {
            let state = match (node.takes_turns(), node.due, node.probing) {
                (false, ..) => NodeState::Draining,
                (_, None, _) => NodeState::Up,
                (_, _, false) => NodeState::Ejected,
                (_, _, true) => NodeState::Probing,
            };
            assert_eq!(roster.state(place), state, "{place}");
            assert_eq!(roster.generation(place), node.generation, "{place}");
            assert_eq!(roster.due(place), node.due.map(|due| due.max(1)), "{place}");
            assert_eq!(roster.ejections(place), node.ejections, "{place}");
        }
        let takers = || self.standings.iter().filter(|node| node.takes_turns());
        let soonest = takers().map(|node| node.due.map_or(0, |due| due.max(1))).min();
        let wait = soonest.map(|due| if self.is_due(due, now) { 0 } else { due - now });
        let got = roster.retry_after(now, true);
        assert_eq!(got, wait.map(Duration::from_nanos));
    }
}
