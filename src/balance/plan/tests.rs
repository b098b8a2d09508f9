//! How even the shares are, for weights of all sorts and whichever nodes are left.

use super::*;
use crate::balance::Rotation;
use proptest::prelude::*;

fn nodes(weights: &[u32]) -> Vec<(u32, u32)> {
    (0..).zip(weights.iter().copied()).collect()
}

/// Takes so many turns of the nodes that are left, and checks at each that none of `watched` is
/// further than `most` turns from its share.
fn check(weights: &[u32], gone: impl Fn(u32) -> bool, turns: usize, most: f64) {
    let all = nodes(weights);
    let plan = Plan::new(&all);
    let left: Vec<(u32, u32)> = all.iter().copied().filter(|(place, _)| !gone(*place)).collect();
    let mut order = Order::default();
    plan.order(&left, |place| !gone(place), &mut order);
    let (longest, parts) = plan.room();
    assert!(order.places.len() <= longest && order.parts.len() <= parts);
    let (rotation, _) = Rotation::new(&order, 0, plan.room(), weights.len());
    let sum: f64 = left.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut had = vec![0u64; weights.len()];
    for turn in 1..=turns {
        had[rotation.next().unwrap()] += 1;
        if turn % 97 == 0 || turn == turns {
            for (place, weight) in &left {
                let due = turn as f64 * f64::from(*weight) / sum;
                let astray = (had[*place as usize] as f64 - due).abs();
                assert!(astray < most, "place {place} of weight {weight}: {astray} at {turn}");
            }
        }
    }
    let taken: u64 = left.iter().map(|(place, _)| had[*place as usize]).sum();
    assert_eq!(taken, turns as u64, "a node that is gone had a turn");
}

fn primes(count: usize) -> Vec<u32> {
    let is_prime = |n: &u32| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (2..1000).filter(is_prime).cycle().take(count).collect()
}

/// Whatever the weights, each node is at its share but for a few turns, at any time: so its share
/// is exact in the long run, down to a node of a thousandth of the others.
#[test]
fn each_node_has_its_share_whatever_the_weights() {
    let mut one_small = vec![1000; 1000];
    one_small[500] = 1;
    let mut one_large = vec![1; 1000];
    one_large[500] = 1000;
    let rising: Vec<u32> = (1..=1000).collect();
    let few = vec![997, 991, 983, 1, 500, 2, 1000];
    for weights in [one_small, one_large, rising, primes(700), few] {
        check(&weights, |_| false, 100_000, 5.0);
    }
}

#[test]
fn a_node_of_tiny_weight_keeps_its_turns() {
    let mut weights = vec![1000; 100];
    weights[7] = 1;
    let plan = Plan::new(&nodes(&weights));
    let mut order = Order::default();
    plan.order(&nodes(&weights), |_| true, &mut order);
    let (rotation, _) = Rotation::new(&order, 0, plan.room(), 100);
    let had = (0..2_000_000).filter(|_| rotation.next() == Some(7)).count();
    assert!((19..=21).contains(&had), "{had} turns where 20 are due");
}

#[test]
fn a_cycle_has_a_few_turns_a_node_at_most() {
    for count in [2, 10, 600, 1000, 5000] {
        let weights: Vec<u32> = (0..count).map(|place| 1000 - place % 999).collect();
        let (longest, parts) = Plan::new(&nodes(&weights)).room();
        let count = count as usize;
        assert!(longest <= FEW.max(count * TURNS_PER_NODE) + 1, "{longest} turns for {count}");
        assert!(parts <= count);
    }
}

#[test]
fn as_many_nodes_as_a_file_can_hold_have_a_plan() {
    let weights: Vec<u32> = (0..150_000).map(|place| 1 + place * 7919 % 1000).collect();
    assert!(Plan::new(&nodes(&weights)).room().0 <= 150_000 * TURNS_PER_NODE + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whichever_nodes_are_left_have_their_shares(
        weights in prop_oneof![
            proptest::collection::vec(1u32..=1000, 2..300),
            proptest::collection::vec(prop_oneof![Just(1u32), Just(1000)], 2..300),
        ],
        gone in proptest::collection::vec(any::<bool>(), 300),
        some in 0usize..300,
    ) {
        let stays = some % weights.len();
        let gone = |place: u32| place as usize != stays && gone[place as usize];
        check(&weights, gone, 20_000, 12.0);
    }
}
