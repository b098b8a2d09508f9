//! The clients. Their deliveries do what `deliver` and `conn` do: they call the same code in the
//! same order and report the same outcomes.

use super::MILLI;
use super::history::{CONNECT_TIMEOUT, Client, Errand};
use super::network::{Fate, Link};
use super::world::{Record, What, World};
use crate::balance::breaker::{Fault, Proof, Way};
use crate::balance::roster::Turn;
use crate::balance::visits::{Next, PATIENCE, SetBack, Visits};

/// An event that is planned for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Begin(usize),
    /// A delivery that has waited for the budget goes on.
    GoOn(usize),
    DialEnded(Dial),
    /// A delivery stops waiting for a node on trial.
    Leaves(usize, u64),
    Sent(usize, Link, Fate),
    /// The I/O of an attempt has ended.
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

/// A client and its current payload.
pub struct Running {
    script: Client,
    left: u32,
    last: u64,
    visits: Visits,
    record: usize,
    waits: Option<Wait>,
    /// Failures that the payload may have caused: the place, and the generation.
    suspects: Vec<(usize, u32)>,
    /// It reached a node and did not fail there in that way.
    differs: bool,
    /// No node was up when its current node was asked.
    all_out: bool,
    /// When its time at that node ends.
    by: u64,
}

/// The dial that a delivery waits for.
struct Wait {
    number: u64,
    why: Why,
    since: u64,
}

#[derive(Clone, Copy)]
enum Why {
    /// A node whose turn it is, or the only one that is left.
    Turn,
    /// A node on trial, while others could take the payload.
    Aside,
    /// A kept connection was dead. `unsent`: nothing of the payload was sent.
    Fresh { unsent: bool },
}

impl Running {
    pub fn new(script: Client) -> Running {
        let left = script.payloads;
        let (visits, suspects) = (Visits::new(0), Vec::new());
        Running {
            script,
            left,
            last: 0,
            visits,
            record: 0,
            waits: None,
            suspects,
            differs: false,
            all_out: false,
            by: 0,
        }
    }
}

impl World {
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(client) => self.begin(client),
            Event::GoOn(client) => self.go_on(client),
            Event::DialEnded(dial) => self.dial_ended(dial),
            Event::Leaves(client, number) => {
                if let Some(wait) = self.clients[client].waits.take_if(|wait| wait.number == number)
                {
                    self.waited(client, &wait);
                    self.set_back(client, SetBack::Unsent { all_out: false });
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
            true => self.succeeded(place, generation, Proof::Answered),
            false => self.failed(place, generation, Fault::Soft(Way::Answer)),
        }
    }

    /// Whether a node does what a client asks that does its own I/O.
    fn answers(&self, place: usize) -> bool {
        let by = self.now + 50 * MILLI;
        let (_, dialled) = self.server(place).dial(self.now, by);
        let link =
            Link { place, generation: 0, reused: false, phase: self.server(place).phase(self.now) };
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
                running.visits = Visits::new(attempts);
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

    /// The payload is done; the next one comes after a pause.
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
        let suspects = std::mem::take(&mut self.clients[client].suspects);
        let is_poison = suspects.len() > 1 && !std::mem::take(&mut self.clients[client].differs);
        for (place, generation) in suspects {
            match is_poison {
                false => self.failed(place, generation, Fault::Soft(Way::Broken)),
                true => self.give_back_of(place, generation),
            }
        }
        self.note(What::Told { client, delivered });
        self.end(client);
    }

    /// A call into `visits` of one client.
    fn with_visits<T>(
        &mut self,
        client: usize,
        call: impl FnOnce(&mut World, &mut Visits) -> T,
    ) -> T {
        let mut visits = std::mem::replace(&mut self.clients[client].visits, Visits::new(0));
        let result = call(self, &mut visits);
        self.clients[client].visits = visits;
        result
    }

    fn set_back(&mut self, client: usize, how: SetBack) {
        self.clients[client].visits.set_back(how);
        self.go_on(client);
    }

    fn waited(&mut self, client: usize, wait: &Wait) {
        if matches!(wait.why, Why::Aside) {
            let time = std::time::Duration::from_nanos(self.now - wait.since);
            self.clients[client].visits.waited(time);
        }
    }

    /// What a failed connect means for the payload.
    fn unsent(&self, all_out: bool) -> SetBack {
        SetBack::Unsent { all_out }
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
        if let Err(wait) = self.with_visits(client, |world, visits| match world.has_next(visits) {
            true => world.pay(visits),
            false => Ok(()),
        }) {
            let wait = (wait.as_nanos() as u64).min(last - self.now);
            return self.plan(self.now + wait, Event::GoOn(client));
        }
        let all_out = self.expected.tier().is_none();
        let Some(Next { turn, others }) = self.with_visits(client, World::visit) else {
            return self.told(client, false);
        };
        self.clients[client].all_out = all_out;
        let within = self.now + CONNECT_TIMEOUT.as_nanos() as u64;
        let (now, end) = (self.instant(self.now), self.instant(last));
        let visits = &self.clients[client].visits;
        let share = visits.share(now, end, self.roster.takers());
        let by = share.map_or(last, |share| self.time(share.ends)).min(within);
        self.clients[client].by = share.map_or(last, |share| self.time(share.ends));
        if others == Some(true) {
            while let Some(turn) = self.with_visits(client, |world, visits| world.aside(visits)) {
                self.begin_aside(client, turn);
            }
        }
        match others {
            Some(others) => self.try_out(client, turn, others, by),
            None => self.connect(client, turn.place, by),
        }
    }

