//! Takes a dial through its stages: name lookup, race of addresses, TLS handshake. Each step goes
//! as far as it can without waiting.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::lookup::{Lookup, Next};
use super::running::Work;
use super::stage::{Dial, Stage, append_failures};
use crate::base::error::{Blame, Error, Phase, Status};
use crate::net::address::Address;
use crate::net::channel::Channel;
use crate::net::local;
use crate::net::race::{self, Failed, Race, Standing, Watch, Why};
use crate::net::resolve::{Answer, Family, NoAnswer};
use crate::net::socket::Ready;
use crate::net::target::{Door, Target};

/// If a server ended the last connections at once, a new one is used only after it has stayed open
/// for two round trips, measured from the connect (the server accepts it one trip after this side
/// has it). This is the shortest such wait.
const OBSERVE_LEAST: Duration = Duration::from_millis(100);

/// The longest such wait.
const OBSERVE_MOST: Duration = Duration::from_millis(250);

impl Work {
    pub(super) fn begin(&mut self, id: u64, mut dial: Dial) {
        let net = Arc::clone(&dial.target.net);
        let host: Arc<str> = match dial.target.door() {
            Door::Unix(_) => {
                self.dials.insert(id, dial);
                return self.race(id);
            }
            Door::Host(host, _) => match host.parse::<IpAddr>() {
                Err(_) => host.into(),
                Ok(address) => {
                    dial.lookup = Lookup::new(Some(SocketAddr::new(address, 0)), &net);
                    self.dials.insert(id, dial);
                    return self.race(id);
                }
            },
        };
        let now = Instant::now();
        let mut asked = Vec::new();
        for family in Lookup::wanted(&net) {
            let (known, ask) = self.cache.ask(&host, family, net.dns_ttl, now);
            if ask {
                asked.push((family, known.is_in_vain()));
            }
            dial.lookup.know(family, known);
        }
        dial.lookup.plan(false, now, dial.deadline);
        let awaits = dial.lookup.awaits_any();
        self.dials.insert(id, dial);
        if awaits {
            self.await_names(&host, id);
        }
        for (family, in_vain) in asked {
            self.look_up(&host, family, in_vain);
        }
        self.go_on(id);
    }

    fn await_names(&mut self, host: &Arc<str>, id: u64) {
        let waiting = self.names.entry(Arc::clone(host)).or_default();
        // A lookup may take long, and the dials that do without it are over before.
        if waiting.len() >= 64 && waiting.len().is_power_of_two() {
            waiting.retain(|id| self.dials.contains_key(id));
        }
        waiting.push(id);
    }

    fn look_up(&mut self, host: &Arc<str>, family: Family, in_vain: bool) {
        let mailbox = Arc::clone(&self.mailbox);
        let name = Arc::clone(host);
        let answer = move |answer| {
            mailbox.post(|letters| letters.answers.push((name, family, answer)));
        };
        if let Err(error) = self.resolver.start(host, family, in_vain, answer) {
            let cause = format!("the thread for the lookup cannot be started: {error}");
            let errno = error.raw_os_error().unwrap_or(0);
            self.resolved(host, family, &Err(NoAnswer { cause, blame: Blame::Local, errno }));
        }
    }

    /// Takes the answer to a lookup to the dials that wait for it or could use it.
    pub(super) fn resolved(&mut self, host: &Arc<str>, family: Family, answer: &Answer) {
        let now = Instant::now();
        self.cache.answered(host, family, answer, now);
        let waiting = self.names.remove(host).unwrap_or_default();
        let mut left = Vec::new();
        for id in waiting {
            let Some(dial) = self.dials.get_mut(&id) else { continue };
            if dial.lookup.awaits(family) {
                dial.lookup.answered(family, answer);
                dial.lookup.plan(true, now, dial.deadline);
                self.go_on(id);
            }
            if self.dials.get(&id).is_some_and(|dial| dial.lookup.awaits_any()) {
                left.push(id);
            }
        }
        if !left.is_empty() {
            self.names.entry(Arc::clone(host)).or_default().extend(left);
        }
    }

    /// Goes on with what is known of the name.
    pub(super) fn go_on(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else { return };
        match &dial.stage {
            Stage::Resolving => match dial.lookup.next(Instant::now()) {
                Next::Wait => {}
                Next::Race => self.race(id),
                Next::Fail(no) => self.unresolved(id, &no),
            },
            Stage::Racing(_) => {
                let addresses = arranged(dial, &mut |_, families| families.map(|list| list.len()));
                if let Stage::Racing(race) = &mut dial.stage {
                    race.add(addresses);
                }
                self.advance(id); // it may have nothing else to try
            }
            Stage::Observing(..) => {}
        }
    }

