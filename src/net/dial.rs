//! Connections in the making. One library thread per set, started with the first dial, runs every dial as a
//! state machine over epoll: name, race of addresses, TLS handshake.
//!
//! Callers wait with their deadline and nothing of this touches their stacks; reading and writing of
//! a ready connection never come here.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};

use super::channel::{Channel, Handshake, HandshakeStep};
use super::race::{self, Race, Standing};
use super::resolve::{Answer, Resolver};
use super::socket::{Ready, poll_timeout};
use super::thread;
use super::tls::TlsClient;
use crate::config::NetSettings;
use crate::error::{Error, Origin, Phase, Result, Status};

/// Stack of the dialer thread: a rustls handshake was measured at 37 KB, certificate checks add to it.
const STACK: usize = 512 * 1024;

/// A node as the dialer sees it.
#[derive(Debug)]
pub struct Target {
    /// The node's name.
    pub name: Arc<str>,
    /// Host name or numeric address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host:port`, for messages.
    pub address: Arc<str>,
    /// `net.*`.
    pub net: NetSettings,
    /// TLS, where the node has it.
    pub tls: Option<TlsClient>,
}

impl Target {
    /// An error about this node.
    pub fn error(&self, status: Status, phase: Phase, cause: impl Into<String>) -> Error {
        let origin = Origin::Node {
            name: Arc::clone(&self.name),
            address: Arc::clone(&self.address),
            phase,
        };
        Error {
            origin,
            ..Error::new(status, cause)
        }
    }

    /// An error of the system about this node.
    pub fn system_error(&self, status: Status, phase: Phase, error: &io::Error) -> Error {
        Error {
            errno: error.raw_os_error().unwrap_or(0),
            ..self.error(status, phase, error.to_string())
        }
    }
}

/// The dialer of a set.
pub struct Dialer {
    mailbox: Arc<Mailbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What reaches the thread: new dials, answers of the resolver, the word to stop.
struct Mailbox {
    letters: Mutex<Letters>,
    wake: EventFd,
}

#[derive(Default)]
struct Letters {
    dials: Vec<Dial>,
    answers: Vec<(Arc<str>, Answer)>,
    stop: bool,
}

/// Where the caller waits for the outcome.
#[derive(Default)]
struct Reply {
    outcome: Mutex<Outcome>,
    came: Condvar,
}

#[derive(Default)]
enum Outcome {
    #[default]
    Awaited,
    Came(Result<Channel>),
    /// The caller waits no longer.
    Abandoned,
}

impl Dialer {
    /// A dialer whose thread is not started yet.
    pub fn new() -> io::Result<Dialer> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Dialer {
            mailbox: Arc::new(Mailbox {
                letters: Mutex::default(),
                wake,
            }),
            thread: Mutex::new(None),
        })
    }

    /// Connects to `target`, TLS included, or fails by `deadline`.
    pub fn dial(&self, target: &Arc<Target>, deadline: Instant) -> Result<Channel> {
        self.start_thread()
            .map_err(|error| Error::io(Status::NoMemory, "the dialer cannot be started", &error))?;
        let reply = Arc::new(Reply::default());
        let dial = Dial {
            target: Arc::clone(target),
            deadline,
            reply: Arc::clone(&reply),
            stage: Stage::New,
        };
        self.mailbox.post(|letters| letters.dials.push(dial));

        let mut outcome = reply.outcome.lock();
        while matches!(*outcome, Outcome::Awaited) {
            // The thread keeps the deadline and knows the phase; this wait only guards against the thread.
            if reply
                .came
                .wait_until(&mut outcome, deadline + Duration::from_millis(40))
                .timed_out()
            {
                break;
            }
        }
        match std::mem::replace(&mut *outcome, Outcome::Abandoned) {
            Outcome::Came(result) => result,
            Outcome::Awaited | Outcome::Abandoned => Err(target.error(
                Status::Timeout,
                Phase::Connect,
                "no connection within the time given",
            )),
        }
    }

    /// Ends every dial with `Cancelled` and joins the threads.
    pub fn stop(&self) {
        self.mailbox.post(|letters| letters.stop = true);
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread has been answered to its callers by their deadlines.
            let _ = thread.join();
        }
    }

    /// Forgets the thread without joining it: in a forked child it does not exist.
    pub fn forget_thread(&self) {
        if let Some(mut thread) = self.thread.try_lock() {
            std::mem::forget(thread.take());
        }
    }

    fn start_thread(&self) -> io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let running = Running::new(Arc::clone(&self.mailbox))?;
            *thread = Some(thread::spawn("upstream-dial", STACK, move || {
                running.run()
            })?);
        }
        Ok(())
    }
}