    /// As `Conn::try_out_aside`.
    fn begin_aside(&mut self, client: usize, turn: Turn) {
        if self.idle[turn.place].pop().is_none() && self.server(turn.place).is_full(self.now) {
            return self.give_back(turn, PATIENCE);
        }
        self.dial(client, turn.place, self.now + CONNECT_TIMEOUT.as_nanos() as u64);
    }

    /// As `Conn::try_out`.
    fn try_out(&mut self, client: usize, turn: Turn, others: bool, by: u64) {
        let all_out = self.clients[client].all_out;
        if self.idle[turn.place].pop().is_none() && self.server(turn.place).is_full(self.now) {
            self.give_back(turn, PATIENCE);
            if !others {
                self.attempted(client);
            }
            return self.set_back(client, self.unsent(all_out));
        }
        let number = self.dial(client, turn.place, by);
        let why = if others { Why::Aside } else { Why::Turn };
        self.clients[client].waits = Some(Wait { number, why, since: self.now });
        if others {
            let patience = self.clients[client].visits.patience().as_nanos() as u64;
            self.plan(by.min(self.now + patience), Event::Leaves(client, number));
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
        self.clients[client].waits = Some(Wait { number, why: Why::Turn, since: self.now });
    }

    fn dial(&mut self, client: usize, place: usize, by: u64) -> u64 {
        let (end, outcome) = self.server(place).dial(self.now, by);
        let (generation, phase) =
            (self.roster.generation(place), self.server(place).phase(self.now));
        let number = self.trace.len() as u64 * 64 + client as u64;
        let link = Link { place, generation, reused: false, phase };
        self.plan(end, Event::DialEnded(Dial { number, client, link, outcome }));
        number
    }

    /// As `Dial::ended`, and what its caller does with the result.
    fn dial_ended(&mut self, dial: Dial) {
        let Link { place, generation, .. } = dial.link;
        let mut link = dial.link;
        match dial.outcome {
            Ok(()) if self.roster.due(place).is_some() => {
                self.succeeded(place, generation, Proof::Connected);
                if self.roster.due(place).is_none() {
                    link.generation = self.roster.generation(place);
                }
            }
            Err(Some(fault)) => self.failed(place, generation, fault),
            Ok(()) | Err(None) => {}
        }
        let client = dial.client;
        let all_out = self.clients[client].all_out;
        match (self.clients[client].waits.take_if(|wait| wait.number == dial.number), dial.outcome)
        {
            (Some(wait), Ok(())) => {
                if !matches!(wait.why, Why::Fresh { .. }) {
                    self.attempted(client);
                }
                self.send(client, link);
            }
            (Some(wait), Err(_)) => {
                self.waited(client, &wait);
                if matches!(wait.why, Why::Turn) {
                    self.attempted(client);
                }
                let how = match wait.why {
                    Why::Fresh { unsent: false } => SetBack::MayHaveArrived,
                    _ => self.unsent(all_out),
                };
                self.set_back(client, how);
            }
            // The connection of a trial whose caller has left is kept; that of an active check is
            // closed.
            (None, Ok(())) if self.clients[client].script.errand == Errand::Deliver => {
                if self.roster.due(place).is_some() {
                    self.give_back_of(place, generation);
                } else {
                    self.idle[place].push(link);
                }
            }
            (None, _) => {}
        }
    }

    /// The trial of that generation had no result.
    fn give_back_of(&mut self, place: usize, generation: u32) {
        self.give_back(
            Turn { place, generation, is_trial: true, last_resort: false },
            std::time::Duration::ZERO,
        );
    }

    fn send(&mut self, client: usize, link: Link) {
        let (end, fate) = self.server(link.place).send(&link, self.now, self.clients[client].by);
        self.plan(end, Event::Sent(client, link, fate));
    }

    /// As `Upstream::attempt`.
    fn sent(&mut self, client: usize, link: Link, fate: Fate) {
        let Link { place, generation, .. } = link;
        let record = self.clients[client].record;
        let all_out = self.clients[client].all_out;
        match fate {
            Fate::Stored => {
                self.records[record].stored += 1;
                self.clients[client].differs = true;
                self.succeeded(place, generation, Proof::Answered);
                self.idle[place].push(link);
                self.paid_back();
                self.told(client, true);
            }
            Fate::Dead if link.reused && self.now < self.clients[client].by => {
                self.idle[place].clear();
                let by =
                    (self.now + CONNECT_TIMEOUT.as_nanos() as u64).min(self.clients[client].by);
                let number = self.dial(client, place, by);
                let why = Why::Fresh { unsent: false };
                self.clients[client].waits = Some(Wait { number, why, since: self.now });
            }
            Fate::Dead if link.reused => self.set_back(client, SetBack::MayHaveArrived),
            Fate::AckLost => {
                self.records[record].stored += 1;
                self.records[record].acks_lost += 1;
                self.clients[client].differs = true;
                self.failed(place, generation, Fault::Soft(Way::Silence));
                self.set_back(client, SetBack::MayHaveArrived);
            }
            Fate::Failed { unsent: true } => {
                self.failed(place, generation, Fault::Soft(Way::Broken));
                self.set_back(client, self.unsent(all_out));
            }
            Fate::Dead | Fate::Failed { unsent: false } => {
                self.clients[client].suspects.push((place, generation));
                self.set_back(client, SetBack::MayHaveArrived);
            }
        }
    }

    /// As `Attempt::next_node`.
    fn ask_on(&mut self, client: usize) {
        let turn = self.with_visits(client, World::ask);
        match turn {
            Some(turn) if self.clients[client].script.errand == Errand::Attempt => {
                let good = self.answers(turn.place);
                self.plan(self.now + 3 * MILLI, Event::Answered(client, turn, good));
            }
            _ => self.end(client),
        }
    }

    /// As `Attempt::end`, or as `Attempt::next_node` if it failed.
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
