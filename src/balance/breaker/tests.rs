//! The breaker, step by step and under random events.

use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const EVEN: f64 = 0.5; // no jitter

fn settings() -> BreakerSettings {
    BreakerSettings {
        max_fails: 3,
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        trial_time: Duration::from_secs(10),
    }
}

fn breaker() -> Breaker {
    Breaker::new(settings(), 0)
}

/// Fails the trial that is due at `now`. Returns the length of the next ejection in milliseconds.
fn fail_trial(breaker: &mut Breaker, now: u64) -> u128 {
    let generation = breaker.begin_trial(now).unwrap();
    breaker.failed(generation, Fault::Soft(Way::Answer), now, EVEN).unwrap().as_millis()
}

#[test]
fn three_failures_in_a_row_eject_and_a_success_zeroes_them() {
    let mut node = breaker();
    for _ in 0..5 {
        assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
        assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
        assert!(!node.succeeded(0, Proof::Answered, 0));
    }
    assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
    assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
    assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), Some(Duration::from_secs(1)));
    assert_eq!(node.state(), State::Ejected { until: SECOND });
}

#[test]
fn a_hard_fault_ejects_at_once() {
    let mut node = breaker();
    assert_eq!(node.failed(0, Fault::Hard(Way::Connect), 0, EVEN), Some(Duration::from_secs(1)));
}

#[test]
fn backoff_grows_by_1_6_to_its_maximum() {
    let mut node = breaker();
    node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
    let seen: Vec<u128> = (1..=11).map(|turn| fail_trial(&mut node, turn * 100 * SECOND)).collect();
    assert_eq!(seen, [1600, 2560, 4096, 6553, 10485, 16777, 26843, 42949, 60000, 60000, 60000]);
}

#[test]
fn jitter_is_a_fifth_either_way() {
    for (chance, millis) in [(0.0, 800), (0.5, 1000), (1.0, 1200)] {
        let ejected = breaker().failed(0, Fault::Hard(Way::Connect), 0, chance).unwrap();
        assert_eq!(ejected.as_millis(), millis);
    }
}

#[test]
fn growth_is_taken_back_a_step_for_each_healthy_interval() {
    let mut node = breaker();
    node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
    let mut now = 100 * SECOND;
    assert_eq!(fail_trial(&mut node, now), 1600);
    now += 100 * SECOND;
    assert_eq!(fail_trial(&mut node, now), 2560);
    for (healthy, millis) in
        [(9 * SECOND, 4096), (10 * SECOND, 4096), (25 * SECOND, 2560), (3600 * SECOND, 1000)]
    {
        now += 100 * SECOND;
        let generation = node.begin_trial(now).unwrap();
        assert!(node.succeeded(generation, Proof::Answered, now));
        now += healthy;
        let ejected = node.failed(node.generation(), Fault::Hard(Way::Connect), now, EVEN).unwrap();
        assert_eq!(ejected.as_millis(), millis, "{healthy}");
    }
}

#[test]
fn one_caller_gets_the_trial_and_its_time_runs_out() {
    let mut node = breaker();
    node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
    assert_eq!(node.begin_trial(SECOND - 1), None);
    let first = node.begin_trial(SECOND).unwrap();
    assert_eq!(node.begin_trial(SECOND), None);
    assert_eq!(node.begin_trial(11 * SECOND - 1), None);
    let second = node.begin_trial(11 * SECOND).unwrap();
    // A failure of the first trial no longer counts; its success does.
    assert_eq!(node.failed(first, Fault::Hard(Way::Connect), 12 * SECOND, EVEN), None);
    let mut by_first = node.clone();
    assert!(by_first.succeeded(first, Proof::Answered, 12 * SECOND));
    assert!(!by_first.succeeded(second, Proof::Answered, 12 * SECOND), "it is back already");
    assert!(node.succeeded(second, Proof::Answered, 12 * SECOND));
    assert_eq!(node.state(), State::Up);
}

