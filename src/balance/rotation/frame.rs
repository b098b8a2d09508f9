//! An order as readers see it. The one writer overwrites it in place and gives it a new number;
//! readers take no lock.

use crate::balance::schedule::SHARED;
use crate::balance::{Order, Tried};
use crate::base::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// The number while the frame is being overwritten; no order has it.
const REWRITING: u64 = u64::MAX;
/// A short order is repeated until about so many turns stand in the table, if there is room, always
/// in whole cycles: so its end is seldom reached. The loom models keep it short, so that they reach
/// it.
const LEAST: usize = if cfg!(feature = "model") { 1 } else { 512 };

/// From one cycle to the next, the point at which shared turns are cut moves on by the golden ratio
/// of a turn: so the points of any number of cycles lie evenly (Weyl's sequence).
const GOLDEN: u32 = 0x9E37_79B9;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// It is the turn of this place in every cycle.
    Own(usize),
    /// In this cycle it is the turn of this place.
    Shared(usize),
    /// In this cycle it is nobody's.
    Nobodys,
}

impl Slot {
    pub(super) fn place(self) -> Option<usize> {
        match self {
            Slot::Own(place) | Slot::Shared(place) => Some(place),
            Slot::Nobodys => None,
        }
    }
}

/// A table that says whose turn it is.
#[derive(Debug)]
#[repr(align(64))] // so that the frame of a number is found without a multiplication
pub(super) struct Frame {
    number: AtomicU64,
    /// Turns of a cycle; 0 if no node may be handed out.
    length: AtomicU32,
    /// Turns in the table: whole cycles.
    reach: AtomicU32,
    /// How many places share turns.
    sharing: AtomicU32,
    /// These places, and the ends of their parts.
    owners: Box<[AtomicU32]>,
    ends: Box<[AtomicU64]>,
    /// The place of each turn of one cycle; see [`Order::places`].
    places: Box<[AtomicU32]>,
    /// The token of each turn in the table; 0 after the last one.
    tokens: Box<[AtomicUsize]>,
}

impl Frame {
    /// The most turns that the table holds, for orders of up to `capacity`.
    pub(super) fn most(capacity: usize) -> usize {
        capacity.max(LEAST)
    }

    pub(super) fn new(capacity: usize, sharing: usize) -> Frame {
        Frame {
            number: AtomicU64::new(REWRITING),
            length: AtomicU32::new(0),
            reach: AtomicU32::new(0),
            sharing: AtomicU32::new(0),
            owners: (0..sharing).map(|_| AtomicU32::new(0)).collect(),
            ends: (0..sharing).map(|_| AtomicU64::new(0)).collect(),
            places: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
            tokens: (0..Frame::most(capacity)).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Writes `order`; `tokens` are the tokens of all places.
    pub(super) fn write(&self, number: u64, order: &Order, tokens: &[usize]) {
        self.number.store(REWRITING, Ordering::Relaxed);
        fence(Ordering::Release);
        let length = order.places.len();
        let reach_before = self.reach();
        self.length.store(length as u32, Ordering::Relaxed);
        self.reach.store((length * (LEAST / length.max(1)).max(1)) as u32, Ordering::Relaxed);
        self.sharing.store(order.parts.len() as u32, Ordering::Relaxed);
        for ((owner, end), part) in self.owners.iter().zip(&self.ends).zip(&order.parts) {
            owner.store(part.0, Ordering::Relaxed);
            end.store(part.1, Ordering::Relaxed);
        }
        for (slot, place) in self.places.iter().zip(&order.places) {
            slot.store(*place, Ordering::Relaxed);
        }
        self.write_tokens(tokens);
        let left = self.tokens.get(self.reach() as usize..reach_before as usize);
        left.unwrap_or_default().iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
        self.number.store(number, Ordering::Release);
    }

    /// Writes the tokens of the order's places; a shared turn has none.
    pub(super) fn write_tokens(&self, tokens: &[usize]) {
        let laid_out = &self.tokens[..self.reach() as usize];
        for (slot, place) in laid_out.iter().zip(self.cycle().iter().cycle()) {
            let token = tokens.get(place.load(Ordering::Relaxed) as usize);
            slot.store(token.copied().unwrap_or(0), Ordering::Relaxed);
        }
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

    /// Whose turn it is after `turns` turns of this order; anyone's if the frame is being
    /// overwritten; `None` if no node may be handed out.
    pub(super) fn slot(&self, turns: u64) -> Option<Slot> {
        self.slot_at(turns, || turns)
    }

    /// As [`Frame::slot`], after `index` turns of this lap, which are whole cycles behind `turns`.
    /// That is asked for only if the turn is shared.
    #[inline]
    pub(super) fn slot_at(&self, index: u64, turns: impl FnOnce() -> u64) -> Option<Slot> {
        let length = u64::from(self.length());
        let turn = index.checked_rem(length)?;
        let place = self.places.get(turn as usize).map_or(0, |place| place.load(Ordering::Relaxed));
        Some(match place & SHARED {
            0 => Slot::Own(place as usize),
            _ => self.shared(place & !SHARED, (turns() / length) as u32),
        })
    }

    /// Whose turn the shared turn `number` is in this cycle.
    fn shared(&self, number: u32, cycle: u32) -> Slot {
        let point = u64::from(number) << 32 | u64::from(cycle.wrapping_mul(GOLDEN));
        let sharing = (self.sharing.load(Ordering::Relaxed) as usize).min(self.ends.len());
        let at = self.ends[..sharing].partition_point(|end| end.load(Ordering::Relaxed) <= point);
        match self.owners[..sharing].get(at) {
            Some(owner) => Slot::Shared(owner.load(Ordering::Relaxed) as usize),
            None => Slot::Nobodys,
        }
    }

    /// The first place from this turn on that is not in `tried`. A place that has no turn in this
    /// cycle comes last.
    pub(super) fn first_untried(&self, turns: u64, tried: &Tried) -> Option<usize> {
        let untried = |place: &usize| !tried.contains(*place);
        let cycle = turns..turns + u64::from(self.length());
        let in_cycle =
            cycle.filter_map(|turns| self.slot(turns)).filter_map(Slot::place).find(untried);
        let sharing = (self.sharing.load(Ordering::Relaxed) as usize).min(self.owners.len());
        let places = self.owners[..sharing].iter();
        in_cycle
            .or_else(|| places.map(|owner| owner.load(Ordering::Relaxed) as usize).find(untried))
    }

    /// How many turns of these are shared.
    pub(super) fn shared_of(slots: &[AtomicU32]) -> u64 {
        slots.iter().filter(|slot| slot.load(Ordering::Relaxed) & SHARED != 0).count() as u64
    }

    /// Whether some turns are shared.
    pub(super) fn shares(&self) -> bool {
        self.sharing.load(Ordering::Relaxed) > 0
    }
}
