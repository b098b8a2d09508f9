//! The roster with clocks that run, jump, stand still and go back.

use std::cell::Cell;

use super::*;
use crate::balance::Tried;
use crate::balance::breaker::{Fault, Proof, Way};

const STRIDE: usize = pace::STRIDE as usize;
const SECOND: u64 = 1_000_000_000;

fn roster(nodes: usize, now: u64) -> Roster {
    roster_by(false, nodes, now)
}

/// A roster whose first node is out for about a second, and a clock that advances by `step` with
/// each pick.
struct Picker {
    roster: Roster,
    now: u64,
    step: u64,
    asked: Cell<u64>,
}

impl Picker {
    fn new(clock_runs: bool, step: u64) -> Picker {
        let roster = roster_by(clock_runs, 3, 0);
        eject(&roster, 0, 0);
        roster.wants_guard().into_iter().for_each(|when| roster.guard(when));
        Picker { roster, now: 0, step, asked: Cell::new(0) }
    }

    fn pick(&mut self) -> usize {
        self.now += self.step;
        let clock = || {
            self.asked.set(self.asked.get() + 1);
            self.now
        };
        self.roster.next(clock).unwrap()
    }

    /// How often the clock was asked over so many picks; the node that is out got none of them.
    fn asked_over(&mut self, picks: usize) -> u64 {
        self.asked.set(0);
        for _ in 0..picks {
            assert_ne!(self.pick(), 0);
        }
        self.asked.get()
    }
}

#[test]
fn close_picks_ask_the_clock_now_and_then() {
    let mut picker = Picker::new(true, 10);
    picker.asked_over(3 * STRIDE);
    assert_eq!(picker.asked_over(100 * STRIDE), 100);
    // The first pick that sees that the time has come gets the trial.
    picker.now += 2 * SECOND;
    let wait = (0..).position(|_| picker.pick() == 0).unwrap();
    assert!((1..=STRIDE).contains(&wait), "{wait} picks before the trial");
    assert_eq!(picker.roster.state(0, || 0), NodeState::OnTrial);
}

#[test]
fn slow_picks_and_picks_with_work_between_them_ask_each_time() {
    let mut picker = Picker::new(true, 1_001);
    assert_eq!(picker.asked_over(1000), 1000);

    let mut picker = Picker::new(true, 10);
    picker.asked_over(3 * STRIDE);
    for _ in 0..10 {
        let generation = picker.roster.generation(1);
        picker.roster.succeeded(1, generation, Proof::Answered, || picker.now);
        assert_eq!(picker.asked_over(1), 1);
    }
    picker.asked_over(3 * STRIDE);
    picker.roster.failed(1, picker.roster.generation(1), Fault::Soft(Way::Answer), picker.now);
    assert_eq!(picker.asked_over(1), 1);

    // A burst, then slow picks.
    picker.asked_over(3 * STRIDE);
    picker.step = 10_000;
    picker.asked_over(STRIDE);
    assert_eq!(picker.asked_over(1000), 1000);
}

#[test]
fn however_closely_picks_followed_each_other_no_trial_comes_late() {
    // Nobody will ring: each pick asks.
    let mut picker = Picker::new(true, 10);
    picker.roster.ring();
    assert_eq!(picker.asked_over(1000), 1000);

    // A burst, then one pick a second, without an outcome in between: the bell makes the pick ask.
    let mut picker = Picker::new(true, 10);
    picker.asked_over(10 * STRIDE);
    let due = picker.roster.due(0).unwrap();
    assert_eq!(picker.roster.wants_guard(), None, "a ring is planned");
    picker.now = due;
    picker.roster.ring();
    picker.step = SECOND;
    assert_eq!(picker.pick(), 0);
}

#[test]
fn a_clock_that_jumps_is_asked_each_time() {
    let mut picker = Picker::new(false, 0);
    assert_eq!(picker.asked_over(1000), 1000);
    picker.now += 2 * SECOND;
    assert_eq!(picker.pick(), 0);
}

#[test]
fn while_no_node_is_out_the_clock_is_not_asked() {
    let mut picker = Picker::new(true, 10);
    picker.asked_over(3 * STRIDE);
    picker.now += 2 * SECOND;
    while picker.pick() != 0 {}
    picker
        .roster
        .succeeded(0, picker.roster.generation(0), Proof::Answered, || picker.now)
        .unwrap();
    picker.asked.set(0);
    for _ in 0..1000 {
        picker.pick();
    }
    assert_eq!(picker.asked.get(), 0);
}

