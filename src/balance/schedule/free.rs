//! The free turns of a cycle: one bit for each turn, and one bit for each 64 turns that says
//! whether any of these is free.

/// The free turns, counted from 0.
pub(super) struct FreeTurns {
    /// A bit for each turn.
    turns: Vec<u64>,
    /// A bit for each word of `turns`: whether it is not 0.
    words: Vec<u64>,
}

impl FreeTurns {
    /// `count` turns, all free.
    pub fn new(count: usize) -> FreeTurns {
        FreeTurns { turns: ones(count), words: ones(count.div_ceil(64)) }
    }

    /// Takes the first free turn from `from` on. There must be one.
    pub fn take(&mut self, from: usize) -> usize {
        let mut word = from / 64;
        let mut bits = self.turns[word] & (u64::MAX << (from % 64));
        if bits == 0 {
            word = first_from(&self.words, word + 1);
            bits = self.turns[word];
        }
        let bit = bits.trailing_zeros() as usize;
        self.turns[word] &= !(1 << bit);
        if self.turns[word] == 0 {
            self.words[word / 64] &= !(1 << (word % 64));
        }
        word * 64 + bit
    }
}

fn ones(count: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; count.div_ceil(64)];
    if let Some(last) = words.last_mut().filter(|_| !count.is_multiple_of(64)) {
        *last >>= 64 - count % 64;
    }
    words
}

/// The first bit that is set, from `from` on.
fn first_from(words: &[u64], from: usize) -> usize {
    let mut at = from / 64;
    let mut bits = words[at] & (u64::MAX << (from % 64));
    while bits == 0 {
        at += 1;
        bits = words[at];
    }
    at * 64 + bits.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_free_turn_is_taken(
            count in 1usize..20_000,
            wishes in proptest::collection::vec(0usize..20_000, 1..3000),
        ) {
            let mut free = FreeTurns::new(count);
            let mut taken = vec![false; count];
            for from in wishes {
                let Some(first) = (from..count).find(|turn| !taken[*turn]) else { continue };
                prop_assert_eq!(free.take(from), first);
                taken[first] = true;
            }
        }
    }
}
