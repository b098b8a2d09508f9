//! What the writer of the rotation knows: where the current order started, and what was handed out
//! in earlier orders.

use super::frame::{Frame, Slot};
use crate::balance::Order;
use crate::balance::schedule::SHARED;
use crate::base::sync::atomic::{AtomicU32, Ordering};

/// The books of a rotation. Only its one writer has them.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Where the current order started.
    pub(super) begin: u32,
    /// The place that was handed out last when the current order started.
    last: u32,
    /// Turns of the current order whose laps were taken off the word, so that the laps do not
    /// overflow.
    pub(super) renewed: u64,
    /// All weights of the current order are equal.
    pub(super) even: bool,
    /// Turns of each place in earlier orders, without the shared ones.
    turns: Box<[u64]>,
    /// The token of each place.
    pub(super) tokens: Box<[usize]>,
}

impl Ledger {
    /// Books for `places` places; the first order starts at `start`.
    pub(super) fn new(order: &Order, start: usize, places: usize) -> Ledger {
        let length = order.places.len();
        let before = (start + length)
            .checked_sub(1)
            .and_then(|at| order.places.get(at % length.max(1)))
            .filter(|place| **place & SHARED == 0);
        Ledger {
            begin: start as u32,
            renewed: 0,
            last: before.copied().unwrap_or(0),
            even: order.even,
            turns: vec![0; places].into(),
            // In tests the token of a place is the place + 1.
            tokens: (1..=places).map(|token| if cfg!(test) { token } else { 0 }).collect(),
        }
    }

    /// Ends the order in `frame`, of which `turns` were taken; the next one starts at `begin`.
    pub(super) fn go_over(&mut self, frame: &Frame, turns: u64, begin: u32, even: bool) {
        self.last = self.last_place(frame, turns);
        self.close(frame, turns);
        (self.begin, self.even, self.renewed) = (begin, even, 0);
    }

    /// The place that was handed out last. `turns` is counted from the beginning of the cycle, not
    /// from where the order started.
    pub(super) fn last_place(&self, frame: &Frame, turns: u64) -> u32 {
        let taken = turns != u64::from(self.begin);
        let last = turns.checked_sub(1).filter(|_| taken).and_then(|last| frame.slot(last));
        last.and_then(Slot::place).map_or(self.last, |place| place as u32)
    }

    /// Turns of all places, without the shared ones.
    pub(super) fn total(&self, frame: &Frame, turns: u64) -> u64 {
        let cycle = frame.cycle();
        if cycle.is_empty() {
            return self.turns.iter().sum();
        }
        let length = cycle.len() as u64;
        let shared_up_to = |end: u64| {
            let (cycles, rest) = (end / length, (end % length) as usize);
            cycles * Frame::shared_of(cycle) + Frame::shared_of(&cycle[..rest])
        };
        let begin = u64::from(self.begin);
        let shared = match frame.shares() {
            true => shared_up_to(turns).saturating_sub(shared_up_to(begin)),
            false => 0,
        };
        self.turns.iter().sum::<u64>() + turns.saturating_sub(begin).saturating_sub(shared)
    }

    /// Turns of one place.
    pub(super) fn total_of(&self, frame: &Frame, turns: u64, place: usize) -> u64 {
        self.turns[place] + self.turns_of(frame, turns, place)
    }

    /// Turns of `place` in the current order.
    fn turns_of(&self, frame: &Frame, turns: u64, place: usize) -> u64 {
        let cycle = frame.cycle();
        if cycle.is_empty() {
            return 0;
        }
        let length = cycle.len() as u64;
        let up_to = |end: u64| {
            let (cycles, rest) = (end / length, (end % length) as usize);
            if self.even {
                // The places are in rising order, each once.
                let at = cycle
                    .binary_search_by_key(&place, |slot| slot.load(Ordering::Relaxed) as usize);
                return at.map_or(0, |at| cycles + u64::from(at < rest));
            }
            let of = |slots: &[_]| count(slots, place);
            cycles * of(cycle) + of(&cycle[..rest])
        };
        up_to(turns).saturating_sub(up_to(u64::from(self.begin)))
    }

    /// Books the turns of an order that is over.
    fn close(&mut self, frame: &Frame, turns: u64) {
        let cycle = frame.cycle();
        if cycle.is_empty() {
            return;
        }
        let length = cycle.len() as u64;
        let (begin, count) = (u64::from(self.begin), turns.saturating_sub(u64::from(self.begin)));
        let (cycles, rest) = (count / length, (count % length) as usize);
        let mut book = |slots: &[AtomicU32], turns: u64| {
            for slot in slots {
                if let Some(had) = self.turns.get_mut(slot.load(Ordering::Relaxed) as usize) {
                    *had += turns; // a shared turn is counted where it is handed out
                }
            }
        };
        let (before, after) = cycle.split_at((begin % length) as usize);
        let wrapped = rest.saturating_sub(after.len());
        book(cycle, cycles);
        book(&after[..rest.min(after.len())], 1);
        book(&before[..wrapped], 1);
    }
}

fn count(slots: &[AtomicU32], place: usize) -> u64 {
    slots.iter().filter(|slot| slot.load(Ordering::Relaxed) as usize == place).count() as u64
}
