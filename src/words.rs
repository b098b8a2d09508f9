//! What is told of work at a node without saying which work it was: by the node alone, or by a connection beside an
//! attempt. The work it was has an outcome of its own, and the two must count once.
//!
//! Invariant: each such word stands for one piece of work, which claims it; the outcomes of all others
//! count, however many there are at the node at the time.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The words about one node.
#[derive(Debug, Default)]
pub struct Words {
    /// Of plugins, by the node alone.
    by_node: Told,
    /// The same, and failures of connections that serve no attempt and no delivery.
    beside_attempts: Told,
}

/// How many there were, and which of them have been claimed.
#[derive(Debug, Default)]
struct Told {
    count: AtomicU32,
    claimed: AtomicU32,
}

/// A moment, by the words told until then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    by_node: u32,
    beside_attempts: u32,
}

impl Words {
    /// The moment.
    pub fn now(&self) -> Since {
        Since {
            by_node: self.by_node.count.load(Relaxed),
            beside_attempts: self.beside_attempts.count.load(Relaxed),
        }
    }

    /// A plugin tells of work, by the node alone.
    pub fn by_node(&self) {
        self.by_node.add();
        self.beside_attempts.add();
    }

    /// A connection that serves no attempt and no delivery tells of its failure.
    pub fn by_connection(&self) {
        self.beside_attempts.add();
    }

    /// Whether a word told since then is that of an exchange that claims it.
    pub fn claim_for_exchange(&self, since: Since) -> bool {
        self.by_node.claim(since.by_node)
    }

    /// Whether a word told since then is that of an attempt that claims it.
    pub fn claim_for_attempt(&self, since: Since) -> bool {
        self.beside_attempts.claim(since.beside_attempts)
    }
}

impl Told {
    fn add(&self) {
        self.count.fetch_add(1, Relaxed);
    }

    /// Numbers wrap: no work lasts while half of them are told.
    fn claim(&self, since: u32) -> bool {
        let told = self.count.load(Relaxed).wrapping_sub(since);
        if told == 0 {
            return false; // nearly always
        }
        let mut claimed = self.claimed.load(Relaxed);
        loop {
            let gone = claimed.wrapping_sub(since);
            let gone = if gone > u32::MAX / 2 { 0 } else { gone };
            if gone >= told {
                return false;
            }
            let next = since.wrapping_add(gone + 1);
            match self.claimed.compare_exchange_weak(claimed, next, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => claimed = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_claimed_once_and_only_by_work_that_began_before_it() {
        let words = Words::default();
        let first = words.now();
        assert!(!words.claim_for_attempt(first));
        words.by_node();
        words.by_node();
        let later = words.now();
        assert!(words.claim_for_attempt(first) && words.claim_for_attempt(first));
        assert!(!words.claim_for_attempt(first) && !words.claim_for_attempt(later));
        words.by_connection();
        assert!(words.claim_for_attempt(later) && !words.claim_for_attempt(first));
        // An exchange of an attempt and the attempt are told of by the same word.
        assert!(words.claim_for_exchange(first) && words.claim_for_exchange(first));
        assert!(!words.claim_for_exchange(first) && !words.claim_for_exchange(later));
    }

    #[test]
    fn what_nobody_claimed_is_not_claimed_by_work_that_began_later() {
        let words = Words::default();
        for _ in 0..5 {
            words.by_node();
        }
        let now = words.now();
        assert!(!words.claim_for_exchange(now));
        words.by_node();
        assert!(words.claim_for_exchange(now) && !words.claim_for_exchange(now));
    }

    #[test]
    fn the_numbers_may_wrap() {
        let told = Told { count: AtomicU32::new(u32::MAX), claimed: AtomicU32::new(u32::MAX - 7) };
        let since = told.count.load(Relaxed);
        told.add();
        told.add();
        assert!(told.claim(since) && told.claim(since) && !told.claim(since));
    }
}
