//! The cursor over the current order. A pick is one atomic increment and a read of a table; no lock, no system call, no
//! reference count, whatever the number of nodes and of changes.
//!
//! One word holds the number of the order and the position in it, so that every pick belongs to exactly one order. The
//! two latest orders are kept and rewritten in place under their number (a seqlock, as H.-J. Boehm describes it in "Can seqlocks
//! get along with programming language memory models?", 2012): a reader whose order was rewritten under it takes a new turn.

use super::{Order, Tried};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sync::hint;

/// The rotation of a set. Many readers; one writer at a time, the holder of the [`Ledger`].
#[derive(Debug)]
#[repr(align(128))] // the word is written by every pick; nothing else may share its cache lines
pub struct Rotation {
    /// The order's number above, the position in it below.
    word: AtomicU64,
    frames: Frames,
}

#[derive(Debug)]
#[repr(align(128))]
struct Frames {
    /// The order's number once more: a reader that knows it beforehand has the frame at hand when it gets its turn.
    number: AtomicU64,
    of: [Frame; 2],
}

/// An order as readers see it.
#[derive(Debug)]
struct Frame {
    number: AtomicU64,
    length: AtomicU32,
    /// 2^64 / length, rounded up: see [`remainder`].
    reciprocal: AtomicU64,
    /// Turns that were taken off the position so that it does not run over.
    renewed: AtomicU64,
    places: Box<[AtomicU32]>,
}

/// What a pick gets.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// The place whose turn it is.
    pub place: usize,
    /// Turns of this order before, but for whole cycles: one more with each pick of any thread.
    pub position: u32,
}

/// A turn that was taken, and is not known yet to be worth a place.
#[derive(Clone, Copy, Debug)]
pub struct Taken(u64);

/// A number that no order has: the frame is being rewritten.
const REWRITING: u64 = u64::MAX;
/// Positions are taken down to their remainder from here on, far from the 32 bits' end.
const RENEWAL: u32 = 1 << 31;

/// What the writer knows: where the current order was taken up, and what was handed out before.
#[derive(Debug)]
pub struct Ledger {
    begin: u32,
    /// The place handed out last when the current order was taken up.
    last: u32,
    even: bool,
    /// Turns of each place in earlier orders.
    turns: Box<[u64]>,
}

fn word(number: u64, position: u32) -> u64 {
    number << 32 | u64::from(position)
}

fn number_of(word: u64) -> u64 {
    word >> 32
}

fn position_of(word: u64) -> u32 {
    word as u32
}

/// `position` % `length` without a division: D. Lemire, O. Kaser, N. Kurz, "Faster remainder by direct computation" (2019).
#[inline]
fn remainder(position: u32, length: u32, reciprocal: u64) -> u32 {
    let fraction = reciprocal.wrapping_mul(u64::from(position));
    ((u128::from(fraction) * u128::from(length)) >> 64) as u32
}

