//! The line at the cap for callers that must not block: they take a ticket, are told when its turn
//! may have come, and then ask. It is the same line as that of [`Pool::acquire`]; all are served in
//! the order in which they came.

use std::time::Instant;

use super::line::Waiter;
use super::{CLOSES, Permit, Pool, State, Waker};
use crate::base::moment::Moment;

/// A turn in the line. It ends when [`Pool::claim`] gives a permit, or with [`Pool::give_up_turn`].
#[derive(Debug)]
pub struct Ticket(u64);

/// What the holder of a ticket gets.
pub(super) enum Claim<T> {
    /// Its permit. It has left the line.
    Permit(Permit<T>),
    /// Its turn has not come. A thread may go before those ahead of it from this time on.
    NotYet(Option<Instant>),
}

impl<T> Pool<T> {
    /// A ticket at the end of the line. Call [`Pool::claim`] with it now, and each time after
    /// `wake` was called.
    pub fn queue(&self, wake: Waker) -> Ticket {
        Ticket(self.join(Waiter::Loop(wake)))
    }

    /// The permit of a ticket; `None` if its turn has not come.
    pub fn claim(&self, ticket: &Ticket, expired: impl FnMut(T)) -> Option<Permit<T>> {
        match self.claim_by(ticket.0, false, expired) {
            Claim::Permit(permit) => Some(permit),
            Claim::NotYet(_) => None,
        }
    }

    /// Leaves the line without a permit.
    pub fn give_up_turn(&self, ticket: Ticket) {
        self.leave_line(ticket.0);
    }

    pub(super) fn join(&self, waiter: Waiter) -> u64 {
        self.state.lock().line.join(waiter)
    }

    pub(super) fn leave_line(&self, ticket: u64) {
        let mut state = self.state.lock();
        self.leave_line_of(&mut state, ticket);
    }

    fn leave_line_of(&self, state: &mut State<T>, ticket: u64) {
        state.line.leave(ticket);
        self.wake(state); // the next in line may have room too
    }

