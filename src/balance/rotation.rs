//! The cursor over the current order. A pick is one atomic increment and one read of a table. It
//! takes no lock, makes no system call, counts no references and divides nothing, whatever the
//! number of nodes and of changes.
//!
//! One word holds the number of the order and the position in it, so every pick belongs to exactly
//! one order. The position consists of an index into the table and, above it, the number of laps:
//! how often the table was run through. A thread that gets an index past the end of the table
//! starts the next lap. The two latest orders are kept in two frames. A new order overwrites the
//! older frame and gives it a new number (a seqlock, as H.-J. Boehm describes it in "Can seqlocks
//! get along with programming language memory models?", 2012). A reader whose order was overwritten
//! meanwhile takes a new turn. Laps are taken off the word under the lock of the [`Ledger`] alone.

use super::{Order, Tried};
use crate::base::random::scattered;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::hint;
use frame::{Frame, Slot};
pub use ledger::Ledger;

/// The rotation of a set. It has many readers, and one writer at a time: whoever holds the
/// [`Ledger`].
#[derive(Debug)]
#[repr(align(128))] // every pick writes the word: nothing else may share its cache lines
pub struct Rotation {
    /// The number of the order in the high bits; the position (laps, then index) in the low ones.
    word: AtomicU64,
    frames: Frames,
}

#[derive(Debug)]
#[repr(align(128))]
struct Frames {
    /// The number of the order once more, so that a reader can find the frame before it takes its
    /// turn.
    number: AtomicU64,
    /// The bits of the word that hold the index.
    mask: u64,
    of: [Frame; 2],
}

/// What a pick gets.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// The place whose turn it is.
    pub place: usize,
    /// How many turns of this lap were taken before it, by any thread.
    pub position: u64,
    /// The turn is shared: the rotation does not count it.
    pub is_shared: bool,
    /// It began a lap, and [`Rotation::take_off_laps`] should be called.
    pub many_laps: bool,
}

/// As [`Pick`], with the token of the place.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// See [`Rotation::set_tokens`].
    pub token: usize,
    /// How many turns of this lap were taken before it.
    pub position: u64,
    /// The turn itself.
    pub taken: Taken,
}

/// The next place of a payload that has been to some places already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untried {
    /// The place it gets.
    pub place: usize,
    /// The place whose turn it was; it differs from `place` if the payload had been there. `None`
    /// for a turn that is shared: the rotation does not count it.
    pub turn_of: Option<usize>,
    /// As for [`Pick`].
    pub many_laps: bool,
}

/// How much an order may hold.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Turns of a cycle.
    pub turns: usize,
    /// Places that share turns.
    pub sharing: usize,
}

impl From<usize> for Room {
    fn from(turns: usize) -> Room {
        Room { turns, sharing: 0 }
    }
}

impl From<(usize, usize)> for Room {
    fn from((turns, sharing): (usize, usize)) -> Room {
        Room { turns, sharing }
    }
}

/// A turn that was taken; its place is not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Taken(u64);

/// The bits of the position. The bits above hold the number of the order, which wraps around after
/// 2^24 changes: a reader that sleeps through exactly 2^24 changes would take the order for its
/// own.
const POSITION: u32 = 40;
/// How many threads may be past the end of the table at once, before one starts the next lap.
const ROOM: u64 = 1 << 16;

fn word(number: u64, position: u64) -> u64 {
    number << POSITION | position
}

fn number_of(word: u64) -> u64 {
    word >> POSITION
}

fn next_number(number: u64) -> u64 {
    number_of(word(number + 1, 0))
}

impl Rotation {
    /// A rotation over `order`, whose first pick is the turn at `start`. It has room for orders of
    /// up to `room` over `places` places.
    pub fn new(
        order: &Order,
        start: usize,
        room: impl Into<Room>,
        places: usize,
    ) -> (Rotation, Ledger) {
        let Room { turns, sharing } = room.into();
        let ledger = Ledger::new(order, start, places);
        let of = [Frame::new(turns, sharing), Frame::new(turns, sharing)];
        of[0].write(0, order, &ledger.tokens);
        let mask = (Frame::most(turns) as u64 + ROOM).next_power_of_two() - 1;
        let frames = Frames { number: AtomicU64::new(0), mask, of };
        let word = AtomicU64::new(word(0, start as u64));
        (Rotation { word, frames }, ledger)
    }

    /// Sets the token of each place, which [`Rotation::try_next`] gives out: any number but 0. Call
    /// it before the first pick.
    pub fn set_tokens(&self, ledger: &mut Ledger, tokens: impl Iterator<Item = usize>) {
        ledger.tokens.iter_mut().zip(tokens).for_each(|(known, token)| *known = token);
        self.frame(number_of(self.word.load(Ordering::Relaxed))).write_tokens(&ledger.tokens);
    }

