//! Blocking reads.

use std::time::Instant;

use super::{Conn, Stage};
use crate::base::error::{Phase, Status};
use crate::base::stats::add;

impl Conn {
    /// Receives 1 to `buffer.len()` bytes; `Eof` at the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8]) -> (Status, usize) {
        let (outcome, since, stirred) = match self.begin(Phase::Read) {
            Ok((channel, mut patience)) => {
                let outcome = channel.read(buffer, &mut patience, 0);
                (outcome, patience.waits_since(), patience.stirred())
            }
            Err(status) => return (status, 0),
        };
        self.exchange.waited(since);
        let since = self.exchange.stirred(stirred).or(since);
        match outcome {
            Ok(got) => self.received(got),
            Err(failure) => (self.fail(Phase::Read, failure, since), 0),
        }
    }

    /// Receives exactly `buffer.len()` bytes; `Closed` if the stream ends before that.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> Status {
        let (mut filled, mut since, mut first, mut stirred) = (0, None, None, None);
        let mut outcome = Ok(1);
        match self.begin(Phase::Read) {
            Ok((channel, mut patience)) => {
                while filled < buffer.len() && matches!(outcome, Ok(1..)) {
                    outcome = channel.read(&mut buffer[filled..], &mut patience, filled);
                    filled += outcome.as_ref().map_or(0, |got| *got);
                    (since, stirred) = (patience.waits_since(), patience.stirred());
                    first = first.or(since);
                    patience.progress();
                }
            }
            Err(status) => return status,
        }
        self.exchange.waited(first);
        self.count_received(filled);
        let since = self.exchange.stirred(stirred).or(since);
        match outcome {
            Ok(0) => {
                let text = format!(
                    "the server closed the connection, {} bytes short",
                    buffer.len() - filled
                );
                self.fail(Phase::Read, (Status::Closed, 0, text), None)
            }
            Ok(_) => {
                self.exchange.went_well();
                Status::Ok
            }
            Err(failure) => self.fail(Phase::Read, failure, since),
        }
    }

    /// Receives up to `end`, and `end` too. What came after it stays for the next read. On failure
    /// everything that came stays.
    pub fn read_until(&mut self, buffer: &mut [u8], end: &[u8]) -> (Status, usize) {
        let (mut filled, mut since, mut first) = (0, None, None);
        let mut stirred;
        let (outcome, found) = match self.begin(Phase::Read) {
            Ok((channel, mut patience)) => loop {
                let outcome = channel.read(&mut buffer[filled..], &mut patience, filled);
                since = patience.waits_since().or(since);
                stirred = patience.stirred();
                first = first.or(since);
                let Ok(got @ 1..) = outcome else { break (outcome.map(drop), None) };
                patience.progress();
                // `end` may have begun in an earlier read.
                let from = (filled + 1).saturating_sub(end.len());
                filled += got;
                let at = buffer[from..filled].windows(end.len()).position(|window| window == end);
                if let Some(at) = at {
                    break (Ok(()), Some(from + at + end.len()));
                }
                if filled == buffer.len() {
                    let text = format!("the line does not end within {filled} bytes");
                    break (Err((Status::Protocol, 0, text)), None);
                }
            },
            Err(status) => return (status, 0),
        };
        self.exchange.waited(first);
        let length = found.unwrap_or(0);
        if let Stage::Ready(link) = &mut self.stage {
            link.channel.put_back(&buffer[length..filled]);
        }
        self.exchange.put_back(filled - length);
        self.count_received(length);
        self.exchange.read(filled); // what is put back has come too
        let since = self.exchange.stirred(stirred).or(since);
        match (outcome, found) {
            (Ok(()), Some(_)) => {
                self.exchange.went_well();
                (Status::Ok, length)
            }
            (Ok(()), None) => {
                let text = "the server closed the connection in the middle of a line";
                (self.fail(Phase::Read, (Status::Closed, 0, text.to_owned()), None), 0)
            }
            (Err(failure), _) => (self.fail(Phase::Read, failure, since), 0),
        }
    }

    pub(super) fn count_received(&mut self, bytes: usize) {
        add(&self.node.counters.bytes_in, bytes as u64);
        self.exchange.read(bytes);
        self.waiting.read(false, Instant::now);
    }

    pub(super) fn received(&mut self, got: usize) -> (Status, usize) {
        self.count_received(got);
        self.waiting.moved(Instant::now);
        self.exchange.went_well();
        if got == 0 {
            self.exchange.end(); // nothing more will come, so it must not be kept
            return (Status::Eof, 0);
        }
        (Status::Ok, got)
    }
}
