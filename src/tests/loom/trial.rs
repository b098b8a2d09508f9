//! The one trial of a node that is out: who gets it, and what late outcomes change.

use std::sync::Arc;
use std::time::Duration;

use super::{check, check_within, spawn};
use crate::balance::breaker::{BreakerSettings, Fault, Proof, Way};
use crate::balance::budget::Budget;
use crate::balance::roster::{Ask, Change, Member, NodeState, Roster, Trials, Turn};
use crate::balance::visits::{Next, SetBack, Visits};
use crate::balance::{Mode, Tried};

/// A time after any backoff; a trial that begins then has not ended yet.
const DUE: u64 = 10_000_000_000;
/// A time after the end of any trial that began at [`DUE`].
const TRIAL_OVER: u64 = 30_000_000_000;

fn roster(nodes: usize) -> Roster {
    let breaker = BreakerSettings {
        max_fails: 1,
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(2),
        trial_time: Duration::from_secs(10),
    };
    let member = Member { weight: 1, priority: 0, breaker };
    Roster::new(Mode::RoundRobin, vec![member; nodes], 0, 1, 0, false)
}

/// A roster of so many nodes. The first is out and due for a trial at [`DUE`].
fn with_one_out(nodes: usize) -> Roster {
    let roster = roster(nodes);
    assert!(matches!(roster.failed(0, 0, Fault::Hard(Way::Connect), 0), Some(Change::Ejected(_))));
    roster
}

fn state(roster: &Roster) -> NodeState {
    roster.state(0, || DUE)
}

fn trial(roster: &Roster, now: u64) -> Option<Turn> {
    roster.trial_due(&Tried::new(), Trials::All, || now)
}

/// The turn of a payload that has been nowhere yet.
fn turn(roster: &Roster) -> Turn {
    let ask = Ask { trials: Trials::All, last_resort: true, wait: true };
    roster.turn(&mut Tried::new(), ask, || DUE).expect("a node is up")
}

#[test]
fn one_of_several_gets_the_trial_and_the_others_a_node_that_is_up() {
    check(|| {
        let roster = Arc::new(with_one_out(2));
        let others = [(); 2].map(|()| spawn(&roster, turn));
        let mut turns = vec![turn(&roster)];
        others.into_iter().for_each(|other| turns.push(other.join().unwrap()));
        assert_eq!(turns.iter().filter(|turn| turn.is_trial).count(), 1, "{turns:?}");
        assert!(turns.iter().all(|turn| turn.is_trial == (turn.place == 0)), "{turns:?}");
        assert_eq!(state(&roster), NodeState::OnTrial);
        assert_eq!(trial(&roster, DUE), None);
    });
}

#[test]
fn a_trial_given_back_goes_to_one_other_caller() {
    check(|| {
        let roster = Arc::new(with_one_out(2));
        let first = trial(&roster, DUE).unwrap();
        let others = [(); 2].map(|()| spawn(&roster, |roster| trial(roster, DUE)));
        roster.give_back(first, DUE);
        let mut trials: Vec<Turn> =
            others.into_iter().filter_map(|other| other.join().unwrap()).collect();
        trials.extend(trial(&roster, DUE));
        assert_eq!(trials.len(), 1, "{trials:?}");
        // The first caller has no trial to give back any more.
        roster.give_back(first, DUE);
        assert_eq!(trial(&roster, DUE), None);
    });
}

#[test]
fn a_trial_that_failed_is_due_again_later() {
    check(|| {
        let roster = Arc::new(with_one_out(2));
        let first = trial(&roster, DUE).unwrap();
        let other = spawn(&roster, |roster| trial(roster, DUE));
        let change = roster.failed(0, first.generation, Fault::Soft(Way::Answer), DUE);
        assert!(matches!(change, Some(Change::Ejected(_))));
        assert_eq!(other.join().unwrap(), None);
        assert_eq!(state(&roster), NodeState::Ejected);
        assert_eq!(trial(&roster, DUE), None);
        assert!(trial(&roster, TRIAL_OVER).is_some());
    });
}

/// The time of the first trial is over; its outcome races with the second trial.
fn late(tell: fn(&Roster, Turn), alone: NodeState) {
    check(move || {
        let roster = Arc::new(with_one_out(2));
        let first = trial(&roster, DUE).unwrap();
        let second = spawn(&roster, |roster| trial(roster, TRIAL_OVER));
        tell(&roster, first);
        match second.join().unwrap() {
            // It came too late: only the outcome of the second trial counts.
            Some(second) if state(&roster) == NodeState::OnTrial => {
                assert_eq!(roster.ejections(0), 1);
                let back = roster.succeeded(0, second.generation, Proof::Answered, || TRIAL_OVER);
                assert_eq!(back, Some(Change::Restored));
            }
            _ => assert_eq!(state(&roster), alone),
        }
    });
}