impl Mailbox {
    fn post(&self, write: impl FnOnce(&mut Letters)) {
        write(&mut self.letters.lock());
        // Fails only when the counter is full, and then the thread is awake anyway.
        let _ = self.wake.write(1);
    }
}

/// One connection in the making.
struct Dial {
    target: Arc<Target>,
    deadline: Instant,
    reply: Arc<Reply>,
    stage: Stage,
}

enum Stage {
    New,
    Resolving,
    Racing(Race),
    Handshaking(Handshake),
}

impl Dial {
    fn phase(&self) -> Phase {
        match self.stage {
            Stage::New | Stage::Resolving => Phase::Resolve,
            Stage::Racing(_) => Phase::Connect,
            Stage::Handshaking(_) => Phase::Tls,
        }
    }

    /// When it must be looked at again even if nothing happens.
    fn alarm(&self) -> Instant {
        match &self.stage {
            Stage::Racing(race) => race
                .next_start()
                .map_or(self.deadline, |start| start.min(self.deadline)),
            _ => self.deadline,
        }
    }

    fn is_abandoned(&self) -> bool {
        matches!(*self.reply.outcome.lock(), Outcome::Abandoned)
    }

    fn finish(self, result: Result<Channel>) {
        let mut outcome = self.reply.outcome.lock();
        // A channel that nobody waits for is closed by its drop.
        if matches!(*outcome, Outcome::Awaited) {
            *outcome = Outcome::Came(result);
            self.reply.came.notify_one();
        }
    }

    fn timed_out(&self) -> Error {
        let cause = match &self.stage {
            Stage::New | Stage::Resolving => {
                format!(
                    "\"{}\" did not resolve within net.connect_timeout",
                    self.target.host
                )
            }
            Stage::Racing(race) => {
                let silent: Vec<String> =
                    race.running().map(|address| address.to_string()).collect();
                let mut text = format!(
                    "no answer from {} within net.connect_timeout",
                    silent.join(", ")
                );
                append_failures(&mut text, race);
                text
            }
            Stage::Handshaking(_) => {
                "the server did not finish the TLS handshake within net.connect_timeout".to_owned()
            }
        };
        Error {
            errno: libc::ETIMEDOUT,
            ..self.target.error(Status::Timeout, self.phase(), cause)
        }
    }
}

fn append_failures(text: &mut String, race: &Race) {
    for (address, error) in race.failures() {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&format!("{address}: {error}"));
    }
}

/// The dialer thread's own state.
struct Running {
    mailbox: Arc<Mailbox>,
    epoll: Epoll,
    resolver: Resolver,
    dials: HashMap<u64, Dial>,
    /// The dials that wait for each name under look-up.
    names: HashMap<Arc<str>, Vec<u64>>,
    next_id: u64,
}

/// The epoll token of the mailbox; dials count from 1.
const MAILBOX: u64 = 0;

