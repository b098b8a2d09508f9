//! The callers. The deliveries take the way of `deliver` and `conn`: which room is asked when, and what is told to whom.

use super::MILLI;
use super::history::{CONNECT_TIMEOUT, Client, Errand};
use super::network::{Fate, Link};
use super::world::{Record, What, World};
use crate::balance::Tried;
use crate::conn::PATIENCE;
use crate::health::Fault;
use crate::roster::Turn;
use crate::visits::Visits;

/// What is to happen at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Begin(usize),
    /// A delivery goes on: it has waited for the budget.
    GoOn(usize),
    DialEnded(Dial),
    /// A delivery waits no longer for a node on trial.
    Leaves(usize, u64),
    Sent(usize, Link, Fate),
    /// An attempt's own I/O has ended.
    Answered(usize, Turn, bool),
    Reported(usize, bool),
    Jump(i64),
}

/// A dial under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    number: u64,
    client: usize,
    link: Link,
    outcome: Result<(), Option<Fault>>,
}

/// A client in the middle of things.
pub struct Running {
    script: Client,
    left: u32,
    last: u64,
    visits: Visits,
    tried: Tried,
    record: usize,
    waits: Option<Wait>,
}

/// The dial a delivery waits for.
struct Wait {
    number: u64,
    why: Why,
}

#[derive(Clone, Copy)]
enum Why {
    /// A node whose turn it is, or the only one that is left.
    Turn,
    /// One on trial, which others could stand in for.
    Aside,
    /// A kept connection was dead. Whether nothing of the payload had gone.
    Fresh { unsent: bool },
}

impl Running {
    pub fn new(script: Client) -> Running {
        let left = script.payloads;
        let (visits, tried) = (Visits::new(0), Tried::new());
        Running { script, left, last: 0, visits, tried, record: 0, waits: None }
    }
}

