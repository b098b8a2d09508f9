//! What must hold in every history. Each run also checks every single step against the rules; see
//! `world`.

use proptest::prelude::*;

use super::history::{Errand, History};
use super::strategies::{any_history, healing, restless, with_a_good_node, with_jumps};
use super::world::World;
use crate::balance::roster::NodeState;

/// Runs a history and checks what must hold at the end of any run.
fn run(history: &History) -> World {
    let world = World::run(history);
    for record in &world.records {
        assert!(
            record.stored <= 1 + record.acks_lost,
            "sent again, although it was acknowledged: {record:?}"
        );
        match record.delivered {
            Some(true) => assert!(record.stored > 0, "acknowledged and lost"),
            Some(false) => assert_eq!(record.stored, record.acks_lost),
            None => panic!("a delivery never ended"),
        }
    }
    world
}

/// Whether every node is up at the end, except those in reserve, which nobody tries while they are
/// not needed.
fn is_whole(world: &World) -> bool {
    let tier = world.expected.tier();
    world.history.servers.iter().enumerate().all(|(place, server)| {
        let in_reserve = tier.is_some_and(|tier| server.member.priority > tier);
        in_reserve
            || matches!(
                world.roster.state(place, || world.clock()),
                NodeState::Up | NodeState::Draining
            )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_step_of_any_history_keeps_the_rules(history in any_history()) {
        run(&history);
    }

    #[test]
    fn every_step_keeps_the_rules_when_the_clock_jumps(history in with_jumps()) {
        run(&history);
    }

    #[test]
    fn while_one_node_works_every_record_arrives((history, good) in with_a_good_node()) {
        let world = run(&history);
        prop_assert!(world.records.iter().all(|record| record.delivered == Some(true)));
        prop_assert_eq!(world.roster.ejections(good), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_same_history_gives_the_same_trace(history in with_jumps()) {
        prop_assert_eq!(World::run(&history).trace, World::run(&history).trace);
    }

    #[test]
    fn healed_nodes_are_back_within_the_longest_wait(
        (history, _) in any_history().prop_map(healing),
    ) {
        prop_assert!(is_whole(&run(&history)));
    }

    #[test]
    fn a_clock_that_went_back_keeps_no_node_out((history, _) in with_jumps().prop_map(healing)) {
        prop_assert!(is_whole(&run(&history)));
    }

    #[test]
    fn no_node_starves_because_others_come_and_go(history in restless()) {
        let moved: Vec<usize> = history
            .clients
            .iter()
            .filter_map(|client| match client.errand {
                Errand::Late { place, .. } => Some(place),
                _ => None,
            })
            .collect();
        let world = run(&history);
        let booked = world.shares.booked();
        let steady: Vec<usize> =
            (0..booked.len()).filter(|place| !moved.contains(place)).collect();
        let mut weights: Vec<u32> =
            history.servers.iter().map(|server| server.member.weight).collect();
        weights.sort_unstable();
        weights.dedup();
        for (place, due) in steady.iter().map(|place| (*place, world.shares.due[*place])) {
            let had = booked[place];
            if weights.len() == 1 {
                // Between two turns of one node, each other has exactly one, whatever comes and
                // goes in between.
                prop_assert!(
                    steady.iter().all(|other| had.abs_diff(booked[*other]) <= 1),
                    "{}: {:?}",
                    place,
                    booked
                );
            }
            if due > 50.0 {
                // Six standard deviations, as if every turn were drawn at random: by chance one run
                // in a billion fails.
                let lot = 6.0 * due.sqrt();
                // If some weights are equal, a node of such a weight that comes back may get its
                // turn at once, at the cost of the others.
                let all_differ = weights.len() == booked.len();
                let (least, most) = if all_differ { (due, due) } else { (due / 2.0, due * 2.0) };
                prop_assert!(
                    (least - lot..most + lot).contains(&(had as f64)),
                    "{}: {} of {}",
                    place,
                    had,
                    due
                );
            }
        }
    }
}
