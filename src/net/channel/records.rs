//! Follows the TLS records in what a server sends, by their headers: whether one is on its way, and
//! how many came whole. rustls does not tell.

/// The length of a record's header; its last two bytes are the length of what follows.
const HEADER: usize = 5;

/// Where the stream stands among its records.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    /// How many bytes of the header have come.
    begun: usize,
    /// How many bytes are missing after a whole header.
    missing: usize,
    whole: u64,
}

impl Records {
    /// These bytes came.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.begun < HEADER {
                let count = bytes.len().min(HEADER - self.begun);
                self.header[self.begun..self.begun + count].copy_from_slice(&bytes[..count]);
                self.begun += count;
                bytes = &bytes[count..];
                if self.begun == HEADER {
                    self.missing =
                        usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                }
            } else {
                let count = bytes.len().min(self.missing);
                self.missing -= count;
                bytes = &bytes[count..];
            }
            if self.begun == HEADER && self.missing == 0 {
                self.begun = 0;
                self.whole += 1;
            }
        }
    }

    /// Whether a part of a record has come and the rest has not.
    pub(super) fn is_within(&self) -> bool {
        self.begun > 0
    }

    /// How many have come whole.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_are_counted_however_they_are_cut(
            lengths in proptest::collection::vec(0usize..600, 0..20),
            cuts in proptest::collection::vec(1usize..900, 1..40),
        ) {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for length in &lengths {
                stream.extend([23, 3, 3]);
                stream.extend((*length as u16).to_be_bytes());
                stream.extend(vec![22; *length]);
                ends.push(stream.len());
            }
            let mut records = Records::default();
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < stream.len() {
                let to = stream.len().min(at + cuts.next().unwrap());
                records.follow(&stream[at..to]);
                at = to;
                prop_assert_eq!(records.is_within(), !ends.contains(&at));
                let whole = ends[1..].iter().filter(|end| **end <= at).count();
                prop_assert_eq!(records.whole(), whole as u64);
            }
        }
    }
}
