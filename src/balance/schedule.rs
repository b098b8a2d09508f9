//! The order in which nodes of given weights take their turns, computed in advance.
//!
//! R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980): with n nodes of
//! weights w and total weight W, the count of turns of each node never differs from its share
//! (turns so far) * w / W by more than 1 - 1/(2n - 2), at any moment of the cycle. The rule: of the
//! nodes that lag behind their share by at least 1/(2n - 2) of a turn, this turn included, the one
//! goes next that would pass the bound first.

mod free;

use free::FreeTurns;

/// One cycle of turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The place of each turn; [`SHARED`] and its number among them for a turn that is shared.
    pub places: Vec<u32>,
    /// Every place has one turn, in rising order: plain round-robin.
    pub even: bool,
    /// The places that share turns, each with the end of its part: the parts lie one behind the
    /// other, and 2^32 is one turn.
    pub parts: Vec<(u32, u64)>,
}

/// Marks a turn that is shared. No place is that high.
pub const SHARED: u32 = 1 << 31;

/// The cycle of `nodes`, given as pairs of place and weight in rising order of places. A node of
/// weight 0 gets no turn. Equal weights give plain round-robin.
pub fn order(nodes: &[(u32, u32)]) -> Order {
    let nodes: Vec<(u32, u32)> = nodes.iter().copied().filter(|(_, weight)| *weight > 0).collect();
    let divisor = common_divisor(nodes.iter().map(|(_, weight)| u64::from(*weight))) as u32;
    if is_even(nodes.iter().map(|(_, weight)| *weight)) {
        let places = nodes.iter().map(|(place, _)| *place).collect();
        return Order { places, even: true, ..Order::default() };
    }
    let weights: Vec<u32> = nodes.iter().map(|(_, weight)| weight / divisor).collect();
    let mut places = chairmen(&weights);
    places.iter_mut().for_each(|at| *at = nodes[*at as usize].0);
    Order { places, ..Order::default() }
}

/// Whether all weights are equal.
pub fn is_even(mut weights: impl Iterator<Item = u32>) -> bool {
    weights.next().is_none_or(|first| weights.all(|weight| weight == first))
}

/// The length of the cycle of these weights.
pub fn cycle_length(weights: impl Iterator<Item = u32> + Clone) -> u64 {
    let weights = weights.map(u64::from);
    weights.clone().sum::<u64>() / common_divisor(weights)
}

/// The greatest common divisor; 1 if there are no weights above 0.
fn common_divisor(weights: impl Iterator<Item = u64>) -> u64 {
    fn of_two(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { of_two(b, a % b) }
    }
    weights.fold(0, of_two).max(1)
}

/// One whole cycle of turns, as indices of the weights. There must be at least two, all above 0.
///
/// Let D be 2n - 2. A node that has had x turns may take its next one from turn (x + 1/D) / share
/// on, and must have it by turn (x + 1 - 1/D) / share. So this is a schedule by earliest deadline.
/// Only the deadlines decide who comes first, so the result is the same if the claims are handled
/// in order of their deadlines and each takes the first free turn from its beginning on. This needs
/// no queue of waiting nodes, only a calendar of the next deadline of each node.
pub(super) fn chairmen(weights: &[u32]) -> Vec<u32> {
    let cycle: u64 = weights.iter().copied().map(u64::from).sum();
    let d = 2 * weights.len() as u64 - 2;
    let mut claims: Vec<Claim> =
        weights.iter().map(|weight| Claim::first(*weight, cycle, d)).collect();
    // Up to the turn that is handled now, `turns` says whose turn each is. After it, `turns` is a
    // calendar: it holds the first of the nodes with a deadline in that turn, counted from 1, and
    // `behind` holds the next one with the same turn. Each node takes a turn before its deadline,
    // so the two uses never meet.
    let mut turns = vec![NOBODY; cycle as usize];
    let mut behind = vec![NOBODY; claims.len()];
    for (at, claim) in claims.iter().enumerate() {
        behind[at] = std::mem::replace(&mut turns[claim.due.whole as usize], at as u32 + 1);
    }
    let mut free = FreeTurns::new(turns.len());
    let mut same_turn = Vec::new();
    for turn in 0..turns.len() {
        let mut next = turns[turn];
        while next != NOBODY {
            same_turn.push(next - 1);
            next = behind[next as usize - 1];
        }
        if same_turn.len() > 1 {
            // The deadlines are in the same turn, so their fractions decide; then the place in the
            // file.
            let key = |at: u32| (&claims[at as usize], at);
            same_turn.sort_unstable_by(|a, b| {
                let ((one, a), (other, b)) = (key(*a), key(*b));
                let crosswise = |part: u32, weight: u32| u64::from(part) * u64::from(weight);
                crosswise(one.due.part, other.weight)
                    .cmp(&crosswise(other.due.part, one.weight))
                    .then(a.cmp(&b))
            });
        }
        for at in same_turn.drain(..) {
            let claim = &mut claims[at as usize];
            // By Tijdeman's theorem a turn up to the deadline of the claim is still free.
            turns[free.take(claim.begin())] = at;
            claim.next();
            if claim.begin() < turns.len() {
                behind[at as usize] =
                    std::mem::replace(&mut turns[claim.due.whole as usize], at + 1);
            }
        }
    }
    turns
}

