//! Models of how an outcome gets from the dialer thread to its caller: see `crate::tests::loom`.
//! The thread's rounds are the real ones, with real descriptors. If the real thread would sleep,
//! the model's thread lets the others run.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::EpollEvent;

use super::*;
use crate::net::resolve::{Family, NoAnswer};
use crate::tests::loom::{check, never, spawn};

impl Dialer {
    /// Leaves the thread to the model, and lets the lookup of `host` go on for ever. A dial to it
    /// ends when its caller leaves, when it is cancelled or stopped, at its deadline, or by
    /// [`Dialer::answer`].
    pub(crate) fn prepare(&self, host: &str) {
        *self.first.thread.lock() = Thread::Running(std::thread::spawn(|| {}));
        for family in Family::BOTH {
            let cache = &mut self.first.work.lock().cache;
            let _under_way = cache.ask(&host.into(), family, Duration::ZERO, Instant::now());
        }
    }

    /// The lookup of `host` fails; `blame` says who is to blame.
    pub(crate) fn answer(&self, host: &str, blame: Blame) {
        let no = NoAnswer { cause: "no answer".to_owned(), blame, errno: 0 };
        self.first.mailbox.post(|letters| {
            for family in Family::BOTH {
                letters.answers.push((host.into(), family, Err(no.clone())));
            }
        });
    }

    /// Does what the dialer thread does, until it is stopped.
    pub(crate) fn run(&self) {
        let mut events = [EpollEvent::empty(); 8];
        loop {
            let ready =
                self.first.mailbox.epoll.get().wait(&mut events, PollTimeout::ZERO).unwrap();
            if ready == 0 {
                loom::thread::yield_now();
                continue;
            }
            let round = running::round(&self.first.mailbox, &self.first.work, &events[..ready]);
            if round == ControlFlow::Break(()) {
                return;
            }
        }
    }

    /// Stops once every dial has ended by itself.
    pub(crate) fn finish(&self) {
        let is_idle = || {
            let (work, letters) = (self.first.work.lock(), self.first.mailbox.letters.lock());
            letters.dials.is_empty() && letters.abandoned.is_empty() && work.gauge() == 0
        };
        while !is_idle() {
            loom::thread::yield_now();
        }
        self.stop();
    }
}

const HOST: &str = "no-such-host.invalid";

struct Room {
    dialer: Dialer,
    cancel: Arc<Cancel>,
    target: Arc<Target>,
    /// How many outcomes went to the orphan.
    orphaned: AtomicUsize,
}

fn room() -> Arc<Room> {
    let cancel = Arc::new(Cancel::new().unwrap());
    let dialer = Dialer::new(Arc::clone(&cancel)).unwrap();
    dialer.prepare(HOST);
    let (name, host, net) = ("n".into(), HOST.into(), crate::net::race::tests::net().into());
    let target = Arc::new(Target { name, host, port: 9, net, tls: None, wary: Default::default() });
    Arc::new(Room { dialer, cancel, target, orphaned: AtomicUsize::new(0) })
}

impl Room {
    /// Begins a dial. If its caller leaves, the outcome is counted.
    fn start(self: &Arc<Room>, notify: bool, with_orphan: bool) -> Result<Pending> {
        let room = Arc::clone(self);
        let count: Orphan = Box::new(move |outcome| {
            assert!(outcome.is_err(), "no connection comes here");
            room.orphaned.fetch_add(1, SeqCst);
        });
        self.dialer.start(&self.target, never(), notify, with_orphan.then_some(count))
    }

    fn orphaned(&self) -> usize {
        self.orphaned.load(SeqCst)
    }
}

fn is_cancelled<T>(outcome: Result<T>) -> bool {
    outcome.err().is_some_and(|error| error.status == Status::Cancelled)
}

fn is_readable(pending: &Pending) -> bool {
    let descriptor = pending.descriptor().expect("asked for");
    poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
}

/// The caller leaves the dial in one of several ways, while the dialer ends: the outcome goes to
/// the caller or to the orphan.
fn given_up(take: fn(&mut Pending) -> bool) {
    check(move || {
        let room = room();
        let mut pending = room.start(true, true).unwrap();
        let thread = spawn(&room, |room| room.dialer.run());
        let stopper = spawn(&room, |room| room.dialer.stop());
        let taken = take(&mut pending);
        drop(pending);
        stopper.join().unwrap();
        thread.join().unwrap();
        assert_eq!(usize::from(taken) + room.orphaned(), 1);
    });
}

#[test]
fn an_outcome_whose_caller_leaves_at_once_goes_to_the_orphan() {
    given_up(|_| false);
}

#[test]
fn an_outcome_that_is_polled_once_goes_to_one_of_the_two() {
    given_up(|pending| pending.poll().is_some());
}

#[test]
fn an_outcome_that_is_waited_for_goes_to_one_of_the_two() {
    given_up(|pending| pending.wait(Instant::now()).is_some());
}

#[test]
fn a_readable_descriptor_shows_an_outcome() {
    given_up(|pending| {
        if pending.poll().is_some() {
            return true;
        }
        let readable = is_readable(pending);
        let outcome = pending.poll();
        assert!(
            outcome.is_some() || !readable,
            "the outcome is there before the descriptor shows it"
        );
        outcome.is_some()
    });
}

#[test]
fn stopping_answers_whoever_waits() {
    check(|| {
        let room = room();
        let mut pending = room.start(true, false).unwrap();
        let thread = spawn(&room, |room| room.dialer.run());
        let stopper = spawn(&room, |room| room.dialer.stop());
        assert!(is_cancelled(
            pending.wait(never()).expect("a wait without a deadline has an outcome")
        ));
        assert!(is_readable(&pending), "an event loop sees it too");
        stopper.join().unwrap();
        thread.join().unwrap();
        assert_eq!(room.dialer.first.work.lock().gauge(), 0);
    });
}

/// The cancel may come before, during and after the start of a dial.
#[test]
fn cancelling_ends_a_dial_whenever_it_began() {
    check(|| {
        let room = room();
        let thread = spawn(&room, |room| room.dialer.run());
        let canceller = spawn(&room, |room| {
            room.cancel.set();
            room.dialer.cancel();
        });
        match room.start(false, false) {
            Err(refused) => assert_eq!(refused.status, Status::Cancelled),
            Ok(mut pending) => assert!(is_cancelled(pending.wait(never()).expect("as above"))),
        }
        canceller.join().unwrap();
        assert!(is_cancelled(room.start(false, false)), "later ones are refused");
        room.dialer.stop();
        thread.join().unwrap();
    });
}

/// Nobody stops or cancels the dial that its caller left: only the letter ends it.
#[test]
fn a_dial_given_up_is_ended() {
    check(|| {
        let room = room();
        let thread = spawn(&room, |room| room.dialer.run());
        let pending = room.start(false, false).unwrap();
        drop(pending);
        room.dialer.finish();
        thread.join().unwrap();
    });
}
