//! Idle connections of one node, newest first, and the cap on open ones. Holds anything that can be kept;
//! knows neither sockets nor nodes.

mod queue;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::process::Birthplace;
use crate::sync::{Condvar, Guard, Mutex};
pub use queue::{Ticket, Waker};

/// The pool of a node. Each open connection, idle or in use, holds one place.
pub struct Pool<T> {
    state: Mutex<State<T>>,
    freed: Condvar,
    cap: usize,
    idle_timeout: Duration,
    birthplace: Birthplace,
}

struct State<T> {
    /// Oldest in front, so that what has lain too long is found without a look at the others.
    idle: VecDeque<(Instant, T)>,
    open: usize,
    /// The waiters at the cap, served in the order they came.
    next_ticket: u64,
    served_ticket: u64,
    abandoned: Vec<u64>,
    /// How to tell those of them who do not wait in [`Pool::acquire`].
    wakers: Vec<(u64, Waker)>,
    closed: bool,
    cancelled: bool,
}

/// What [`Pool::acquire`] gives.
pub enum Place<T> {
    /// An idle connection. Its place is the caller's now.
    Idle(T),
    /// A place for a new one.
    New,
    /// The cap held until the deadline.
    None,
    /// The pool was cancelled.
    Cancelled,
}

impl<T> Pool<T> {
    /// A pool of at most `cap` open connections (0: any number), idle ones kept for `idle_timeout`.
    pub fn new(cap: usize, idle_timeout: Duration) -> Self {
        let state = State {
            idle: VecDeque::new(),
            open: 0,
            next_ticket: 0,
            served_ticket: 0,
            abandoned: Vec::new(),
            wakers: Vec::new(),
            closed: false,
            cancelled: false,
        };
        let (state, freed, birthplace) = (Mutex::new(state), Condvar::new(), Birthplace::here());
        Pool { state, freed, cap, idle_timeout, birthplace }
    }

    /// The newest idle connection, or a place for a new one; at the cap, waits its turn until `deadline`.
    /// What has lain idle too long is handed to `expired`, outside the lock.
    pub fn acquire(&self, deadline: Instant, expired: impl FnMut(T)) -> Place<T> {
        let mut state = self.state.lock();
        let old = state.take_expired(self.idle_timeout);
        let place = if state.cancelled {
            Place::Cancelled
        } else if state.nobody_waits() && state.has_room(self.cap) {
            state.take()
        } else {
            self.wait_turn(state, deadline)
        };
        old.into_iter().for_each(expired);
        place
    }

    fn wait_turn(&self, mut state: Guard<'_, State<T>>, deadline: Instant) -> Place<T> {
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let mut passed = false;
        loop {
            state.skip_abandoned();
            if state.cancelled {
                state.give_way(ticket);
                return Place::Cancelled;
            }
            if state.served_ticket == ticket && state.has_room(self.cap) {
                state.give_way(ticket);
                let place = state.take();
                self.wake(&mut state); // the next in line may have room too
                return place;
            }
            if passed {
                state.give_way(ticket);
                self.wake(&mut state);
                return Place::None;
            }
            (state, passed) = self.freed.wait_until(state, deadline);
        }
    }

    /// Keeps a connection whose place the caller holds. Gives it back where the pool is closed.
    pub fn put(&self, item: T, expired: impl FnMut(T)) -> Option<T> {
        let mut state = self.state.lock();
        if state.closed {
            return Some(item);
        }
        let old = state.take_expired(self.idle_timeout);
        state.idle.push_back((Instant::now(), item));
        self.wake(&mut state);
        drop(state);
        old.into_iter().for_each(expired);
        None
    }

    /// Gives a place back: its connection is closed, or was never made.
    pub fn leave(&self) {
        let mut state = self.state.lock();
        state.open -= 1;
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut State<T>) {
        state.skip_abandoned();
        if !state.nobody_waits() && state.has_room(self.cap) {
            self.freed.notify_all();
            state.wake_holder();
        }
    }

    /// Takes everything out; from now on nothing is kept. Nothing comes out in a forked child where a thread of the
    /// parent's held the lock.
    pub fn close(&self) -> Vec<T> {
        self.state.reach(self.birthplace).map(|mut state| state.close()).unwrap_or_default()
    }

    /// Ends every wait at the cap, and from now on gives no place.
    pub fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        self.freed.notify_all();
        state.wakers.iter().for_each(|(_, wake)| wake());
    }

    /// Connections idle and open; `None` in a forked child where a thread of the parent's held the lock.
    pub fn gauge(&self) -> Option<(usize, usize)> {
        self.state.reach(self.birthplace).map(|state| state.gauge())
    }
}

impl<T> State<T> {
    fn gauge(&self) -> (usize, usize) {
        (self.idle.len(), self.open)
    }

    fn nobody_waits(&self) -> bool {
        self.served_ticket == self.next_ticket
    }

    fn skip_abandoned(&mut self) {
        while let Some(at) = self.abandoned.iter().position(|ticket| *ticket == self.served_ticket) {
            self.abandoned.swap_remove(at);
            self.served_ticket += 1;
        }
    }

    /// The holder of `ticket` waits no longer.
    fn give_way(&mut self, ticket: u64) {
        if self.served_ticket == ticket {
            self.served_ticket += 1;
        } else {
            self.abandoned.push(ticket);
        }
    }

