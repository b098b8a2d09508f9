//! An order as readers see it. The one writer overwrites it in place and gives it a new number;
//! readers take no lock.

use crate::balance::{Order, Tried};
use crate::base::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// The number while the frame is being overwritten; no order has it.
const REWRITING: u64 = u64::MAX;
/// A short order is repeated until about so many turns stand in the table, if there is room, always
/// in whole cycles: so its end is seldom reached. The loom models keep it short, so that they reach
/// it.
const LEAST: usize = if cfg!(feature = "model") { 1 } else { 512 };

/// A table that says whose turn it is.
#[derive(Debug)]
#[repr(align(64))] // so that the frame of a number is found without a multiplication
pub(super) struct Frame {
    number: AtomicU64,
    /// Turns of a cycle; 0 if no node may be handed out.
    length: AtomicU32,
    /// Turns in the table: whole cycles.
    reach: AtomicU32,
    /// Turns whose laps were taken off the word, so that the laps do not overflow.
    pub(super) renewed: AtomicU64,
    /// The place of each turn of one cycle.
    places: Box<[AtomicU32]>,
    /// The token of each turn in the table; 0 after the last one.
    tokens: Box<[AtomicUsize]>,
}

impl Frame {
    /// The most turns that the table holds, for orders of up to `capacity`.
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

    /// Writes `order`; `tokens` are the tokens of all places.
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

    /// Whether everything that was read after the word belongs to order `number`.
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

    /// The turn in the table for `index`, which is seldom past its end.
    pub(super) fn within_reach(&self, index: u64) -> u64 {
        let reach = u64::from(self.reach());
        if index < reach { index } else { index.checked_rem(reach).unwrap_or(0) }
    }

    /// The tokens, turn by turn; 0 after the last turn in the table.
    #[inline]
    pub(super) fn tokens(&self) -> &[AtomicUsize] {
        &self.tokens
    }

    /// The places of one cycle.
    pub(super) fn cycle(&self) -> &[AtomicU32] {
        &self.places[..self.length() as usize]
    }

    /// The place whose turn it is at `index`; any place if the frame is being overwritten; `None`
    /// if no node may be handed out.
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
