//! The dialer thread: every dial of a set as a state machine over one epoll. Never waits for anything else.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::mailbox::{MAILBOX, Mailbox};
use super::{Dial, Stage, append_failures};
use crate::error::{Error, Phase, Result, Status};
use crate::net::cancel::Cancel;
use crate::net::channel::{Channel, Handshake, HandshakeStep};
use crate::net::race::{self, Race, Standing};
use crate::net::resolve::{Answer, Resolver};
use crate::net::socket::{Drained, Ready, Socket, poll_timeout};
use crate::net::target::Target;
use crate::sync::Mutex;

/// What the dialer thread has at hand. It holds the lock on it only between two waits, so that a forked child finds it free
/// and can close the sockets.
pub(super) struct Work {
    mailbox: Arc<Mailbox>,
    cancel: Arc<Cancel>,
    resolver: Resolver,
    dials: HashMap<u64, Dial>,
    /// The dials that wait for each name under look-up.
    names: HashMap<Arc<str>, Vec<u64>>,
    /// Closed connections whose peers have not closed yet, each with the moment it is waited for no longer.
    lingering: HashMap<u64, (Instant, Socket)>,
    stopping: bool,
}

/// How long a closed connection is kept for its peer to close too, so that what is still on its way arrives. nginx's
/// lingering_timeout is 5 s; here the peer has been told that nothing more comes, and need only read.
const LINGER: Duration = Duration::from_secs(1);

/// The body of the dialer thread.
pub(super) fn run(mailbox: &Mailbox, work: &Mutex<Work>) {
    let mut events = [EpollEvent::empty(); 64];
    let mut alarm = None;
    loop {
        let timeout = alarm.map_or(nix::poll::PollTimeout::NONE, |alarm: Instant| {
            poll_timeout(alarm.saturating_duration_since(Instant::now()))
        });
        let ready = mailbox.epoll.get().wait(&mut events, timeout).unwrap_or(0); // EINTR cannot be: signals are blocked
        let mut work = work.lock();
        match catch_unwind(AssertUnwindSafe(|| work.turn(&events[..ready]))) {
            Ok(()) => {}
            Err(defect) => {
                std::mem::forget(defect); // its drop may panic too
                work.fail_all();
            }
        }
        if work.stopping && work.lingering.is_empty() {
            let resolver = std::mem::take(&mut work.resolver);
            drop(work);
            resolver.stop();
            return Work::end(mailbox);
        }
        alarm = work.alarm();
    }
}

impl Work {
    pub(super) fn new(mailbox: Arc<Mailbox>, cancel: Arc<Cancel>) -> Work {
        Work {
            mailbox,
            cancel,
            resolver: Resolver::default(),
            dials: HashMap::new(),
            names: HashMap::new(),
            lingering: HashMap::new(),
            stopping: false,
        }
    }

    /// What is to be dropped in a forked child: its threads and dials are the parent's.
    pub(super) fn give_up(&mut self) -> impl Sized + use<> {
        std::mem::forget(std::mem::take(&mut self.resolver));
        (std::mem::take(&mut self.dials), std::mem::take(&mut self.lingering))
    }

    /// The last letters, once nobody works on them.
    fn end(mailbox: &Mailbox) {
        let mut letters = mailbox.letters.lock();
        letters.ended = true;
        let orphaned = std::mem::take(&mut letters.orphaned);
        drop(letters);
        for (orphan, result) in orphaned {
            orphan(result);
        }
    }

    /// How many dials are under way.
    #[cfg(test)]
    pub(super) fn gauge(&self) -> usize {
        self.dials.len()
    }

    /// When something is to be done even if nothing happens.
    fn alarm(&self) -> Option<Instant> {
        let ends = self.lingering.values().map(|(end, _)| *end);
        self.dials.values().map(Dial::alarm).chain(ends).min()
    }