#[test]
fn a_late_success_restores_the_node() {
    check(|| {
        let roster = Arc::new(with_one_out(2));
        let first = trial(&roster, DUE).unwrap();
        let second = spawn(&roster, |roster| trial(roster, TRIAL_OVER));
        let back = roster.succeeded(0, first.generation, Proof::Answered, || TRIAL_OVER);
        assert_eq!(back, Some(Change::Restored));
        let second = second.join().unwrap();
        assert_eq!((state(&roster), roster.ejections(0)), (NodeState::Up, 1));
        // The outcome of the second trial is then too old to count.
        if let Some(second) = second {
            let change = roster.failed(0, second.generation, Fault::Hard(Way::Connect), TRIAL_OVER);
            assert_eq!(change, None);
        }
    });
}

#[test]
fn a_late_failure_changes_nothing() {
    late(
        |roster, turn| {
            roster.failed(0, turn.generation, Fault::Hard(Way::Connect), TRIAL_OVER);
        },
        NodeState::Ejected,
    );
}

#[test]
fn a_pause_is_seen_by_all_and_ends_for_all() {
    check(|| {
        let roster = Arc::new(roster(2));
        let reader = spawn(&roster, |roster| [(); 2].map(|()| roster.next(|| 0)));
        assert!(roster.pause(0, Duration::from_secs(1), 0));
        let picks = reader.join().unwrap();
        assert!(picks.iter().all(Option::is_some), "{picks:?}");
        assert_eq!([(); 2].map(|()| roster.next(|| 0)), [Some(1), Some(1)]);
        let other = spawn(&roster, |roster| roster.next(|| DUE));
        let mut after = vec![roster.next(|| DUE), other.join().unwrap()];
        after.push(roster.next(|| DUE));
        assert!(after.contains(&Some(0)), "{after:?}");
        assert_eq!(roster.picks(true), Some(7));
    });
}

#[test]
fn a_late_giving_back_changes_nothing() {
    late(|roster, turn| roster.give_back(turn, TRIAL_OVER + 1), NodeState::Ejected);
}

#[test]
fn failures_of_one_generation_eject_once() {
    check(|| {
        let roster = Arc::new(roster(2));
        let fail = |roster: &Roster| roster.failed(0, 0, Fault::Hard(Way::Connect), 0);
        let others = [(); 2].map(|()| spawn(&roster, fail));
        let mut changes = vec![fail(&roster)];
        others.into_iter().for_each(|other| changes.push(other.join().unwrap()));
        assert_eq!(changes.iter().flatten().count(), 1, "{changes:?}");
        assert_eq!((roster.ejections(0), roster.generation(0)), (1, 1));
        assert_eq!(roster.next(|| 0), Some(1));
    });
}

#[test]
fn a_restored_node_is_back_for_all() {
    check(|| {
        let roster = Arc::new(with_one_out(2));
        let trial = trial(&roster, DUE).unwrap();
        let reader = spawn(&roster, |roster| [(); 2].map(|()| roster.next(|| DUE)));
        assert_eq!(
            roster.succeeded(0, trial.generation, Proof::Answered, || DUE),
            Some(Change::Restored)
        );
        let picks = reader.join().unwrap();
        assert!(picks.iter().flatten().count() == 2, "{picks:?}");
        let mut next = [(); 2].map(|()| roster.next(|| DUE).unwrap());
        next.sort_unstable();
        assert_eq!((next, state(&roster)), ([0, 1], NodeState::Up));
        assert_eq!(roster.picks(true), Some(5), "a trial is a pick too");
    });
}

#[test]
fn a_payload_meets_each_node_once_while_nodes_come_and_go() {
    check_within(2, || {
        let roster = Arc::new(with_one_out(2));
        let walk = |roster: &Roster| {
            let (mut visits, budget) = (Visits::new(0), Budget::default());
            let mut met = Vec::new();
            while let Some(Next { turn, .. }) = visits.next(roster, || DUE) {
                visits.attempted();
                visits.set_back(SetBack::MayHaveArrived);
                visits.pay(&budget, || DUE).expect("the budget is full");
                met.push(turn);
            }
            met
        };
        let other = spawn(&roster, walk);
        roster.failed(1, 0, Fault::Hard(Way::Connect), DUE);
        let walks = [walk(&roster), other.join().unwrap()];
        for met in &walks {
            let mut places: Vec<usize> = met.iter().map(|turn| turn.place).collect();
            places.sort_unstable();
            assert_eq!(places, [0, 1]);
        }
        let trials = walks.iter().flatten().filter(|turn| turn.is_trial).count();
        assert_eq!(trials, 1, "{walks:?}");
    });
}
