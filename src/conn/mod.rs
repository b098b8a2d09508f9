//! A connection in the plugin's hands: reads and writes with their limits, and the way back to the pool.
//!
//! Invariant: a connection goes back only where every call on it ended well and nothing unread is left.

mod connecting;
mod event;
mod open;
mod trial;
mod waiting;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connecting::Connecting;
pub use connecting::NextNode;
pub(crate) use trial::PATIENCE;
pub use trial::{Candidate, Trial};
use waiting::Waiting;

use crate::error::{Error, Phase, Poison, Report, Status};
use crate::log::Level;
use crate::net::channel::{Channel, Failure, Progress, Unsent, cancelled};
use crate::net::patience::{Limit, Patience};
use crate::node::{Link, Node, UserData};
use crate::process::Birthplace;
use crate::stats::add;

/// A connection to one node. May move between threads; one call at a time.
pub struct Conn {
    /// Set after a defect was caught in a call on this connection.
    pub poison: Poison,
    node: Arc<Node>,
    /// The node's when this was begun: what an outcome must carry.
    generation: u32,
    stage: Stage,
    birthplace: Birthplace,
    reused: bool,
    /// A call failed, or the plugin trusts it no longer: never pooled again.
    broken: bool,
    /// A write ran out of time in the middle: what is sent next would stand inside that message.
    torn: bool,
    /// A non-blocking write took a part, and the rest has not come yet.
    unfinished: bool,
    waiting: Waiting,
    /// Lent to a deliver callback, which must not free it.
    loan: Option<Loan>,
    timeout: Option<Duration>,
    sent: u64,
    /// Bytes went or came.
    moved: bool,
    /// The first call that failed.
    fault: Option<Box<Error>>,
    last_error: Option<Box<Report>>,
}

/// On what terms a delivery lends a connection to its callback.
#[derive(Clone, Copy, Debug)]
pub struct Loan {
    /// When the delivery is over, and every call with it.
    pub last: Instant,
    /// The longest silence, where other nodes could take the payload; an explicit limit of the callback's goes before.
    pub share: Option<Duration>,
    /// Not any more once bytes of the payload have gone: no other node is to have it then.
    pub until_sent: bool,
}

/// A connection that stands.
struct Ready {
    link: Box<Link>,
    /// It came from the pool.
    reused: bool,
    /// The node's when this was begun.
    generation: u32,
}

/// How far it has come.
enum Stage {
    Ready(Box<Link>),
    Connecting(Box<Connecting>),
    /// It was given back, or never came about, which this status tells.
    Over(Status),
}

impl Conn {
    fn new(node: Arc<Node>, ready: Ready) -> Conn {
        let mut conn = Conn::at(node, Stage::Over(Status::InvalidArg));
        conn.take_up(ready);
        conn
    }

    fn at(node: Arc<Node>, stage: Stage) -> Conn {
        Conn {
            poison: Poison::default(),
            birthplace: node.runtime.birthplace,
            node,
            generation: 0,
            stage,
            reused: false,
            broken: false,
            torn: false,
            unfinished: false,
            waiting: Waiting::default(),
            loan: None,
            timeout: None,
            sent: 0,
            moved: false,
            fault: None,
            last_error: None,
        }
    }

    fn take_up(&mut self, ready: Ready) {
        let Ready { mut link, reused, generation } = ready;
        link.uses = link.uses.saturating_add(1);
        (self.reused, self.generation) = (reused, generation);
        self.stage = Stage::Ready(link);
    }

    /// Bounds every call by the terms of the loan, and lends the connection out: see [`Conn::is_lent`].
    pub fn lend(&mut self, loan: Loan) {
        self.loan = Some(loan);
    }

    /// Whether it is only lent, and so not the holder's to free.
    pub fn is_lent(&self) -> bool {
        self.loan.is_some()
    }

    /// The node's generation when it was begun.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Tells the node how it went, where no delivery does: well if bytes moved and nothing failed, badly if a call failed. What a
    /// kept connection breaks by says nothing of its node.
    fn tell_node(&self) {
        if self.is_lent() || self.birthplace.is_elsewhere() {
            return;
        }
        match &self.fault {
            None if !self.broken && self.moved => self.node.succeeded(self.generation),
            Some(error) if !(self.reused && matches!(error.status, Status::Closed | Status::Network)) => {
                self.node.failed(self.generation, error);
            }
            _ => {}
        }
    }

    /// The node it leads to; while it is connecting, the one that is being tried.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Whether it came from the pool.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Payload bytes sent since it was handed out.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The stream underneath, once it is connected.
    pub fn channel(&self) -> Option<&Channel> {
        self.link().map(|link| &link.channel)
    }

    fn link(&self) -> Option<&Link> {
        match &self.stage {
            Stage::Ready(link) => Some(link),
            Stage::Connecting(_) | Stage::Over(_) => None,
        }
    }