    #[inline]
    fn frame(&self, number: u64) -> &Frame {
        &self.frames.of[(number & 1) as usize]
    }

    #[inline]
    fn index(&self, word: u64) -> u64 {
        word & self.frames.mask
    }

    /// How often the table was run through.
    fn laps(&self, word: u64) -> u64 {
        (word & ((1 << POSITION) - 1)) / (self.frames.mask + 1)
    }

    fn at(&self, number: u64, laps: u64, index: u64) -> u64 {
        word(number, laps * (self.frames.mask + 1) + index)
    }

    /// Turns of the order of `word`, counted from the beginning of its cycle: so the turns before
    /// the one where the order started are included. Those that were taken off are not.
    fn turns_of_word(&self, word: u64) -> u64 {
        let frame = self.frame(number_of(word));
        self.laps(word) * u64::from(frame.reach()) + self.index(word)
    }

    /// The same, with those that were taken off.
    fn turns(&self, ledger: &Ledger, word: u64) -> u64 {
        ledger.renewed + self.turns_of_word(word)
    }

    /// Takes a turn.
    pub fn take(&self) -> Taken {
        Taken(self.word.fetch_add(1, Ordering::Acquire))
    }

    /// Takes a turn and gives the token of its place. `Err` in the rare cases that need
    /// [`Rotation::pick_of`].
    ///
    /// The increment waits for every store before it and holds up every load after it, and other
    /// threads wait for the increment. So everything that can be read beforehand is read before it,
    /// nothing is stored, and only one load depends on it: the token stands in the table itself.
    #[inline(always)]
    pub fn try_next(&self) -> Result<Named, Taken> {
        let number = self.frames.number.load(Ordering::Acquire);
        let frame = self.frame(number);
        let (tokens, mask) = (frame.tokens(), self.frames.mask);
        let word = self.word.fetch_add(1, Ordering::Acquire);
        let position = word & mask;
        if number_of(word) == number
            && let Some(slot) = tokens.get(position as usize)
        {
            let token = slot.load(Ordering::Relaxed);
            if frame.is_still(number) && token != 0 {
                return Ok(Named { token, position, taken: Taken(word) });
            }
        }
        Err(Taken(word))
    }

    /// The place of a turn. Takes another turn if the order was changed meanwhile. `None` if no
    /// node may be handed out.
    pub fn pick_of(&self, taken: Taken) -> Option<Pick> {
        let Taken(mut word) = taken;
        loop {
            let (frame, index) = (self.frame(number_of(word)), self.index(word));
            let slot = frame.slot_at(index, || self.turns_of_word(word));
            let position = frame.within_reach(index);
            if frame.is_still(number_of(word)) {
                let many_laps = self.go_round_from(word);
                let (place, is_shared) = match slot? {
                    Slot::Own(place) => (place, false),
                    Slot::Shared(place) => (place, true),
                    Slot::Nobodys => {
                        Taken(word) = self.take();
                        continue;
                    }
                };
                return Some(Pick { place, position, is_shared, many_laps });
            }
            Taken(word) = self.take();
        }
    }

    /// The next place, if the token of each place is the place + 1.
    #[cfg(test)]
    pub fn next(&self) -> Option<usize> {
        let by_token = |named: Named| Some(named.token - 1);
        self.try_next().map_or_else(|taken| self.pick_of(taken).map(|pick| pick.place), by_token)
    }

