//! How a thread waits at the cap: of one pool, or of several at once, whichever has a permit first.
//!
//! Invariant: when the wait is over, the thread stands in no line any more, and every permit that
//! it was called for and did not take goes to the next in that line.

use std::sync::Arc;
use std::time::Instant;

use super::line::Waiter;
use super::queue::Claim;
use super::seat::Seat;
use super::{Permit, Pool};

/// A thread's tickets, one for each pool.
struct Tickets<'a, T> {
    pools: &'a [&'a Pool<T>],
    held: Vec<Option<u64>>,
    seat: Arc<Seat>,
}

impl<'a, T> Tickets<'a, T> {
    fn take(pools: &'a [&'a Pool<T>]) -> Tickets<'a, T> {
        let seat = Arc::<Seat>::default();
        let join = |(number, pool): (usize, &&Pool<T>)| {
            Some(pool.join(Waiter::Thread(Arc::clone(&seat), number)))
        };
        let held = pools.iter().enumerate().map(join).collect();
        Tickets { pools, held, seat }
    }
}

impl<T> Drop for Tickets<'_, T> {
    fn drop(&mut self) {
        for (pool, ticket) in self.pools.iter().zip(&mut self.held) {
            if let Some(ticket) = ticket.take() {
                pool.leave_line(ticket);
            }
        }
    }
}

impl<T> Pool<T> {
    /// The newest idle connection, or a permit for a new one. At the cap it waits for its turn
    /// until `deadline`, which is called only then. First it passes connections that were idle too
    /// long to `expired`, outside the lock.
    pub fn acquire(
        &self,
        deadline: impl FnOnce() -> Instant,
        mut expired: impl FnMut(T),
    ) -> Permit<T> {
        match self.try_acquire(&mut expired) {
            Some(permit) => permit,
            None => wait_for_any(&[self], deadline(), |_, item| expired(item)).1,
        }
    }
}

/// Waits in the lines of all `pools`, at least one, until one of them has a permit or until
/// `deadline`. Returns which one it was. Connections that were idle too long go to `expired`, with
/// the number of their pool, outside the locks.
pub fn wait_for_any<T>(
    pools: &[&Pool<T>],
    deadline: Instant,
    mut expired: impl FnMut(usize, T),
) -> (usize, Permit<T>) {
    let mut tickets = Tickets::take(pools);
    let mut overtakes = vec![None; pools.len()];
    // There may have been room before it stood in line.
    let mut asked: Vec<usize> = (0..pools.len()).collect();
    let mut passed = false;
    loop {
        for number in asked {
            let Some(ticket) = tickets.held[number] else { continue };
            match pools[number].claim_by(ticket, true, |item| expired(number, item)) {
                Claim::Permit(permit) => {
                    tickets.held[number] = None; // it has left this line
                    return (number, permit);
                }
                Claim::NotYet(at) => overtakes[number] = at,
            }
        }
        if passed {
            return (0, Permit::None);
        }
        let soonest = overtakes.iter().flatten().min().copied();
        let until = soonest.map_or(deadline, |at| at.min(deadline));
        let over;
        (asked, over) = tickets.seat.wait(until);
        passed = over && until == deadline;
        if over {
            let due = |number: &usize| overtakes[*number].is_some_and(|at| at <= until);
            asked.extend((0..pools.len()).filter(due));
        }
    }
}
