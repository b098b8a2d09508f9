//! The dialer thread's round: wait, read the letters, take each dial on, ring the alarms. Never
//! waits for anything else.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::mailbox::{Closed, LINGERING, MAILBOX, Mailbox, Task};
use super::reply::{Orphan, Reply};
use super::stage::{Dial, Stage};
use super::winners::Winners;
use crate::base::error::{Blame, Error, Result, Status};
use crate::base::sync::Mutex;
use crate::net::cancel::Cancel;
use crate::net::channel::Channel;
use crate::net::local::CLOSED_BY_HOST;
use crate::net::resolve::Resolver;
use crate::net::resolve::cache::Cache;
use crate::net::socket::{Drained, Socket, poll_timeout};

/// What the dialer thread has at hand. It holds the lock on it only between two waits, so that a
/// forked child finds it free and can close the sockets.
pub(super) struct Work {
    pub(super) mailbox: Arc<Mailbox>,
    cancel: Arc<Cancel>,
    pub(super) resolver: Resolver,
    pub(super) cache: Cache,
    pub(super) winners: Winners,
    pub(super) dials: HashMap<u64, Dial>,
    /// The dials that wait for each name under look-up, or would profit from its answer.
    pub(super) names: HashMap<Arc<str>, Vec<u64>>,
    /// Closed connections whose peers have not closed yet, each with the moment it is waited for no
    /// longer; oldest first.
    pub(super) lingering: BTreeMap<u64, (Instant, Closed)>,
    timers: Vec<(Instant, Task)>,
    stopping: bool,
}

/// How long a closed connection is kept for its peer to close too, so that what is still on its way
/// arrives. nginx's lingering_timeout is 5 s; here the peer has been told that nothing more comes,
/// and need only read.
const LINGER: Duration = Duration::from_secs(1);

/// How long the thread sleeps at most. Its wake-up ends every sleep, unless another part of the
/// process has closed that.
const SLEEP: Duration = Duration::from_secs(3600);

/// The outcomes of a desk that is lost, for those who wait for them.
#[derive(Default)]
pub(super) struct Lost {
    dials: Vec<(Arc<Reply>, Error)>,
    orphaned: Vec<(Orphan, Result<Channel>)>,
}

impl Lost {
    /// Tells them. Not under a lock: an orphan may ask the dialer for more.
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

/// What is done between two waits. Breaks where it was the last; else tells when the next is due
/// though nothing happens.
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
        drop(work);
        resolver.stop();
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
            winners: Winners::default(),
            dials: HashMap::new(),
            names: HashMap::new(),
            lingering: BTreeMap::new(),
            timers: Vec::new(),
            stopping: false,
        }
    }

    /// What is to be dropped in a forked child: its threads and dials are the parent's.
    pub(super) fn give_up(&mut self) -> impl Sized + use<> {
        std::mem::forget(std::mem::take(&mut self.resolver));
        let (dials, lingering) =
            (std::mem::take(&mut self.dials), std::mem::take(&mut self.lingering));
        (dials, lingering, std::mem::take(&mut self.timers))
    }

    /// After the loss of the descriptors: the sockets are as lost as the epoll, where the host has
    /// closed all it found.
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
                Stage::Resolving(_) => {}
                Stage::Racing(mut race) => {
                    race.abort();
                    race.take_over().into_iter().for_each(Socket::disown);
                }
                Stage::Handshaking(handshake) => handshake.into_socket().disown(),
                Stage::Standing(channel, _) => channel.into_socket().disown(),
            }
            (dial.reply, error)
        };
        Lost {
            dials: std::mem::take(&mut self.dials).into_iter().chain(dials).map(lose).collect(),
            orphaned,
        }
    }

    /// The last letters, once nobody works on them.
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

    /// How many dials are under way.
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
        self.dials.values().map(Dial::alarm).chain(ends).chain(timers).min()
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
        let letters = {
            let mut letters = self.mailbox.letters.lock();
            let heir = letters.heir.take();
            let read = std::mem::take(&mut *letters);
            letters.heir = heir;
            read
        };
        for (id, dial) in letters.dials {
            self.begin(id, dial);
        }
        for id in letters.abandoned {
            self.abandon(id);
        }
        for (host, answer) in letters.answers {
            self.resolved(&host, &answer);
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

    fn linger(&mut self, id: u64, closed: Closed) {
        if self.lingering.len() >= LINGERING
            && let Some((_, (_, oldest))) = self.lingering.pop_first()
        {
            self.forget(&oldest.socket);
            oldest.socket.drain(); // what lies unread would make a reset of its closing
        }
        // A socket that cannot be watched is closed as it is.
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
        self.forget(&closed.socket);
        if let Some((_, Closed { on_reset: Some(told), .. })) = self.lingering.remove(&id)
            && drained == Drained::Broken
        {
            told();
        }
    }

    fn ring_alarms(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.timers.iter().position(|(when, _)| *when <= now) {
            let (_, task) = self.timers.swap_remove(at);
            task();
        }
        self.lingering.retain(|_, (end, closed)| {
            let stays = *end > now;
            if !stays {
                let _ = self.mailbox.epoll.get().delete(&closed.socket); // see `forget`
            }
            stays
        });
        let due: Vec<u64> =
            self.dials.iter().filter(|(_, dial)| dial.alarm() <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some(dial) = self.dials.get(&id) else {
                continue;
            };
            let lost = matches!(&dial.stage, Stage::Racing(race) if race.is_lost());
            let stands = match &dial.stage {
                Stage::Handshaking(handshake) => handshake.verdict_by().is_some(),
                Stage::Standing(..) => true,
                Stage::Resolving(_) | Stage::Racing(_) => false,
            };
            if dial.deadline <= now && stands {
                self.stands(id); // its deadline leaves no time for more
            } else if dial.deadline <= now && !lost {
                let error = dial.timed_out();
                self.finish(id, Err(error));
            } else if matches!(dial.stage, Stage::Resolving(_)) {
                self.settle_for_old(id);
            } else {
                self.advance(id);
            }
        }
    }

    pub(super) fn finish(&mut self, id: u64, result: Result<Channel>) {
        if let Some(mut dial) = self.dials.remove(&id) {
            // A server that breaks off the handshake, or has another's certificate, may have moved
            // in where the node was.
            if !matches!(&dial.stage, Stage::Resolving(_))
                && let Err(error) = &result
                && !matches!(error.status, Status::Cancelled)
                && !error.is_local()
            {
                self.cache.suspect(&dial.target.host);
                self.winners.forget(&dial.target.name);
            }
            match &mut dial.stage {
                Stage::Racing(race) => {
                    race.abort();
                    race.take_over().iter().for_each(|socket| self.forget(socket));
                }
                Stage::Handshaking(handshake) => self.forget(handshake.socket()),
                Stage::Standing(channel, _) => self.forget(channel.socket()),
                Stage::Resolving(_) => {}
            }
            dial.reply.leave(result);
        }
    }

    /// Unwatches a socket that is about to be closed. Closing alone does not do it where a forked
    /// child holds a copy of the descriptor: its events would come for ever, for nobody.
    fn forget(&self, socket: &Socket) {
        // Not watched is as good: an attempt may fail before it is registered.
        let _ = self.mailbox.epoll.get().delete(socket);
    }
}
