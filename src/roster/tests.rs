//! The roster beside clocks that do as they like.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn roster(nodes: usize, now: u64) -> Roster {
    let breaker = BreakerSettings {
        max_fails: 3,
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        lease: Duration::from_secs(10),
    };
    Roster::new(vec![Member { weight: 1, priority: 0, breaker }; nodes], 0, 1, now)
}

fn eject(roster: &Roster, place: usize, now: u64) {
    assert!(roster.failed(place, roster.generation(place), Fault::Hard, now).is_some());
}

#[test]
fn the_hosts_clock_is_never_asked_under_the_lock() {
    let roster = roster(2, 0);
    let clock = || {
        assert!(
            roster.table.try_lock().is_some(),
            "the host's function may call back, or wait for who waits here"
        );
        100 * SECOND
    };
    eject(&roster, 0, 0);
    assert!(roster.next(clock).is_some());
    let mut tried = Tried::new();
    assert!(roster.turn(&mut tried, clock, true).is_some());
    assert_eq!(roster.succeeded(0, roster.generation(0), clock), Some(Change::Restored));
}

#[test]
fn a_clock_that_was_at_its_end_for_a_moment_keeps_no_node_out() {
    for at_the_end in [u64::MAX, u64::MAX - 1, u64::MAX - SECOND] {
        let roster = roster(2, at_the_end);
        eject(&roster, 0, at_the_end);
        let turn = roster.probe_due(&Tried::new(), || 100 * SECOND);
        assert!(turn.is_some_and(|turn| turn.place == 0 && turn.probe), "{at_the_end}");
        // Its trial, too, ends where the clock says so.
        let other = Roster::new(roster.members.to_vec(), 0, 1, 0);
        eject(&other, 0, 0);
        assert!(other.probe_due(&Tried::new(), || at_the_end).is_some());
        assert!(other.probe_due(&Tried::new(), || 100 * SECOND).is_some(), "{at_the_end}");
    }
}

#[test]
fn a_clock_that_went_back_shortens_the_wait_that_is_told() {
    let roster = roster(1, 100_000 * SECOND);
    eject(&roster, 0, 100_000 * SECOND);
    assert!(roster.wait_for(0, 100_000 * SECOND) >= Duration::from_millis(800));
    assert_eq!(roster.wait_for(0, 0), Duration::ZERO, "it may be tried now");
    assert_eq!(roster.retry_after(0, true), Some(Duration::ZERO));
    assert_eq!(roster.next(|| 0), Some(0));
    assert_eq!(roster.state(0), NodeState::Probing);
}