    fn unresolved(&mut self, id: u64, no: &NoAnswer) {
        if let Some(dial) = self.dials.get(&id) {
            let cause = format!("{}: {}", dial.target.looked_up(), no.cause);
            let error = dial.target.error(Status::Resolve, Phase::Resolve, cause);
            self.finish(id, Err(Error { blame: no.blame, errno: no.errno, ..error }));
        }
    }

    fn race(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        let addresses =
            arranged(dial, &mut |node, families| self.history.arrange(node, families, now));
        if addresses.is_empty() {
            let cause = format!(
                "{} has no address of the same family (IPv4 or IPv6) as net.source_address; \
                 set net.source_address to an address of the other family, or remove it",
                dial.target.looked_up()
            );
            let error = dial.target.error(Status::Connect, Phase::Connect, cause);
            return self.finish(id, Err(Error { blame: Blame::Local, ..error }));
        }
        let time = dial.deadline.saturating_duration_since(now);
        dial.raced = now;
        dial.stage = Stage::Racing(Box::new(Race::new(addresses, time, now)));
        self.advance(id);
    }

    /// Takes a dial as far as it can go without waiting.
    pub(super) fn advance(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let Dial { stage, target, lookup, .. } = dial;
        match stage {
            Stage::Resolving => {}
            Stage::Racing(race) => {
                let now = Instant::now();
                let standing = race.advance(target, now);
                for socket in race.take_over() {
                    let _ = self.mailbox.epoll.get().delete(&socket); // see `unwatch_closing`
                }
                match standing {
                    Standing::Running { watch } => self.watch(id, &watch),
                    Standing::Lost if lookup.hope_until().is_some_and(|by| now < by) => {}
                    Standing::Lost => {
                        let error = lost(target, race, lookup.awaits_any());
                        self.finish(id, Err(error));
                    }
                    Standing::Won(channel) => self.won(id, channel),
                }
            }
            Stage::Observing(..) => self.observe(id),
        }
    }

    fn watch(&mut self, id: u64, watch: &[Watch]) {
        let Some(Dial { stage: Stage::Racing(race), target, .. }) = self.dials.get(&id) else {
            return;
        };
        let epoll = self.mailbox.epoll.get();
        for Watch { fd, ready, is_new } in watch {
            let Some(socket) = race.socket(*fd) else { continue };
            let flags = match ready {
                Ready::Write => EpollFlags::EPOLLOUT,
                Ready::Read => EpollFlags::EPOLLIN,
            };
            let mut event = EpollEvent::new(flags, id);
            let watched = match is_new {
                true => epoll.add(socket, event),
                false => epoll.modify(socket, &mut event),
            };
            if let Err(error) = watched {
                let error = target.system_error(Status::Connect, Phase::Connect, &error.into());
                return self.finish(id, Err(error));
            }
        }
    }

