//! The cursor over the current order. A pick is one atomic increment and a read of a table; no
//! lock, no system call, no reference count, no division, whatever the number of nodes and of
//! changes.
//!
//! One word holds the number of the order and the position in it, so that every pick belongs to
//! exactly one order. The position is an index into the table and, above it, how often the table
//! was gone round: whoever gets an index past its end goes on with the next lap. The two latest
//! orders are kept and rewritten in place under their number (a seqlock, as H.-J. Boehm describes
//! it in "Can seqlocks get along with programming language memory models?", 2012): a reader whose
//! order was rewritten under it takes a new turn.

use super::{Order, Tried};
use crate::base::random::scattered;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::hint;
use frame::Frame;
pub use ledger::Ledger;

/// The rotation of a set. Many readers; one writer at a time, the holder of the [`Ledger`].
#[derive(Debug)]
#[repr(align(128))] // the word is written by every pick; nothing else may share its cache lines
pub struct Rotation {
    /// The order's number above, the position in it below: laps, then index.
    word: AtomicU64,
    frames: Frames,
}

#[derive(Debug)]
#[repr(align(128))]
struct Frames {
    /// The order's number once more: a reader that knows it beforehand has the frame at hand when
    /// it gets its turn.
    number: AtomicU64,
    /// The bits of the index.
    mask: u64,
    of: [Frame; 2],
}

/// What a pick gets.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// The place whose turn it is.
    pub place: usize,
    /// Turns of this lap before: one more with each pick of any thread.
    pub position: u64,
}

/// As [`Pick`], with what the place is known by.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// See [`Rotation::name`].
    pub token: usize,
    /// Turns of this lap before.
    pub position: u64,
    /// Its turn.
    pub taken: Taken,
}

/// What a payload gets that has been to some places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untried {
    /// The place it gets.
    pub place: usize,
    /// The place whose turn it was, which is another if that was tried.
    pub turn_of: usize,
}

/// A turn that was taken, and is not known yet to be worth a place.
#[derive(Clone, Copy, Debug)]
pub struct Taken(u64);

