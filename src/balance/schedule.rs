//! The order in which nodes of given weights take their turns, computed beforehand.
//!
//! R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980): with shares w/W the counts of n nodes never
//! stray further than 1 - 1/(2n - 2) from what is due, at any moment of the cycle. Of the nodes whose claim has
//! grown to 1/(2n - 2) of a turn, the one goes next whose claim would pass the bound first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One cycle of turns, as places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The place of each turn.
    pub places: Vec<u32>,
    /// Every place has one turn: plain round-robin in rising order.
    pub even: bool,
}

/// The cycle of `nodes`, each a place with its weight, in rising order of places. A weight of 0 has no turn. Equal weights
/// give plain round-robin by the same rule.
pub fn order(nodes: &[(u32, u32)]) -> Order {
    let nodes: Vec<(u32, u64)> = nodes
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(place, weight)| (*place, u64::from(*weight)))
        .collect();
    let divisor = common_divisor(nodes.iter().map(|(_, weight)| *weight));
    if nodes.iter().all(|(_, weight)| *weight == divisor) {
        return Order { places: nodes.iter().map(|(place, _)| *place).collect(), even: true };
    }
    let weights: Vec<u64> = nodes.iter().map(|(_, weight)| weight / divisor).collect();
    let places = chairmen(&weights).map(|at| nodes[at].0).collect();
    Order { places, even: false }
}

/// The length of the cycle of these weights.
pub fn cycle_length(weights: impl Iterator<Item = u32> + Clone) -> u64 {
    let weights = weights.map(u64::from);
    weights.clone().sum::<u64>() / common_divisor(weights)
}

/// The greatest common divisor, 1 where there is nothing to divide.
fn common_divisor(weights: impl Iterator<Item = u64>) -> u64 {
    fn of_two(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { of_two(b, a % b) }
    }
    weights.fold(0, of_two).max(1)
}

/// The indices of the weights (at least two, all above 0) by turns, for one whole cycle.
///
/// A node that had x turns claims its next one from turn (x + 1/D) / share on and must have it by (x + 1 - 1/D) / share, where D is
/// 2n - 2. So this is earliest-deadline-first over two heaps, all in whole numbers: times are counted in parts of
/// 1 / (D * weight) turns and compared crosswise.
fn chairmen(weights: &[u64]) -> impl Iterator<Item = usize> {
    let cycle: u64 = weights.iter().sum();
    let d = 2 * weights.len() as u64 - 2;
    let mut claiming: BinaryHeap<Reverse<(Due, usize)>> = BinaryHeap::with_capacity(weights.len());
    let mut resting: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::with_capacity(weights.len());
    let mut turns = vec![0u64; weights.len()];
    // The first whole turn at which a node of that many turns has a claim again.
    let claim = move |at: usize, turns: u64| {
        (u128::from(cycle) * u128::from(d * turns + 1)).div_ceil(u128::from(d * weights[at])) as u64
    };
    let due = move |at: usize, turns: u64| Due { turns: d * turns + d - 1, weight: weights[at] };
    for at in 0..weights.len() {
        resting.push(Reverse((claim(at, 0), at)));
    }
    (1..=cycle).map(move |turn| {
        while let Some(Reverse((from, at))) = resting.peek().copied()
            && from <= turn
        {
            resting.pop();
            claiming.push(Reverse((due(at, turns[at]), at)));
        }
        // Tijdeman's theorem: at every turn some node has a claim.
        let Reverse((_, at)) = claiming.pop().expect("a node has a claim at every turn");
        turns[at] += 1;
        resting.push(Reverse((claim(at, turns[at]), at)));
        at
    })
}

/// When a claim passes the bound: `turns` / `weight`, in the same unit for all nodes of one cycle.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Due {
    turns: u64,
    weight: u64,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let crosswise = |a: u64, b: u64| u128::from(a) * u128::from(b);
        crosswise(self.turns, other.weight).cmp(&crosswise(other.turns, self.weight))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(weights: &[u32]) -> Vec<(u32, u32)> {
        weights.iter().enumerate().map(|(place, weight)| (place as u32, *weight)).collect()
    }

    /// Checks the bound at every moment of the cycle and the counts at its end.
    fn check(nodes: &[(u32, u32)]) {
        let order = order(nodes);
        let most = nodes.iter().map(|(place, _)| *place + 1).max().unwrap_or(0) as usize;
        let mut weights = vec![0i64; most];
        for (place, weight) in nodes {
            weights[*place as usize] = i64::from(*weight);
        }
        let total: i64 = weights.iter().sum();
        let taking = weights.iter().filter(|weight| **weight > 0).count() as i64;
        assert_eq!(order.places.len() as u64, cycle_length(nodes.iter().map(|(_, weight)| *weight)));
        let d = (2 * taking - 2).max(1);
        let mut turns = vec![0i64; most];
        for (moment, place) in order.places.iter().enumerate() {
            turns[*place as usize] += 1;
            for (turns, weight) in turns.iter().zip(&weights) {
                let astray = (turns * total - weight * (moment as i64 + 1)).abs();
                // |turns - share * moment| <= 1 - 1/D, so below one turn.
                assert!(
                    astray * d <= total * (d - 1).max(0) || taking == 1 && astray == 0,
                    "{nodes:?} at {moment}"
                );
            }
        }
        let cycle = order.places.len() as i64;
        assert!(turns.iter().zip(&weights).all(|(turns, weight)| turns * total == weight * cycle));
    }

    #[test]
    fn equal_weights_are_round_robin_by_the_same_rule() {
        for n in 2..50u64 {
            assert!(chairmen(&vec![1; n as usize]).eq(0..n as usize));
        }
        assert_eq!(order(&nodes(&[7, 7, 7])), Order { places: vec![0, 1, 2], even: true });
        assert_eq!(order(&nodes(&[0, 5, 0])), Order { places: vec![1], even: true });
        assert_eq!(order(&[]), Order { places: vec![], even: true });
    }

    #[test]
    fn five_three_two_is_as_expected() {
        let order = order(&nodes(&[5, 3, 2]));
        assert!(!order.even);
        assert_eq!(order.places, [0, 1, 0, 2, 0, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn every_ejection_pattern_of_some_sets_keeps_the_bound() {
        for weights in
            [vec![1, 2, 3, 4, 5, 6, 7], vec![100, 1, 1, 50, 3], vec![1000, 999, 1], vec![2, 4, 8, 16, 32, 64]]
        {
            let all = nodes(&weights);
            for pattern in 1u32..1 << all.len() {
                let left: Vec<(u32, u32)> =
                    all.iter().copied().filter(|(place, _)| pattern >> place & 1 == 1).collect();
                check(&left);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_weights_keep_the_bound(weights in proptest::collection::vec(0u32..=60, 1..12)) {
            check(&nodes(&weights));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn large_weights_keep_the_bound(weights in proptest::collection::vec(1u32..=1000, 1..20)) {
            check(&nodes(&weights));
        }
    }
}
