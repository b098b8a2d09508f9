//! What the dialer thread does again and again: wait, read the letters, advance each dial, do what
//! is due. It waits at no other place.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::history::History;
use super::mailbox::{Closed, LINGERING, MAILBOX, Mailbox, Task};
use super::reply::{Orphan, Reply};
use super::stage::{Dial, Stage};

use crate::base::error::{Blame, Error, Result, Status};
use crate::base::sync::Mutex;
use crate::net::cancel::Cancel;
use crate::net::channel::Channel;
use crate::net::errands::Errands;
use crate::net::local::CLOSED_BY_HOST;
use crate::net::resolve::Resolver;
use crate::net::resolve::cache::Cache;
use crate::net::socket::{Drained, Socket, poll_timeout};
use crate::net::target::Door;

/// What the dialer thread works on. The thread holds the lock on it only between two waits, so that
/// a forked child usually finds it free and can close the sockets.
pub(super) struct Work {
    pub(super) mailbox: Arc<Mailbox>,
    cancel: Arc<Cancel>,
    pub(super) resolver: Resolver,
    pub(super) cache: Cache,
    pub(super) history: History,
    pub(super) errands: Errands,
    /// The dials that wait for a look at the files of their TLS, and until when.
    pub(super) looking: HashMap<u64, Instant>,
    pub(super) dials: HashMap<u64, Dial>,
    /// For each name that is being looked up: the dials that wait for the answer or could use it.
    pub(super) names: HashMap<Arc<str>, Vec<u64>>,
    /// Closed connections whose peers have not closed yet, each with the moment at which the wait
    /// ends; oldest first.
    pub(super) lingering: BTreeMap<u64, (Instant, Closed)>,
    timers: Vec<(Instant, Task)>,
    stopping: bool,
}

/// How long to keep a closed connection until its peer closes too, so that data on the way arrives.
/// nginx's lingering_timeout is 5 s; here the peer knows already that nothing more comes, and only
/// has to read.
const LINGER: Duration = Duration::from_secs(1);

/// The thread's longest sleep. The wake-up ends every sleep, unless another part of the process has
/// closed it.
const SLEEP: Duration = Duration::from_secs(3600);

/// How many tasks are run in one round, so that dials never wait for very many.
const TASKS: usize = 16;

/// The outcomes of a lost desk, for those who wait for them.
#[derive(Default)]
pub(super) struct Lost {
    dials: Vec<(Arc<Reply>, Error)>,
    orphaned: Vec<(Orphan, Result<Channel>)>,
}

impl Lost {
    /// Delivers them. Call it without a lock: an orphan may call the dialer.
    pub(super) fn tell(self) {
        self.dials.into_iter().for_each(|(reply, error)| reply.leave(Err(error)));
        self.orphaned.into_iter().for_each(|(orphan, result)| orphan(result));
    }
}

/// The body of the dialer thread.
pub(super) fn run(mailbox: &Mailbox, work: &Mutex<Work>) {
    let mut events = [EpollEvent::empty(); 64];
    let mut alarm = None;
    loop {
        let left =
            alarm.map_or(SLEEP, |alarm: Instant| alarm.saturating_duration_since(Instant::now()));
        let ready = match mailbox.wait(&mut events, poll_timeout(left.min(SLEEP))) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => {
                let lost = work.lock().lose(error as i32);
                return lost.tell(); // outside the lock
            }
        };
        match round(mailbox, work, &events[..ready]) {
            ControlFlow::Continue(next) => alarm = next,
            ControlFlow::Break(()) => return,
        }
    }
}