impl Running {
    fn new(mailbox: Arc<Mailbox>) -> io::Result<Running> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&mailbox.wake, EpollEvent::new(EpollFlags::EPOLLIN, MAILBOX))?;
        Ok(Running {
            mailbox,
            epoll,
            resolver: Resolver::default(),
            dials: HashMap::new(),
            names: HashMap::new(),
            next_id: MAILBOX + 1,
        })
    }

    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let alarm = self.dials.values().map(Dial::alarm).min();
            let timeout = alarm.map_or(nix::poll::PollTimeout::NONE, |alarm| {
                poll_timeout(alarm.saturating_duration_since(Instant::now()))
            });
            let ready = self.epoll.wait(&mut events, timeout).unwrap_or(0); // EINTR cannot be: signals are blocked
            for event in &events[..ready] {
                match event.data() {
                    MAILBOX => {
                        // Only empties the counter; the letters are read below.
                        let _ = self.mailbox.wake.read();
                    }
                    id => self.advance(id),
                }
            }
            let Letters {
                dials,
                answers,
                stop,
            } = std::mem::take(&mut *self.mailbox.letters.lock());
            for dial in dials {
                self.begin(dial);
            }
            for (host, answer) in answers {
                self.resolved(&host, &answer);
            }
            if stop {
                return self.end();
            }
            self.ring_alarms();
        }
    }

    fn end(self) {
        for (_, dial) in self.dials {
            let error = dial.target.error(
                Status::Cancelled,
                dial.phase(),
                "the upstream is being destroyed",
            );
            dial.finish(Err(error));
        }
        self.resolver.stop();
    }

    fn ring_alarms(&mut self) {
        let now = Instant::now();
        let due: Vec<u64> = self
            .dials
            .iter()
            .filter(|(_, dial)| dial.alarm() <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(dial) = self.dials.get(&id) else {
                continue;
            };
            if dial.deadline <= now || dial.is_abandoned() {
                let error = dial.timed_out();
                self.finish(id, Err(error));
            } else {
                self.advance(id);
            }
        }
    }

    fn finish(&mut self, id: u64, result: Result<Channel>) {
        if let Some(dial) = self.dials.remove(&id) {
            dial.finish(result);
        }
    }

    fn begin(&mut self, mut dial: Dial) {
        let id = self.next_id;
        self.next_id += 1;
        if let Ok(address) = dial.target.host.parse::<IpAddr>() {
            dial.stage = Stage::Resolving;
            self.dials.insert(id, dial);
            return self.race(id, &[SocketAddr::new(address, 0)]);
        }
        let host: Arc<str> = dial.target.host.as_str().into();
        dial.stage = Stage::Resolving;
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
        ordered
            .iter_mut()
            .for_each(|address| address.set_port(dial.target.port));
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
            Stage::New | Stage::Resolving => {}
            Stage::Racing(race) => match race.advance(&dial.target.net, Instant::now()) {
                Standing::Running { started } => {
                    let watched = started
                        .iter()
                        .filter_map(|fd| race.socket(*fd))
                        .try_for_each(|socket| {
                            self.epoll
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
                            self.dials[&id].target.system_error(
                                Status::Connect,
                                Phase::Connect,
                                &error,
                            )
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
            },
            Stage::Handshaking(_) => self.handshake(id),
        }
    }

    fn handshake(&mut self, id: u64) {
        let Some(Dial {
            stage: Stage::Handshaking(handshake),
            target,
            ..
        }) = self.dials.get_mut(&id)
        else {
            return;
        };
        match handshake.advance() {
            Ok(HandshakeStep::Wait(ready)) => {
                let flags = match ready {
                    Ready::Read => EpollFlags::EPOLLIN,
                    Ready::Write => EpollFlags::EPOLLOUT,
                };
                let mut event = EpollEvent::new(flags, id);
                if let Err(error) = self.epoll.modify(handshake.socket(), &mut event) {
                    let error = target.system_error(Status::Tls, Phase::Tls, &error.into());
                    self.finish(id, Err(error));
                }
            }
            Ok(HandshakeStep::Done) => {
                let Some(mut dial) = self.dials.remove(&id) else {
                    return;
                };
                let Stage::Handshaking(handshake) = std::mem::replace(&mut dial.stage, Stage::New)
                else {
                    return;
                };
                let channel = handshake.into_channel();
                let result = self.unwatch(&channel).map(|()| channel);
                let result = result
                    .map_err(|error| dial.target.system_error(Status::Tls, Phase::Tls, &error));
                dial.finish(result);
            }
            Err((status, errno, cause)) => {
                let error = Error {
                    errno,
                    ..target.error(status, Phase::Tls, cause)
                };
                self.finish(id, Err(error));
            }
        }
    }

    fn unwatch(&self, channel: &Channel) -> io::Result<()> {
        let socket: BorrowedFd<'_> = channel.descriptor();
        Ok(self.epoll.delete(socket)?)
    }
}

/// The error of a race that no address won.
fn lost(target: &Target, race: &Race) -> Error {
    let errno = race
        .failures()
        .first()
        .and_then(|(_, error)| error.raw_os_error())
        .unwrap_or(0);
    let timed_out = race
        .failures()
        .iter()
        .all(|(_, error)| error.kind() == ErrorKind::TimedOut);
    let status = if timed_out {
        Status::Timeout
    } else {
        Status::Connect
    };
    let mut cause = String::new();
    append_failures(&mut cause, race);
    let unbindable = [libc::EADDRNOTAVAIL, libc::EACCES, libc::EPERM].contains(&errno);
    if let Some(source) = target.net.source_address.filter(|_| unbindable) {
        cause.push_str(&format!(
            "; net.source_address {source} must be an address of this machine"
        ));
    }
    Error {
        errno,
        ..target.error(status, Phase::Connect, cause)
    }
}
