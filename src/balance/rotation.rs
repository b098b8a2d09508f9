//! The cursor over the current order. A pick is one atomic increment and a read of a table; no lock, no system call, no
//! reference count, whatever the number of nodes and of changes.
//!
//! One word holds the number of the order and the position in it, so that every pick belongs to exactly one order. The
//! two latest orders are kept and rewritten in place under their number (a seqlock, as H.-J. Boehm describes it in "Can seqlocks
//! get along with programming language memory models?", 2012): a reader whose order was rewritten under it takes a new turn.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::{Order, Tried};

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
struct Frames([Frame; 2]);

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
    /// The part of a cycle, in 2^-32, by which the current order was taken up too early, for there are only whole turns.
    kept: u64,
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
            kept: 0,
            turns: vec![0; places].into(),
        };
        (Rotation { word: AtomicU64::new(word(0, start as u32)), frames: Frames(frames) }, ledger)
    }

    #[inline]
    fn frame(&self, number: u64) -> &Frame {
        &self.frames.0[(number & 1) as usize]
    }

    /// The next place; `None` where no node is to be handed out.
    #[inline]
    pub fn next(&self) -> Option<usize> {
        loop {
            let word = self.word.fetch_add(1, Ordering::Acquire);
            let (number, position) = (number_of(word), position_of(word));
            let frame = self.frame(number);
            let place = frame.place(frame.slot(position));
            let empty = frame.length() == 0;
            if frame.is_still(number) {
                if position >= RENEWAL {
                    self.renew(number);
                }
                return (!empty).then_some(place as usize);
            }
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

    /// Goes over to `order`, which must fit the capacity, and goes on where the old one stood: with equal weights at the successor
    /// of the place handed out last, otherwise at the same fraction of the cycle, so that a node that comes and goes
    /// never starves the ones late in the cycle.
    pub fn publish(&self, ledger: &mut Ledger, order: &Order) {
        let mut seen = self.word.load(Ordering::Acquire);
        let number = number_of(seen);
        let next = (number + 1) & u64::from(u32::MAX);
        let (old, new) = (self.frame(number), self.frame(next));
        new.write(next, order);
        loop {
            let position = position_of(seen);
            let mut kept = 0;
            let begin = match order.even {
                true => {
                    let last = ledger.last_place(old, position);
                    let successor = order.places.partition_point(|place| *place <= last);
                    if successor == order.places.len() { 0 } else { successor as u32 }
                }
                false => {
                    let passed = ledger.phase(old, position);
                    let begin = (passed * order.places.len() as u64) >> 32;
                    kept = passed - begin_phase(begin, order.places.len() as u64);
                    begin as u32
                }
            };
            match self.word.compare_exchange_weak(
                seen,
                word(next, begin),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    let last = ledger.last_place(old, position);
                    ledger.close(old, position);
                    *ledger = Ledger {
                        begin,
                        last,
                        even: order.even,
                        kept,
                        turns: std::mem::take(&mut ledger.turns),
                    };
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

/// The part of its cycle that an order has passed at `slot`, in 2^-32, rounded up.
fn begin_phase(slot: u64, length: u64) -> u64 {
    (slot << 32).div_ceil(length)
}

impl Ledger {
    /// The part of the cycle that is passed, in 2^-32.
    fn phase(&self, frame: &Frame, position: u32) -> u64 {
        match u64::from(frame.length()) {
            0 => 0,
            length => {
                (begin_phase(u64::from(frame.slot(position)), length) + self.kept) & u64::from(u32::MAX)
            }
        }
    }

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
mod tests {
    use super::*;
    use crate::balance::schedule;
    use proptest::prelude::*;

    fn even(places: &[u32]) -> Order {
        Order { places: places.to_vec(), even: true }
    }

    fn round_robin(nodes: usize, start: usize) -> (Rotation, Ledger) {
        Rotation::new(&even(&(0..nodes as u32).collect::<Vec<_>>()), start, nodes, nodes)
    }

    fn take(rotation: &Rotation, picks: usize) -> Vec<usize> {
        (0..picks).map(|_| rotation.next().unwrap()).collect()
    }

    #[test]
    fn the_rotation_goes_on_at_the_successor() {
        let (rotation, mut ledger) = round_robin(4, 0);
        assert_eq!(take(&rotation, 3), [0, 1, 2]);
        rotation.publish(&mut ledger, &even(&[0, 1, 3])); // the last one leaves
        assert_eq!(take(&rotation, 2), [3, 0]);
        rotation.publish(&mut ledger, &even(&[0, 1, 2, 3]));
        assert_eq!(take(&rotation, 5), [1, 2, 3, 0, 1]);
        rotation.publish(&mut ledger, &even(&[0, 1, 3]));
        rotation.publish(&mut ledger, &even(&[0, 1, 2, 3])); // no pick between: nobody is handed out twice in a row
        assert_eq!(take(&rotation, 2), [2, 3]);
        rotation.publish(&mut ledger, &even(&[]));
        assert_eq!(rotation.next(), None);
        rotation.publish(&mut ledger, &even(&[0, 1, 2, 3]));
        assert_eq!(take(&rotation, 2), [0, 1]);
        assert_eq!((0..4).map(|place| rotation.picks_of(&ledger, place)).collect::<Vec<_>>(), [4, 4, 3, 3]);
        assert_eq!(rotation.picks(&ledger), 14);
    }

    #[test]
    fn a_start_elsewhere_is_the_first_pick() {
        for start in 0..3 {
            let (rotation, mut ledger) = round_robin(3, start);
            rotation.publish(&mut ledger, &even(&[0, 1, 2]));
            assert_eq!(take(&rotation, 3), [start, (start + 1) % 3, (start + 2) % 3]);
        }
    }

    #[test]
    fn with_weights_a_node_late_in_the_cycle_is_not_starved_by_changes() {
        let all = [(0, 5), (1, 1), (2, 1)];
        let with = schedule::order(&[all[0], all[1], all[2], (3, 2)]);
        let without = schedule::order(&all);
        let (rotation, mut ledger) = Rotation::new(&with, 0, 9, 4);
        for _ in 0..100 {
            take(&rotation, 3);
            rotation.publish(&mut ledger, &without);
            take(&rotation, 3);
            rotation.publish(&mut ledger, &with);
        }
        for place in [1, 2] {
            let picks = rotation.picks_of(&ledger, place);
            assert!((70..=82).contains(&picks), "{place}: {picks}"); // due are 300 / 9 + 300 / 7 = 76
        }
        assert_eq!(rotation.picks(&ledger), 600);
    }

    #[test]
    fn two_nodes_retry_never_meets_the_dead_one() {
        // One fresh pick between retries made a plain cursor meet the dead node every time.
        let (rotation, _) = round_robin(2, 0);
        for _ in 0..20 {
            let mut tried = Tried::new();
            tried.insert(0);
            rotation.next();
            assert_eq!(rotation.next_untried(&tried), Some(1));
        }
    }

    #[test]
    fn the_position_is_renewed_without_a_seam() {
        let (rotation, mut ledger) = round_robin(7, 0);
        rotation.word.store(word(0, RENEWAL - 3), Ordering::Relaxed);
        let first = (RENEWAL - 3) as usize % 7;
        let expected: Vec<usize> = (0..40).map(|turn| (first + turn) % 7).collect();
        assert_eq!(take(&rotation, 40), expected);
        assert!(position_of(rotation.word.load(Ordering::Relaxed)) < 100);
        assert_eq!(rotation.picks(&ledger), u64::from(RENEWAL - 3) + 40);
        let total: u64 = (0..7).map(|place| rotation.picks_of(&ledger, place)).sum();
        assert_eq!(total, rotation.picks(&ledger));
        rotation.publish(&mut ledger, &even(&[0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(rotation.next(), Some((first + 40) % 7));
        assert_eq!(rotation.picks(&ledger), u64::from(RENEWAL - 3) + 41);
    }

    #[test]
    fn the_remainder_is_exact() {
        for length in (1..2000).chain([65_537, 4_999_999, u32::MAX / 3]) {
            let reciprocal = (u64::MAX / u64::from(length)).wrapping_add(1);
            for position in (0..50).chain([length - 1, length, RENEWAL, u32::MAX, u32::MAX - length]) {
                assert_eq!(remainder(position, length, reciprocal), position % length);
            }
        }
    }

    #[test]
    fn threads_share_one_order_through_changes() {
        let (rotation, mut ledger) = round_robin(5, 0);
        let without: Vec<Order> =
            (0..5).map(|gone| even(&(0..5).filter(|place| *place != gone).collect::<Vec<_>>())).collect();
        let counts: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut counts = vec![0; 5];
                        for _ in 0..200_000 {
                            counts[rotation.next().unwrap()] += 1;
                        }
                        counts
                    })
                })
                .collect();
            for turn in 0..2000 {
                rotation.publish(&mut ledger, &without[turn % 5]);
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let taken: u64 = counts.iter().flatten().sum();
        let booked: u64 = (0..5).map(|place| rotation.picks_of(&ledger, place)).sum();
        assert_eq!((taken, booked), (800_000, rotation.picks(&ledger)));
        assert!(booked >= taken); // a reader whose order was rewritten under it has taken a turn for nothing
    }

    proptest! {
        #[test]
        fn every_window_hits_each_node_once(nodes in 1usize..200, start in 0usize..200, skip in 0usize..500) {
            let start = start % nodes;
            let (rotation, ledger) = round_robin(nodes, start);
            for turn in 0..skip {
                prop_assert_eq!(rotation.next(), Some((start + turn) % nodes));
            }
            let mut seen = vec![0; nodes];
            for _ in 0..nodes {
                seen[rotation.next().unwrap()] += 1;
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
            prop_assert_eq!((0..nodes).map(|place| rotation.picks_of(&ledger, place)).sum::<u64>(), rotation.picks(&ledger));
            prop_assert_eq!(rotation.picks(&ledger), (skip + nodes) as u64);
        }

        #[test]
        fn after_any_changes_any_window_is_exact(
            nodes in 1u32..20,
            changes in proptest::collection::vec((any::<u32>(), 0usize..50), 1..30),
        ) {
            let (rotation, mut ledger) = round_robin(nodes as usize, 0);
            let mut counts = vec![0u64; nodes as usize];
            let mut last = nodes - 1;
            for (set, picks) in changes {
                let mut places: Vec<u32> = (0..nodes).filter(|place| set >> place & 1 == 1).collect();
                if places.is_empty() {
                    places = (0..nodes).collect();
                }
                rotation.publish(&mut ledger, &even(&places));
                for _ in 0..picks {
                    let successor = places.iter().copied().find(|place| *place > last).unwrap_or(places[0]);
                    let place = rotation.next().unwrap() as u32;
                    prop_assert_eq!(place, successor);
                    counts[place as usize] += 1;
                    last = place;
                }
            }
            let booked: Vec<u64> = (0..nodes as usize).map(|place| rotation.picks_of(&ledger, place)).collect();
            prop_assert_eq!(booked, counts);
        }

        #[test]
        fn weighted_turns_are_booked_exactly(
            weights in proptest::collection::vec(1u32..9, 2..8),
            changes in proptest::collection::vec((any::<u8>(), 0usize..60), 1..12),
        ) {
            let all: Vec<(u32, u32)> = weights.iter().enumerate().map(|(place, weight)| (place as u32, *weight)).collect();
            let capacity = weights.iter().sum::<u32>() as usize;
            let (rotation, mut ledger) = Rotation::new(&schedule::order(&all), 0, capacity, all.len());
            let mut counts = vec![0u64; all.len()];
            for (set, picks) in changes {
                let left: Vec<(u32, u32)> = all.iter().copied().filter(|(place, _)| set >> place & 1 == 1).collect();
                rotation.publish(&mut ledger, &schedule::order(if left.is_empty() { &all } else { &left }));
                for _ in 0..picks {
                    counts[rotation.next().unwrap()] += 1;
                }
            }
            let booked: Vec<u64> = (0..all.len()).map(|place| rotation.picks_of(&ledger, place)).collect();
            prop_assert_eq!(booked, counts);
        }

        #[test]
        fn an_attempt_visits_every_node_once(nodes in 1usize..300, others in proptest::collection::vec(0usize..5, 300)) {
            let (rotation, _) = round_robin(nodes, 0);
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
