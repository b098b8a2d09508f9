//! How much is received or sent before deadline and cancel are looked at again. A peer that always
//! has more, or always takes more, never makes a call wait; so a call must not look at them only
//! when it waits.

/// What is left of one portion of work: 64 KiB, 16 TLS records or session tickets, or 16 system
/// calls, whichever is used up first.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    left: usize,
}

impl Portion {
    /// The bytes of one portion.
    pub const BYTES: usize = 64 * 1024;

    /// What a record or a system call counts at least: a session ticket is short, but costs more
    /// time than its bytes.
    const LEAST: usize = Portion::BYTES / 16;

    /// A whole one.
    #[inline(always)]
    pub const fn new() -> Portion {
        Portion { left: Portion::BYTES }
    }

    /// As much as `count` portions, for several connections together.
    pub const fn of(count: usize) -> Portion {
        Portion { left: count * Portion::BYTES }
    }

    /// One system call moved so many bytes, with so many TLS records in them.
    #[inline(always)]
    pub fn take(&mut self, bytes: usize, records: usize) {
        let counted = bytes.max(records.max(1).saturating_mul(Portion::LEAST));
        self.left = self.left.saturating_sub(counted);
    }

    /// Takes what was used of `other`, which was whole.
    pub fn take_used(&mut self, other: Portion) {
        self.left = self.left.saturating_sub(Portion::BYTES - other.left);
    }

    /// Whether nothing is left.
    #[inline(always)]
    pub fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(bytes: usize, records: usize) -> usize {
        let mut portion = Portion::new();
        (1..)
            .find(|_| {
                portion.take(bytes, records);
                portion.is_used_up()
            })
            .unwrap()
    }

    #[test]
    fn it_ends_by_bytes_by_records_or_by_calls() {
        assert_eq!(steps(4096, 0), 16);
        assert_eq!(steps(1, 0), 16);
        assert_eq!(steps(1, 1), 16);
        assert_eq!(steps(300, 4), 4);
        assert_eq!(steps(64 * 1024, 1), 1);
        assert_eq!(steps(usize::MAX, usize::MAX), 1);
    }

    #[test]
    fn several_connections_share_one() {
        let mut shared = Portion::of(2);
        let mut own = Portion::new();
        own.take(0, 8);
        for _ in 0..3 {
            shared.take_used(own);
            assert!(!shared.is_used_up());
        }
        shared.take_used(Portion::new());
        assert!(!shared.is_used_up());
        shared.take_used(own);
        assert!(shared.is_used_up());
    }
}
