//! A failure counts once against its node, although it may be reported in several ways: by the
//! plugin on the node alone, by a connection that saw it, and by the attempt that was at the node.
//!
//! The rule: two reports may be about the same failure only if one of them comes while the work of
//! the other is under way. So whoever begins work at a node (an exchange, or an attempt that is
//! handed the node) notes how many reports of the other kinds there are. When the work ends, it
//! claims one that came since. If there is one, that report replaces its own, which is dropped.
//!
//! Invariant: each report replaces one other at most, so with many exchanges at once at one node
//! each failure still counts.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use crate::base::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a node remembers so that each failure counts once.
#[derive(Default)]
pub struct ToldOnce {
    /// Reports of the plugin on the node alone (`upstream_node_report()`). Exchanges and attempts
    /// claim them.
    pub reports: Words,
    /// Failures of connections that the plugin opened to the node alone while an attempt was there.
    /// Attempts claim them.
    pub failed_alone: Words,
    /// Failures that attempts reported of the plugin's own work. Connections to the node alone
    /// claim them.
    pub spoken: Words,
    /// How many attempts are at the node now with work of the plugin's own.
    pub visitors: AtomicUsize,
    /// See [`ToldOnce::note_failure`].
    is_failure_noted: AtomicBool,
}

impl ToldOnce {
    /// A connection has reported its own failure. The plugin's next report on the node alone is
    /// about the same failure and is dropped, unless another exchange begins here first.
    pub fn note_failure(&self) {
        self.is_failure_noted.store(true, Relaxed);
    }

    /// An exchange begins: see [`ToldOnce::note_failure`].
    #[inline]
    pub fn forget_failure(&self) {
        if self.is_failure_noted.load(Relaxed) {
            self.is_failure_noted.store(false, Relaxed);
        }
    }

    /// Whether a failure that the plugin reports now is the one that a connection has reported.
    pub fn take_noted_failure(&self) -> bool {
        self.is_failure_noted.swap(false, Relaxed)
    }
}

/// Reports of one kind about a node, numbered in their order.
#[derive(Debug, Default)]
pub struct Words {
    said: AtomicU64,
    /// All reports up to this number have replaced another one, or are too old for that.
    claimed: AtomicU64,
}

impl Words {
    /// How many reports there were.
    pub fn count(&self) -> u64 {
        self.said.load(Relaxed)
    }

    /// One more.
    pub fn add(&self) {
        self.said.fetch_add(1, Relaxed);
    }

    /// Whether a report that came after the first `since` replaces the caller's. If so, the caller
    /// must not report.
    pub fn claim(&self, since: u64) -> bool {
        let said = self.count();
        if said == since {
            return false;
        }
        let next = |claimed: u64| Some(claimed.max(since) + 1).filter(|next| *next <= said);
        self.claimed.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}
