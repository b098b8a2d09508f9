//! A second, plain version of the health rules: the state that each node must have after what was
//! reported on it. Only the random part is taken from the roster, and checked against its bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use super::SECOND;
use super::history::Server;
use crate::balance::Tried;
use crate::balance::breaker::{Fault, JITTER, Proof, Way};
use crate::balance::roster::{Change, Member, NodeState, Roster, Trials, Turn};
use crate::balance::visits::PATIENCE;

/// The state that a node must have.
#[derive(Clone, Debug)]
pub struct Standing {
    pub member: Member,
    /// If it is out: when its next trial is due.
    pub due: Option<u64>,
    /// One caller has it on trial.
    pub on_trial: bool,
    generation: u32,
    fails: u32,
    /// How many ejections count for the growth of the next one.
    steps: i32,
    up_since: u64,
    ejections: u64,
    /// The generation that began with the last ejection.
    fell: u32,
    /// How it failed when it was ejected, until it is well again.
    pub fell_by: Option<Way>,
    /// When it was last ejected or handed out without a turn, as a number in order.
    asked: u64,
    /// When the last ejection began and how long it was: no trial may begin earlier than its end.
    ejected: Option<(u64, Duration)>,
}

impl Standing {
    fn takes_turns(&self) -> bool {
        self.member.weight > 0
    }

    fn is_up(&self) -> bool {
        self.takes_turns() && self.due.is_none()
    }

    fn changes(&mut self, due: Option<u64>, on_trial: bool) {
        (self.due, self.on_trial) = (due, on_trial);
        self.generation += 1;
    }

    /// The length of the next ejection in seconds, before jitter.
    fn backoff(&self) -> f64 {
        let settings = &self.member.breaker;
        let grown = settings.backoff.as_secs_f64() * 1.6f64.powi(self.steps);
        grown.min(settings.backoff_max.as_secs_f64())
    }

    fn longest_wait(&self) -> u64 {
        let breaker = self.member.breaker;
        let out = breaker.backoff_max.max(breaker.backoff).max(PATIENCE);
        let longest = if self.on_trial { breaker.trial_time } else { out };
        longest.as_nanos() as u64
    }

    fn is_silent(&self) -> bool {
        self.fell_by == Some(Way::Silence)
    }

    fn is_due(&self, now: u64) -> bool {
        self.due.is_some_and(|due| now >= due || due - now > self.longest_wait())
    }

    fn ejects(&mut self, way: Way, now: u64, got: Option<Change>) {
        let Some(Change::Ejected(time)) = got else { panic!("not ejected, but {got:?}") };
        let backoff = self.backoff();
        let part = time.as_secs_f64() / backoff;
        assert!(
            (1.0 - JITTER - 1e-6..=1.0 + JITTER + 1e-6).contains(&part),
            "{time:?} for {backoff} s"
        );
        assert!(time <= self.member.breaker.backoff_max, "{time:?} is longer than backoff_max");
        if backoff < self.member.breaker.backoff_max.as_secs_f64() {
            self.steps += 1;
        }
        self.fails = 0;
        self.ejections += 1;
        self.ejected = Some((now, time));
        self.changes(Some(now + time.as_nanos() as u64), false);
        (self.fell, self.fell_by) = (self.generation, Some(way));
    }
}

/// All nodes.
pub struct Expected {
    pub standings: Vec<Standing>,
    /// How often any node was ejected or handed out without a turn.
    asked: u64,
    /// The clock has gone back: a time in its future then proves nothing.
    pub clock_went_back: bool,
}

impl Expected {
    pub fn new(servers: &[Server], now: u64) -> Expected {
        let up = |server: &Server| Standing {
            member: server.member,
            due: None,
            on_trial: false,
            generation: 0,
            fails: 0,
            steps: 0,
            up_since: now,
            ejections: 0,
            fell: 0,
            fell_by: None,
            asked: 0,
            ejected: None,
        };
        Expected { standings: servers.iter().map(up).collect(), asked: 0, clock_went_back: false }
    }

    fn asks(&mut self, place: usize) {
        self.asked += 1;
        self.standings[place].asked = self.asked;
    }

    /// The tier in use.
    pub fn tier(&self) -> Option<u32> {
        self.standings.iter().filter(|node| node.is_up()).map(|node| node.member.priority).min()
    }

