//! The books of one exchange (one use of one connection): what was sent and received, what failed,
//! what the plugin said, and the one outcome that follows.
//!
//! Invariant: what the plugin said counts more than what the library saw. Of the failures that the
//! library saw, the last one counts, if no later call went well. Bytes that were only sent say
//! nothing.

use std::time::{Duration, Instant};

use crate::balance::roster::Turn;
use crate::base::error::{Error, Status};
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::set::node::Node;

/// What a plugin said of an exchange.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) status: Status,
    /// The plugin's own text.
    pub(super) text: Option<Box<str>>,
    /// With [`Status::Busy`]: for how long.
    pub(super) busy: Option<Duration>,
    /// Which call said it, as an error says it.
    pub(super) by: &'static str,
}

/// What happened in one exchange.
#[derive(Default)]
pub(super) struct Exchange {
    /// The generation of the node when the exchange began; its outcome carries it.
    pub(super) generation: u32,
    /// The trial that it is, if it is one.
    pub(super) trial: Option<Turn>,
    /// How many reports for the node alone there were when it began.
    pub(super) reports: u64,
    /// An attempt with work of the plugin's own was at the node when the exchange began; `spoken`
    /// is the number of failures that such attempts had reported by then. See
    /// [`ToldOnce`](crate::set::told_once::ToldOnce).
    pub(super) visited: bool,
    pub(super) spoken: u64,
    /// Payload bytes sent.
    pub(super) sent: u64,
    /// Bytes were received.
    pub(super) received: bool,
    /// Bytes were received since the last ones were sent.
    pub(super) answered: bool,
    /// The peer ended the stream.
    pub(super) ended: bool,
    /// The last failure after which no call can go well.
    pub(super) fatal: Option<Box<Error>>,
    /// The last limit that was reached, if no call has gone well since.
    pub(super) passing: Option<Box<Error>>,
    /// Since when the node has been silent, once a limit was reached.
    pub(super) silent_since: Option<Instant>,
    /// When a call first waited after the last bytes were sent, even if some bytes came since.
    pub(super) waits_since: Option<Instant>,
    /// What the plugin said by a call.
    pub(super) word: Option<Box<Word>>,
    /// What the deliver callback returned.
    pub(super) returned: Option<Status>,
    pub(super) told: bool,
}

impl Exchange {
    pub(super) fn begin(node: &Node, generation: u32, trial: Option<Turn>) -> Exchange {
        let told = &node.told_once;
        told.forget_failure();
        let (reports, spoken) = (told.reports.count(), told.spoken.count());
        let visited = told.visitors.load(Relaxed) > 0;
        Exchange { generation, trial, reports, visited, spoken, ..Exchange::default() }
    }

    /// Bytes were sent.
    pub(super) fn wrote(&mut self, bytes: u64) {
        if bytes > 0 {
            self.sent += bytes;
            (self.answered, self.silent_since, self.waits_since) = (false, None, None);
        }
    }

    /// Bytes were received.
    pub(super) fn read(&mut self, bytes: usize) {
        if bytes > 0 {
            (self.received, self.answered, self.silent_since) = (true, true, None);
        }
    }

    /// Bytes came at this moment, if any did, that are a part of something which is not all there
    /// yet. Returns since when the node has been silent.
    pub(super) fn stirred(&mut self, at: Option<Instant>) -> Option<Instant> {
        if at.is_some() {
            self.silent_since = None;
        }
        at
    }

    /// Bytes came, and were put back for the next read.
    pub(super) fn put_back(&mut self, bytes: usize) {
        self.received |= bytes > 0;
    }

    /// A call went well.
    #[inline]
    pub(super) fn went_well(&mut self) {
        self.passing = None;
    }

    /// The peer ended the stream.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// A call failed: for good, or so that a later one may go well.
    pub(super) fn fail(&mut self, error: &Error, for_good: bool) {
        let slot = if for_good { &mut self.fatal } else { &mut self.passing };
        *slot = Some(Box::new(error.clone()));
    }

    /// A call waited; `since` says since when.
    #[inline]
    pub(super) fn waited(&mut self, since: Option<Instant>) {
        if self.waits_since.is_none() {
            self.waits_since = since;
        }
    }

    /// How long ago a call first waited for its answer.
    pub(super) fn had(&self) -> Duration {
        self.waits_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How long the node has been silent; the current call has waited since `since`.
    pub(super) fn silence(&mut self, since: Option<Instant>) -> Duration {
        let now = Instant::now();
        let since = *self.silent_since.get_or_insert(since.unwrap_or(now));
        now.saturating_duration_since(since)
    }

    /// Whether a call failed and no later one went well, or the stream has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.fatal.is_some() || self.passing.is_some() || self.ended
    }

    /// Whether a call failed for good.
    pub(super) fn has_failed(&self) -> bool {
        self.fatal.is_some()
    }

    /// The status that the plugin gave the exchange: by a call, or else by what its callback
    /// returned.
    pub(super) fn status(&self) -> Option<Status> {
        match (&self.word, self.returned) {
            // A failure that is returned after a report of success is the later one.
            (Some(word), Some(returned)) if word.status == Status::Ok && returned != Status::Ok => {
                Some(returned)
            }
            (Some(word), _) => Some(word.status),
            (None, returned) => returned,
        }
    }

    /// What the plugin says now; the last report counts.
    pub(super) fn say(&mut self, word: Word) {
        self.word = Some(Box::new(word));
    }

    /// What failed, if no later call went well.
    pub(super) fn fault(&self) -> Option<&Error> {
        self.fatal.as_deref().or(self.passing.as_deref())
    }
}
