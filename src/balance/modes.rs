//! The balancing modes: how the next node is chosen. To add one, give it a word in
//! `config/words.rs` and a variant here; the compiler then names every match that has to act on it.

use super::schedule::{Order, order};

/// How the next node is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each node in turn, as often as its weight says.
    RoundRobin,
}

impl Mode {
    /// The order of the turns of the eligible nodes, given as pairs of place and weight.
    pub fn order(self, eligible: &[(u32, u32)]) -> Order {
        match self {
            Mode::RoundRobin => order(eligible),
        }
    }
}