    /// The places in the rotation, with their weights.
    pub fn rotation(&self) -> Vec<(usize, u32)> {
        let Some(tier) = self.tier() else {
            return self
                .soonest(&Tried::new())
                .first()
                .map(|place| (*place, 1))
                .into_iter()
                .collect();
        };
        let in_use = |(_, node): &(usize, &Standing)| node.is_up() && node.member.priority == tier;
        let nodes = self.standings.iter().enumerate().filter(in_use);
        nodes.map(|(place, node)| (place, node.member.weight)).collect()
    }

    /// Of the nodes that are out and not in `tried`, those that may be handed out if no other node
    /// is left: the one whose ejection ends first, or whose trial does.
    fn soonest(&self, tried: &Tried) -> Vec<usize> {
        let out = || {
            let nodes = self.standings.iter().enumerate();
            nodes.filter(|(place, node)| {
                node.takes_turns() && node.due.is_some() && !tried.contains(*place)
            })
        };
        let waiting = out().filter(|(_, node)| !node.on_trial).min_by_key(|(_, node)| node.due);
        let any = out().min_by_key(|(_, node)| node.due);
        waiting.into_iter().chain(any).map(|(place, _)| place).collect()
    }

    /// The nodes of which one must be handed out on trial, to a payload that has been to those in
    /// `tried`.
    pub fn due_trials(&self, tried: &Tried, trials: Trials, now: u64) -> BTreeSet<usize> {
        let tier = self.tier().unwrap_or(u32::MAX);
        let may = |place: &usize| {
            let node = &self.standings[*place];
            let is_taken = match trials {
                Trials::None => false,
                Trials::ByConnection => !node.is_silent(),
                Trials::All => true,
            };
            is_taken
                && node.takes_turns()
                && node.member.priority <= tier
                && node.is_due(now)
                && !tried.contains(*place)
        };
        (0..self.standings.len()).filter(may).collect()
    }

    /// Checks the turn of a payload against the rules. `tried` does not include it. `last_resort`:
    /// the payload may get a node that is out.
    pub fn turn(
        &mut self,
        turn: Option<Turn>,
        tried: &Tried,
        trials: Trials,
        last_resort: bool,
        now: u64,
    ) {
        let due_trials = self.due_trials(tried, trials, now);
        let open = |place: &usize| self.standings[*place].takes_turns() && !tried.contains(*place);
        let all = || (0..self.standings.len()).filter(open);
        let up = || all().filter(|place| self.standings[*place].is_up());
        // A node that fell silent is left alone until its time is up.
        let quick = |place: &usize| {
            let node = &self.standings[*place];
            !(node.is_silent() && node.due.is_some_and(|due| now < due))
        };
        let out = || {
            all()
                .filter(|place| !self.standings[*place].is_up())
                .filter(quick)
                .filter(|_| last_resort)
        };
        let Some(turn) = turn else {
            assert!(
                up().next().is_none() && out().next().is_none(),
                "no node, although one was left"
            );
            return;
        };
        let Turn { place, generation, .. } = turn;
        assert!(open(&place), "{place} has no weight, or was tried before");
        if turn.is_trial {
            assert!(due_trials.contains(&place), "{place} is on trial, but it is not due");
            return self.begin_trial(place, now, generation);
        }
        // After the clock jumped back a trial may come later, but within the longest wait; see
        // `properties`.
        assert!(
            due_trials.is_empty() || self.clock_went_back,
            "{place} was handed out, but {due_trials:?} must be tried"
        );
        assert_eq!(generation, self.standings[place].generation);
        let asked = |place: &usize| self.standings[*place].asked;
        let Some(best) = up().map(|place| self.standings[place].member.priority).min() else {
            assert!(
                turn.last_resort && out().any(|other| other == place),
                "{place} is no last resort"
            );
            assert_eq!(
                out().map(|other| asked(&other)).min(),
                Some(asked(&place)),
                "another node has waited longer"
            );
            return self.asks(place);
        };
        let node = &self.standings[place];
        assert!(
            !turn.last_resort && node.is_up() && node.member.priority == best,
            "{place}, although a better node is up"
        );
        if self.tier().is_some_and(|tier| best > tier) {
            let spare = || up().filter(|place| self.standings[*place].member.priority == best);
            assert_eq!(spare().map(|other| asked(&other)).min(), Some(asked(&place)), "in turn");
            self.asks(place);
        }
    }

