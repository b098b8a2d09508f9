//! What is left to send of a caller's slices. They are sent as they are, without a copy. If a slice
//! was sent in part, its rest is sent alone.
//!
//! What is offered at a time is limited, in bytes and in slices: a call that gets more than it can
//! take looks at all of it again and again, and the kernel goes on while a fast peer takes more.

use std::io::IoSlice;

use crate::net::portion::Portion;

/// How many slices, with a long one after them, are offered together with the begin of that one.
/// After more, the long one begins anew: a system call more does not matter then.
const CUT: usize = 8;

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

/// How far an offer got without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Everything is sent.
    All,
    /// The peer must take some before it can go on.
    Full,
    /// It may go on: only the [`Portion`] is used up.
    Unfinished,
}

/// What to offer next.
pub(super) enum Offer<'a, 'b> {
    /// Whole slices.
    Slices(&'a [IoSlice<'b>]),
    /// So many whole slices, of which the last is only the begin of a long one.
    Cut([IoSlice<'a>; CUT], usize),
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

    /// The next `most` slices or fewer: about a [`Portion`] of bytes, twice that at most.
    #[inline(always)]
    pub(super) fn offer(&self, most: usize) -> Offer<'a, 'b> {
        match self.slices {
            [] => Offer::Slices(&[]),
            [first, ..] if self.done > 0 || first.len() >= Portion::BYTES => {
                let rest = &first[self.done..];
                Offer::Rest(&rest[..rest.len().min(Portion::BYTES)])
            }
            [one] => Offer::Slices(std::slice::from_ref(one)),
            several => several_of(&several[..several.len().min(most)]),
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

/// The first of them, as many as make up a portion.
fn several_of<'a, 'b>(slices: &'a [IoSlice<'b>]) -> Offer<'a, 'b> {
    let mut total = 0;
    for (at, slice) in slices.iter().enumerate() {
        let room = Portion::BYTES - total;
        total += slice.len();
        if total < Portion::BYTES {
            continue;
        }
        if slice.len() <= Portion::BYTES {
            return Offer::Slices(&slices[..=at]);
        }
        if at >= CUT {
            return Offer::Slices(&slices[..at]);
        }
        let mut cut = [IoSlice::new(&[]); CUT];
        cut[..at].copy_from_slice(&slices[..at]);
        cut[at] = IoSlice::new(&slice[..room]);
        return Offer::Cut(cut, at + 1);
    }
    Offer::Slices(slices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offered(unsent: &Unsent<'_, '_>, most: usize) -> (usize, Vec<u8>) {
        let joined = |slices: &[IoSlice<'_>]| {
            (slices.len(), slices.iter().flat_map(|slice| slice.to_vec()).collect())
        };
        match unsent.offer(most) {
            Offer::Slices(slices) => joined(slices),
            Offer::Cut(slices, count) => joined(&slices[..count]),
            Offer::Rest(bytes) => (1, bytes.to_vec()),
        }
    }

    #[test]
    fn a_short_head_goes_with_the_begin_of_a_long_body() {
        let body = vec![7; 3 * Portion::BYTES];
        for heads in 1..12 {
            let mut slices = vec![IoSlice::new(b"head"); heads];
            slices.push(IoSlice::new(&body));
            let (count, bytes) = offered(&Unsent::new(&slices), 1024);
            let (with, alone) = ((heads + 1, Portion::BYTES), (heads, 4 * heads));
            assert_eq!((count, bytes.len()), if heads < CUT { with } else { alone });
        }
    }

    proptest! {
        #[test]
        fn what_is_offered_is_limited_and_nothing_is_lost(
            lengths in proptest::collection::vec(
                prop_oneof![0usize..9, 0usize..40_000, 60_000usize..200_000], 1..40),
            most in 1usize..30,
        ) {
            let bytes = vec![1; 200_000];
            let slices: Vec<IoSlice<'_>> =
                lengths.iter().map(|length| IoSlice::new(&bytes[..*length])).collect();
            let mut unsent = Unsent::new(&slices);
            let (mut left, mut offers) = (lengths.iter().sum::<usize>(), 0);
            while !unsent.is_empty() {
                let (count, bytes) = offered(&unsent, most);
                prop_assert!(count <= most + 1 && bytes.len() <= 2 * Portion::BYTES);
                prop_assert!(!bytes.is_empty());
                left -= bytes.len();
                offers += 1;
                unsent.advance(bytes.len());
            }
            prop_assert_eq!(left, 0);
            let total = lengths.iter().sum::<usize>();
            prop_assert!(offers <= 3 * lengths.len() / most + 2 * total / Portion::BYTES + 4);
        }

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
                let (_, offered) = offered(&unsent, 3);
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
