//! The pool with numbers for connections: order, cap, turns, ends.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(5)
}

fn never<T>(_: T) {
    panic!("nothing is old here");
}

fn pool(cap: usize) -> Pool<u32> {
    Pool::new(cap, Duration::from_secs(3600))
}

fn taken(permit: Permit<u32>) -> Option<u32> {
    match permit {
        Permit::Idle(item) => Some(item),
        _ => None,
    }
}

fn sight(good: bool) -> Sight {
    if good { Sight::Good } else { Sight::Bad }
}

fn is_kept(put: Put<u32>) -> bool {
    matches!(put, Put::Kept { .. })
}

#[test]
fn the_newest_comes_first() {
    let pool = pool(0);
    for item in 0..3 {
        assert!(matches!(pool.acquire(soon, never), Permit::New));
        assert_eq!(taken(Permit::Idle(item)), Some(item));
    }
    for item in 0..3 {
        assert!(is_kept(pool.put(item, never)));
    }
    assert_eq!(pool.gauge().unwrap(), (3, 3));
    assert_eq!(taken(pool.acquire(soon, never)), Some(2));
    assert_eq!(taken(pool.acquire(soon, never)), Some(1));
    assert_eq!(pool.gauge().unwrap(), (1, 3));
}

#[test]
fn what_lies_too_long_is_handed_out_for_closing() {
    let pool: Pool<u32> = Pool::new(0, Duration::ZERO);
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(is_kept(pool.put(7, never)));
    let mut old = Vec::new();
    assert!(matches!(pool.acquire(soon, |item| old.push(item)), Permit::New));
    assert_eq!(old, [7]);
    assert_eq!(pool.gauge().unwrap(), (0, 1));
}

#[test]
fn what_is_closed_may_ask_the_pool() {
    let pool: Pool<u32> = Pool::new(1, Duration::ZERO);
    let mut asked = 0;
    let mut ask = |_| {
        assert!(pool.state.try_lock().is_some(), "a plugin's free function may call back");
        asked += 1;
    };
    assert!(matches!(pool.acquire(soon, &mut ask), Permit::New));
    assert!(is_kept(pool.put(1, &mut ask)));
    assert!(matches!(pool.acquire(soon, &mut ask), Permit::New));
    assert!(is_kept(pool.put(2, &mut ask)));
    assert!(matches!(pool.try_acquire(&mut ask), Some(Permit::New)));
    let ticket = pool.queue(Box::new(|| {}));
    assert!(is_kept(pool.put(3, &mut ask)));
    assert!(matches!(pool.claim(&ticket, &mut ask), Some(Permit::New)));
    assert_eq!(asked, 3);
}

#[test]
fn what_lies_too_long_is_closed_before_the_wait_at_the_cap() {
    let pool: Pool<u32> = Pool::new(2, Duration::ZERO);
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    let mut first_in_line = Some(pool.queue(Box::new(|| {})));
    assert!(is_kept(pool.put(1, never)));
    let give_way = |_| pool.give_up_turn(first_in_line.take().unwrap());
    assert!(
        matches!(pool.acquire(soon, give_way), Permit::New),
        "who was first is gone when the wait begins"
    );
}

