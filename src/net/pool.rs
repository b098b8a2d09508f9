//! The idle connections of one node, newest first, and the cap on open ones. It can hold anything;
//! it knows neither sockets nor nodes.

mod line;
mod queue;
mod seat;
mod wait;

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::moment::Moment;
use crate::base::process::Birthplace;
use crate::base::sync::Mutex;
use line::Line;
pub use line::Waker;
pub use queue::Ticket;
pub use wait::wait_for_any;

/// How long a ticket holder that was told of its turn may keep others waiting; after that a waiting
/// thread may go first. An event loop comes at once, unless it is busy: perhaps in a call that
/// itself waits for the pool.
/// In the loom models, which may take long over one step, it is over only if a model says so.
const COMES_WITHIN: Duration =
    Duration::from_millis(if cfg!(feature = "model") { 86_400_000 } else { 20 });

/// The pool of a node. Each open connection, idle or in use, holds one permit.
pub struct Pool<T> {
    state: Mutex<State<T>>,
    cap: usize,
    idle_timeout: Duration,
    /// See [`COMES_WITHIN`].
    comes_within: Duration,
    birthplace: Birthplace,
}

struct State<T> {
    /// Oldest first, so that what was idle too long is found without a look at the others.
    idle: VecDeque<(Moment, T)>,
    /// Were idle too long, and wait for the next purge to be closed. Their permits are free.
    leaving: Vec<T>,
    open: usize,
    /// Those who wait at the cap.
    line: Line,
    closed: bool,
    cancelled: bool,
    /// A purge is planned.
    purge_due: bool,
}

/// What [`Pool::acquire`] gives.
pub enum Permit<T> {
    /// An idle connection. Its permit is the caller's now.
    Idle(T),
    /// A permit for a new one.
    New,
    /// No permit became free before the deadline.
    None,
    /// The pool was cancelled.
    Cancelled,
}

/// What [`Pool::put`] made of a connection.
pub enum Put<T> {
    /// It is idle now.
    Kept {
        /// When the caller must call [`Pool::purge`]; `None` if a purge is planned already.
        purge: Option<Moment>,
    },
    /// The pool is closed. The permit is still the caller's.
    Refused(T),
}

/// What a look at an idle connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It may be used again.
    Good,
    /// It may not.
    Bad,
    /// It was not looked at, and neither are those after it: the next purge does.
    Later,
}

/// How many idle connections one purge checks, because it holds the lock meanwhile.
const PURGE_LOOKS: usize = 64;

/// How many connections one call gets to close. Closing one means to read what its peer has sent,
/// and others wait: a caller for its permit, or a dial for the dialer thread.
const CLOSES: usize = 4;

/// The shortest time between two purges, so that connections that become due one by one are closed
/// in few rounds.
const PURGE_PAUSE: Duration = Duration::from_millis(100);

impl<T> Pool<T> {
    /// A pool of at most `cap` open connections (0: no limit) that keeps idle ones for
    /// `idle_timeout`.
    pub fn new(cap: usize, idle_timeout: Duration) -> Self {
        let state = State {
            idle: VecDeque::new(),
            leaving: Vec::new(),
            open: 0,
            line: Line::default(),
            closed: false,
            cancelled: false,
            purge_due: false,
        };
        let (state, birthplace) = (Mutex::new(state), Birthplace::here());
        Pool { state, cap, idle_timeout, comes_within: COMES_WITHIN, birthplace }
    }

    /// As [`Pool::acquire`], without waiting: `None` at the cap, or if others are in line. First it
    /// passes some of the connections that were idle too long to `expired`, outside the lock; the
    /// others are left to the next purge.
    #[inline]
    pub fn try_acquire(&self, expired: impl FnMut(T)) -> Option<Permit<T>> {
        let mut state = self.state.lock();
        if !state.idle.is_empty() && state.holds_expired(Moment::tick(), self.idle_timeout) {
            let old = state.take_expired(Moment::tick(), self.idle_timeout, CLOSES);
            drop(state); // closing may call this pool again
            old.into_iter().for_each(expired);
            state = self.state.lock();
        }
        if state.cancelled {
            Some(Permit::Cancelled)
        } else {
            (state.line.is_empty() && state.has_room(self.cap)).then(|| state.take())
        }
    }

    /// Keeps a connection whose permit the caller holds.
    pub fn put(&self, item: T, expired: impl FnMut(T)) -> Put<T> {
        let mut state = self.state.lock();
        if state.closed {
            return Put::Refused(item);
        }
        let now = Moment::tick();
        let old = state
            .holds_expired(now, self.idle_timeout)
            .then(|| state.take_expired(now, self.idle_timeout, CLOSES));
        state.idle.push_back((now, item));
        let first = !std::mem::replace(&mut state.purge_due, true);
        self.wake(&mut state);
        drop(state);
        if let Some(old) = old {
            old.into_iter().for_each(expired);
        }
        Put::Kept { purge: first.then(|| now.after(self.idle_timeout)) }
    }

