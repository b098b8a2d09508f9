//! How often a pick asks the clock while nodes are out. To ask costs several times as much as a
//! pick. So a caller that makes millions of picks asks now and then, and one that picks slowly asks
//! each time, so that no trial comes late.
//!
//! Invariant: while no node is out, no pick asks. What a pick learns here only decides when it asks
//! the clock, never which node it gets.

use crate::base::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// When a pick asks the clock whether a trial is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Watch {
    /// Never: no node is out.
    Never,
    /// At each pick.
    EachPick,
    /// At each [`STRIDE`]th pick: picks follow each other so closely that the picks in between take
    /// hardly any time.
    NowAndThen,
}

/// Picks from one look at the clock to the next; a power of two. One look takes 20 to 45 ns, which
/// 256 picks share.
pub(super) const STRIDE: u64 = 256;
/// A stride that took fewer nanoseconds than this had nothing between its picks, not even a system
/// call.
const BRISK: u64 = 1_000 * STRIDE;

const NOT_YET: u64 = u64::MAX;

/// When the last marked pick was made; [`NOT_YET`] since positions last began again. It is written
/// too often to stand beside what every pick reads.
#[derive(Debug)]
#[repr(align(128))]
struct Marked(AtomicU64);

/// How often to ask.
#[derive(Debug)]
#[repr(align(128))] // read by every pick
pub(super) struct Pace {
    watch: AtomicU32,
    marked: Marked,
    /// Whether the time between picks shows how fast they follow. The host's own clock may stand
    /// still and then jump.
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

    /// Whether the time between picks shows how fast they follow.
    pub(super) fn clock_runs(&self) -> bool {
        self.clock_runs
    }

    /// When the current pick asks the clock.
    #[inline]
    pub(super) fn watch(&self) -> Watch {
        match self.watch.load(Relaxed) {
            0 => Watch::Never,
            1 => Watch::EachPick,
            _ => Watch::NowAndThen,
        }
    }

    /// Whether the pick at this position is marked: the pace is measured from one marked pick to
    /// the next.
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

    /// Work with a node ended. Work takes time, so picks do not follow each other closely.
    #[inline]
    pub(super) fn step(&self) {
        if self.watch() == Watch::NowAndThen {
            self.turn(Watch::NowAndThen, Watch::EachPick);
        }
    }

    /// Nodes are out, or none is any more. Positions may have begun again.
    pub(super) fn set(&self, out: bool) {
        self.marked.0.store(NOT_YET, Relaxed);
        let watch = if out { Watch::EachPick } else { Watch::Never };
        self.watch.store(watch as u32, Relaxed);
    }

    /// Changes nothing if [`Pace::set`] has changed it meanwhile. If it fails for no reason, the
    /// next pick or outcome tries again.
    fn turn(&self, from: Watch, to: Watch) {
        let _ = self.watch.compare_exchange_weak(from as u32, to as u32, Relaxed, Relaxed);
    }
}