impl World {
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(client) => self.begin(client),
            Event::GoOn(client) => self.go_on(client),
            Event::DialEnded(dial) => self.dial_ended(dial),
            Event::Leaves(client, number) => {
                if self.clients[client].waits.take_if(|wait| wait.number == number).is_some() {
                    self.set_back(client, true);
                }
            }
            Event::Sent(client, link, fate) => self.sent(client, link, fate),
            Event::Answered(client, turn, good) => self.answered(client, turn, good),
            Event::Reported(place, good) => {
                let generation = self.roster.generation(place);
                self.tell(place, generation, good);
            }
            Event::Jump(_) => unreachable!("the world's own"),
        }
    }

    fn tell(&mut self, place: usize, generation: u32, good: bool) {
        match good {
            true => self.succeeded(place, generation),
            false => self.failed(place, generation, Fault::Soft),
        }
    }

    /// Whether a node does what is asked of it, for those who do their own I/O.
    fn answers(&self, place: usize) -> bool {
        let by = self.now + 50 * MILLI;
        let (_, dialled) = self.server(place).dial(self.now, by);
        let link = Link { place, generation: 0, reused: false, phase: self.server(place).phase(self.now) };
        dialled.is_ok() && self.server(place).send(&link, self.now, by).1 == Fate::Stored
    }

    fn begin(&mut self, client: usize) {
        let (now, attempts) = (self.now, self.history.attempts);
        let running = &mut self.clients[client];
        running.left -= 1;
        match running.script.errand {
            Errand::Deliver => {
                running.last = now + running.script.timeout.as_nanos() as u64;
                running.visits = Visits::new(attempts);
                running.record = self.records.len();
                self.records.push(Record::default());
                self.go_on(client);
            }
            Errand::Attempt | Errand::Forget => {
                running.tried = Tried::new();
                self.ask_on(client);
            }
            Errand::Pick => {
                self.pick();
                self.end(client);
            }
            Errand::Report => {
                if let Some(place) = self.pick() {
                    let good = self.answers(place);
                    self.plan(self.now + 3 * MILLI, Event::Reported(place, good));
                }
                self.end(client);
            }
            Errand::Check(place) => {
                if self.roster.due(place).is_some() {
                    self.dial(client, place, self.now + CONNECT_TIMEOUT.as_nanos() as u64);
                }
                self.end(client);
            }
            Errand::Late { place, age, good } => {
                let generation = self.roster.generation(place).wrapping_sub(age);
                self.tell(place, generation, good);
                self.end(client);
            }
        }
    }

    /// The payload is done with; the next one comes after a pause.
    fn end(&mut self, client: usize) {
        let Running { left, script, .. } = &self.clients[client];
        if *left > 0 {
            self.plan(self.now + script.pause, Event::Begin(client));
        }
    }

    fn told(&mut self, client: usize, delivered: bool) {
        let running = &self.clients[client];
        assert!(self.now <= running.last, "past the deadline by {} ns", self.now - running.last);
        self.records[running.record].delivered = Some(delivered);
        self.note(What::Told { client, delivered });
        self.end(client);
    }

    /// A call into `visits` of one client.
    fn with_visits<T>(&mut self, client: usize, call: impl FnOnce(&mut World, &mut Visits) -> T) -> T {
        let mut visits = std::mem::replace(&mut self.clients[client].visits, Visits::new(0));
        let result = call(self, &mut visits);
        self.clients[client].visits = visits;
        result
    }

    fn set_back(&mut self, client: usize, unsent: bool) {
        self.clients[client].visits.set_back(unsent);
        self.go_on(client);
    }

    fn attempted(&mut self, client: usize) {
        self.clients[client].visits.attempted();
    }

    /// As `Upstream::visit`, `may_go_on` and `next_conn`.
    fn go_on(&mut self, client: usize) {
        let last = self.clients[client].last;
        if !self.clients[client].visits.may_go_on() || self.now >= last {
            return self.told(client, false);
        }
        if let Err(wait) = self.with_visits(client, World::pay) {
            let wait = (wait.as_nanos() as u64).min(last - self.now);
            return self.plan(self.now + wait, Event::GoOn(client));
        }
        let Some((turn, trial)) = self.with_visits(client, World::visit) else {
            return self.told(client, false);
        };
        let within = self.now + CONNECT_TIMEOUT.as_nanos() as u64;
        let (now, end) = (self.instant(self.now), self.instant(last));
        let visits = &self.clients[client].visits;
        let by = visits.connect_by(self.instant(within), now, Some(end), self.roster.takers());
        let by = self.time(by);
        match trial {
            Some(others) => self.try_out(client, turn, others, by),
            None => self.connect(client, turn.place, by),
        }
    }

    /// As `Conn::try_out`.
    fn try_out(&mut self, client: usize, turn: Turn, others: bool, by: u64) {
        if self.idle[turn.place].pop().is_none() && self.server(turn.place).is_full(self.now) {
            self.give_back(turn, PATIENCE);
            if !others {
                self.attempted(client);
            }
            return self.set_back(client, true);
        }
        let number = self.dial(client, turn.place, by);
        let why = if others { Why::Aside } else { Why::Turn };
        self.clients[client].waits = Some(Wait { number, why });
        if others {
            let leaves = by.min(self.now + PATIENCE.as_nanos() as u64);
            self.plan(leaves, Event::Leaves(client, number));
        }
    }

    /// As `Conn::open`.
    fn connect(&mut self, client: usize, place: usize, by: u64) {
        while let Some(link) = self.idle[place].pop() {
            if !self.server(place).is_seen_dead(&link, self.now) {
                self.attempted(client);
                let generation = self.roster.generation(place);
                return self.send(client, Link { generation, reused: true, ..link });
            }
        }
        let number = self.dial(client, place, by);
        self.clients[client].waits = Some(Wait { number, why: Why::Turn });
    }

    fn dial(&mut self, client: usize, place: usize, by: u64) -> u64 {
        let (end, outcome) = self.server(place).dial(self.now, by);
        let (generation, phase) = (self.roster.generation(place), self.server(place).phase(self.now));
        let number = self.trace.len() as u64 * 64 + client as u64;
        let link = Link { place, generation, reused: false, phase };
        self.plan(end, Event::DialEnded(Dial { number, client, link, outcome }));
        number
    }

    /// As `Dial::ended`, and what its caller makes of it.
    fn dial_ended(&mut self, dial: Dial) {
        let Link { place, generation, .. } = dial.link;
        match dial.outcome {
            Ok(()) if self.roster.due(place).is_some() => self.succeeded(place, generation),
            Err(Some(fault)) => self.failed(place, generation, fault),
            Ok(()) | Err(None) => {}
        }
        let client = dial.client;
        match (self.clients[client].waits.take_if(|wait| wait.number == dial.number), dial.outcome) {
            (Some(wait), Ok(())) => {
                if !matches!(wait.why, Why::Fresh { .. }) {
                    self.attempted(client);
                }
                self.send(client, dial.link);
            }
            (Some(wait), Err(_)) => {
                if matches!(wait.why, Why::Turn) {
                    self.attempted(client);
                }
                let unsent = if let Why::Fresh { unsent } = wait.why { unsent } else { true };
                self.set_back(client, unsent);
            }
            // A trial that was given up is kept; an active check is closed.
            (None, Ok(())) if self.clients[client].script.errand == Errand::Deliver => {
                self.idle[place].push(dial.link);
            }
            (None, _) => {}
        }
    }

    fn send(&mut self, client: usize, link: Link) {
        let (end, fate) = self.server(link.place).send(&link, self.now, self.clients[client].last);
        self.plan(end, Event::Sent(client, link, fate));
    }

    /// As `Upstream::attempt`.
    fn sent(&mut self, client: usize, link: Link, fate: Fate) {
        let Link { place, generation, .. } = link;
        let record = self.clients[client].record;
        match fate {
            Fate::Stored => {
                self.records[record].stored += 1;
                self.succeeded(place, generation);
                self.idle[place].push(link);
                self.paid_back();
                self.told(client, true);
            }
            Fate::Dead if link.reused => {
                self.idle[place].clear();
                let by = (self.now + CONNECT_TIMEOUT.as_nanos() as u64).min(self.clients[client].last);
                let number = self.dial(client, place, by);
                self.clients[client].waits = Some(Wait { number, why: Why::Fresh { unsent: false } });
            }
            Fate::AckLost => {
                self.records[record].stored += 1;
                self.records[record].acks_lost += 1;
                self.failed(place, generation, Fault::Soft);
                self.set_back(client, false);
            }
            Fate::Dead | Fate::Failed { .. } => {
                self.failed(place, generation, Fault::Soft);
                self.set_back(client, matches!(fate, Fate::Failed { unsent: true }));
            }
        }
    }

    /// As `Attempt::next_node`.
    fn ask_on(&mut self, client: usize) {
        let mut tried = std::mem::take(&mut self.clients[client].tried);
        let turn = self.ask(&mut tried);
        self.clients[client].tried = tried;
        match turn {
            Some(turn) if self.clients[client].script.errand == Errand::Attempt => {
                let good = self.answers(turn.place);
                self.plan(self.now + 3 * MILLI, Event::Answered(client, turn, good));
            }
            _ => self.end(client),
        }
    }

    /// As `Attempt::end`, or as its next call where it failed.
    fn answered(&mut self, client: usize, turn: Turn, good: bool) {
        self.tell(turn.place, turn.generation, good);
        if good {
            self.paid_back();
            self.end(client);
        } else {
            self.ask_on(client);
        }
    }
}
