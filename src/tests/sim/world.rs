//! Virtual time, the code under test, and a check of every call into it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::clients::{Event, Running};
use super::expected::Expected;
use super::history::{History, Server};
use super::network::Link;
use super::shares::Shares;
use super::thrift::Thrift;
use crate::balance::breaker::{Fault, Proof};
use crate::balance::budget::Budget;
use crate::balance::roster::{Change, Roster, Trials, Turn};
use crate::balance::visits::{LAST_RESORTS, Next, Visits, next_of_attempt};
use crate::balance::{Mode, Tried};

/// One thing that happened, to compare runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Event(Event),
    Turn(Option<Turn>),
    Changed(usize, Change),
    Denied,
    Told { client: usize, delivered: bool },
}

/// What happened to a payload of a client that delivers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    /// How often a node stored it.
    pub stored: u32,
    /// How often a node stored it and did not acknowledge it.
    pub acks_lost: u32,
    /// What the caller was told: whether it was delivered.
    pub delivered: Option<bool>,
}

pub struct World {
    /// True time, which the deadlines use.
    pub now: u64,
    /// The difference of the health clock from it.
    skew: i64,
    epoch: Instant,
    pub history: History,
    pub roster: Roster,
    budget: Budget,
    pub expected: Expected,
    pub shares: Shares,
    pub thrift: Thrift,
    /// Kept connections of each node, newest last.
    pub idle: Vec<Vec<Link>>,
    pub clients: Vec<Running>,
    pub records: Vec<Record>,
    pub trace: Vec<Step>,
    agenda: BTreeMap<(u64, u64), Event>,
    numbers: u64,
}

impl World {
    pub fn new(history: &History) -> World {
        let members = history.servers.iter().map(|server| server.member).collect();
        let roster = Roster::new(
            Mode::RoundRobin,
            members,
            history.start,
            history.seed,
            history.morning,
            false,
        );
        let expected = Expected::new(&history.servers, history.morning);
        let places = history.servers.len();
        let mut world = World {
            now: 0,
            skew: history.morning as i64,
            epoch: Instant::now(),
            roster,
            budget: Budget::default(),
            shares: Shares::new(expected.rotation(), history.start, places),
            expected,
            thrift: Thrift::default(),
            idle: vec![Vec::new(); places],
            clients: history.clients.iter().cloned().map(Running::new).collect(),
            records: Vec::new(),
            trace: Vec::new(),
            agenda: BTreeMap::new(),
            numbers: 0,
            history: history.clone(),
        };
        for (client, script) in history.clients.iter().enumerate() {
            world.plan(script.begins, Event::Begin(client));
        }
        for (at, by) in &history.jumps {
            world.plan(*at, Event::Jump(*by));
        }
        world
    }

    /// Runs a history to its end.
    pub fn run(history: &History) -> World {
        let mut world = World::new(history);
        while let Some(((at, _), event)) = world.agenda.pop_first() {
            world.now = at;
            world.note(What::Event(event));
            assert!(world.trace.len() < 200_000, "the run does not end");
            match event {
                Event::Jump(by) => world.jump(by),
                event => world.happen(event),
            }
        }
        world.shares.agrees(&world.roster);
        world
    }

    fn jump(&mut self, by: i64) {
        let before = self.clock();
        self.skew += by;
        if self.clock() < before {
            self.expected.clock_went_back = true;
            self.thrift.jumped_back(self.now, self.clock());
        }
        self.settle();
    }

    pub fn plan(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        self.agenda.insert((at.max(self.now), self.numbers), event);
    }

    pub fn note(&mut self, what: What) {
        self.trace.push(Step { at: self.now, what });
    }

    /// The health clock.
    pub fn clock(&self) -> u64 {
        u64::try_from(self.now as i64 + self.skew).unwrap_or(0)
    }

    /// True time as an Instant.
    pub fn instant(&self, time: u64) -> Instant {
        self.epoch + Duration::from_nanos(time)
    }

    pub fn time(&self, instant: Instant) -> u64 {
        instant.duration_since(self.epoch).as_nanos() as u64
    }

    pub fn server(&self, place: usize) -> &Server {
        &self.history.servers[place]
    }

    /// Checks that everything agrees after a change.
    fn settle(&mut self) {
        let now = self.clock();
        self.expected.agrees(&self.roster, now);
        let tier_of = |place: usize| self.expected.standings[place].member.priority;
        self.shares.follow(self.expected.rotation(), tier_of);
    }

    /// Checks the next turn of a payload that has been to `before`.
    fn judge(&mut self, turn: Option<Turn>, before: &Tried, trials: Trials, last_resort: bool) {
        let now = self.clock();
        self.note(What::Turn(turn));
        self.shares.turn(turn, before, &self.roster);
        self.expected.turn(turn, before, trials, last_resort, now);
        self.settle();
    }

