//! The turns of all nodes of one tier, planned once. The order of the nodes that are up now follows
//! from the plan in one pass over it, so that an ejection costs little, whatever the weights are.
//!
//! Invariant: in the long run each node has exactly its share. A cycle has at most
//! [`TURNS_PER_NODE`] turns a node, or [`FEW`] turns. If the weights need more, each node has the
//! whole part of its turns in every cycle, and the rest in some of the cycles: such a turn is
//! shared by several nodes, and the number of the cycle says which of them has it (see
//! `rotation/frame`).

use super::schedule::{self, Order, SHARED};

/// How many turns a cycle has at most, for each node.
const TURNS_PER_NODE: usize = 6;
/// How many turns a cycle may have in any case.
const FEW: usize = 4096;
/// An order of at most so many turns is computed anew each time, so that it keeps Tijdeman's bound
/// whichever nodes are left.
const EXACT: u64 = 512;
/// One turn, as parts of turns are counted.
const TURN: u64 = 1 << 32;
/// Shared turns are spread by the same rule as the others, as if they belonged to nodes of at most
/// so much weight.
const SHARED_WEIGHT: usize = 1000;

/// The plan of one tier.
#[derive(Debug, Default)]
pub struct Plan {
    /// The place of each turn, or [`SHARED`]; empty if each order is computed anew.
    turns: Vec<u32>,
    /// The part of a turn that each node has beside its whole turns, if it has any.
    parts: Vec<(u32, u64)>,
    /// How many turns are shared.
    shared: usize,
    /// The longest order of these nodes.
    longest: usize,
}

impl Plan {
    /// The plan of no node: each order is computed anew.
    pub const NONE: Plan = Plan { turns: Vec::new(), parts: Vec::new(), shared: 0, longest: 0 };

    /// The plan for `nodes`, given as pairs of place and weight in rising order of places.
    pub fn new(nodes: &[(u32, u32)]) -> Plan {
        let weights = nodes.iter().map(|(_, weight)| *weight);
        let cycle = schedule::cycle_length(weights.clone());
        if cycle <= EXACT || schedule::is_even(weights) {
            return Plan { longest: cycle as usize, ..Plan::default() };
        }
        let most = FEW.max(nodes.len() * TURNS_PER_NODE);
        let mut plan = match cycle <= most as u64 {
            true => Plan { turns: schedule::order(nodes).places, ..Plan::default() },
            false => Plan::scaled(nodes, most as u64),
        };
        plan.longest = plan.turns.len().max(EXACT as usize).max(nodes.len());
        plan
    }

    /// A plan of about `most` turns.
    fn scaled(nodes: &[(u32, u32)], most: u64) -> Plan {
        let sum: u128 = nodes.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let turns = |weight: u32| u128::from(weight) * u128::from(most * TURN) / sum;
        let (mut owners, mut weights, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (place, weight) in nodes {
            let turns = turns(*weight) as u64;
            let (whole, part) = ((turns / TURN) as u32, turns % TURN);
            if whole > 0 {
                owners.push(*place);
                weights.push(whole);
            }
            if part > 0 {
                parts.push((*place, part));
            }
        }
        let shared = whole_turns(parts.iter().map(|(_, part)| part).sum());
        for from in (0..shared).step_by(SHARED_WEIGHT) {
            owners.push(SHARED);
            weights.push(SHARED_WEIGHT.min(shared - from) as u32);
        }
        let mut turns = schedule::chairmen(&weights);
        turns.iter_mut().for_each(|at| *at = owners[*at as usize]);
        Plan { turns, parts, shared, longest: 0 }
    }

    /// The longest order of these nodes, and how many of them share turns.
    pub fn room(&self) -> (usize, usize) {
        (self.longest, self.parts.len())
    }

    /// Writes the order of the nodes that are left. `is_left` says the same of a place of the plan.
    pub fn order(&self, left: &[(u32, u32)], is_left: impl Fn(u32) -> bool, order: &mut Order) {
        let weights = left.iter().map(|(_, weight)| *weight);
        order.places.clear();
        order.parts.clear();
        order.even = schedule::is_even(weights.clone());
        if order.even {
            order.places.extend(left.iter().map(|(place, _)| *place));
        } else if self.turns.is_empty() || schedule::cycle_length(weights) <= EXACT {
            *order = schedule::order(left);
        } else {
            self.filter(is_left, order);
        }
    }

    fn filter(&self, is_left: impl Fn(u32) -> bool, order: &mut Order) {
        let mut end = 0;
        for (place, part) in self.parts.iter().filter(|(place, _)| is_left(*place)) {
            end += part;
            order.parts.push((*place, end));
        }
        // So many of the shared turns are still needed; those that go are spread over the cycle.
        let (shared, needed) = (self.shared, whole_turns(end));
        let (mut seen, mut kept) = (0, 0);
        for place in &self.turns {
            if *place != SHARED {
                if is_left(*place) {
                    order.places.push(*place);
                }
                continue;
            }
            seen += 1;
            if seen * needed / shared > kept {
                order.places.push(SHARED | kept as u32);
                kept += 1;
            }
        }
    }
}

/// The whole turns that hold so many parts of turns.
fn whole_turns(parts: u64) -> usize {
    parts.div_ceil(TURN) as usize
}

#[cfg(test)]
mod tests;