#[test]
fn the_cap_holds_until_a_permit_is_left() {
    let pool = Arc::new(pool(1));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(matches!(pool.acquire(soon, never), Permit::None));
    let waiting = {
        let pool = Arc::clone(&pool);
        std::thread::spawn(move || {
            matches!(pool.acquire(|| Instant::now() + Duration::from_secs(30), never), Permit::New)
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
                    let item =
                        match pool.acquire(|| Instant::now() + Duration::from_secs(60), never) {
                            Permit::Idle(item) => item,
                            Permit::New => turn,
                            Permit::None | Permit::Cancelled => {
                                panic!("a permit came free many times in the time given")
                            }
                        };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if turn % 3 == 0 {
                        pool.leave();
                    } else {
                        assert!(is_kept(pool.put(item, never)));
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
fn cancelling_ends_every_wait_and_gives_no_permit_again() {
    let pool = Arc::new(pool(1));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let pool = Arc::clone(&pool);
            let far = Instant::now() + Duration::from_secs(60);
            std::thread::spawn(move || matches!(pool.acquire(|| far, never), Permit::Cancelled))
        })
        .collect();
    while pool.state.lock().line.len() < 4 {
        std::thread::yield_now();
    }
    pool.cancel();
    assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
    assert!(is_kept(pool.put(1, never)));
    assert!(matches!(pool.acquire(soon, never), Permit::Cancelled));
    assert_eq!(pool.close(), [1]);
}

#[test]
fn one_purge_is_asked_for_at_a_time_and_takes_the_old_and_the_dead() {
    let hour = Duration::from_secs(3600);
    let pool = pool(0);
    for _ in 0..4 {
        assert!(matches!(pool.acquire(soon, never), Permit::New));
    }
    let begun = Moment::tick();
    let Put::Kept { purge: Some(due) } = pool.put(0, never) else {
        panic!("the first asks for a purge")
    };
    assert!(due >= begun.after(hour));
    for item in 1..4 {
        assert!(matches!(pool.put(item, never), Put::Kept { purge: None }));
    }
    let now = Moment::now();
    let (gone, next) = pool.purge(now, |item| sight(*item % 2 == 0));
    assert_eq!(gone, [1, 3]);
    assert_eq!(next, Some(due));
    assert_eq!(pool.gauge().unwrap(), (2, 2));
    let (gone, next) = pool.purge(now.after(hour), |_| Sight::Good);
    assert_eq!((gone, next), (vec![0, 2], None));
    assert_eq!(pool.gauge().unwrap(), (0, 0));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(matches!(pool.put(9, never), Put::Kept { purge: Some(_) }), "none is due any more");
    assert_eq!(pool.take_idle(), (vec![9], false));
    assert_eq!(pool.gauge().unwrap(), (0, 0));
}

/// Whoever comes closes a few; the purges close the rest. The permits of all are free at once.
#[test]
fn many_that_lie_too_long_are_closed_few_at_a_time() {
    let pool: Pool<u32> = Pool::new(0, Duration::from_secs(3600));
    for _ in 0..100 {
        assert!(matches!(pool.acquire(soon, never), Permit::New));
    }
    (0..100).for_each(|item| assert!(is_kept(pool.put(item, never))));
    let later = Moment::now().after(Duration::from_secs(3600));
    let (mut closed, mut purges) = (Vec::new(), 0);
    let mut next = Some(later);
    while let Some(now) = next {
        let (gone, then) = pool.purge(now, |_| unreachable!());
        assert!(gone.len() <= CLOSES);
        assert_eq!(pool.gauge().unwrap(), (0, 0));
        closed.extend(gone);
        purges += 1;
        assert!(then.is_none_or(|then| then == now), "the rest must not wait");
        next = then;
    }
    assert_eq!(purges, 100 / CLOSES);
    closed.sort_unstable();
    assert_eq!(closed, (0..100).collect::<Vec<_>>());

    let pool: Pool<u32> = Pool::new(0, Duration::ZERO);
    let mut state = pool.state.lock();
    state.idle = (0..9).map(|item| (Moment::tick(), item)).collect();
    state.open = 9;
    drop(state);
    let mut old = Vec::new();
    assert!(matches!(pool.acquire(soon, |item| old.push(item)), Permit::New));
    assert_eq!((old.len(), pool.gauge().unwrap()), (CLOSES, (0, 1)));
    let (gone, next) = pool.purge(Moment::now(), |_| unreachable!());
    assert_eq!((gone.len(), next.is_some()), (CLOSES, true), "the others wait for purges");
    old.extend(gone);
    old.extend(pool.close());
    assert_eq!(old.len(), 9, "the end of the pool loses none");
}

#[test]
fn what_is_taken_out_at_once_is_closed_few_at_a_time() {
    let pool = pool(0);
    for _ in 0..40 {
        assert!(matches!(pool.acquire(soon, never), Permit::New));
    }
    (0..40).for_each(|item| assert!(is_kept(pool.put(item, never))));
    let (mut all, mut is_more) = pool.take_idle();
    assert_eq!((all.len(), is_more, pool.gauge().unwrap()), (CLOSES, true, (0, 0)));
    while is_more {
        let (some, more) = pool.take_leaving();
        assert!(!some.is_empty() && some.len() <= CLOSES);
        all.extend(some);
        is_more = more;
    }
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
}

/// The looks of one purge are limited: where one says that it was enough, the rest waits.
#[test]
fn a_purge_that_had_enough_goes_on_with_the_next() {
    let pool = pool(0);
    for _ in 0..9 {
        assert!(matches!(pool.acquire(soon, never), Permit::New));
    }
    (0..9).for_each(|item| assert!(is_kept(pool.put(item, never))));
    let now = Moment::now();
    let mut looks = 0;
    let (gone, next) = pool.purge(now, |_| {
        looks += 1;
        if looks > 3 { Sight::Later } else { Sight::Bad }
    });
    assert_eq!((gone, next), (vec![0, 1, 2], Some(now.after(PURGE_PAUSE))));
    assert_eq!(pool.gauge().unwrap(), (6, 6));
}

#[test]
fn a_purge_makes_room_at_the_cap() {
    let pool = Arc::new(pool(1));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(is_kept(pool.put(1, never)));
    assert_eq!(pool.purge(Moment::now(), |_| Sight::Bad).0, [1]);
    assert!(matches!(pool.acquire(soon, never), Permit::New));
}

#[test]
fn who_gets_a_dead_one_keeps_the_permit_and_others_get_the_rest() {
    let pool = Arc::new(pool(2));
    for _ in 0..2 {
        assert!(matches!(pool.acquire(soon, never), Permit::New));
    }
    let waiting = {
        let pool = Arc::clone(&pool);
        let far = Instant::now() + Duration::from_secs(60);
        std::thread::spawn(move || matches!(pool.acquire(|| far, never), Permit::New))
    };
    while pool.state.lock().line.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(pool.exchange(), None);
    assert_eq!(pool.gauge().unwrap(), (0, 2), "no permit came free");
    pool.leave();
    assert!(waiting.join().unwrap());
    assert!(is_kept(pool.put(1, never)));
    assert_eq!(pool.exchange(), Some(1));
    assert_eq!(pool.gauge().unwrap(), (0, 1));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
}

#[test]
fn a_closed_pool_keeps_nothing() {
    let pool = pool(0);
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    assert!(is_kept(pool.put(1, never)));
    assert_eq!(pool.close(), [1]);
    assert!(matches!(pool.put(2, never), Put::Refused(2)));
    pool.leave();
    assert_eq!(pool.gauge().unwrap(), (0, 0));
}

#[test]
fn a_loop_that_does_not_come_for_its_turn_holds_no_thread_up() {
    let mut pool = pool(1);
    pool.comes_within = Duration::from_millis(1);
    let later = || Instant::now() + Duration::from_secs(60);
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    let ticket = pool.queue(Box::new(|| {}));
    pool.leave(); // the loop is told, and busy elsewhere
    let begun = Instant::now();
    assert!(matches!(pool.acquire(later, never), Permit::New));
    assert!(begun.elapsed() < Duration::from_secs(30), "there was room all the time");
    // It is first in line all the same, and its time starts again after it has come.
    assert!(pool.claim(&ticket, never).is_none());
    pool.comes_within = Duration::from_secs(3600);
    pool.leave();
    assert!(matches!(pool.acquire(soon, never), Permit::None));
    assert!(matches!(pool.claim(&ticket, never), Some(Permit::New)));
    pool.leave();
    assert!(matches!(pool.try_acquire(never), Some(Permit::New)));
}

/// Threads that wait in the line of `pool`, each with the number that it adds to what it takes.
fn waiters(pool: &Arc<Pool<u32>>, count: usize) -> Vec<std::thread::JoinHandle<Option<u32>>> {
    let start = |at: usize| {
        let shared = Arc::clone(pool);
        let far = Instant::now() + Duration::from_secs(60);
        let thread = std::thread::spawn(move || taken(shared.acquire(|| far, never)));
        while pool.state.lock().line.len() <= at {
            std::thread::yield_now();
        }
        thread
    };
    (0..count).map(start).collect()
}

#[test]
fn a_freed_permit_goes_to_the_first_in_line_and_wakes_nobody_else() {
    let pool = Arc::new(pool(1));
    assert!(matches!(pool.acquire(soon, never), Permit::New));
    let threads = waiters(&pool, 8);
    for (item, thread) in (0..).zip(threads) {
        assert!(is_kept(pool.put(item, never)));
        assert_eq!(thread.join().unwrap(), Some(item), "in the order in which they came");
    }
    assert_eq!(pool.state.lock().line.calls(), 8, "one call for each permit");
}

#[test]
fn several_lines_give_one_permit_to_whoever_waits_in_all_of_them() {
    let pools = [pool(1), pool(1), pool(1)];
    let all: Vec<_> = pools.iter().collect();
    pools.iter().for_each(|pool| assert!(matches!(pool.acquire(soon, never), Permit::New)));
    for free in [1, 0, 2] {
        pools[free].leave();
        let (at, permit) = wait_for_any(&all, soon(), |_, item| never(item));
        assert_eq!((at, matches!(permit, Permit::New)), (free, true));
        assert!(pools.iter().all(|pool| pool.state.lock().line.is_empty()));
    }
    let (_, permit) = wait_for_any(&all, soon(), |_, item| never(item));
    assert!(matches!(permit, Permit::None));
    assert!(pools.iter().all(|pool| pool.state.lock().line.is_empty()), "it waits no longer");
    pools[2].cancel();
    let (at, permit) = wait_for_any(&all, soon(), |_, item| never(item));
    assert_eq!((at, matches!(permit, Permit::Cancelled)), (2, true));
}

#[test]
fn who_takes_a_permit_elsewhere_passes_its_turns_on() {
    let pools = Arc::new([pool(1), pool(1)]);
    pools.iter().for_each(|pool| assert!(matches!(pool.acquire(soon, never), Permit::New)));
    let far = Instant::now() + Duration::from_secs(60);
    let of_both = {
        let pools = Arc::clone(&pools);
        std::thread::spawn(move || {
            let (at, _) = wait_for_any(&[&pools[0], &pools[1]], far, |_, item| never(item));
            at
        })
    };
    while pools[1].state.lock().line.is_empty() {
        std::thread::yield_now();
    }
    let of_one = [0, 1].map(|at| {
        let shared = Arc::clone(&pools);
        let thread =
            std::thread::spawn(move || matches!(shared[at].acquire(|| far, never), Permit::New));
        while pools[at].state.lock().line.len() < 2 {
            std::thread::yield_now();
        }
        thread
    });
    // Both at once: whichever of them it takes, the other goes to the next in that line.
    pools[0].leave();
    pools[1].leave();
    pools[of_both.join().unwrap()].leave();
    assert!(of_one.into_iter().all(|thread| thread.join().unwrap()));
}