/// Marks an empty entry of the calendar; nodes are counted from 1.
const NOBODY: u32 = 0;

/// A moment of the cycle: whole turns, and a fraction counted in units of 1 / (D * weight) turn.
#[derive(Clone, Copy)]
struct Moment {
    whole: u32,
    part: u32,
}

/// The next claim of a node. The claims of a node are all the same time apart, so only the first
/// one needs a division.
struct Claim {
    weight: u32,
    /// How many units of the fraction make a turn: D * weight. It stays below 2^32 for two million
    /// nodes with weights up to 1000, which is more than a file can hold.
    parts: u32,
    apart: Moment,
    from: Moment,
    due: Moment,
}

impl Claim {
    fn first(weight: u32, cycle: u64, d: u64) -> Claim {
        let parts = d * u64::from(weight);
        assert!(
            parts <= u64::from(u32::MAX) && cycle <= u64::from(u32::MAX),
            "too many nodes with too much weight"
        );
        let moment = |dth: u64| Moment {
            whole: (cycle * dth / parts) as u32,
            part: (cycle * dth % parts) as u32,
        };
        Claim { weight, parts: parts as u32, apart: moment(d), from: moment(1), due: moment(d - 1) }
    }

    /// The first turn that the claim may take, counted from 0: the first one that ends no earlier
    /// than the claim begins.
    fn begin(&self) -> usize {
        (self.from.whole + u32::from(self.from.part > 0)) as usize - 1
    }

    fn next(&mut self) {
        for moment in [&mut self.from, &mut self.due] {
            let part = u64::from(moment.part) + u64::from(self.apart.part);
            let over = part >= u64::from(self.parts);
            moment.whole += self.apart.whole + u32::from(over);
            moment.part = (part - if over { u64::from(self.parts) } else { 0 }) as u32;
        }
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
        assert_eq!(
            order.places.len() as u64,
            cycle_length(nodes.iter().map(|(_, weight)| *weight))
        );
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

    fn even(places: &[u32]) -> Order {
        Order { places: places.to_vec(), even: true, ..Order::default() }
    }

    #[test]
    fn equal_weights_are_round_robin_by_the_same_rule() {
        for n in 2..50u64 {
            assert!(chairmen(&vec![1; n as usize]).into_iter().eq(0..n as u32));
        }
        assert_eq!(order(&nodes(&[7, 7, 7])), even(&[0, 1, 2]));
        assert_eq!(order(&nodes(&[0, 5, 0])), even(&[1]));
        assert_eq!(order(&[]), even(&[]));
    }

    /// The rule word for word: of the nodes that have a claim at a turn, the one goes whose claim
    /// would pass the bound first.
    fn word_for_word(weights: &[u32]) -> Vec<u32> {
        let weights: Vec<u64> = weights.iter().copied().map(u64::from).collect();
        let cycle: u64 = weights.iter().sum();
        let d = 2 * weights.len() as u64 - 2;
        let mut turns = vec![0u64; weights.len()];
        let taker = |turn: u64| {
            let claims = |at: &usize| cycle * (d * turns[*at] + 1) <= turn * d * weights[*at];
            let due = |at: &usize| d * turns[*at] + d - 1;
            let sooner = |a: &usize, b: &usize| {
                (due(a) * weights[*b]).cmp(&(due(b) * weights[*a])).then(a.cmp(b))
            };
            let at = (0..weights.len()).filter(claims).min_by(sooner).unwrap();
            turns[at] += 1;
            at as u32
        };
        (1..=cycle).map(taker).collect()
    }

    #[test]
    fn five_three_two_is_as_expected() {
        let order = order(&nodes(&[5, 3, 2]));
        assert!(!order.even);
        assert_eq!(order.places, [0, 1, 0, 2, 0, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn every_ejection_pattern_of_some_sets_keeps_the_bound() {
        for weights in [
            vec![1, 2, 3, 4, 5, 6, 7],
            vec![100, 1, 1, 50, 3],
            vec![1000, 999, 1],
            vec![2, 4, 8, 16, 32, 64],
        ] {
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
        #[test]
        fn the_order_is_that_of_the_rule_word_for_word(
            weights in prop_oneof![
                proptest::collection::vec(1u32..=60, 2..40),
                proptest::collection::vec(1u32..=3, 2..40),
                proptest::collection::vec(1u32..=1000, 2..6),
            ],
        ) {
            prop_assert_eq!(chairmen(&weights), word_for_word(&weights));
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
