//! What is left to send of a caller's slices. They are sent as they are, without a copy. If a slice
//! was sent in part, its rest is sent alone.

use std::io::IoSlice;

/// The part of a write that is not sent yet.
pub struct Unsent<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// How many bytes of the first slice are sent.
    done: usize,
}

/// How far a write got, also if it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Payload bytes that the system or TLS has taken.
    pub taken: u64,
    /// The system has taken bytes.
    pub moved: bool,
}

/// What to offer next.
pub(super) enum Offer<'a, 'b> {
    /// Whole slices.
    Slices(&'a [IoSlice<'b>]),
    /// The rest of a slice that was sent in part.
    Rest(&'a [u8]),
}

impl<'a, 'b> Unsent<'a, 'b> {
    /// All of `slices`.
    pub fn new(slices: &'a [IoSlice<'b>]) -> Self {
        let mut unsent = Unsent { slices, done: 0 };
        unsent.advance(0);
        unsent
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(super) fn offer(&self) -> Offer<'a, 'b> {
        match (self.done, self.slices.first()) {
            (0, _) | (_, None) => Offer::Slices(self.slices),
            (done, Some(first)) => Offer::Rest(&first[done..]),
        }
    }

    pub(super) fn advance(&mut self, taken: usize) {
        self.done += taken;
        while let Some((first, rest)) = self.slices.split_first()
            && self.done >= first.len()
        {
            self.done -= first.len();
            self.slices = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_goes_once_and_in_order(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 0..8),
            takes in proptest::collection::vec(1usize..6, 64),
        ) {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut unsent = Unsent::new(&slices);
            let mut sent: Vec<u8> = Vec::new();
            for take in takes {
                if unsent.is_empty() {
                    break;
                }
                let offered: Vec<u8> = match unsent.offer() {
                    Offer::Slices(slices) => {
                        slices.iter().flat_map(|slice| slice.to_vec()).collect()
                    }
                    Offer::Rest(bytes) => bytes.to_vec(),
                };
                prop_assert!(!offered.is_empty());
                let taken = take.min(offered.len());
                sent.extend_from_slice(&offered[..taken]);
                unsent.advance(taken);
            }
            prop_assert!(unsent.is_empty());
            prop_assert_eq!(sent, parts.concat());
        }
    }
}