#[test]
fn a_success_from_before_the_ejection_changes_nothing() {
    let mut node = breaker();
    let before = node.generation();
    node.failed(before, Fault::Hard(Way::Connect), 0, EVEN);
    let trial = node.begin_trial(SECOND).unwrap();
    assert!(!node.succeeded(before, Proof::Answered, SECOND));
    node.failed(trial, Fault::Hard(Way::Connect), SECOND, EVEN).unwrap();
    assert!(!node.succeeded(trial, Proof::Answered, SECOND), "it began before the last ejection");
}

#[test]
fn a_node_that_connects_and_fails_as_before_falls_out_at_once_and_for_longer() {
    for (way, again, at_once) in [
        (Way::Answer, Way::Answer, true),
        (Way::Broken, Way::Unanswered, true),
        (Way::Unanswered, Way::Broken, true),
        (Way::Answer, Way::Broken, false),
        (Way::Connect, Way::Answer, false),
    ] {
        let mut node = breaker();
        (0..3).for_each(|_| _ = node.failed(0, Fault::Soft(way), 0, EVEN));
        let trial = node.begin_trial(SECOND).unwrap();
        assert!(node.succeeded(trial, Proof::Connected, SECOND));
        let ejected = node.failed(node.generation(), Fault::Soft(again), SECOND, EVEN);
        let longer = Duration::from_millis(1600);
        assert_eq!(ejected, at_once.then_some(longer), "{way:?}, then {again:?}");
    }
}

#[test]
fn a_delivered_payload_ends_the_watch_over_a_restored_node() {
    let mut node = breaker();
    (0..3).for_each(|_| _ = node.failed(0, Fault::Soft(Way::Answer), 0, EVEN));
    let trial = node.begin_trial(SECOND).unwrap();
    assert!(node.succeeded(trial, Proof::Connected, SECOND));
    assert!(!node.succeeded(node.generation(), Proof::Written, SECOND));
    assert_eq!(node.failed(node.generation(), Fault::Soft(Way::Answer), SECOND, EVEN), None);
}

#[test]
fn a_node_that_fell_silent_is_restored_by_an_answer_and_not_by_a_connection() {
    let mut node = breaker();
    (0..3).for_each(|_| _ = node.failed(0, Fault::Soft(Way::Silence), 0, EVEN));
    let trial = node.begin_trial(SECOND).unwrap();
    for proof in [Proof::Connected, Proof::Stood] {
        assert!(!node.succeeded(trial, proof, SECOND));
    }
    for proof in [Proof::Written, Proof::Busy, Proof::Answered] {
        assert!(node.clone().succeeded(trial, proof, SECOND), "{proof:?}");
    }
}

#[test]
fn one_more_write_does_not_make_up_for_an_end_without_an_answer() {
    let mut node = breaker();
    for _ in 0..2 {
        assert_eq!(node.failed(0, Fault::Soft(Way::Unanswered), 0, EVEN), None);
        assert!(!node.succeeded(0, Proof::Written, 0));
    }
    let mut well = node.clone();
    assert!(node.failed(0, Fault::Soft(Way::Unanswered), 0, EVEN).is_some());
    well.succeeded(0, Proof::Stood, 0);
    assert_eq!((well.fails(), well.is_clean()), (0, true));
}

#[test]
fn only_an_answer_makes_up_for_a_stalled_write() {
    let mut node = breaker();
    for _ in 0..2 {
        assert_eq!(node.failed(0, Fault::Soft(Way::Stalled), 0, EVEN), None);
        assert!(!node.succeeded(0, Proof::Written, 0));
        assert!(!node.succeeded(0, Proof::Stood, 0));
    }
    let mut well = node.clone();
    assert!(node.failed(0, Fault::Soft(Way::Stalled), 0, EVEN).is_some());
    well.succeeded(0, Proof::Answered, 0);
    assert_eq!((well.fails(), well.is_clean()), (0, true));
    // A written payload restores it; the next stall ejects it at once.
    let trial = node.begin_trial(SECOND).unwrap();
    assert!(node.succeeded(trial, Proof::Written, SECOND));
    assert!(node.failed(node.generation(), Fault::Soft(Way::Stalled), SECOND, EVEN).is_some());
}

