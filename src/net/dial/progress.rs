//! Takes a dial through its stages: name lookup, race of addresses, TLS handshake. Each step goes
//! as far as it can without waiting.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::running::Work;
use super::stage::{Dial, Stage, append_failures};
use crate::base::error::{Blame, Error, Phase, Status};
use crate::net::channel::{Channel, Handshake, HandshakeStep};
use crate::net::local;
use crate::net::race::{self, Failed, Race, Standing};
use crate::net::resolve::cache::Known;
use crate::net::resolve::{Answer, NoAnswer};
use crate::net::socket::{Ready, Socket};
use crate::net::target::Target;

/// How long after the start of a lookup a dial waits for the answer if it has an old answer. RFC
/// 8767 section 5 suggests 1.8 s for a resolver that serves stale data. Here the old addresses are
/// probably good, and a payload waits.
const REFRESH_WAIT: Duration = Duration::from_millis(250);

/// The same for a dial whose old addresses have all failed, so that it has nothing else to try: the
/// client response timer that RFC 8767 section 5 suggests.
const ANSWER_WAIT: Duration = Duration::from_millis(1800);

/// If a server ended the last connections at once, a new one is used only after it has stayed open
/// for two round trips, measured from the connect (the server accepts it one trip after this side
/// has it). This is the shortest such wait.
const OBSERVE_LEAST: Duration = Duration::from_millis(100);

/// The longest such wait.
const OBSERVE_MOST: Duration = Duration::from_millis(250);

impl Work {
    pub(super) fn begin(&mut self, id: u64, dial: Dial) {
        if let Ok(address) = dial.target.host.parse::<IpAddr>() {
            self.dials.insert(id, dial);
            return self.race(id, &[SocketAddr::new(address, 0)]);
        }
        let host: Arc<str> = dial.target.host.as_str().into();
        let now = Instant::now();
        let (known, ask) = self.cache.ask(&host, dial.target.net.dns_ttl, now);
        self.dials.insert(id, dial);
        match known {
            Known::Good(addresses) => return self.race(id, &addresses),
            Known::Failed(cause) => return self.unresolved(id, &cause),
            Known::Old(addresses, asked) => {
                if let Some(dial) = self.dials.get_mut(&id) {
                    let half = dial.deadline.saturating_duration_since(now) / 2;
                    let until = (asked + REFRESH_WAIT).min(now + half);
                    dial.stage = Stage::Resolving(Some((until, addresses)));
                    dial.answer_by = Some((asked + ANSWER_WAIT).min(dial.deadline));
                }
            }
            Known::Nothing => {}
        }
        self.names.entry(Arc::clone(&host)).or_default().push(id);
        if ask {
            let mailbox = Arc::clone(&self.mailbox);
            let name = Arc::clone(&host);
            let answer = move |answer| {
                mailbox.post(|letters| letters.answers.push((name, answer)));
            };
            if let Err(error) = self.resolver.start(&host, answer) {
                let cause = format!("the thread for the lookup cannot be started: {error}");
                let errno = error.raw_os_error().unwrap_or(0);
                self.resolved(&host, &Err(NoAnswer { cause, blame: Blame::Local, errno }));
            }
        }
    }

    /// The new answer did not come in time: uses the old one.
    pub(super) fn settle_for_old(&mut self, id: u64) {
        if let Some(Dial { stage: Stage::Resolving(old), .. }) = self.dials.get_mut(&id)
            && let Some((_, addresses)) = old.take()
        {
            self.race(id, &addresses);
        }
    }

    pub(super) fn resolved(&mut self, host: &Arc<str>, answer: &Answer) {
        self.cache.answered(host, answer, Instant::now());
        for id in self.names.remove(host).unwrap_or_default() {
            let Some(dial) = self.dials.get_mut(&id) else { continue };
            dial.answer_by = None;
            match (&mut dial.stage, answer) {
                (Stage::Resolving(_), Ok(addresses)) => self.race(id, addresses),
                (Stage::Resolving(Some(_)), Err(_)) => self.settle_for_old(id),
                (Stage::Resolving(None), Err(cause)) => self.unresolved(id, cause),
                (Stage::Racing(race), answer) => {
                    if let Ok(addresses) = answer {
                        race.add(ordered(addresses, &dial.target));
                    }
                    self.advance(id); // it may have nothing else to try
                }
                (Stage::Handshaking(_) | Stage::Observing(..), _) => {}
            }
        }
    }

    fn unresolved(&mut self, id: u64, no: &NoAnswer) {
        if let Some(dial) = self.dials.get(&id) {
            let cause = format!("\"{}\": {}", dial.target.host, no.cause);
            let error = dial.target.error(Status::Resolve, Phase::Resolve, cause);
            self.finish(id, Err(Error { blame: no.blame, errno: no.errno, ..error }));
        }
    }

