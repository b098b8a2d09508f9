//! How often a pick asks the clock while nodes are out. Asking costs several times what a pick
//! does, so a caller that picks by the million asks now and then; one that picks at leisure asks
//! each time, and no trial comes late.
//!
//! Invariant: with no node out nothing asks; what a pick learns here only ever decides when it
//! asks, never what it gets.

use crate::base::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// When a pick asks the clock whether a trial is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Watch {
    /// Not at all: no node is out.
    Never,
    /// At each pick.
    EachPick,
    /// At each [`STRIDE`]th: picks follow each other so closely that the rest come in no time.
    NowAndThen,
}

/// Picks from one look at the clock to the next, a power of two: of the look's 20 to 45 ns each
/// pick bears a small part.
pub(super) const STRIDE: u64 = 256;
/// So many nanoseconds for a stride tell of picks with nothing between them, not even a system
/// call.
const BRISK: u64 = 1_000 * STRIDE;

const NOT_YET: u64 = u64::MAX;

/// When a marked pick was seen last; [`NOT_YET`] since positions began anew. Written too often to
/// share what every pick reads.
#[derive(Debug)]
#[repr(align(128))]
struct Marked(AtomicU64);

/// How often to ask.
#[derive(Debug)]
#[repr(align(128))] // read by every pick
pub(super) struct Pace {
    watch: AtomicU32,
    marked: Marked,
    /// Whether time between picks tells their pace. The host's own clock may stand still and then
    /// leap.
    clock_runs: bool,
}

impl Pace {
    pub(super) fn new(clock_runs: bool) -> Pace {
        Pace {
            watch: AtomicU32::new(Watch::Never as u32),
            marked: Marked(AtomicU64::new(NOT_YET)),
            clock_runs,
        }
    }

    /// Whether time between picks tells their pace.
    pub(super) fn clock_runs(&self) -> bool {
        self.clock_runs
    }

    /// When the pick that is being made is to ask.
    #[inline]
    pub(super) fn watch(&self) -> Watch {
        match self.watch.load(Relaxed) {
            0 => Watch::Never,
            1 => Watch::EachPick,
            _ => Watch::NowAndThen,
        }
    }

    /// Whether the pick that got this position is one to tell the pace by.
    #[inline]
    pub(super) fn is_marked(position: u64) -> bool {
        position.is_multiple_of(STRIDE)
    }

    /// A marked pick was made at `now`.
    pub(super) fn look(&self, now: u64, due: bool) {
        let last = self.marked.0.swap(now, Relaxed);
        let brisk = now.checked_sub(last).is_some_and(|passed| passed < BRISK);
        let (from, to) = match brisk && !due && self.clock_runs {
            true => (Watch::EachPick, Watch::NowAndThen),
            false => (Watch::NowAndThen, Watch::EachPick),
        };
        self.turn(from, to);
    }

    /// Work with a node came to an end, which takes time: picks do not follow each other closely.
    #[inline]
    pub(super) fn step(&self) {
        if self.watch() == Watch::NowAndThen {
            self.turn(Watch::NowAndThen, Watch::EachPick);
        }
    }

    /// Nodes are out, or none is any more. Positions may have begun anew.
    pub(super) fn set(&self, out: bool) {
        self.marked.0.store(NOT_YET, Relaxed);
        let watch = if out { Watch::EachPick } else { Watch::Never };
        self.watch.store(watch as u32, Relaxed);
    }

    /// Never over what [`Pace::set`] says meanwhile. Where it fails for no reason the next pick or
    /// outcome tries again.
    fn turn(&self, from: Watch, to: Watch) {
        let _ = self.watch.compare_exchange_weak(from as u32, to as u32, Relaxed, Relaxed);
    }
}