/// Bits of the position; those above are the order's number, which begins anew after 2^24 changes:
/// a reader that slept through just so many would take the order for its own.
const POSITION: u32 = 40;
/// So many threads may be past the table's end at once before one has gone on with the next lap.
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
    /// A rotation over `order`, whose first pick is the one at `start`, with room for orders of
    /// `capacity` turns over `places` places.
    pub fn new(order: &Order, start: usize, capacity: usize, places: usize) -> (Rotation, Ledger) {
        let ledger = Ledger::new(order, start, places);
        let of = [Frame::new(capacity), Frame::new(capacity)];
        of[0].write(0, order, &ledger.tokens);
        let mask = (Frame::most(capacity) as u64 + ROOM).next_power_of_two() - 1;
        let frames = Frames { number: AtomicU64::new(0), mask, of };
        let word = AtomicU64::new(word(0, start as u64));
        (Rotation { word, frames }, ledger)
    }

    /// Tells, before the first pick, what each place is known by to whom [`Rotation::try_next`]
    /// hands it out: anything but 0.
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

    /// How often the table was gone round.
    fn laps(&self, word: u64) -> u64 {
        (word & ((1 << POSITION) - 1)) / (self.frames.mask + 1)
    }

    fn at(&self, number: u64, laps: u64, index: u64) -> u64 {
        word(number, laps * (self.frames.mask + 1) + index)
    }

    /// Turns of the order that `word` is of, those before it was taken up among them.
    fn turns(&self, word: u64) -> u64 {
        let frame = self.frame(number_of(word));
        let renewed = frame.renewed.load(Ordering::Relaxed);
        renewed + self.laps(word) * u64::from(frame.reach()) + self.index(word)
    }

    /// Takes a turn.
    pub fn take(&self) -> Taken {
        Taken(self.word.fetch_add(1, Ordering::Acquire))
    }

    /// Takes a turn whose place is known by a token, unless the case is a rare one.
    ///
    /// The increment waits for every store before it and holds up every load after it, and another
    /// thread waits for it. So what can be read is read ahead of it, nothing is stored, and one
    /// load alone depends on it: the token stands in the table itself.
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

    /// What a turn is worth; another one is taken where the order was changed meanwhile. `None`
    /// where no node is to be handed out.
    pub fn pick_of(&self, taken: Taken) -> Option<Pick> {
        let Taken(mut word) = taken;
        loop {
            let (frame, index) = (self.frame(number_of(word)), self.index(word));
            let pick =
                frame.place(index).map(|place| Pick { place, position: frame.within_reach(index) });
            if frame.is_still(number_of(word)) {
                self.go_round_from(word);
                return pick;
            }
            Taken(word) = self.take();
        }
    }

    /// The next place, by tokens that are the place and one more.
    #[cfg(test)]
    pub fn next(&self) -> Option<usize> {
        let by_token = |named: Named| Some(named.token - 1);
        self.try_next().map_or_else(|taken| self.pick_of(taken).map(|pick| pick.place), by_token)
    }

    /// The next place that is not in `tried`, or `None` where all are.
    ///
    /// The turn is the rotation's own, so that retries too spread evenly; a turn that falls on a
    /// tried place goes to the next untried one after it. Where all are tried no turn is taken.
    pub fn next_untried(&self, tried: &Tried) -> Option<Untried> {
        if tried.count() == 0 {
            return self
                .pick_of(self.take())
                .map(|Pick { place, .. }| Untried { place, turn_of: place });
        }
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let frame = self.frame(number_of(seen));
            let none = frame.first_untried(self.index(seen), tried).is_none();
            if !frame.is_still(number_of(seen)) {
                hint::spin_loop(); // until the word of the new order is seen here
                continue;
            }
            if none {
                return None;
            }
            let Taken(word) = self.take();
            let frame = self.frame(number_of(word));
            let place = frame.first_untried(self.index(word), tried);
            let turn_of = frame.place(self.index(word));
            if frame.is_still(number_of(word)) {
                self.go_round_from(word);
                if let (Some(place), Some(turn_of)) = (place, turn_of) {
                    return Some(Untried { place, turn_of });
                }
            }
        }
    }

    /// Goes on with the next lap where the turn of `taken` lies past the table's end.
    #[inline]
    fn go_round_from(&self, taken: u64) {
        if self.index(taken) >= u64::from(self.frame(number_of(taken)).reach()) {
            self.go_round(taken);
        }
    }

    /// Goes on with the next lap, unless another did or the order is no more.
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
            let taken_down = if laps > self.most_laps() { laps - 1 } else { 0 };
            let next = self.at(number, laps - taken_down, index);
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // An order that comes between these two lines has the count of these turns
                    // wrong, and nothing else.
                    frame.renewed.fetch_add(taken_down * reach, Ordering::Relaxed);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Laps are taken down from here on, far from their bits' end.
    fn most_laps(&self) -> u64 {
        (1 << (POSITION - 1)) / (self.frames.mask + 1)
    }

    /// The place handed out last.
    pub fn last(&self, ledger: &Ledger) -> u32 {
        let word = self.word.load(Ordering::Acquire);
        ledger.last_place(self.frame(number_of(word)), self.turns(word))
    }

    /// Goes over to `order`, which must fit the capacity: from equal weights to equal ones at the
    /// successor of the place handed out last, otherwise anywhere in the cycle, so that each place
    /// gets its share in the long run however often and whenever nodes come and go. A rule that
    /// goes by the place reached would favour some, for changes may keep step with it.
    ///
    /// `after` stands for the place handed out last, if it is given.
    pub fn publish(&self, ledger: &mut Ledger, order: &Order, after: Option<u32>) {
        let mut seen = self.word.load(Ordering::Acquire);
        let number = number_of(seen);
        let next = next_number(number);
        let (old, new) = (self.frame(number), self.frame(next));
        new.write(next, order, &ledger.tokens);
        loop {
            let turns = self.turns(seen);
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

    /// How often any place was handed out.
    pub fn picks(&self, ledger: &Ledger) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        ledger.total(self.frame(number_of(word)), self.turns(word))
    }

    /// How often `place` was handed out.
    pub fn picks_of(&self, ledger: &Ledger, place: usize) -> u64 {
        let word = self.word.load(Ordering::Acquire);
        ledger.total_of(self.frame(number_of(word)), self.turns(word), place)
    }
}

mod frame;
mod ledger;
#[cfg(test)]
mod tests;