    fn has_room(&self, cap: usize) -> bool {
        cap == 0 || !self.idle.is_empty() || self.open < cap
    }

    fn take(&mut self) -> Place<T> {
        match self.idle.pop_back() {
            Some((_, item)) => Place::Idle(item),
            None => {
                self.open += 1;
                Place::New
            }
        }
    }

    /// What has lain idle too long. Its places are free at once: it is closed by whoever gets it.
    fn take_expired(&mut self, idle_timeout: Duration) -> Vec<T> {
        let mut old = Vec::new();
        if self.idle.is_empty() {
            return old;
        }
        let now = Instant::now();
        while let Some((since, _)) = self.idle.front()
            && now.saturating_duration_since(*since) >= idle_timeout
            && let Some((_, item)) = self.idle.pop_front()
        {
            old.push(item);
        }
        self.open -= old.len();
        old
    }

    fn close(&mut self) -> Vec<T> {
        self.closed = true;
        self.open -= self.idle.len();
        self.idle.drain(..).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(5)
    }

    fn never<T>(_: T) {
        panic!("nothing is old here");
    }

    fn pool(cap: usize) -> Pool<u32> {
        Pool::new(cap, Duration::from_secs(3600))
    }

    fn taken(place: Place<u32>) -> Option<u32> {
        match place {
            Place::Idle(item) => Some(item),
            _ => None,
        }
    }

    #[test]
    fn the_newest_comes_first() {
        let pool = pool(0);
        for item in 0..3 {
            assert!(matches!(pool.acquire(soon(), never), Place::New));
            assert_eq!(taken(Place::Idle(item)), Some(item));
        }
        for item in 0..3 {
            assert!(pool.put(item, never).is_none());
        }
        assert_eq!(pool.gauge().unwrap(), (3, 3));
        assert_eq!(taken(pool.acquire(soon(), never)), Some(2));
        assert_eq!(taken(pool.acquire(soon(), never)), Some(1));
        assert_eq!(pool.gauge().unwrap(), (1, 3));
    }

    #[test]
    fn what_lies_too_long_is_handed_out_for_closing() {
        let pool: Pool<u32> = Pool::new(0, Duration::ZERO);
        assert!(matches!(pool.acquire(soon(), never), Place::New));
        assert!(pool.put(7, never).is_none());
        let mut old = Vec::new();
        assert!(matches!(pool.acquire(soon(), |item| old.push(item)), Place::New));
        assert_eq!(old, [7]);
        assert_eq!(pool.gauge().unwrap(), (0, 1));
    }

    #[test]
    fn the_cap_holds_until_a_place_is_left() {
        let pool = Arc::new(pool(1));
        assert!(matches!(pool.acquire(soon(), never), Place::New));
        assert!(matches!(pool.acquire(soon(), never), Place::None));
        let waiting = {
            let pool = Arc::clone(&pool);
            std::thread::spawn(move || {
                matches!(pool.acquire(Instant::now() + Duration::from_secs(30), never), Place::New)
            })
        };
        pool.leave();
        assert!(waiting.join().unwrap());
        assert_eq!(pool.gauge().unwrap(), (0, 1));
    }

    #[test]
    fn many_threads_never_pass_the_cap_and_all_are_served() {
        let pool = Arc::new(pool(3));
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (pool, inside) = (Arc::clone(&pool), Arc::clone(&inside));
                std::thread::spawn(move || {
                    for turn in 0..500 {
                        let item = match pool.acquire(Instant::now() + Duration::from_secs(60), never) {
                            Place::Idle(item) => item,
                            Place::New => turn,
                            Place::None | Place::Cancelled => {
                                panic!("a place came free many times in the time given")
                            }
                        };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        if turn % 3 == 0 {
                            pool.leave();
                        } else {
                            assert!(pool.put(item, never).is_none());
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let (idle, open) = pool.gauge().unwrap();
        assert_eq!(idle, open);
        assert!(open <= 3);
    }

    #[test]
    fn cancelling_ends_every_wait_and_gives_no_place_again() {
        let pool = Arc::new(pool(1));
        assert!(matches!(pool.acquire(soon(), never), Place::New));
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let pool = Arc::clone(&pool);
                let far = Instant::now() + Duration::from_secs(60);
                std::thread::spawn(move || matches!(pool.acquire(far, never), Place::Cancelled))
            })
            .collect();
        while pool.state.lock().next_ticket < 4 {
            std::thread::yield_now();
        }
        pool.cancel();
        assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
        assert!(pool.put(1, never).is_none());
        assert!(matches!(pool.acquire(soon(), never), Place::Cancelled));
        assert_eq!(pool.close(), [1]);
    }

    #[test]
    fn a_closed_pool_keeps_nothing() {
        let pool = pool(0);
        assert!(matches!(pool.acquire(soon(), never), Place::New));
        assert!(matches!(pool.acquire(soon(), never), Place::New));
        assert!(pool.put(1, never).is_none());
        assert_eq!(pool.close(), [1]);
        assert_eq!(pool.put(2, never), Some(2));
        pool.leave();
        assert_eq!(pool.gauge().unwrap(), (0, 0));
    }
}