fn roster_by(clock_runs: bool, nodes: usize, now: u64) -> Roster {
    let breaker = BreakerSettings {
        max_fails: 3,
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        trial_time: Duration::from_secs(10),
    };
    Roster::new(
        Mode::RoundRobin,
        vec![Member { weight: 1, priority: 0, breaker }; nodes],
        0,
        1,
        now,
        clock_runs,
    )
}

fn eject(roster: &Roster, place: usize, now: u64) {
    assert!(
        roster.failed(place, roster.generation(place), Fault::Hard(Way::Connect), now).is_some()
    );
}

/// Whoever picks in one way alone, for years, must not let the laps overflow.
#[test]
fn every_way_to_pick_takes_laps_off_and_no_turn_is_lost() {
    type Pick = fn(&Roster) -> Option<usize>;
    let ways: [(&str, Pick); 6] = [
        ("try_next", |roster| roster.next(|| 0)),
        ("finish", |roster| roster.finish(Rest::All, || 0)),
        ("turn", |roster| {
            let ask = Ask { trials: Trials::All, last_resort: true, wait: true };
            roster.turn(&mut Tried::new(), ask, || 0).map(|turn| turn.place)
        }),
        ("turn of a retry", |roster| {
            let ask = Ask { trials: Trials::None, last_resort: false, wait: false };
            roster.turn(&mut tried(&[1]), ask, || 0).map(|turn| turn.place)
        }),
        ("another", |roster| roster.another(&Tried::new(), 0).map(|turn| turn.place)),
        ("another of a retry", |roster| roster.another(&tried(&[0]), 0).map(|turn| turn.place)),
    ];
    for (way, pick) in ways {
        let roster = roster(3, 0);
        roster.rotation.pass_many_laps();
        let (before, mut picked) = (roster.picks(true).unwrap(), 0);
        while roster.rotation.has_many_laps() {
            assert!(picked < 1 << 20, "{way}: laps stay");
            assert!(pick(&roster).is_some(), "{way}");
            picked += 1;
        }
        assert!(picked > 0, "{way}");
        assert_eq!(roster.picks(true).unwrap() - before, picked, "{way}");
        let of_each: u64 = (0..3).map(|place| roster.picks_of(place, true).unwrap()).sum();
        assert_eq!(of_each, before + picked, "{way}");
    }
}

fn tried(places: &[usize]) -> Tried {
    let mut tried = Tried::new();
    places.iter().for_each(|place| tried.insert(*place));
    tried
}

#[test]
fn the_hosts_clock_is_never_asked_under_the_lock() {
    let roster = roster(2, 0);
    let clock = || {
        assert!(
            roster.table.try_lock().is_some(),
            "the host's function may call back, or wait for a thread that waits here"
        );
        100 * SECOND
    };
    eject(&roster, 0, 0);
    assert!(roster.next(clock).is_some());
    let mut tried = Tried::new();
    assert!(
        roster
            .turn(&mut tried, Ask { trials: Trials::All, last_resort: true, wait: true }, clock)
            .is_some()
    );
    assert_eq!(
        roster.succeeded(0, roster.generation(0), Proof::Answered, clock),
        Some(Change::Restored)
    );
}

#[test]
fn a_clock_that_was_at_its_end_for_a_moment_keeps_no_node_out() {
    for at_the_end in [u64::MAX, u64::MAX - 1, u64::MAX - SECOND] {
        let roster = roster(2, at_the_end);
        eject(&roster, 0, at_the_end);
        let turn = roster.trial_due(&Tried::new(), Trials::All, || 100 * SECOND);
        assert!(turn.is_some_and(|turn| turn.place == 0 && turn.is_trial), "{at_the_end}");
        // Its trial too ends when the clock says so.
        let other = Roster::new(Mode::RoundRobin, roster.members.to_vec(), 0, 1, 0, false);
        eject(&other, 0, 0);
        assert!(other.trial_due(&Tried::new(), Trials::All, || at_the_end).is_some());
        assert!(
            other.trial_due(&Tried::new(), Trials::All, || 100 * SECOND).is_some(),
            "{at_the_end}"
        );
    }
}

#[test]
fn a_clock_that_went_back_shortens_the_reported_wait() {
    let roster = roster(1, 100_000 * SECOND);
    eject(&roster, 0, 100_000 * SECOND);
    assert!(roster.wait_for(0, 100_000 * SECOND) >= Duration::from_millis(800));
    assert_eq!(roster.wait_for(0, 0), Duration::ZERO, "it may be tried now");
    assert_eq!(roster.retry_after(0, true), Some(Duration::ZERO));
    assert_eq!(roster.next(|| 0), Some(0));
    assert_eq!(roster.state(0, || 0), NodeState::OnTrial);
}
