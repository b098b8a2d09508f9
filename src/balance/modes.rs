//! The balancing modes: how the next node is chosen. To add one, give it a word in
//! `config/words.rs` and a variant here; the compiler then names every match that has to act on it.

use super::plan::Plan;
use super::schedule::Order;

/// How the next node is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each node in turn, as often as its weight says.
    RoundRobin,
}

impl Mode {
    /// Writes the order of the turns of the eligible nodes, given as pairs of place and weight.
    /// They are those of `plan` for which `is_left` is true.
    pub fn order(
        self,
        plan: &Plan,
        eligible: &[(u32, u32)],
        is_left: impl Fn(u32) -> bool,
        order: &mut Order,
    ) {
        match self {
            Mode::RoundRobin => plan.order(eligible, is_left, order),
        }
    }
}