#[test]
fn no_ejection_is_longer_than_backoff_max() {
    let mut node = breaker();
    node.failed(0, Fault::Hard(Way::Connect), 0, 1.0);
    for turn in 1..20 {
        let generation = node.begin_trial(turn * 1000 * SECOND).unwrap();
        let ejected = node.failed(generation, Fault::Hard(Way::Connect), turn * 1000 * SECOND, 1.0);
        assert!(ejected.unwrap() <= settings().backoff_max);
    }
}

#[test]
fn a_trial_that_is_given_back_changes_nothing() {
    let mut node = breaker();
    node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
    let generation = node.begin_trial(SECOND).unwrap();
    assert!(node.give_back(generation, 2 * SECOND));
    assert_eq!(node.state(), State::Ejected { until: 2 * SECOND });
    assert!(!node.give_back(generation, 3 * SECOND));
    assert_eq!(fail_trial(&mut node, 2 * SECOND), 1600);
}

#[test]
fn a_success_on_an_ejected_node_restores_it() {
    let mut node = breaker();
    node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
    let generation = node.generation();
    assert_eq!(node.failed(generation, Fault::Hard(Way::Connect), 1, EVEN), None);
    assert!(node.succeeded(generation, Proof::Answered, 2));
}

#[test]
fn a_clock_that_goes_back_keeps_no_node_out() {
    let hours = 10_000 * SECOND;
    let mut node = Breaker::new(settings(), hours);
    node.failed(0, Fault::Hard(Way::Connect), hours, EVEN);
    assert!(node.begin_trial(hours).is_none());
    assert!(node.begin_trial(0).is_some());
}

#[test]
fn a_small_step_back_of_the_clock_keeps_no_ejected_node_out() {
    let short = BreakerSettings { backoff_max: Duration::from_secs(2), ..settings() };
    let mut node = Breaker::new(short, 100 * SECOND);
    node.failed(0, Fault::Hard(Way::Connect), 100 * SECOND, EVEN);
    assert!(node.begin_trial(95 * SECOND).is_some(), "6 s away, and 2 s is the longest wait");
    assert!(node.begin_trial(95 * SECOND).is_none(), "a trial lasts 10 s");
}

proptest! {
    #[test]
    fn whatever_happens_a_node_waits_no_longer_than_it_may(
        events in proptest::collection::vec(
            (0u8..6, 0u64..30 * SECOND, 0u32..3, 0.0f64..1.0),
            1..200,
        ),
    ) {
        let mut node = breaker();
        let mut now = 0;
        for (event, later, age, chance) in events {
            now += later;
            let generation = node.generation().wrapping_sub(age);
            let before = (node.state(), node.generation(), node.fails());
            match event {
                0 => drop(node.succeeded(generation, Proof::Answered, now)),
                1 => drop(node.failed(generation, Fault::Soft(Way::Answer), now, chance)),
                2 => drop(node.failed(generation, Fault::Hard(Way::Connect), now, chance)),
                3 | 4 => drop(node.begin_trial(now)),
                _ => drop(node.give_back(generation, now)),
            }
            // A success of a trial counts as long as the ejection that it belongs to.
            let late_trial = event == 0 && before.0 != State::Up;
            if age > 0 && !matches!(event, 3 | 4) && !late_trial {
                prop_assert_eq!((node.state(), node.generation(), node.fails()), before);
            }
            if let Some(due) = node.next_trial() {
                prop_assert!(due <= now + node.longest_wait());
            }
            prop_assert!(node.fails() < 3);
        }
    }
}
