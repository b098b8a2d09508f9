//! Connections in the making. One library thread per set, started with the first dial, runs every dial as a
//! state machine over epoll: name, race of addresses, TLS handshake.
//!
//! Callers wait with their deadline and nothing of this touches their stacks; reading and writing of
//! a ready connection never come here.

mod running;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};

use super::channel::{Channel, Handshake};
use super::race::Race;
use super::resolve::Answer;
use super::socket::Socket;
use super::target::Target;
use super::thread;
use crate::error::{Error, Phase, Result, Status};
use running::Running;

/// Stack of the dialer thread: a rustls handshake was measured at 37 KB, certificate checks add to it.
const STACK: usize = 512 * 1024;

/// The dialer of a set.
pub struct Dialer {
    mailbox: Arc<Mailbox>,
    thread: Mutex<Thread>,
}

enum Thread {
    NotStarted,
    Running(JoinHandle<()>),
    Stopped,
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
    closed: Vec<Socket>,
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
            mailbox: Arc::new(Mailbox { letters: Mutex::default(), wake }),
            thread: Mutex::new(Thread::NotStarted),
        })
    }

    /// Connects to `target`, TLS included, or fails by `deadline`.
    pub fn dial(&self, target: &Arc<Target>, deadline: Instant) -> Result<Channel> {
        self.start_thread(target)?;
        let reply = Arc::new(Reply::default());
        let dial =
            Dial { target: Arc::clone(target), deadline, reply: Arc::clone(&reply), stage: Stage::New };
        self.mailbox.post(|letters| letters.dials.push(dial));

        let mut outcome = reply.outcome.lock();
        while matches!(*outcome, Outcome::Awaited) {
            // The thread keeps the deadline and knows the phase; this wait only guards against the thread.
            if reply.came.wait_until(&mut outcome, deadline + Duration::from_millis(40)).timed_out() {
                break;
            }
        }
        match std::mem::replace(&mut *outcome, Outcome::Abandoned) {
            Outcome::Came(result) => result,
            Outcome::Awaited | Outcome::Abandoned => {
                Err(target.error(Status::Timeout, Phase::Connect, "no connection within the time given"))
            }
        }
    }

    /// Takes a connection that was closed on this side, and holds it until the peer closes too or a second has passed. Were it
    /// dropped at once, unread bytes of the peer's (the tickets of TLS 1.3, an answer nobody waits for) would make the
    /// kernel reset it and throw away what was sent and has not arrived.
    pub fn linger(&self, socket: Socket) {
        if let Thread::Running(_) = &*self.thread.lock() {
            self.mailbox.post(|letters| letters.closed.push(socket));
        }
    }

    /// Ends every dial with `Cancelled` and joins the threads; later dials fail with `Cancelled`.
    pub fn stop(&self) {
        self.mailbox.post(|letters| letters.stop = true);
        let thread = std::mem::replace(&mut *self.thread.lock(), Thread::Stopped);
        if let Thread::Running(thread) = thread {
            // A panic of the thread has been answered to its callers by their deadlines.
            let _ = thread.join();
        }
    }

    /// Forgets the thread without joining it: in a forked child it does not exist.
    pub fn forget_thread(&self) {
        if let Some(mut thread) = self.thread.try_lock() {
            std::mem::forget(std::mem::replace(&mut *thread, Thread::Stopped));
        }
    }

    fn start_thread(&self, target: &Target) -> Result<()> {
        let mut thread = self.thread.lock();
        match &*thread {
            Thread::Stopped => {
                return Err(target.error(Status::Cancelled, Phase::Connect, "the upstream was destroyed"));
            }
            Thread::Running(thread) if !thread.is_finished() => return Ok(()),
            // A defect ended it; what waited for it has run into its deadline, and the next ones get another.
            Thread::Running(_) | Thread::NotStarted => {}
        }
        let started = Running::new(Arc::clone(&self.mailbox))
            .and_then(|running| thread::spawn("upstream-dial", STACK, move || running.run()));
        *thread = Thread::Running(started.map_err(|error| Error {
            errno: error.raw_os_error().unwrap_or(0),
            ..target.error(
                Status::NoMemory,
                Phase::Connect,
                format!("the library's dialer thread cannot be started: {error}"),
            )
        })?);
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
            Stage::Racing(race) => race.next_start().map_or(self.deadline, |start| start.min(self.deadline)),
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
                format!("\"{}\" did not resolve within net.connect_timeout", self.target.host)
            }
            Stage::Racing(race) => {
                let silent: Vec<String> = race.running().map(|address| address.to_string()).collect();
                let mut text = format!("no answer from {} within net.connect_timeout", silent.join(", "));
                append_failures(&mut text, race);
                text
            }
            Stage::Handshaking(_) => {
                "the server did not finish the TLS handshake within net.connect_timeout".to_owned()
            }
        };
        Error { errno: libc::ETIMEDOUT, ..self.target.error(Status::Timeout, self.phase(), cause) }
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