    /// The next node of a delivery, and whether others could take the payload if it is on trial.
    pub fn visit(&mut self, visits: &mut Visits) -> Option<Next> {
        let (before, now) = (visits.tried().clone(), self.clock());
        let (trials, resorts) = (visits.trials(), visits.last_resorts());
        let all_out = self.expected.tier().is_none();
        let next = visits.next(&self.roster, || now);
        if all_out && resorts >= LAST_RESORTS {
            assert_eq!(next, None, "a payload asks only a few of the nodes that are out");
            return None;
        }
        self.judge(next.map(|next| next.turn), &before, trials, resorts < LAST_RESORTS);
        if let Some(Next { others: Some(others), .. }) = next {
            assert_eq!(others, self.expected.has_eligible(visits.tried()));
        }
        next
    }

    /// A trial that a payload begins and does not wait for.
    pub fn aside(&mut self, visits: &Visits) -> Option<Turn> {
        let now = self.clock();
        let turn = self.roster.trial_due(visits.tried(), Trials::ByConnection, || now)?;
        self.judge(Some(turn), visits.tried(), Trials::ByConnection, false);
        Some(turn)
    }

    /// Whether a payload may ask another node.
    pub fn has_next(&self, visits: &Visits) -> bool {
        let now = self.clock();
        visits.has_next(&self.roster, || now)
    }

    /// Pays for the next attempt. `Err`: how long to wait.
    pub fn pay(&mut self, visits: &mut Visits) -> Result<(), Duration> {
        let (owes, now) = (visits.owes(), self.clock());
        let paid = visits.pay(&self.budget, || now);
        match paid {
            Ok(()) if owes && visits.resends() => self.thrift.granted(self.now, now),
            Ok(()) if owes => self.thrift.may_have_granted(self.now, now),
            Ok(()) => {}
            Err(_) => self.denied(),
        }
        assert!(owes || paid.is_ok());
        paid
    }

    fn denied(&mut self) {
        self.note(What::Denied);
        self.thrift.denied(self.now);
    }

    /// The next node of an attempt.
    pub fn ask(&mut self, visits: &mut Visits) -> Option<Turn> {
        let (before, now) = (visits.tried().clone(), self.clock());
        let (resorts, retry) = (visits.last_resorts(), visits.is_retry());
        let trials = if visits.patience().is_zero() { Trials::None } else { Trials::All };
        let over = !visits.others_left(self.roster.takers())
            || self.expected.tier().is_none() && resorts >= LAST_RESORTS;
        let due_trials = self.expected.due_trials(&before, trials, now);
        let has_next = self.has_next(visits);
        let turn = next_of_attempt(visits, &self.roster, &self.budget, || now, true);
        if over {
            assert_eq!(turn, None);
            return None;
        }
        let is_trial = turn.is_some_and(|turn| turn.is_trial);
        let all_out = self.expected.tier().is_none();
        let pays = if all_out { before.count() > 0 } else { retry && !is_trial };
        match turn {
            None if pays && has_next => {
                self.denied();
                return None;
            }
            Some(_) if pays => self.thrift.granted(self.now, now),
            _ => {}
        }
        let trials = if is_trial { trials } else { Trials::None };
        assert!(
            is_trial || due_trials.is_empty() || self.expected.clock_went_back,
            "{due_trials:?} must be tried"
        );
        self.judge(turn, &before, trials, resorts < LAST_RESORTS);
        turn
    }

    /// `upstream_next_node`.
    pub fn pick(&mut self) -> Option<usize> {
        let now = self.clock();
        let before: u64 = self.roster.turns();
        let place = self.roster.next(|| now)?;
        let is_trial = self.roster.turns() == before;
        let turn =
            Turn { place, generation: self.roster.generation(place), is_trial, last_resort: false };
        self.note(What::Turn(Some(turn)));
        self.shares.turn(Some(turn), &Tried::new(), &self.roster);
        self.expected.picked(turn, now);
        self.settle();
        Some(place)
    }

    pub fn succeeded(&mut self, place: usize, generation: u32, proof: Proof) {
        let now = self.clock();
        let change = self.roster.succeeded(place, generation, proof, || now);
        self.expected.succeeded(place, generation, proof, now, change);
        self.changed(place, change);
    }

    pub fn failed(&mut self, place: usize, generation: u32, fault: Fault) {
        let now = self.clock();
        let change = self.roster.failed(place, generation, fault, now);
        self.expected.failed(place, generation, fault, now, change);
        if change.is_some() {
            self.idle[place].clear();
        }
        self.changed(place, change);
    }

    fn changed(&mut self, place: usize, change: Option<Change>) {
        if let Some(change) = change {
            self.note(What::Changed(place, change));
        }
        self.settle();
    }

    /// The trial could not begin, or had no result.
    pub fn give_back(&mut self, turn: Turn, pause: Duration) {
        let at = self.clock().saturating_add(pause.as_nanos() as u64);
        self.roster.give_back(turn, at);
        self.expected.gave_back(turn, at);
        self.settle();
    }

    /// A payload was delivered.
    pub fn paid_back(&mut self) {
        self.budget.succeeded();
        self.thrift.succeeded();
    }
}
