//! One dial's way through its stages: name, race of addresses, TLS handshake. Each step goes as far as it can without
//! waiting.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::running::Work;
use super::{Dial, Stage, append_failures};
use crate::error::{Blame, Error, Phase, Status};
use crate::net::channel::{Channel, Handshake, HandshakeStep};
use crate::net::local;
use crate::net::race::{self, Race, Standing};
use crate::net::resolve::cache::Known;
use crate::net::resolve::{Answer, NoAnswer};
use crate::net::socket::{Ready, Socket};
use crate::net::target::Target;

/// How long after a look-up began its answer is waited for by a dial that has an old one. RFC 8767 section 5 suggests 1.8 s for a
/// resolver that serves stale data; here the old addresses are most likely good, and a payload waits.
const REFRESH_WAIT: Duration = Duration::from_millis(250);

/// The same for a dial whose old addresses have failed, so that nothing else is left to it: the client response timer that RFC 8767
/// section 5 suggests.
const ANSWER_WAIT: Duration = Duration::from_millis(1800);

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
                let cause = format!("no thread for the look-up: {error}");
                let errno = error.raw_os_error().unwrap_or(0);
                self.resolved(&host, &Err(NoAnswer { cause, blame: Blame::Local, errno }));
            }
        }
    }

    /// The new answer did not come in its time.
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
                    self.advance(id); // it may have nothing else left
                }
                (Stage::Handshaking(_), _) => {}
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
                "\"{}\" has no address of the family of net.source_address; set one of its family, or none",
                dial.target.host
            );
            let error = dial.target.error(Status::Connect, Phase::Connect, cause);
            return self.finish(id, Err(error));
        }
        dial.stage = Stage::Racing(Race::new(ordered, Instant::now()));
        self.advance(id);
    }

    /// Takes a dial as far as it goes without waiting.
    pub(super) fn advance(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        match &mut dial.stage {
            Stage::Resolving(_) => {}
            Stage::Racing(race) => {
                let standing = race.advance(&dial.target.net, Instant::now());
                for socket in race.take_over() {
                    let _ = self.mailbox.epoll.get().delete(&socket); // see `forget`
                }
                match standing {
                    Standing::Running { started } => {
                        let watched =
                            started.iter().filter_map(|fd| race.socket(*fd)).try_for_each(|socket| {
                                self.mailbox
                                    .epoll
                                    .get()
                                    .add(socket, EpollEvent::new(EpollFlags::EPOLLOUT, id))
                            });
                        if let Err(error) = watched {
                            let error =
                                dial.target.system_error(Status::Connect, Phase::Connect, &error.into());
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
        }
    }

    /// An address has won the race: the handshake is next, or nothing.
    fn won(&mut self, id: u64, peer: SocketAddr, socket: Socket) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let target = &dial.target;
        if matches!(&dial.stage, Stage::Racing(race) if !race.is_first(peer)) {
            self.winners.won(&target.name, peer, Instant::now());
        }
        let Some(tls) = &target.tls else {
            let channel = Channel::plain(socket, peer);
            // Registered with this thread's epoll; the caller must not wake it.
            let result = self.unwatch(&channel).map(|()| channel);
            let failed = |error| self.dials[&id].target.system_error(Status::Connect, Phase::Connect, &error);
            return self.finish(id, result.map_err(failed));
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
        let Some(Dial { stage: Stage::Handshaking(handshake), target, .. }) = self.dials.get_mut(&id) else {
            return;
        };
        match handshake.advance() {
            Ok(HandshakeStep::Wait(ready)) => {
                let flags = match ready {
                    Ready::Read => EpollFlags::EPOLLIN,
                    Ready::Write => EpollFlags::EPOLLOUT,
                };
                let mut event = EpollEvent::new(flags, id);
                if let Err(error) = self.mailbox.epoll.get().modify(handshake.socket(), &mut event) {
                    let error = target.system_error(Status::Tls, Phase::Tls, &error.into());
                    self.finish(id, Err(error));
                }
            }
            Ok(HandshakeStep::Done) => {
                let Some(mut dial) = self.dials.remove(&id) else {
                    return;
                };
                let Stage::Handshaking(handshake) =
                    std::mem::replace(&mut dial.stage, Stage::Resolving(None))
                else {
                    return;
                };
                let channel = handshake.into_channel();
                let result = self.unwatch(&channel).map(|()| channel);
                let result =
                    result.map_err(|error| dial.target.system_error(Status::Tls, Phase::Tls, &error));
                dial.reply.leave(result);
            }
            Err(failure) => {
                let error = target.failure(Phase::Tls, failure);
                self.finish(id, Err(error));
            }
        }
    }

    fn unwatch(&self, channel: &Channel) -> io::Result<()> {
        let socket: BorrowedFd<'_> = channel.descriptor();
        Ok(self.mailbox.epoll.get().delete(socket)?)
    }
}

/// The addresses of an answer as a race takes them.
fn ordered(addresses: &[SocketAddr], target: &Target) -> Vec<SocketAddr> {
    let mut ordered = race::order(addresses, &target.net);
    ordered.iter_mut().for_each(|address| address.set_port(target.port));
    ordered
}

/// The error of a race that no address won; `unanswered` where a look-up that might have brought others is still under way.
fn lost(target: &Target, race: &Race, unanswered: bool) -> Error {
    let failures = race.failures();
    let find = |telling: fn(&io::Error) -> bool| failures.iter().find(|(_, error)| telling(error));
    // An address that could not be tried for want of a descriptor or of memory might have been the one that answers. Else one that
    // a server had a part in says more than one of this machine.
    let exhausted = find(local::is_exhausted);
    let of_server = find(|error| !local::is_local(error));
    let telling = exhausted.or(of_server).or(failures.first());
    let errno = telling.and_then(|(_, error)| error.raw_os_error()).unwrap_or(0);
    let is_local = exhausted.is_some() || of_server.is_none();
    let timed_out = failures.iter().all(|(_, error)| error.kind() == ErrorKind::TimedOut);
    let status = if timed_out { Status::Timeout } else { Status::Connect };
    let mut cause = String::new();
    append_failures(&mut cause, race, target);
    if unanswered {
        let host = &target.host;
        cause.push_str(&format!(
            "; these are old addresses, and the look-up of \"{host}\" has not answered in time; see to this machine's resolver"
        ));
    }
    let blame = if is_local { Blame::Local } else { Blame::Open };
    Error { errno, blame, ..target.error(status, Phase::Connect, cause) }
}