    pub(super) fn claim_by(
        &self,
        ticket: u64,
        is_thread: bool,
        expired: impl FnMut(T),
    ) -> Claim<T> {
        let mut state = self.state.lock();
        let old = state.take_expired(Moment::tick(), self.idle_timeout, CLOSES);
        let overtakes = match is_thread && state.has_room(self.cap) {
            true => state.line.overtakes_at(ticket, self.comes_within),
            false => None,
        };
        let is_next =
            || state.line.is_first(ticket) || overtakes.is_some_and(|at| Instant::now() >= at);
        let claim = if state.cancelled {
            Claim::Permit(Permit::Cancelled)
        } else if state.has_room(self.cap) && is_next() {
            Claim::Permit(state.take())
        } else {
            Claim::NotYet(overtakes)
        };
        match &claim {
            Claim::Permit(_) => self.leave_line_of(&mut state, ticket),
            Claim::NotYet(_) => state.line.came(ticket),
        }
        drop(state);
        old.into_iter().for_each(expired);
        claim
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::process::Birthplace;
    use crate::net::pool::Put;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    fn never(_: u32) {
        panic!("nothing is old here");
    }

    fn pool(cap: usize) -> Pool<u32> {
        Pool::new(cap, Duration::from_secs(3600))
    }

    struct Holder {
        ticket: Ticket,
        woken: Arc<AtomicUsize>,
    }

    fn queue(pool: &Pool<u32>) -> Holder {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let ticket = pool.queue(Box::new(move || {
            count.fetch_add(1, SeqCst);
        }));
        Holder { ticket, woken }
    }

    fn is_new(permit: Option<Permit<u32>>) -> bool {
        matches!(permit, Some(Permit::New))
    }

    #[test]
    fn turns_come_in_order_and_only_the_first_is_woken() {
        let pool = pool(1);
        assert!(is_new(pool.try_acquire(never)));
        assert!(pool.try_acquire(never).is_none());
        let (first, second) = (queue(&pool), queue(&pool));
        assert!(pool.claim(&first.ticket, never).is_none());
        pool.leave();
        assert!(pool.claim(&second.ticket, never).is_none());
        assert!(pool.try_acquire(never).is_none(), "nobody goes before those in the queue");
        assert_eq!((first.woken.load(SeqCst), second.woken.load(SeqCst)), (1, 0));
        assert!(is_new(pool.claim(&first.ticket, never)));
        assert_eq!(second.woken.load(SeqCst), 0, "there is no room yet");
        assert!(matches!(pool.put(7, never), Put::Kept { .. }));
        assert_eq!(second.woken.load(SeqCst), 1);
        assert!(matches!(pool.claim(&second.ticket, never), Some(Permit::Idle(7))));
        pool.leave();
        assert!(is_new(pool.try_acquire(never)));
    }

    #[test]
    fn who_gives_up_hands_the_turn_on() {
        let pool = pool(1);
        assert!(is_new(pool.try_acquire(never)));
        let (first, second, third) = (queue(&pool), queue(&pool), queue(&pool));
        pool.give_up_turn(second.ticket);
        pool.leave();
        assert_eq!(first.woken.load(SeqCst), 1);
        pool.give_up_turn(first.ticket);
        assert_eq!(third.woken.load(SeqCst), 1);
        assert_eq!(second.woken.load(SeqCst), 0);
        assert!(is_new(pool.claim(&third.ticket, never)));
        pool.leave();
        assert!(is_new(pool.try_acquire(never)));
        assert!(pool.state.lock().line.is_empty());
    }

    #[test]
    fn one_queue_for_those_who_wait_and_those_who_do_not() {
        let mut pool = pool(1);
        pool.comes_within = Duration::from_secs(3600);
        let pool = Arc::new(pool);
        assert!(is_new(pool.try_acquire(never)));
        let first = queue(&pool);
        let waiting = {
            let pool = Arc::clone(&pool);
            std::thread::spawn(move || {
                matches!(
                    pool.acquire(|| Instant::now() + Duration::from_secs(60), never),
                    Permit::New
                )
            })
        };
        while pool.state.lock().line.len() < 2 {
            std::thread::yield_now();
        }
        let last = queue(&pool);
        pool.leave();
        assert!(is_new(pool.claim(&first.ticket, never)));
        assert!(pool.claim(&last.ticket, never).is_none());
        pool.leave();
        assert!(waiting.join().unwrap());
        assert_eq!(last.woken.load(SeqCst), 0);
        pool.leave();
        assert_eq!(last.woken.load(SeqCst), 1);
        assert!(is_new(pool.claim(&last.ticket, never)));
    }

    #[test]
    fn cancelling_wakes_everyone() {
        let pool = pool(1);
        assert!(is_new(pool.try_acquire(never)));
        let (first, second) = (queue(&pool), queue(&pool));
        pool.cancel();
        assert_eq!((first.woken.load(SeqCst), second.woken.load(SeqCst)), (1, 1));
        assert!(matches!(pool.claim(&second.ticket, never), Some(Permit::Cancelled)));
        assert!(matches!(pool.claim(&first.ticket, never), Some(Permit::Cancelled)));
        assert!(matches!(pool.try_acquire(never), Some(Permit::Cancelled)));
    }

    #[test]
    fn the_end_of_the_set_wakes_everyone_but_in_a_forked_child() {
        let mut pool = pool(1);
        assert!(is_new(pool.try_acquire(never)));
        let (first, second) = (queue(&pool), queue(&pool));
        let here = std::mem::replace(&mut pool.birthplace, Birthplace::of_a_parent());
        pool.close();
        assert_eq!(
            (first.woken.load(SeqCst), second.woken.load(SeqCst)),
            (0, 0),
            "the loop is the parent's"
        );
        pool.birthplace = here;
        pool.close();
        assert_eq!((first.woken.load(SeqCst), second.woken.load(SeqCst)), (1, 1));
    }
}
