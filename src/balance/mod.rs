//! Which node next. Pure: no clock, no I/O, no lock; knows nodes only by their place in the file.
//!
//! Invariant: with n nodes, any n consecutive picks of the process-wide order hit each node once.
//! All threads share one order, the order of the atomic increments of one cursor.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Strict round-robin over `nodes` places.
#[derive(Debug)]
#[repr(align(128))] // the cursor is written by every thread; nothing else may share its cache lines
pub struct Rotation {
    cursor: AtomicU64,
    start: u64,
    nodes: u64,
}

impl Rotation {
    /// A rotation over `nodes` (at least one) places whose first pick is `start`.
    pub fn new(nodes: usize, start: usize) -> Self {
        assert!(start < nodes, "a rotation starts at one of its nodes");
        let start = start as u64;
        Rotation {
            cursor: AtomicU64::new(start),
            start,
            nodes: nodes as u64,
        }
    }

    /// The next place.
    #[inline]
    pub fn next(&self) -> usize {
        // 2^64 picks are never reached, so the order has no seam.
        (self.cursor.fetch_add(1, Relaxed) % self.nodes) as usize
    }

    /// The next place that is not in `tried`, or `None` where all are.
    ///
    /// The turn is the rotation's own, so that retries too spread evenly; a turn that falls on a tried
    /// place goes to the next untried one after it.
    pub fn next_untried(&self, tried: &Tried) -> Option<usize> {
        if tried.count == self.nodes as usize {
            return None;
        }
        let turn = self.next();
        let nodes = self.nodes as usize;
        (turn..nodes)
            .chain(0..turn)
            .find(|&place| !tried.contains(place))
    }

    /// How often any place was handed out.
    pub fn picks(&self) -> u64 {
        self.cursor.load(Relaxed) - self.start
    }

    /// How often `place` was handed out by [`Rotation::next`].
    pub fn picks_of(&self, place: usize) -> u64 {
        let turns_before = |cursor: u64| (cursor + self.nodes - 1 - place as u64) / self.nodes;
        turns_before(self.cursor.load(Relaxed)) - turns_before(self.start)
    }
}

/// The places one payload has been to. Holds up to 128 nodes without an allocation.
#[derive(Debug, Default)]
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

    /// Whether `place` was tried.
    pub fn contains(&self, place: usize) -> bool {
        match place.checked_sub(128) {
            None => self.first >> place & 1 == 1,
            Some(bit) => self
                .rest
                .get(bit / 64)
                .is_some_and(|word| word >> (bit % 64) & 1 == 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_nodes_retry_never_meets_the_dead_one() {
        // One fresh pick between retries made a plain cursor meet the dead node every time.
        let rotation = Rotation::new(2, 0);
        for _ in 0..20 {
            let mut tried = Tried::new();
            tried.insert(0);
            rotation.next();
            assert_eq!(rotation.next_untried(&tried), Some(1));
        }
    }

    #[test]
    fn a_dead_node_of_three_leaves_even_shares_to_the_others() {
        let rotation = Rotation::new(3, 0);
        let mut shares = [0; 3];
        for _ in 0..3000 {
            let mut tried = Tried::new();
            let mut place = rotation.next();
            while place == 1 {
                tried.insert(place);
                place = rotation.next_untried(&tried).unwrap();
            }
            shares[place] += 1;
        }
        assert_eq!(shares, [1500, 0, 1500]);
    }

    proptest! {
        #[test]
        fn every_window_hits_each_node_once(nodes in 1usize..200, start in 0usize..200, skip in 0usize..500) {
            let start = start % nodes;
            let rotation = Rotation::new(nodes, start);
            for turn in 0..skip {
                prop_assert_eq!(rotation.next(), (start + turn) % nodes);
            }
            let mut seen = vec![0; nodes];
            for _ in 0..nodes {
                seen[rotation.next()] += 1;
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
            prop_assert_eq!((0..nodes).map(|place| rotation.picks_of(place)).sum::<u64>(), rotation.picks());
            prop_assert_eq!(rotation.picks(), (skip + nodes) as u64);
        }

        #[test]
        fn an_attempt_visits_every_node_once(nodes in 1usize..300, others in proptest::collection::vec(0usize..5, 300)) {
            let rotation = Rotation::new(nodes, 0);
            let mut tried = Tried::new();
            for others in others.iter().take(nodes) {
                for _ in 0..*others {
                    rotation.next();
                }
                let place = rotation.next_untried(&tried).unwrap();
                prop_assert!(!tried.contains(place));
                tried.insert(place);
            }
            prop_assert_eq!(rotation.next_untried(&tried), None);
        }
    }
}