    /// Everything that is due now.
    fn turn(&mut self, events: &[EpollEvent]) {
        for event in events {
            match event.data() {
                MAILBOX => {
                    // Only empties the counter; the letters are read below.
                    let _ = self.mailbox.wake.get().read();
                }
                id if self.lingering.contains_key(&id) => self.linger_on(id),
                id => self.advance(id),
            }
        }
        let letters = std::mem::take(&mut *self.mailbox.letters.lock());
        for (id, dial) in letters.dials {
            self.begin(id, dial);
        }
        for id in letters.abandoned {
            self.abandon(id);
        }
        for (host, answer) in letters.answers {
            self.resolved(&host, &answer);
        }
        for (id, socket) in letters.closed {
            self.linger(id, socket);
        }
        for (orphan, result) in letters.orphaned {
            orphan(result);
        }
        self.stopping |= letters.stop;
        if self.stopping {
            self.end_all(|dial| {
                dial.target.error(Status::Cancelled, dial.phase(), "the upstream is being destroyed")
            });
        } else if self.cancel.is_set() {
            self.end_all(|dial| dial.target.cancelled(dial.phase()));
        }
        self.ring_alarms();
    }

    fn end_all(&mut self, error: impl Fn(&Dial) -> Error) {
        let ids: Vec<u64> = self.dials.keys().copied().collect();
        for id in ids {
            let Some(dial) = self.dials.get(&id) else { continue };
            let error = error(dial);
            self.finish(id, Err(error));
        }
    }

    /// After a defect, which may have left any of them half done.
    fn fail_all(&mut self) {
        self.lingering.clear();
        for (_, dial) in std::mem::take(&mut self.dials) {
            let cause = "a defect of libupstream was caught on its dialer thread; report this";
            let error = dial.target.error(Status::Panic, dial.phase(), cause);
            // An orphan's own defect is caught for the same reason.
            let left = catch_unwind(AssertUnwindSafe(|| dial.reply.leave(Err(error))));
            std::mem::forget(left.err());
        }
    }

    /// Nobody waits for it any longer, unless an orphan does.
    fn abandon(&mut self, id: u64) {
        if let Some(dial) = self.dials.get(&id)
            && dial.reply.is_forsaken()
        {
            let error = dial.target.cancelled(dial.phase()); // for nobody
            self.finish(id, Err(error));
        }
    }

