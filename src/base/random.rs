//! Random numbers for places where it does no harm if somebody guesses them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// 64 random bits: the hash of nothing under the keys of a new `RandomState`, which differ each
/// time. The hash does not show the keys.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The step of SplitMix64 from one number to the next: the golden ratio in 64 bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): the
/// same numbers from the same seed.
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// Starts with this seed.
    pub fn new(seed: u64) -> SplitMix {
        SplitMix(seed)
    }

    /// The next number, in 0..1.
    pub fn next_part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        (mixed(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Scatters numbers that follow each other over 64 bits, as SplitMix64 does. No two numbers give
/// the same result.
pub fn scattered(number: u64) -> u64 {
    mixed(number.wrapping_mul(STEP))
}

/// The mixing function of SplitMix64. No two numbers give the same result.
pub fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
