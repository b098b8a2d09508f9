//! Permits when all are in use: waiters that block, waiters that are told, and everything that may
//! give a permit back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::{check, never, spawn};
use crate::base::moment::Moment;
use crate::base::sync::{Condvar, Mutex};
use crate::net::pool::{Permit, Pool, Put, Sight, Waker};

/// A pool whose "connections" are numbers. The model counts those in use itself, in addition to the
/// pool.
struct Capped {
    pool: Pool<u32>,
    cap: usize,
    in_use: AtomicUsize,
    /// Set by the first waiter, in the models that need it.
    first_had_it: AtomicBool,
}

/// How a wait without a permit ended.
#[derive(Debug, PartialEq)]
enum Without {
    Time,
    Cancel,
}

fn closed_elsewhere(_: u32) {
    panic!("nothing is old here");
}

impl Capped {
    fn new(cap: usize) -> Arc<Capped> {
        let pool = Pool::new(cap, Duration::from_secs(86_400));
        Arc::new(Capped {
            pool,
            cap,
            in_use: AtomicUsize::new(0),
            first_had_it: AtomicBool::new(false),
        })
    }

    /// What a permit holds: an idle connection, or none.
    fn taken(&self, permit: Permit<u32>) -> Result<Option<u32>, Without> {
        let had = match permit {
            Permit::Idle(item) => Some(item),
            Permit::New => None,
            Permit::None => return Err(Without::Time),
            Permit::Cancelled => return Err(Without::Cancel),
        };
        let in_use = self.in_use.fetch_add(1, SeqCst) + 1;
        assert!(in_use <= self.cap, "{in_use} in use at a cap of {}", self.cap);
        Ok(had)
    }

    fn acquire(&self, deadline: Instant) -> Result<Option<u32>, Without> {
        self.taken(self.pool.acquire(|| deadline, closed_elsewhere))
    }

    fn leave(&self) {
        self.in_use.fetch_sub(1, SeqCst);
        self.pool.leave();
    }

    fn put(&self, item: u32) {
        self.in_use.fetch_sub(1, SeqCst);
        match self.pool.put(item, closed_elsewhere) {
            Put::Kept { .. } => {}
            Put::Refused(_) => self.pool.leave(),
        }
    }

    /// Takes a permit and gives it back, unless it is cancelled.
    fn turn(&self) -> Result<Option<u32>, Without> {
        let had = self.acquire(never());
        if had.is_ok() {
            self.leave();
        }
        had
    }

    /// As [`Capped::turn`], with a ticket.
    fn turn_by_ticket(&self) -> Result<Option<u32>, Without> {
        let bell = Bell::new();
        let ticket = self.pool.queue(bell.waker());
        loop {
            match self.pool.claim(&ticket, closed_elsewhere) {
                Some(permit) => {
                    let had = self.taken(permit);
                    if had.is_ok() {
                        self.leave();
                    }
                    return had;
                }
                None => bell.wait(),
            }
        }
    }

    /// At the end nobody waits and every permit is free: so many callers get one, and the next gets
    /// none.
    fn is_free(&self) {
        assert_eq!((self.pool.gauge(), self.in_use.load(SeqCst)), (Some((0, 0)), 0));
        for _ in 0..self.cap {
            assert!(matches!(self.pool.try_acquire(closed_elsewhere), Some(Permit::New)));
        }
        assert!(self.pool.try_acquire(closed_elsewhere).is_none());
    }
}

/// A bell that a waker rings and a caller waits for: an event loop with one event.
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn new() -> Bell {
        Bell(Arc::default())
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.0);
        Box::new(move || {
            *bell.0.lock() = true;
            bell.1.notify_one();
        })
    }

    fn wait(&self) {
        let mut rung = self.0.0.lock();
        while !std::mem::take(&mut *rung) {
            (rung, _) = self.0.1.wait_until(rung, never());
        }
    }
}

#[test]
fn three_share_one_permit() {
    check(|| {
        let capped = Capped::new(1);
        let others = [spawn(&capped, Capped::turn), spawn(&capped, Capped::turn_by_ticket)];
        assert_eq!(capped.turn(), Ok(None));
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Ok(None)));
        capped.is_free();
    });
}

#[test]
fn three_share_two_permits() {
    check(|| {
        let capped = Capped::new(2);
        let others = [spawn(&capped, Capped::turn), spawn(&capped, Capped::turn)];
        assert_eq!(capped.turn(), Ok(None));
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Ok(None)));
        capped.is_free();
    });
}

/// Permits come in the order of the tickets, and nobody overtakes those who wait.
#[test]
fn nobody_overtakes_a_waiter() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let first = capped.pool.queue(Box::new(|| {}));
        let passer_by = |capped: &Capped| {
            if let Some(permit) = capped.pool.try_acquire(closed_elsewhere) {
                assert!(capped.first_had_it.load(SeqCst), "the first in line was overtaken");
                assert_eq!(capped.taken(permit), Ok(None));
                capped.leave();
            }
        };
        let (second, passer_by) =
            (spawn(&capped, Capped::turn_by_ticket), spawn(&capped, passer_by));
        capped.leave();
        let permit = capped.pool.claim(&first, closed_elsewhere).expect("its turn has come");
        assert_eq!(capped.taken(permit), Ok(None));
        capped.first_had_it.store(true, SeqCst);
        capped.leave();
        assert_eq!(second.join().unwrap(), Ok(None));
        passer_by.join().unwrap();
        capped.is_free();
    });
}