    /// Takes out some of what was idle too long, and of the oldest others what is not good by
    /// `look`. Also returns when the next purge is due, if one is.
    pub fn purge(
        &self,
        now: Moment,
        mut look: impl FnMut(&mut T) -> Sight,
    ) -> (Vec<T>, Option<Moment>) {
        let mut state = self.state.lock();
        let mut gone = state.take_expired(now, self.idle_timeout, CLOSES);
        let (mut at, mut is_later) = (0, false);
        for _ in 0..PURGE_LOOKS.min(state.idle.len()) {
            match state.idle.get_mut(at).map_or(Sight::Later, |(_, item)| look(item)) {
                Sight::Good => at += 1,
                Sight::Bad => {
                    gone.extend(state.idle.remove(at).map(|(_, item)| item));
                    state.open -= 1;
                }
                Sight::Later => {
                    is_later = true;
                    break;
                }
            }
        }
        let oldest = state.idle.front();
        let due = oldest.map(|(since, _)| match is_later {
            true => now,
            false => since.after(self.idle_timeout),
        });
        let next = match state.leaving.is_empty() {
            true => due.map(|due| due.max(now.after(PURGE_PAUSE))),
            false => Some(now),
        };
        state.purge_due = next.is_some();
        if !gone.is_empty() {
            self.wake(&mut state);
        }
        (gone, next)
    }

    /// Takes out each idle connection for which `stays` is false.
    pub fn take_out(&self, mut stays: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let mut gone = Vec::new();
        let mut at = 0;
        while let Some((_, item)) = state.idle.get_mut(at) {
            if stays(item) {
                at += 1;
            } else {
                gone.extend(state.idle.remove(at).map(|(_, item)| item));
            }
        }
        if !gone.is_empty() {
            state.open -= gone.len();
            self.wake(&mut state);
        }
        gone
    }

    /// Takes out every idle connection. The caller closes the first of them, which it gets, and
    /// calls [`Pool::take_leaving`] for the others if there are any: then the second is true.
    pub fn take_idle(&self) -> (Vec<T>, bool) {
        let mut state = self.state.lock();
        state.leaving = state.take_idle();
        let first = state.leave(CLOSES);
        self.wake(&mut state);
        (first, !state.leaving.is_empty())
    }

    /// More of what [`Pool::take_idle`] took out, and whether there is still more.
    pub fn take_leaving(&self) -> (Vec<T>, bool) {
        let mut state = self.state.lock();
        (state.leave(CLOSES), !state.leaving.is_empty())
    }

    /// Another idle connection for a caller that holds a permit but has closed its connection. One
    /// of the two permits becomes free. `None` if there is no idle one; then the caller keeps its
    /// permit, so that it does not lose its turn at the cap over a dead connection.
    pub fn exchange(&self) -> Option<T> {
        let mut state = self.state.lock();
        let (_, item) = state.idle.pop_back()?;
        state.open -= 1;
        self.wake(&mut state);
        Some(item)
    }

    /// Gives a permit back: its connection is closed, or was never made.
    pub fn leave(&self) {
        let mut state = self.state.lock();
        state.open -= 1;
        self.wake(&mut state);
    }

    #[inline]
    fn wake(&self, state: &mut State<T>) {
        if !state.line.is_empty() && state.has_room(self.cap) {
            state.line.call_first();
        }
    }

    /// Takes everything out and wakes those in line; from now on nothing is kept. Returns
    /// nothing in a forked child if a thread of the parent held the lock.
    pub fn close(&self) -> Vec<T> {
        let Some(mut state) = self.state.reach(self.birthplace) else { return Vec::new() };
        if !self.birthplace.is_elsewhere() {
            state.line.call_all(); // in a child it would wake the parent
        }
        state.closed = true;
        state.take_idle()
    }

    /// Ends every wait at the cap, and from now on gives no permit.
    pub fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        state.line.call_all();
    }

    /// The numbers of idle and of open connections; `None` in a forked child if a thread of the
    /// parent held the lock.
    pub fn gauge(&self) -> Option<(usize, usize)> {
        self.state.reach(self.birthplace).map(|state| state.gauge())
    }
}

impl<T> State<T> {
    fn gauge(&self) -> (usize, usize) {
        (self.idle.len(), self.open)
    }

    fn has_room(&self, cap: usize) -> bool {
        cap == 0 || !self.idle.is_empty() || self.open < cap
    }

    fn take(&mut self) -> Permit<T> {
        match self.idle.pop_back() {
            Some((_, item)) => Permit::Idle(item),
            None => {
                self.open += 1;
                Permit::New
            }
        }
    }

    /// Whether any was idle too long; it is enough to look at the oldest.
    #[inline]
    fn holds_expired(&self, now: Moment, idle_timeout: Duration) -> bool {
        self.idle.front().is_some_and(|(since, _)| now.since(*since) >= idle_timeout)
    }

    /// Takes out what was idle too long. The permits are free at once. The caller closes the
    /// connections that it gets; the others are left to the next purge, which is planned as long as
    /// there was an idle connection.
    #[cold]
    fn take_expired(&mut self, now: Moment, idle_timeout: Duration, most: usize) -> Vec<T> {
        while self.holds_expired(now, idle_timeout)
            && let Some((_, item)) = self.idle.pop_front()
        {
            self.open -= 1;
            self.leaving.push(item);
        }
        self.leave(most)
    }

    fn leave(&mut self, most: usize) -> Vec<T> {
        let rest = self.leaving.len().saturating_sub(most);
        self.leaving.split_off(rest)
    }

    fn take_idle(&mut self) -> Vec<T> {
        self.open -= self.idle.len();
        let mut all = std::mem::take(&mut self.leaving);
        all.extend(self.idle.drain(..).map(|(_, item)| item));
        all
    }
}

#[cfg(test)]
mod tests;