    /// The next place that is not in `tried`; `None` if all are.
    ///
    /// It takes a turn of the rotation, so that retries spread evenly too. A turn that falls on a
    /// tried place goes to the next untried place after it. If all places are tried, it takes no
    /// turn.
    pub fn next_untried(&self, tried: &Tried) -> Option<Untried> {
        if tried.count() == 0 {
            let Pick { place, is_shared, many_laps, .. } = self.pick_of(self.take())?;
            return Some(Untried { place, turn_of: (!is_shared).then_some(place), many_laps });
        }
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let frame = self.frame(number_of(seen));
            let none = frame.first_untried(self.turns_of_word(seen), tried).is_none();
            if !frame.is_still(number_of(seen)) {
                hint::spin_loop(); // until this thread sees the word of the new order
                continue;
            }
            if none {
                return None;
            }
            let Taken(word) = self.take();
            let frame = self.frame(number_of(word));
            let turns = self.turns_of_word(word);
            let (place, slot) = (frame.first_untried(turns, tried), frame.slot(turns));
            if frame.is_still(number_of(word)) {
                let many_laps = self.go_round_from(word);
                if let (Some(place), Some(slot)) = (place, slot) {
                    let turn_of = if let Slot::Own(place) = slot { Some(place) } else { None };
                    return Some(Untried { place, turn_of, many_laps });
                }
            }
        }
    }

    /// Starts the next lap if the turn of `taken` lies past the end of the table. Returns whether
    /// there are many laps now.
    #[inline]
    fn go_round_from(&self, taken: u64) -> bool {
        let is_past = self.index(taken) >= u64::from(self.frame(number_of(taken)).reach());
        if is_past {
            self.go_round(taken);
        }
        is_past && self.laps(taken) + 1 >= self.most_laps()
    }

    /// Starts the next lap, unless another thread did so or the order has been replaced.
    #[cold]
    fn go_round(&self, taken: u64) {
        let number = number_of(taken);
        let frame = self.frame(number);
        let reach = u64::from(frame.reach());
        let mut seen = self.word.load(Ordering::Acquire);
        while number_of(seen) == number && self.index(seen) >= reach {
            let index = self.index(seen);
            // An order without a node has no turns.
            let (laps, index) = index
                .checked_div(reach)
                .map_or((0, 0), |more| (self.laps(seen) + more, index % reach));
            // Half of the bits of the laps are left for the time until they are taken off. Only in
            // a forked child can that be for ever, if the lock was held in the parent: then no more
            // laps are counted, and nobody asks for the count there.
            let next = self.at(number, laps.min(2 * self.most_laps() - 1), index);
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// From this number of laps on, laps are taken off, long before they overflow their bits.
    fn most_laps(&self) -> u64 {
        (1 << (POSITION - 1)) / (self.frames.mask + 1)
    }

    /// Whether there are many laps.
    #[cfg(test)]
    pub fn has_many_laps(&self) -> bool {
        self.laps(self.word.load(Ordering::Relaxed)) >= self.most_laps()
    }

    /// As if the table had been run through so often that laps should be taken off.
    #[cfg(test)]
    pub fn pass_many_laps(&self) {
        let seen = self.word.load(Ordering::Relaxed);
        let many = self.at(number_of(seen), self.most_laps(), self.index(seen));
        self.word.store(many, Ordering::Relaxed);
    }

    /// Takes laps off the word and books them, if there are many. Orders are published under the
    /// same lock, so no count is lost between the two.
    #[cold]
    pub fn take_off_laps(&self, ledger: &mut Ledger) {
        let mut seen = self.word.load(Ordering::Acquire);
        while self.laps(seen) >= self.most_laps() {
            let off = self.laps(seen) - 1;
            let next = seen - off * (self.frames.mask + 1);
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    ledger.renewed += off * u64::from(self.frame(number_of(seen)).reach());
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// The place handed out last.
    pub fn last(&self, ledger: &Ledger) -> u32 {
        let word = self.word.load(Ordering::Acquire);
        ledger.last_place(self.frame(number_of(word)), self.turns(ledger, word))
    }

    /// Replaces the order by `order`, which must fit the capacity. From equal weights to equal
    /// weights it goes on at the successor of the place that was handed out last. Otherwise it
    /// starts at a pseudo-random turn of the cycle, so that each place gets its share in the long
    /// run, however often and whenever nodes come and go. A rule that depends on the last place
    /// would favour some nodes, because the changes may keep step with it.
    ///
    /// `after`, if given, is used in place of the place that was handed out last.
    pub fn publish(&self, ledger: &mut Ledger, order: &Order, after: Option<u32>) {
        let mut seen = self.word.load(Ordering::Acquire);
        let number = number_of(seen);
        let next = next_number(number);
        let (old, new) = (self.frame(number), self.frame(next));
        new.write(next, order, &ledger.tokens);
        loop {
            let turns = self.turns(ledger, seen);
            let begin = match order.even && ledger.even {
                true => {
                    let last = after.unwrap_or_else(|| ledger.last_place(old, turns));
                    let successor = order.places.partition_point(|place| *place <= last);
                    if successor == order.places.len() { 0 } else { successor as u32 }
                }
                false => ((u128::from(scattered(next)) * order.places.len() as u128) >> 64) as u32,
            };
            let begun = word(next, u64::from(begin));
            match self.word.compare_exchange_weak(seen, begun, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    self.frames.number.store(next, Ordering::Release);
                    return ledger.go_over(old, turns, begin, order.even);
                }
                Err(now) => seen = now,
            }
        }
    }

    /// How many turns were taken in all, without the shared ones.
    pub fn picks(&self, ledger: &Ledger) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        ledger.total(self.frame(number_of(word)), self.turns(ledger, word))
    }

    /// How many turns `place` had, without the shared ones.
    pub fn picks_of(&self, ledger: &Ledger, place: usize) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        ledger.total_of(self.frame(number_of(word)), self.turns(ledger, word), place)
    }
}

mod frame;
mod ledger;
#[cfg(test)]
mod tests;