    /// Checks a plain pick against the rules.
    pub fn picked(&mut self, turn: Turn, now: u64) {
        let none = Tried::new();
        if turn.is_trial || self.tier().is_some() {
            return self.turn(Some(turn), &none, Trials::All, true, now);
        }
        let due = |place: &usize| self.standings[*place].due;
        let soonest = self.soonest(&none);
        assert!(
            soonest.iter().any(|other| due(other) == due(&turn.place)),
            "{turn:?}, not {soonest:?}"
        );
    }

    fn begin_trial(&mut self, place: usize, now: u64, generation: u32) {
        let back = self.clock_went_back;
        let node = &mut self.standings[place];
        if let (Some((since, time)), false, false) = (node.ejected, node.on_trial, back) {
            assert!(now >= since + time.as_nanos() as u64, "tried before its ejection was over");
        }
        let until = now + node.member.breaker.trial_time.as_nanos() as u64;
        node.changes(Some(until), true);
        assert_eq!(generation, node.generation);
        self.asks(place);
    }

    pub fn succeeded(
        &mut self,
        place: usize,
        generation: u32,
        proof: Proof,
        now: u64,
        got: Option<Change>,
    ) {
        let node = &mut self.standings[place];
        let is_out = node.due.is_some();
        // A report on a trial counts as long as its ejection does; a report on a node that is up,
        // as long as it stays up.
        let oldest = if is_out { node.fell } else { node.generation };
        let counts = (oldest..=node.generation).contains(&generation);
        let enough = proof == Proof::Answered || !node.is_silent();
        let restored = counts && is_out && enough;
        assert_eq!(got, restored.then_some(Change::Restored));
        if restored {
            node.up_since = now;
            node.changes(None, false);
        }
        if counts && proof == Proof::Answered {
            (node.fails, node.fell_by) = (0, None);
        }
    }

    pub fn failed(
        &mut self,
        place: usize,
        generation: u32,
        fault: Fault,
        now: u64,
        got: Option<Change>,
    ) {
        let node = &mut self.standings[place];
        let is_ejected = node.due.is_some() && !node.on_trial;
        if generation != node.generation || is_ejected {
            assert_eq!(
                got, None,
                "an old outcome, or one of a node that is out, changed something"
            );
            return;
        }
        let (Fault::Soft(way) | Fault::Hard(way)) = fault;
        if node.due.is_none() {
            node.fails += 1;
            let is_hard = matches!(fault, Fault::Hard(_));
            let as_before = node.fell_by == Some(way);
            if !is_hard && !as_before && node.fails < node.member.breaker.max_fails {
                assert_eq!(got, None);
                return;
            }
            let healthy = now.saturating_sub(node.up_since) / (10 * SECOND);
            node.steps = (i64::from(node.steps) - healthy.min(1000) as i64).max(0) as i32;
        }
        node.ejects(way, now, got);
        self.asks(place);
    }

    pub fn gave_back(&mut self, turn: Turn, at: u64) {
        let node = &mut self.standings[turn.place];
        if node.on_trial && node.generation == turn.generation {
            node.ejected = None;
            node.changes(Some(at), false);
        }
    }

    /// Whether a node that is up and not in `tried` is left.
    pub fn has_eligible(&self, tried: &Tried) -> bool {
        let up = |place: &usize| self.standings[*place].is_up() && !tried.contains(*place);
        (0..self.standings.len()).any(|place| up(&place))
    }

    /// Checks that the roster shows what it must.
    pub fn agrees(&self, roster: &Roster, now: u64) {
        for (place, node) in self.standings.iter().enumerate() {
            let state = match (node.takes_turns(), node.due, node.on_trial) {
                (false, ..) => NodeState::Draining,
                (_, None, _) => NodeState::Up,
                (_, _, false) => NodeState::Ejected,
                (_, _, true) => NodeState::OnTrial,
            };
            assert_eq!(roster.state(place, || now), state, "{place}");
            assert_eq!(roster.generation(place), node.generation, "{place}");
            assert_eq!(roster.due(place), node.due.map(|due| due.max(1)), "{place}");
            assert_eq!(roster.ejections(place), node.ejections, "{place}");
        }
        let wait = |node: &Standing| match node.due {
            Some(due) if !node.is_due(now) => due.max(1) - now,
            _ => 0,
        };
        let takers = self.standings.iter().filter(|node| node.takes_turns());
        let soonest = takers.map(wait).min();
        assert_eq!(roster.retry_after(now, true), soonest.map(Duration::from_nanos));
    }
}