    fn race(&mut self, id: u64, addresses: &[SocketAddr]) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let mut ordered = ordered(addresses, &dial.target);
        self.winners.lead(&dial.target.name, &mut ordered, Instant::now());
        if ordered.is_empty() {
            let cause = format!(
                "\"{}\" has no address of the same family (IPv4 or IPv6) as net.source_address; \
                 set net.source_address to an address of the other family, or remove it",
                dial.target.host
            );
            let error = dial.target.error(Status::Connect, Phase::Connect, cause);
            return self.finish(id, Err(Error { blame: Blame::Local, ..error }));
        }
        dial.raced = Instant::now();
        dial.stage = Stage::Racing(Race::new(ordered, dial.raced));
        self.advance(id);
    }

    /// Takes a dial as far as it can go without waiting.
    pub(super) fn advance(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        match &mut dial.stage {
            Stage::Resolving(_) => {}
            Stage::Racing(race) => {
                let standing = race.advance(&dial.target.net, Instant::now());
                for socket in race.take_over() {
                    let _ = self.mailbox.epoll.get().delete(&socket); // see `unwatch_closing`
                }
                match standing {
                    Standing::Running { started } => {
                        let watched = started
                            .iter()
                            .filter_map(|fd| race.socket(*fd))
                            .try_for_each(|socket| {
                                self.mailbox
                                    .epoll
                                    .get()
                                    .add(socket, EpollEvent::new(EpollFlags::EPOLLOUT, id))
                            });
                        if let Err(error) = watched {
                            let error = dial.target.system_error(
                                Status::Connect,
                                Phase::Connect,
                                &error.into(),
                            );
                            self.finish(id, Err(error));
                        }
                    }
                    Standing::Lost if dial.answer_by.is_some_and(|by| Instant::now() < by) => {}
                    Standing::Lost => {
                        let error = lost(&dial.target, race, dial.answer_by.is_some());
                        self.finish(id, Err(error));
                    }
                    Standing::Won(peer, socket) => self.won(id, peer, socket),
                }
            }
            Stage::Handshaking(_) => self.handshake(id),
            Stage::Observing(..) => self.observe(id),
        }
    }

    /// An address has won the race: the TLS handshake is next, or the dial is done.
    fn won(&mut self, id: u64, peer: SocketAddr, socket: Socket) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let target = &dial.target;
        if matches!(&dial.stage, Stage::Racing(race) if !race.is_first(peer)) {
            self.winners.remember(&target.name, peer, Instant::now());
        }
        let Some(tls) = &target.tls else {
            return self.observe_or_give(id, Channel::plain(socket, peer));
        };
        match Handshake::new(socket, peer, tls) {
            Ok(handshake) => {
                dial.stage = Stage::Handshaking(handshake);
                self.handshake(id);
            }
            Err(cause) => {
                let error = target.error(Status::Tls, Phase::Tls, cause);
                self.finish(id, Err(error));
            }
        }
    }

    fn handshake(&mut self, id: u64) {
        let Some(Dial { stage: Stage::Handshaking(handshake), target, .. }) =
            self.dials.get_mut(&id)
        else {
            return;
        };
        match handshake.advance() {
            Ok(step @ (HandshakeStep::Wait(_) | HandshakeStep::Verdict)) => {
                let flags = match step {
                    HandshakeStep::Wait(Ready::Write) => EpollFlags::EPOLLOUT,
                    _ => EpollFlags::EPOLLIN,
                };
                let mut event = EpollEvent::new(flags, id);
                if let Err(error) = self.mailbox.epoll.get().modify(handshake.socket(), &mut event)
                {
                    let error = target.system_error(Status::Tls, Phase::Tls, &error.into());
                    self.finish(id, Err(error));
                }
            }
            Ok(HandshakeStep::Done) => self.passes(id),
            Err(failure) => {
                let error = target.failure(Phase::Tls, failure);
                self.finish(id, Err(error));
            }
        }
    }

    /// The connection is good, as far as the time allowed to see.
    pub(super) fn passes(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut dial.stage, Stage::Resolving(None)) {
            Stage::Handshaking(handshake) => self.observe_or_give(id, handshake.into_channel()),
            Stage::Observing(channel, _) => self.give(id, *channel),
            Stage::Resolving(_) | Stage::Racing(_) => {}
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

/// The addresses of an answer, in the order of the race and with the port.
fn ordered(addresses: &[SocketAddr], target: &Target) -> Vec<SocketAddr> {
    let mut ordered = race::order(addresses, &target.net);
    ordered.iter_mut().for_each(|address| address.set_port(target.port));
    ordered
}

/// The error of a race that no address won. `unanswered`: a lookup that might bring other addresses
/// is still running.
fn lost(target: &Target, race: &Race, unanswered: bool) -> Error {
    let failures = race.failures();
    let find = |telling: fn(&Failed) -> bool| failures.iter().find(|failed| telling(failed));
    // An address that could not be tried because a descriptor or memory was missing might have been
    // the one that answers, so it counts first. Next counts a failure with a server in it: it says
    // more than a failure of this machine.
    let exhausted = find(|failed| local::is_exhausted(&failed.error));
    let of_server = find(|failed| !local::is_local_at(&failed.error, failed.step));
    let telling = exhausted.or(of_server).or(failures.first());
    let errno = telling.and_then(|failed| failed.error.raw_os_error()).unwrap_or(0);
    let is_local = exhausted.is_some() || of_server.is_none();
    let timed_out = failures.iter().all(|failed| failed.error.kind() == ErrorKind::TimedOut);
    let status = if timed_out { Status::Timeout } else { Status::Connect };
    let mut cause = String::new();
    append_failures(&mut cause, race, target);
    if unanswered {
        let host = &target.host;
        cause.push_str(&format!(
            "; these are old addresses, because the lookup of \"{host}\" did not answer in time; \
             check this machine's resolver"
        ));
    }
    let blame = if is_local { Blame::Local } else { Blame::Open };
    Error { errno, blame, ..target.error(status, Phase::Connect, cause) }
}