/// What is done between two waits. Breaks if it was the last; otherwise returns when the next one
/// is due even if nothing happens.
pub(super) fn round(
    mailbox: &Mailbox,
    work: &Mutex<Work>,
    events: &[EpollEvent],
) -> ControlFlow<(), Option<Instant>> {
    let mut work = work.lock();
    match catch_unwind(AssertUnwindSafe(|| work.turn(events))) {
        Ok(()) => {}
        Err(defect) => {
            std::mem::forget(defect); // its drop may panic too
            work.fail_all();
        }
    }
    if work.stopping && work.lingering.is_empty() {
        let resolver = std::mem::take(&mut work.resolver);
        let errands = std::mem::take(&mut work.errands);
        drop(work);
        resolver.stop();
        errands.stop();
        Work::end(mailbox);
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(work.alarm())
}

impl Work {
    pub(super) fn new(mailbox: Arc<Mailbox>, cancel: Arc<Cancel>) -> Work {
        Work {
            mailbox,
            cancel,
            resolver: Resolver::default(),
            cache: Cache::default(),
            history: History::default(),
            errands: Errands::default(),
            looking: HashMap::new(),
            dials: HashMap::new(),
            names: HashMap::new(),
            lingering: BTreeMap::new(),
            timers: Vec::new(),
            stopping: false,
        }
    }

    /// In a forked child: returns what to drop there. Forgets the resolver's threads, which are the
    /// parent's.
    pub(super) fn give_up(&mut self) -> impl Sized + use<> {
        std::mem::forget(std::mem::take(&mut self.resolver));
        std::mem::forget(std::mem::take(&mut self.errands));
        let (dials, lingering) =
            (std::mem::take(&mut self.dials), std::mem::take(&mut self.lingering));
        (dials, lingering, std::mem::take(&mut self.timers))
    }

    /// After the loss of the descriptors: gives up every socket without closing it. If the host
    /// closed all descriptors, the sockets are lost too.
    pub(super) fn lose(&mut self, errno: i32) -> Lost {
        let mut letters = self.mailbox.letters.lock();
        letters.ended = true;
        letters.timers.append(&mut self.timers);
        let (dials, orphaned) =
            (std::mem::take(&mut letters.dials), std::mem::take(&mut letters.orphaned));
        let closed = std::mem::take(&mut letters.closed);
        letters.bequeath();
        drop(letters);
        let lingering =
            std::mem::take(&mut self.lingering).into_values().map(|(_, closed)| closed.socket);
        closed
            .into_iter()
            .map(|(_, closed)| closed.socket)
            .chain(lingering)
            .for_each(Socket::disown);
        let lost = io::Error::from_raw_os_error(errno);
        let lose = |(_, dial): (u64, Dial)| {
            let cause = format!("the dialer lost its descriptors: {lost}; {CLOSED_BY_HOST}");
            let error = dial.target.error(Status::Connect, dial.phase(), cause);
            let error = Error { errno, blame: Blame::Local, ..error };
            match dial.stage {
                Stage::Resolving => {}
                Stage::Racing(mut race) => {
                    race.abort();
                    race.take_over().into_iter().for_each(Socket::disown);
                }
                Stage::Observing(channel, _) => channel.into_socket().disown(),
            }
            (dial.reply, error)
        };
        Lost {
            dials: std::mem::take(&mut self.dials).into_iter().chain(dials).map(lose).collect(),
            orphaned,
        }
    }

    /// Answers the last letters when the thread no longer works.
    pub(super) fn end(mailbox: &Mailbox) {
        let mut letters = mailbox.letters.lock();
        letters.ended = true;
        let (dials, orphaned) =
            (std::mem::take(&mut letters.dials), std::mem::take(&mut letters.orphaned));
        drop(letters);
        for (_, dial) in dials {
            dial.reply.leave(Err(dial.target.cancelled(dial.phase())));
        }
        for (orphan, result) in orphaned {
            orphan(result);
        }
    }

    /// How many dials are running.
    #[cfg(test)]
    pub(super) fn gauge(&self) -> usize {
        self.dials.len()
    }

    /// How many tasks wait for their time.
    #[cfg(test)]
    pub(super) fn timers_left(&self) -> usize {
        self.timers.len()
    }

    /// When something is to be done even if nothing happens.
    fn alarm(&self) -> Option<Instant> {
        let ends = self.lingering.values().map(|(end, _)| *end);
        let timers = self.timers.iter().map(|(when, _)| *when);
        let looks = self.looking.values().copied();
        self.dials.values().map(Dial::alarm).chain(ends).chain(timers).chain(looks).min()
    }

    /// Everything that is due now.
    fn turn(&mut self, events: &[EpollEvent]) {
        for event in events {
            match event.data() {
                MAILBOX => {
                    // This only empties the counter; the letters are read below.
                    let _ = self.mailbox.wake.get().read();
                }
                id if self.lingering.contains_key(&id) => self.linger_on(id),
                id => self.advance(id),
            }
        }
        let letters = {
            let mut letters = self.mailbox.letters.lock();
            let heir = letters.heir.take();
            let read = std::mem::take(&mut *letters);
            letters.heir = heir;
            read
        };
        for (id, dial) in letters.dials {
            self.look_first(id, dial);
        }
        for (live, looked) in letters.looked {
            live.log(&looked);
            looked.dials.into_iter().for_each(|id| self.has_looked(id));
        }
        for id in letters.abandoned {
            self.abandon(id);
        }
        for (host, family, answer) in letters.answers {
            self.resolved(&host, family, &answer);
        }
        for (id, closed) in letters.closed {
            self.linger(id, closed);
        }
        for (orphan, result) in letters.orphaned {
            orphan(result);
        }
        self.timers.extend(letters.timers);
        self.stopping |= letters.stop;
        if self.stopping {
            self.end_all(|dial| {
                dial.target.error(
                    Status::Cancelled,
                    dial.phase(),
                    "the upstream is being destroyed",
                )
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

    /// Fails all dials after a panic, which may have left any of them half done.
    fn fail_all(&mut self) {
        self.lingering.clear();
        for (_, dial) in std::mem::take(&mut self.dials) {
            let cause = "a defect of libupstream was caught on its dialer thread; report this";
            let error = dial.target.error(Status::Panic, dial.phase(), cause);
            // The orphan may panic too.
            let left = catch_unwind(AssertUnwindSafe(|| dial.reply.leave(Err(error))));
            std::mem::forget(left.err());
        }
    }

    /// Ends a dial that its caller gave up, unless an orphan waits for it.
    fn abandon(&mut self, id: u64) {
        if let Some(dial) = self.dials.get(&id)
            && dial.reply.is_forsaken()
        {
            let error = dial.target.cancelled(dial.phase()); // for nobody
            self.finish(id, Err(error));
        }
    }

    fn linger(&mut self, id: u64, closed: Closed) {
        if self.lingering.len() >= LINGERING
            && let Some((_, (_, oldest))) = self.lingering.pop_first()
        {
            self.unwatch_closing(&oldest.socket);
            oldest.socket.drain(); // closing with unread bytes would send a reset
        }
        // A socket that cannot be watched is closed at once.
        if self
            .mailbox
            .epoll
            .get()
            .add(&closed.socket, EpollEvent::new(EpollFlags::EPOLLIN, id))
            .is_ok()
        {
            self.lingering.insert(id, (Instant::now() + LINGER, closed));
        }
    }

    fn linger_on(&mut self, id: u64) {
        let Some((_, closed)) = self.lingering.get(&id) else { return };
        let drained = closed.socket.drain();
        if drained == Drained::Open {
            return;
        }
        self.unwatch_closing(&closed.socket);
        if let Some((_, Closed { on_reset: Some(told), .. })) = self.lingering.remove(&id)
            && drained == Drained::Broken
        {
            told();
        }
    }

    fn ring_alarms(&mut self) {
        let now = Instant::now();
        for _ in 0..TASKS {
            let Some(at) = self.timers.iter().position(|(when, _)| *when <= now) else { break };
            let (_, task) = self.timers.swap_remove(at);
            task();
        }
        self.lingering.retain(|_, (end, closed)| {
            let stays = *end > now;
            if !stays {
                let _ = self.mailbox.epoll.get().delete(&closed.socket); // see `unwatch_closing`
            }
            stays
        });
        let late = self.looking.iter().filter(|(_, until)| **until <= now);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.has_looked(id);
        }
        let due: Vec<u64> =
            self.dials.iter().filter(|(_, dial)| dial.alarm() <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some(dial) = self.dials.get(&id) else {
                continue;
            };
            let lost = matches!(&dial.stage, Stage::Racing(race) if race.is_lost());
            let passes = match &dial.stage {
                Stage::Racing(race) => race.is_through(),
                Stage::Observing(..) => true,
                Stage::Resolving => false,
            };
            if dial.deadline <= now && passes {
                self.passes(id); // there is no time to wait longer
            } else if dial.deadline <= now && !lost {
                let error = dial.timed_out();
                self.finish(id, Err(error));
            } else if matches!(dial.stage, Stage::Resolving) {
                self.go_on(id);
            } else {
                self.advance(id);
            }
        }
    }

    pub(super) fn finish(&mut self, id: u64, result: Result<Channel>) {
        if let Some(mut dial) = self.dials.remove(&id) {
            // A server that breaks off the handshake, or has the wrong certificate, may be another
            // one that now has the node's old address.
            if !matches!(&dial.stage, Stage::Resolving)
                && let Err(error) = &result
                && !matches!(error.status, Status::Cancelled)
                && !error.is_local()
            {
                if let Door::Host(host, _) = dial.target.door() {
                    self.cache.suspect(host);
                }
                self.history.forget(&dial.target.name);
            }
            match &mut dial.stage {
                Stage::Racing(race) => {
                    race.abort();
                    race.take_over().iter().for_each(|socket| self.unwatch_closing(socket));
                }
                Stage::Observing(channel, _) => self.unwatch_closing(channel.socket()),
                Stage::Resolving => {}
            }
            dial.reply.leave(result);
        }
    }

    /// Takes a socket out of epoll before it is closed. Closing is not enough if a forked child
    /// holds a copy of the descriptor: its events would still come, for ever.
    fn unwatch_closing(&self, socket: &Socket) {
        // It may not be watched: an attempt can fail before it is registered.
        let _ = self.mailbox.epoll.get().delete(socket);
    }
}