    fn linger(&mut self, id: u64, socket: Socket) {
        // A socket that cannot be watched is closed as it is.
        if self.mailbox.epoll.get().add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, id)).is_ok() {
            self.lingering.insert(id, (Instant::now() + LINGER, socket));
        }
    }

    fn linger_on(&mut self, id: u64) {
        if let Some((_, socket)) = self.lingering.get(&id)
            && socket.drain() == Drained::Ended
        {
            self.forget(socket);
            self.lingering.remove(&id);
        }
    }

    fn ring_alarms(&mut self) {
        let now = Instant::now();
        self.lingering.retain(|_, (end, socket)| {
            let stays = *end > now;
            if !stays {
                let _ = self.mailbox.epoll.get().delete(&*socket); // see `forget`
            }
            stays
        });
        let due: Vec<u64> =
            self.dials.iter().filter(|(_, dial)| dial.alarm() <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some(dial) = self.dials.get(&id) else {
                continue;
            };
            if dial.deadline <= now {
                let error = dial.timed_out();
                self.finish(id, Err(error));
            } else {
                self.advance(id);
            }
        }
    }

    fn finish(&mut self, id: u64, result: Result<Channel>) {
        if let Some(mut dial) = self.dials.remove(&id) {
            match &mut dial.stage {
                Stage::Racing(race) => {
                    race.abort();
                    race.take_over().iter().for_each(|socket| self.forget(socket));
                }
                Stage::Handshaking(handshake) => self.forget(handshake.socket()),
                Stage::Resolving => {}
            }
            dial.reply.leave(result);
        }
    }

    /// Unwatches a socket that is about to be closed. Closing alone does not do it where a forked child holds a copy of the
    /// descriptor: its events would come for ever, for nobody.
    fn forget(&self, socket: &Socket) {
        // Not watched is as good: an attempt may fail before it is registered.
        let _ = self.mailbox.epoll.get().delete(socket);
    }

    fn begin(&mut self, id: u64, dial: Dial) {
        if let Ok(address) = dial.target.host.parse::<IpAddr>() {
            self.dials.insert(id, dial);
            return self.race(id, &[SocketAddr::new(address, 0)]);
        }
        let host: Arc<str> = dial.target.host.as_str().into();
        self.dials.insert(id, dial);
        let waiting = self.names.entry(Arc::clone(&host)).or_default();
        waiting.push(id);
        if waiting.len() > 1 {
            return; // the look-up that is under way answers this one too
        }
        let mailbox = Arc::clone(&self.mailbox);
        let name = Arc::clone(&host);
        let answer = move |answer| mailbox.post(|letters| letters.answers.push((name, answer)));
        if let Err(error) = self.resolver.start(&host, answer) {
            self.resolved(&host, &Err(format!("no thread for the look-up: {error}")));
        }
    }

    fn resolved(&mut self, host: &Arc<str>, answer: &Answer) {
        for id in self.names.remove(host).unwrap_or_default() {
            match answer {
                Ok(addresses) => self.race(id, addresses),
                Err(cause) => {
                    let Some(dial) = self.dials.get(&id) else {
                        continue;
                    };
                    let cause = format!("\"{host}\": {cause}");
                    let error = dial.target.error(Status::Resolve, Phase::Resolve, cause);
                    self.finish(id, Err(error));
                }
            }
        }
    }

    fn race(&mut self, id: u64, addresses: &[SocketAddr]) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        let mut ordered = race::order(addresses, &dial.target.net);
        ordered.iter_mut().for_each(|address| address.set_port(dial.target.port));
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
    fn advance(&mut self, id: u64) {
        let Some(dial) = self.dials.get_mut(&id) else {
            return;
        };
        match &mut dial.stage {
            Stage::Resolving => {}
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
                    Standing::Lost => {
                        let error = lost(&dial.target, race);
                        self.finish(id, Err(error));
                    }
                    Standing::Won(peer, socket) => match &dial.target.tls {
                        None => {
                            let channel = Channel::plain(socket, peer);
                            // Registered with this thread's epoll; the caller must not wake it.
                            let result = self.unwatch(&channel).map(|()| channel);
                            let result = result.map_err(|error| {
                                self.dials[&id].target.system_error(Status::Connect, Phase::Connect, &error)
                            });
                            self.finish(id, result);
                        }
                        Some(tls) => match Handshake::new(socket, peer, tls) {
                            Ok(handshake) => {
                                dial.stage = Stage::Handshaking(handshake);
                                self.handshake(id);
                            }
                            Err(cause) => {
                                let error = dial.target.error(Status::Tls, Phase::Tls, cause);
                                self.finish(id, Err(error));
                            }
                        },
                    },
                }
            }
            Stage::Handshaking(_) => self.handshake(id),
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
                let Stage::Handshaking(handshake) = std::mem::replace(&mut dial.stage, Stage::Resolving)
                else {
                    return;
                };
                let channel = handshake.into_channel();
                let result = self.unwatch(&channel).map(|()| channel);
                let result =
                    result.map_err(|error| dial.target.system_error(Status::Tls, Phase::Tls, &error));
                dial.reply.leave(result);
            }
            Err((status, errno, cause)) => {
                let error = Error { errno, ..target.error(status, Phase::Tls, cause) };
                self.finish(id, Err(error));
            }
        }
    }

    fn unwatch(&self, channel: &Channel) -> io::Result<()> {
        let socket: BorrowedFd<'_> = channel.descriptor();
        Ok(self.mailbox.epoll.get().delete(socket)?)
    }
}

/// The error of a race that no address won.
fn lost(target: &Target, race: &Race) -> Error {
    let errno = race.failures().first().and_then(|(_, error)| error.raw_os_error()).unwrap_or(0);
    let timed_out = race.failures().iter().all(|(_, error)| error.kind() == ErrorKind::TimedOut);
    let status = if timed_out { Status::Timeout } else { Status::Connect };
    let mut cause = String::new();
    append_failures(&mut cause, race);
    let unbindable = [libc::EADDRNOTAVAIL, libc::EACCES, libc::EPERM].contains(&errno);
    if let Some(source) = target.net.source_address.filter(|_| unbindable) {
        cause.push_str(&format!("; net.source_address {source} must be an address of this machine"));
    }
    Error { errno, ..target.error(status, Phase::Connect, cause) }
}
