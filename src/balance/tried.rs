//! Which places one payload has been to.

/// The places that one payload has been to. Up to place 127 it needs no allocation.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: u128,
    rest: Vec<u64>,
    count: usize,
}

impl Tried {
    /// Nothing tried yet.
    pub fn new() -> Self {
        Tried::default()
    }

    /// How many places were tried.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Marks `place`.
    pub fn insert(&mut self, place: usize) {
        if self.contains(place) {
            return;
        }
        self.count += 1;
        match place.checked_sub(128) {
            None => self.first |= 1 << place,
            Some(bit) => {
                if self.rest.len() <= bit / 64 {
                    self.rest.resize(bit / 64 + 1, 0);
                }
                self.rest[bit / 64] |= 1 << (bit % 64);
            }
        }
    }

    /// Unmarks `place`.
    pub fn remove(&mut self, place: usize) {
        if !self.contains(place) {
            return;
        }
        self.count -= 1;
        match place.checked_sub(128) {
            None => self.first &= !(1 << place),
            Some(bit) => self.rest[bit / 64] &= !(1 << (bit % 64)),
        }
    }

    /// Whether `place` was tried.
    pub fn contains(&self, place: usize) -> bool {
        match place.checked_sub(128) {
            None => self.first >> place & 1 == 1,
            Some(bit) => self.rest.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_was_inserted_and_counts_it_once(
            places in proptest::collection::vec(0usize..400, 0..50),
        ) {
            let mut tried = Tried::new();
            places.iter().for_each(|place| tried.insert(*place));
            let set: std::collections::BTreeSet<usize> = places.into_iter().collect();
            prop_assert_eq!(tried.count(), set.len());
            prop_assert!((0..500).all(|place| tried.contains(place) == set.contains(&place)));
            let is_odd = |place: &&usize| **place % 2 == 1;
            let (odd, left): (Vec<usize>, Vec<usize>) = set.iter().partition(is_odd);
            odd.iter().chain(&odd).for_each(|place| tried.remove(*place));
            prop_assert_eq!(tried.count(), left.len());
            prop_assert!((0..500).all(|place| tried.contains(place) == left.contains(&place)));
        }
    }
}
