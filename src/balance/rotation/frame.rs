//! An order as readers see it: rewritten in place under its number by the one writer, read without
//! a lock.

use crate::balance::{Order, Tried};
use crate::base::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// A number that no order has: the frame is being rewritten.
const REWRITING: u64 = u64::MAX;
/// So many turns at least are laid out where there is room, in whole cycles one after the other: a
/// short order is seldom at its end. The models keep it short, so that they get there.
const LEAST: usize = if cfg!(feature = "model") { 1 } else { 512 };

/// A table of whose turn it is.
#[derive(Debug)]
#[repr(align(64))] // the one of two that a number says is found without a multiplication
pub(super) struct Frame {
    number: AtomicU64,
    /// Turns of a cycle; 0 where no node is to be handed out.
    length: AtomicU32,
    /// Turns laid out: whole cycles.
    reach: AtomicU32,
    /// Turns that were taken off the laps so that they do not run over.
    pub(super) renewed: AtomicU64,
    /// Whose turn it is, of each turn of a cycle.
    places: Box<[AtomicU32]>,
    /// The same places' tokens, of each turn that is laid out; 0 past them.
    tokens: Box<[AtomicUsize]>,
}

impl Frame {
    /// Turns that are laid out at most, for orders of up to `capacity`.
    pub(super) fn most(capacity: usize) -> usize {
        capacity.max(LEAST)
    }

    pub(super) fn new(capacity: usize) -> Frame {
        Frame {
            number: AtomicU64::new(REWRITING),
            length: AtomicU32::new(0),
            reach: AtomicU32::new(0),
            renewed: AtomicU64::new(0),
            places: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
            tokens: (0..Frame::most(capacity)).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Writes `order`, whose places have `tokens`.
    pub(super) fn write(&self, number: u64, order: &Order, tokens: &[usize]) {
        self.number.store(REWRITING, Ordering::Relaxed);
        fence(Ordering::Release);
        let length = order.places.len();
        self.length.store(length as u32, Ordering::Relaxed);
        self.reach.store((length * (LEAST / length.max(1)).max(1)) as u32, Ordering::Relaxed);
        self.renewed.store(0, Ordering::Relaxed);
        for (slot, place) in self.places.iter().zip(&order.places) {
            slot.store(*place, Ordering::Relaxed);
        }
        self.write_tokens(tokens);
        self.number.store(number, Ordering::Release);
    }

    /// Writes the tokens of the order's places.
    pub(super) fn write_tokens(&self, tokens: &[usize]) {
        let (laid_out, left) = self.tokens.split_at(self.reach() as usize);
        for (slot, place) in laid_out.iter().zip(self.cycle().iter().cycle()) {
            slot.store(tokens[place.load(Ordering::Relaxed) as usize], Ordering::Relaxed);
        }
        left.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }

    /// Whether all that was read since the word was read belongs to order `number`.
    #[inline]
    pub(super) fn is_still(&self, number: u64) -> bool {
        fence(Ordering::Acquire);
        self.number.load(Ordering::Relaxed) == number
    }

    pub(super) fn length(&self) -> u32 {
        self.length.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn reach(&self) -> u32 {
        self.reach.load(Ordering::Relaxed)
    }

    /// The turn of those laid out that comes at `index`, which is seldom past them.
    pub(super) fn within_reach(&self, index: u64) -> u64 {
        let reach = u64::from(self.reach());
        if index < reach { index } else { index.checked_rem(reach).unwrap_or(0) }
    }

    /// Tokens of the places, turn by turn; 0 past the turns that are laid out.
    #[inline]
    pub(super) fn tokens(&self) -> &[AtomicUsize] {
        &self.tokens
    }

    /// The places of one cycle.
    pub(super) fn cycle(&self) -> &[AtomicU32] {
        &self.places[..self.length() as usize]
    }

    /// The place whose turn it is at `index`: any place where the frame is being rewritten, `None`
    /// where no node is to be handed out.
    pub(super) fn place(&self, index: u64) -> Option<usize> {
        let turn = index.checked_rem(u64::from(self.length()))?;
        Some(self.places.get(turn as usize).map_or(0, |place| place.load(Ordering::Relaxed))
            as usize)
    }

    /// The first place from `index` on that is not in `tried`.
    pub(super) fn first_untried(&self, index: u64, tried: &Tried) -> Option<usize> {
        let turns = index..index + u64::from(self.length());
        turns.filter_map(|index| self.place(index)).find(|place| !tried.contains(*place))
    }
}