impl Frame {
    fn new(capacity: usize) -> Frame {
        Frame {
            number: AtomicU64::new(REWRITING),
            length: AtomicU32::new(0),
            reciprocal: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            places: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn write(&self, number: u64, order: &Order) {
        self.number.store(REWRITING, Ordering::Relaxed);
        fence(Ordering::Release);
        let length = order.places.len() as u32;
        self.length.store(length, Ordering::Relaxed);
        self.reciprocal.store((u64::MAX / u64::from(length.max(1))).wrapping_add(1), Ordering::Relaxed);
        self.renewed.store(0, Ordering::Relaxed);
        for (slot, place) in self.places.iter().zip(&order.places) {
            slot.store(*place, Ordering::Relaxed);
        }
        self.number.store(number, Ordering::Release);
    }

    /// Whether all that was read since the word was read belongs to order `number`.
    #[inline]
    fn is_still(&self, number: u64) -> bool {
        fence(Ordering::Acquire);
        self.number.load(Ordering::Relaxed) == number
    }

    #[inline]
    fn length(&self) -> u32 {
        self.length.load(Ordering::Relaxed)
    }

    #[inline]
    fn slot(&self, position: u32) -> u32 {
        remainder(position, self.length(), self.reciprocal.load(Ordering::Relaxed))
    }

    /// The place at a slot; any place where the frame is being rewritten.
    #[inline]
    fn place(&self, slot: u32) -> u32 {
        self.places.get(slot as usize).map_or(0, |place| place.load(Ordering::Relaxed))
    }
}

impl Rotation {
    /// A rotation over `order`, whose first pick is the one at `start`, with room for orders of `capacity` turns over
    /// `places` places.
    pub fn new(order: &Order, start: usize, capacity: usize, places: usize) -> (Rotation, Ledger) {
        let frames = [Frame::new(capacity), Frame::new(capacity)];
        frames[0].write(0, order);
        let length = order.places.len();
        let before = (start + length).checked_sub(1).and_then(|at| order.places.get(at % length.max(1)));
        let ledger = Ledger {
            begin: start as u32,
            last: before.copied().unwrap_or(0),
            even: order.even,
            turns: vec![0; places].into(),
        };
        let frames = Frames { number: AtomicU64::new(0), of: frames };
        (Rotation { word: AtomicU64::new(word(0, start as u32)), frames }, ledger)
    }

    #[inline]
    fn frame(&self, number: u64) -> &Frame {
        &self.frames.of[(number & 1) as usize]
    }

    /// The next place; `None` where no node is to be handed out.
    #[inline]
    pub fn next(&self) -> Option<usize> {
        self.next_pick().map(|pick| pick.place)
    }

    /// As [`Rotation::next`], with the position.
    #[inline]
    pub fn next_pick(&self) -> Option<Pick> {
        self.try_next().map_or_else(|taken| self.pick_of(taken), Some)
    }

    /// As [`Rotation::next_pick`] but for the rare cases, which are left to [`Rotation::pick_of`].
    ///
    /// The increment waits for every store before it and holds up every load after it, so what can be read is read ahead of it
    /// and nothing is stored: compiled in place, without the cases that need more registers than a caller leaves.
    #[inline(always)]
    pub fn try_next(&self) -> Result<Pick, Taken> {
        let number = self.frames.number.load(Ordering::Acquire);
        let frame = self.frame(number);
        let (length, reciprocal) = (frame.length(), frame.reciprocal.load(Ordering::Relaxed));
        let word = self.word.fetch_add(1, Ordering::Acquire);
        let position = position_of(word);
        if number_of(word) == number && position < RENEWAL && length > 0 {
            let place = frame.place(remainder(position, length, reciprocal)) as usize;
            if frame.is_still(number) {
                return Ok(Pick { place, position });
            }
        }
        Err(Taken(word))
    }

    /// What a turn is worth; another one is taken where the order was changed meanwhile. `None` where no node is to be handed out.
    #[cold]
    #[inline(never)]
    pub fn pick_of(&self, taken: Taken) -> Option<Pick> {
        let Taken(mut word) = taken;
        loop {
            let (number, position) = (number_of(word), position_of(word));
            let frame = self.frame(number);
            let place = frame.place(frame.slot(position)) as usize;
            let empty = frame.length() == 0;
            if frame.is_still(number) {
                if position >= RENEWAL {
                    self.renew(number);
                }
                return (!empty).then_some(Pick { place, position });
            }
            word = self.word.fetch_add(1, Ordering::Acquire);
        }
    }

    /// The next place that is not in `tried`, or `None` where all are.
    ///
    /// The turn is the rotation's own, so that retries too spread evenly; a turn that falls on a tried place goes to the next
    /// untried one after it. Where all are tried no turn is taken.
    pub fn next_untried(&self, tried: &Tried) -> Option<usize> {
        if tried.count() == 0 {
            return self.next();
        }
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let frame = self.frame(number_of(seen));
            let none = frame.first_untried(position_of(seen), tried).is_none();
            if !frame.is_still(number_of(seen)) {
                hint::spin_loop(); // until the word of the new order is seen here
                continue;
            }
            if none {
                return None;
            }
            let word = self.word.fetch_add(1, Ordering::Acquire);
            let frame = self.frame(number_of(word));
            let place = frame.first_untried(position_of(word), tried);
            if frame.is_still(number_of(word)) && place.is_some() {
                return place;
            }
        }
    }

    /// Takes whole cycles off the position. A stale number does nothing.
    #[cold]
    fn renew(&self, number: u64) {
        let frame = self.frame(number);
        let mut seen = self.word.load(Ordering::Acquire);
        while number_of(seen) == number && position_of(seen) >= RENEWAL {
            let position = position_of(seen);
            let slot = frame.slot(position);
            match self.word.compare_exchange_weak(
                seen,
                word(number, slot),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                // An order that comes between these two lines loses the count of these turns, and nothing else.
                Ok(_) => {
                    frame.renewed.fetch_add(u64::from(position - slot), Ordering::Relaxed);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Goes over to `order`, which must fit the capacity: from equal weights to equal ones at the successor of the place handed out
    /// last, otherwise anywhere in the cycle, so that each place gets its share in the long run however often and whenever nodes come and go. A
    /// rule that goes by the place reached would favour some, for changes may keep step with it.
    pub fn publish(&self, ledger: &mut Ledger, order: &Order) {
        let mut seen = self.word.load(Ordering::Acquire);
        let number = number_of(seen);
        let next = (number + 1) & u64::from(u32::MAX);
        let (old, new) = (self.frame(number), self.frame(next));
        new.write(next, order);
        loop {
            let position = position_of(seen);
            let begin = match order.even && ledger.even {
                true => {
                    let last = ledger.last_place(old, position);
                    let successor = order.places.partition_point(|place| *place <= last);
                    if successor == order.places.len() { 0 } else { successor as u32 }
                }
                false => ((u128::from(scattered(next)) * order.places.len() as u128) >> 64) as u32,
            };
            match self.word.compare_exchange_weak(
                seen,
                word(next, begin),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.frames.number.store(next, Ordering::Release);
                    let last = ledger.last_place(old, position);
                    ledger.close(old, position);
                    *ledger =
                        Ledger { begin, last, even: order.even, turns: std::mem::take(&mut ledger.turns) };
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// How often any place was handed out.
    pub fn picks(&self, ledger: &Ledger) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        let frame = self.frame(number_of(word));
        let now = u64::from(position_of(word)) + frame.renewed.load(Ordering::Relaxed);
        let counted = if frame.length() == 0 { 0 } else { now.saturating_sub(u64::from(ledger.begin)) };
        ledger.turns.iter().sum::<u64>() + counted
    }

    /// How often `place` was handed out.
    pub fn picks_of(&self, ledger: &Ledger, place: usize) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        ledger.turns[place] + ledger.turns_of(self.frame(number_of(word)), position_of(word), place)
    }
}

impl Frame {
    fn first_untried(&self, position: u32, tried: &Tried) -> Option<usize> {
        let (length, from) = (self.length(), self.slot(position));
        (from..length)
            .chain(0..from.min(length))
            .map(|slot| self.place(slot) as usize)
            .find(|place| !tried.contains(*place))
    }
}

/// Numbers one after the other, scattered over 64 bits: SplitMix64 of G. Steele, D. Lea, C. Flood, "Fast splittable
/// pseudorandom number generators" (2014).
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Ledger {
    fn last_place(&self, frame: &Frame, position: u32) -> u32 {
        if position == self.begin && frame.renewed.load(Ordering::Relaxed) == 0 || frame.length() == 0 {
            return self.last;
        }
        // After a renewal at position 0 the turn before is the cycle's last.
        frame.place(frame.slot(position.checked_sub(1).unwrap_or(frame.length() - 1)))
    }

    /// Turns of `place` in the current order up to `position`.
    fn turns_of(&self, frame: &Frame, position: u32, place: usize) -> u64 {
        let length = u64::from(frame.length());
        if length == 0 {
            return 0;
        }
        let up_to = |end: u64| {
            let (cycles, rest) = (end / length, (end % length) as usize);
            let slots =
                || frame.places[..length as usize].iter().map(|slot| slot.load(Ordering::Relaxed) as usize);
            if self.even {
                // Places stand in rising order, each once.
                let at = frame.places[..length as usize]
                    .binary_search_by_key(&place, |slot| slot.load(Ordering::Relaxed) as usize);
                return at.map_or(0, |at| cycles + u64::from(at < rest));
            }
            let of = |slots: &mut dyn Iterator<Item = usize>| slots.filter(|at| *at == place).count() as u64;
            cycles * of(&mut slots()) + of(&mut slots().take(rest))
        };
        let now = u64::from(position) + frame.renewed.load(Ordering::Relaxed);
        up_to(now).saturating_sub(up_to(u64::from(self.begin)))
    }

    /// Books the turns of an order that is over.
    fn close(&mut self, frame: &Frame, position: u32) {
        let length = u64::from(frame.length());
        if length == 0 {
            return;
        }
        let (begin, end) =
            (u64::from(self.begin), u64::from(position) + frame.renewed.load(Ordering::Relaxed));
        let (begin_slot, count) = (begin % length, end.saturating_sub(begin));
        let (cycles, rest) = (count / length, count % length);
        for (slot, place) in (0..length).zip(frame.places.iter()) {
            let place = place.load(Ordering::Relaxed) as usize;
            let ahead = (slot + length - begin_slot) % length;
            self.turns[place] += cycles + u64::from(ahead < rest);
        }
    }
}

#[cfg(test)]
mod tests;