/// Neither gives its permit back before the other has one: the second must not wait for the first.
#[test]
fn permits_freed_at_once_serve_both_waiters() {
    check(|| {
        let capped = Capped::new(2);
        assert_eq!([(); 2].map(|()| capped.acquire(never())), [Ok(None), Ok(None)]);
        let waiters = [(); 2].map(|()| spawn(&capped, |capped| capped.acquire(never())));
        capped.leave();
        capped.leave();
        waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), Ok(None)));
        capped.leave();
        capped.leave();
        capped.is_free();
    });
}

/// Each wake-up is for the first waiter, whoever else it wakes.
#[test]
fn waiters_behind_a_ticket_get_their_turns() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let first = capped.pool.queue(Box::new(|| {}));
        let others = [(); 2].map(|()| spawn(&capped, Capped::turn));
        capped.leave();
        let permit = capped.pool.claim(&first, closed_elsewhere).expect("its turn has come");
        assert_eq!(capped.taken(permit), Ok(None));
        capped.leave();
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Ok(None)));
        capped.is_free();
    });
}

#[test]
fn who_runs_out_of_time_hands_the_turn_on() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let hasty = spawn(&capped, |capped| match capped.acquire(Instant::now()) {
            Ok(_) => capped.leave(),
            Err(without) => assert_eq!(without, Without::Time),
        });
        let patient = spawn(&capped, Capped::turn);
        capped.leave();
        hasty.join().unwrap();
        assert_eq!(patient.join().unwrap(), Ok(None));
        capped.is_free();
    });
}

#[test]
fn who_gives_up_a_ticket_hands_the_turn_on() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let ticket = capped.pool.queue(Box::new(|| {}));
        let blocked = spawn(&capped, Capped::turn);
        let told = spawn(&capped, Capped::turn_by_ticket);
        capped.leave();
        capped.pool.give_up_turn(ticket);
        assert_eq!((blocked.join().unwrap(), told.join().unwrap()), (Ok(None), Ok(None)));
        capped.is_free();
    });
}

#[test]
fn a_kept_connection_goes_to_one_waiter_and_its_permit_to_the_next() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let others = [spawn(&capped, Capped::turn), spawn(&capped, Capped::turn_by_ticket)];
        capped.put(7);
        let had = others.map(|other| other.join().unwrap());
        assert!(had == [Ok(Some(7)), Ok(None)] || had == [Ok(None), Ok(Some(7))], "{had:?}");
        capped.is_free();
    });
}

#[test]
fn a_cancelled_pool_lets_every_waiter_go() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let others = [spawn(&capped, Capped::turn), spawn(&capped, Capped::turn_by_ticket)];
        capped.pool.cancel();
        others
            .into_iter()
            .for_each(|other| assert_eq!(other.join().unwrap(), Err(Without::Cancel)));
        capped.leave();
        assert_eq!(capped.pool.gauge(), Some((0, 0)));
        assert!(matches!(capped.pool.try_acquire(closed_elsewhere), Some(Permit::Cancelled)));
    });
}

#[test]
fn cancelling_during_a_release_loses_no_permit() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let waiter = spawn(&capped, Capped::turn);
        let canceller = spawn(&capped, |capped| capped.pool.cancel());
        capped.leave();
        let had = waiter.join().unwrap();
        assert!(had == Ok(None) || had == Err(Without::Cancel), "{had:?}");
        canceller.join().unwrap();
        assert_eq!(capped.pool.gauge(), Some((0, 0)));
    });
}

/// The connection is dead: it is purged, or the caller that gets it exchanges it. In each case its
/// permit serves the waiters.
#[test]
fn a_purge_during_waits_frees_each_permit_once() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let purger =
            spawn(&capped, |capped| capped.pool.purge(Moment::now(), |_| Sight::Bad).0.len());
        let waiter = spawn(&capped, |capped| {
            let had = capped.acquire(never());
            assert_eq!(
                capped.pool.exchange(),
                None,
                "with one permit there is no other connection"
            );
            capped.leave();
            usize::from(had == Ok(Some(7)))
        });
        capped.put(7);
        let gone = purger.join().unwrap() + waiter.join().unwrap();
        let left = capped.pool.take_idle().0.len();
        assert_eq!(gone + left, 1);
        capped.is_free();
    });
}

#[test]
fn an_exchange_frees_one_of_two_permits() {
    check(|| {
        let capped = Capped::new(2);
        assert_eq!(capped.acquire(never()), Ok(None));
        assert_eq!(capped.acquire(never()), Ok(None));
        capped.put(7);
        // Its own connection is dead; it takes the idle one if that is still there.
        let exchanger = spawn(&capped, |capped| {
            let other = capped.pool.exchange();
            capped.leave();
            usize::from(other.is_some())
        });
        let others = [(); 2].map(|()| {
            spawn(&capped, |capped| usize::from(capped.turn().expect("nobody cancels").is_some()))
        });
        let had: usize = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert_eq!(exchanger.join().unwrap() + had, 1, "a connection has one owner");
        capped.is_free();
    });
}

#[test]
fn closing_during_a_release_leaves_nothing_behind() {
    check(|| {
        let capped = Capped::new(1);
        assert_eq!(capped.acquire(never()), Ok(None));
        let waiter = spawn(&capped, Capped::turn);
        let closer = spawn(&capped, |capped| capped.pool.close().len());
        capped.put(7);
        let had = waiter.join().unwrap().expect("closing cancels nothing").is_some();
        assert!(closer.join().unwrap() + usize::from(had) <= 1);
        assert!(matches!(capped.pool.put(8, closed_elsewhere), Put::Refused(8)));
        capped.is_free();
    });
}