    /// The failure of the last call, if it failed.
    pub fn last_error(&self) -> Option<&Report> {
        self.last_error.as_deref()
    }

    /// Marks it as not to be kept.
    pub fn distrust(&mut self) {
        self.broken = true;
    }

    /// A limit for each whole call from now on; zero takes the configured one (time without progress).
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = (!timeout.is_zero()).then_some(timeout);
    }

    /// Attaches the plugin's data, in place of any before; it stays while the connection is kept. Only on one that is connected.
    /// What was there before is the caller's to drop, once nothing borrows the connection: its owner may call back.
    #[must_use]
    pub fn set_data(&mut self, data: Option<UserData>) -> Option<UserData> {
        match &mut self.stage {
            Stage::Ready(link) => std::mem::replace(&mut link.data, data),
            Stage::Connecting(_) | Stage::Over(_) => data,
        }
    }

    /// The plugin's data.
    pub fn data(&self) -> Option<&UserData> {
        self.link()?.data.as_ref()
    }

    /// Sends all of `slices`.
    #[inline(always)]
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Status {
        if self.torn {
            return self.fail(Phase::Write, cut_off());
        }
        if let Err(status) = self.check(Phase::Write) {
            return status;
        }
        let (mut unsent, mut progress) = (Unsent::new(slices), Progress::default());
        let timed = self.timeout.is_some();
        let outcome = match &mut self.stage {
            // Most writes go at once. How long one may wait is worked out where it must, unless the whole call is timed.
            Stage::Ready(link) if !timed => match link.channel.offer(&mut unsent, &mut progress) {
                Ok(true) => return self.written(&progress),
                Ok(false) => match self.patient() {
                    Ok((channel, mut patience)) => {
                        channel.write_rest(&mut unsent, &mut patience, &mut progress)
                    }
                    Err(status) => return status,
                },
                Err(failure) => Err(failure),
            },
            _ => match self.patient() {
                Ok((channel, mut patience)) => channel.write_all(&mut unsent, &mut patience, &mut progress),
                Err(status) => return status,
            },
        };
        match outcome {
            Ok(()) => self.written(&progress),
            Err(failure) => {
                self.count_sent(&progress);
                self.torn = matches!(failure.0, Status::Timeout | Status::Cancelled) && progress.taken > 0;
                self.fail(Phase::Write, failure)
            }
        }
    }

    fn written(&mut self, progress: &Progress) -> Status {
        self.count_sent(progress);
        self.unfinished = false;
        self.waiting.write(false, Instant::now);
        Status::Ok
    }

    fn count_sent(&mut self, progress: &Progress) {
        self.sent += progress.taken;
        self.moved |= progress.taken > 0;
        add(&self.node.counters.bytes_out, progress.taken);
    }

    /// Receives 1 to `buffer.len()` bytes; `Eof` at the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8]) -> (Status, usize) {
        let outcome = match self.begin(Phase::Read) {
            Ok((channel, mut patience)) => channel.read(buffer, &mut patience),
            Err(status) => return (status, 0),
        };
        match outcome {
            Ok(got) => self.received(got),
            Err(failure) => (self.fail(Phase::Read, failure), 0),
        }
    }

    /// Receives exactly `buffer.len()` bytes; an end before that is `Closed`.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> Status {
        let mut filled = 0;
        let mut outcome = Ok(1);
        match self.begin(Phase::Read) {
            Ok((channel, mut patience)) => {
                while filled < buffer.len() && matches!(outcome, Ok(1..)) {
                    outcome = channel.read(&mut buffer[filled..], &mut patience);
                    filled += outcome.as_ref().map_or(0, |got| *got);
                    patience.progress();
                }
            }
            Err(status) => return status,
        }
        add(&self.node.counters.bytes_in, filled as u64);
        self.moved |= filled > 0;
        self.waiting.read(false, Instant::now);
        match outcome {
            Ok(0) => {
                let text = format!("the server closed the connection, {} bytes short", buffer.len() - filled);
                self.fail(Phase::Read, (Status::Closed, 0, text))
            }
            Ok(_) => Status::Ok,
            Err(failure) => self.fail(Phase::Read, failure),
        }
    }

    fn received(&mut self, got: usize) -> (Status, usize) {
        self.waiting.read(false, Instant::now);
        self.waiting.moved(Instant::now);
        add(&self.node.counters.bytes_in, got as u64);
        self.moved |= got > 0;
        if got == 0 {
            self.broken = true; // nothing more comes, so it is of no use to the next one
            return (Status::Eof, 0);
        }
        (Status::Ok, got)
    }

    /// What every call that reads or writes starts with: whether it may at all.
    fn check(&mut self, phase: Phase) -> Result<(), Status> {
        if self.birthplace.is_elsewhere() {
            self.last_error = Some(Box::new(forked().into()));
            return Err(Status::Forked);
        }
        if let Stage::Over(status) = self.stage {
            return Err(status); // the error that it ended with still stands
        }
        self.last_error = None;
        if self.node.runtime.cancel.is_set() {
            return Err(self.fail(phase, cancelled()));
        }
        Ok(())
    }

    /// The stream of a blocking call, and how long that may wait. Finishes connecting first.
    fn begin(&mut self, phase: Phase) -> Result<(&mut Channel, Patience<'_>), Status> {
        self.check(phase)?;
        self.patient()
    }

    /// As [`Conn::begin`], checked already.
    fn patient(&mut self) -> Result<(&mut Channel, Patience<'_>), Status> {
        if let Stage::Connecting(_) = self.stage {
            self.finish_connecting()?;
        }
        let limit = self.limit();
        let Conn { stage, node, loan, .. } = self;
        match stage {
            Stage::Ready(link) => {
                let last = loan.map(|loan| loan.last);
                let patience = Patience::new(limit, last, Some(node.runtime.cancel.descriptor()));
                Ok((&mut link.channel, patience))
            }
            Stage::Connecting(_) => Err(Status::WantRead), // not after finish_connecting()
            Stage::Over(status) => Err(*status),
        }
    }

    fn limit(&self) -> Limit {
        let silence = self.node.target.net.io_timeout;
        let holds = |loan: &Loan| !(loan.until_sent && self.sent > 0);
        let share = self.loan.filter(holds).and_then(|loan| loan.share);
        match (self.timeout, share.filter(|share| *share < silence)) {
            (Some(timeout), _) => Limit::Call(timeout),
            (None, Some(share)) => Limit::Share(share),
            (None, None) => Limit::Silence(silence),
        }
    }

    #[cold]
    fn fail(&mut self, phase: Phase, failure: Failure) -> Status {
        let error = match failure.0 {
            Status::Cancelled => self.node.target.cancelled(phase),
            _ => self.node.target.failure(phase, failure),
        };
        self.fault.get_or_insert_with(|| Box::new(error.clone()));
        self.fail_with(error)
    }

    fn fail_with(&mut self, error: Error) -> Status {
        self.broken = true;
        let status = error.status;
        self.node.runtime.logger.log(Level::Debug, format_args!("{error}"));
        self.last_error = Some(Box::new(error.into()));
        status
    }

    fn may_be_kept(&self, link: &Link) -> bool {
        let net = &self.node.target.net;
        let worn = net.keepalive_max_recycle != 0 && link.uses >= net.keepalive_max_recycle;
        net.keepalive
            && !self.broken
            && !self.unfinished
            && !link.channel.holds_unread()
            && !self.poison.is_set()
            && !worn
            && !link.is_too_old()
            && link.channel.has_life_left()
    }

    /// Gives it back: kept in the pool where it may be, closed otherwise. One that is still connecting is given up. Nothing is left to
    /// do with it then.
    pub fn release(&mut self) {
        if self.birthplace.is_elsewhere() {
            return; // the drop closes the descriptor here; the parent's end is untouched
        }
        self.tell_node();
        let mut link = match std::mem::replace(&mut self.stage, Stage::Over(Status::InvalidArg)) {
            Stage::Ready(link) => link,
            Stage::Connecting(_) | Stage::Over(_) => return,
        };
        // One that a plugin has done with or that has come to its end may still have bytes on their way.
        let clean = self.fault.is_none();
        if self.may_be_kept(&link) && is_sent(&mut link.channel) {
            self.node.keep(link);
        } else {
            if clean {
                self.node.runtime.close(*link);
            } else {
                drop(link);
            }
            self.node.pool.leave();
        }
    }
}

/// Whether nothing is held that was written, or it goes now without waiting.
fn is_sent(channel: &mut Channel) -> bool {
    !channel.holds_unsent()
        || matches!(channel.offer(&mut Unsent::new(&[]), &mut Progress::default()), Ok(true))
}

impl Drop for Conn {
    /// Closed without ceremony: the plugin no longer trusts it.
    fn drop(&mut self) {
        let held = matches!(self.stage, Stage::Ready(_));
        if held {
            self.tell_node();
        }
        self.stage = Stage::Over(Status::InvalidArg);
        if held && !self.birthplace.is_elsewhere() {
            self.node.pool.leave();
        }
    }
}

fn cut_off() -> Failure {
    (Status::Closed, 0, "an earlier message was cut off on this connection; discard it".to_owned())
}

/// The error of a call that would touch the parent's connections or threads.
pub fn forked() -> Error {
    Error::new(Status::Forked, "the upstream was made before fork(); create one of its own in the child")
}