    /// A connection has won the race.
    fn won(&mut self, id: u64, channel: Channel) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        if let Stage::Racing(race) = &mut dial.stage {
            let (node, winner) = (&dial.target.name, channel.peer());
            if let Address::Ip(winner) = winner {
                let losers = race.begun().filter_map(|address| match address {
                    Address::Ip(loser) => Some(*loser),
                    Address::Unix(_) => None,
                });
                self.history.won(node, *winner, losers, Instant::now());
            }
            race.abort();
            for socket in race.take_over() {
                let _ = self.mailbox.epoll.get().delete(&socket); // see `unwatch_closing`
            }
        }
        self.observe_or_give(id, channel);
    }

    /// The connection is good, as far as the time allowed to see.
    pub(super) fn passes(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut dial.stage, Stage::Resolving) {
            Stage::Racing(mut race) => {
                let unjudged = race.take_unjudged();
                dial.stage = Stage::Racing(race);
                if let Some(channel) = unjudged {
                    self.won(id, channel);
                }
            }
            Stage::Observing(channel, _) => self.give(id, *channel),
            Stage::Resolving => {}
        }
    }

    /// Uses the connection, or first waits to see that the server does not end it at once, as it
    /// did with the last ones.
    fn observe_or_give(&mut self, id: u64, channel: Channel) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        if !dial.target.wary.load(Relaxed) || dial.deadline <= now {
            return self.give(id, channel);
        }
        let wait =
            (now.saturating_duration_since(dial.raced) * 2).clamp(OBSERVE_LEAST, OBSERVE_MOST);
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, id);
        let watched = self.mailbox.epoll.get().modify(channel.socket(), &mut event);
        dial.stage = Stage::Observing(Box::new(channel), now + wait);
        match watched {
            Ok(()) => self.observe(id),
            Err(error) => {
                let error =
                    dial.target.system_error(Status::Connect, Phase::Connect, &error.into());
                self.finish(id, Err(error));
            }
        }
    }

    fn observe(&mut self, id: u64) {
        let Some(Dial { stage: Stage::Observing(channel, until), target, .. }) =
            self.dials.get_mut(&id)
        else {
            return;
        };
        match channel.has_spoken() {
            Ok(false) if Instant::now() < *until => {}
            Ok(_) => self.passes(id),
            Err(failure @ (Status::Tls | Status::Cert, ..)) => {
                let error = target.failure(Phase::Tls, failure);
                self.finish(id, Err(error));
            }
            Err((_, errno, cause)) => {
                let cause = format!(
                    "{cause} as soon as it was made, like the one before; if this is a balancer, \
                     does it have a server behind it?"
                );
                let error = target.failure(Phase::Connect, (Status::Connect, errno, cause));
                self.finish(id, Err(error));
            }
        }
    }

    fn give(&mut self, id: u64, channel: Channel) {
        let Some(dial) = self.dials.remove(&id) else {
            return;
        };
        // Taken out of this thread's epoll, so that the caller's traffic does not wake the thread.
        let result = self.unwatch(&channel).map(|()| channel);
        let failed = |error| dial.target.system_error(Status::Connect, Phase::Connect, &error);
        dial.reply.leave(result.map_err(failed));
    }

    fn unwatch(&self, channel: &Channel) -> io::Result<()> {
        let socket: BorrowedFd<'_> = channel.descriptor();
        Ok(self.mailbox.epoll.get().delete(socket)?)
    }
}

/// Sorts the addresses of each family of a node, and says how many are in good standing.
type Arrange<'a> = dyn FnMut(&str, [&mut [SocketAddr]; 2]) -> [usize; 2] + 'a;

/// The addresses that a dial knows, in the order of the race and with the port. `arrange` sorts
/// those of each family and says how many are in good standing.
fn arranged(dial: &Dial, arrange: &mut Arrange<'_>) -> Vec<Address> {
    let port = match dial.target.door() {
        Door::Unix(path) => return vec![Address::Unix(path.into())],
        Door::Host(_, port) => port,
    };
    let mut families = dial.lookup.addresses();
    let source = dial.target.net.source_address.map(Family::of);
    for addresses in &mut families {
        addresses.retain(|address| source.is_none_or(|only| only == Family::of(address.ip())));
        addresses.iter_mut().for_each(|address| address.set_port(port));
    }
    let [first, second] = &mut families;
    let good = arrange(&dial.target.name, [first, second]);
    race::order([first, second], good).into_iter().map(Address::Ip).collect()
}

/// The error of a race that no address won. `unanswered`: a lookup that might bring other addresses
/// is still running.
fn lost(target: &Target, race: &Race, unanswered: bool) -> Error {
    let failures = race.failures();
    let find = |telling: fn(&Why) -> bool| failures.iter().find(|failed| telling(&failed.why));
    // An address that could not be tried because a descriptor or memory was missing might have been
    // the one that answers, so it counts first. Next counts a failure with a server in it: it says
    // more than a failure of this machine; a failed handshake more than no connection.
    let exhausted = find(|why| local::is_exhausted(&why.error()));
    let of_tls = find(|why| matches!(why, Why::Tls(_)) && !why.is_local());
    let of_server = of_tls.or_else(|| find(|why| !why.is_local()));
    let is_local = exhausted.is_some() || of_server.is_none();
    let (status, phase, errno) = match exhausted.or(of_server).or(failures.first()) {
        Some(Failed { why: Why::Tls((status, errno, _)), .. }) => (*status, Phase::Tls, *errno),
        telling => {
            let timed_out = |failed: &Failed| failed.why.error().kind() == ErrorKind::TimedOut;
            let status =
                if failures.iter().all(timed_out) { Status::Timeout } else { Status::Connect };
            let errno = telling.and_then(|failed| failed.why.error().raw_os_error());
            (status, Phase::Connect, errno.unwrap_or(0))
        }
    };
    let mut cause = String::new();
    append_failures(&mut cause, race, target, phase);
    if unanswered {
        let host = target.looked_up();
        cause.push_str(&format!(
            "; the lookup of {host} did not answer in time, and might have brought other \
             addresses; check this machine's resolver"
        ));
    }
    let blame = if is_local { Blame::Local } else { Blame::Open };
    Error { errno, blame, ..target.error(status, phase, cause) }
}
