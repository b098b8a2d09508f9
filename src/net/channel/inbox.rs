//! Bytes received while a write waits. They are taken from the socket so that a peer that answers
//! while it reads does not block on its own answers. The plugin reads them first. The size is
//! limited, and an empty inbox holds no memory.

use std::io::{self, ErrorKind};

/// How much one connection receives while it only writes. The last TLS record may exceed it.
const LIMIT: usize = 1024 * 1024;

/// How much one call asks the socket for.
const PORTION: usize = 64 * 1024;

/// The bytes received and not yet read, oldest first.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// How many of them have been read.
    start: usize,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() - self.start >= LIMIT
    }

    /// Moves the oldest bytes to `buffer`; returns 0 if there are none.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let held = &self.bytes[self.start..];
        let count = held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&held[..count]);
        self.start += count;
        if self.is_empty() {
            *self = Inbox::default();
        }
        count
    }

    /// Puts `bytes` before all that it holds.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        match self.start.checked_sub(bytes.len()) {
            Some(start) => {
                self.bytes[start..self.start].copy_from_slice(bytes);
                self.start = start;
            }
            None => {
                self.bytes.splice(..self.start, bytes.iter().copied());
                self.start = 0;
            }
        }
    }

    /// Adds what `receive` writes into its buffer. Returns the result of `receive`.
    pub(super) fn fill(
        &mut self,
        receive: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let held = self.bytes.len();
        self.bytes.resize(held + PORTION, 0);
        let outcome = receive(&mut self.bytes[held..]);
        self.bytes.truncate(held + outcome.as_ref().map_or(0, |count| *count));
        if self.bytes.is_empty() {
            *self = Inbox::default();
        }
        outcome
    }

    /// Calls [`Inbox::fill`] until `receive` has nothing more. Returns true if nothing will ever
    /// come again: the stream ended, or it failed in a way that the next read will meet again.
    pub(super) fn fill_all(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> bool {
        loop {
            match self.fill(&mut receive) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_came_is_read_once_and_in_order(
            turns in proptest::collection::vec((0usize..300, 1usize..200), 1..60),
        ) {
            let mut inbox = Inbox::default();
            let (mut came, mut read) = (0u8, 0u8);
            let mut held = 0usize;
            for (arrive, room) in turns {
                inbox.fill(|buffer| {
                    for byte in &mut buffer[..arrive] {
                        *byte = came;
                        came = came.wrapping_add(1);
                    }
                    Ok(arrive)
                }).unwrap();
                held += arrive;
                let mut buffer = vec![0; room];
                let got = inbox.read(&mut buffer);
                prop_assert_eq!(got, held.min(room));
                held -= got;
                for byte in &buffer[..got] {
                    prop_assert_eq!(*byte, read);
                    read = read.wrapping_add(1);
                }
                prop_assert_eq!(inbox.is_empty(), held == 0);
                prop_assert!(held > 0 || inbox.bytes.capacity() == 0);
            }
        }
    }

    #[test]
    fn it_is_full_at_its_limit_and_has_room_again_once_read() {
        let mut inbox = Inbox::default();
        let mut fills = 0;
        while !inbox.is_full() {
            inbox.fill(|room| Ok(room.len())).unwrap();
            fills += 1;
        }
        assert_eq!(fills * PORTION, LIMIT);
        assert_eq!(inbox.read(&mut [0; 1]), 1);
        assert!(!inbox.is_full());
    }

    #[test]
    fn what_is_put_back_comes_first_and_moves_nothing_that_has_room() {
        let mut inbox = Inbox::default();
        inbox.put_back(b"cd");
        inbox.put_back(b"ab");
        inbox
            .fill(|room| {
                room[..2].copy_from_slice(b"ef");
                Ok(2)
            })
            .unwrap();
        let mut buffer = [0; 6];
        assert_eq!(inbox.read(&mut buffer[..4]), 4);
        let held = inbox.bytes.as_ptr();
        inbox.put_back(b"cd");
        assert_eq!((inbox.start, inbox.bytes.as_ptr()), (2, held));
        assert_eq!((inbox.read(&mut buffer[2..]), &buffer), (4, b"abcdef"));
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_failure_adds_nothing() {
        let mut inbox = Inbox::default();
        assert!(inbox.fill(|_| Err(ErrorKind::WouldBlock.into())).is_err());
        assert!(inbox.is_empty());
        let mut answers = [Ok(3), Ok(2), Err(ErrorKind::WouldBlock.into())].into_iter();
        assert!(!inbox.fill_all(|_| answers.next().unwrap()));
        assert_eq!(inbox.read(&mut [0; 9]), 5);
        assert!(inbox.fill_all(|_| Ok(0)));
        assert!(inbox.fill_all(|_| Err(ErrorKind::UnexpectedEof.into())));
        assert!(inbox.is_empty());
    }
}
