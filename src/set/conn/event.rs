//! The calls for an event loop: none waits. Each goes as far as it can, but not further than a
//! [`Portion`], and says what it wants. The loop then watches the descriptor for that, until the
//! deadline.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connecting::{Begun, Connecting};
use super::terms::{Account, Course, Loan};
use super::{Conn, Stage, cut_off};
use crate::base::error::{Error, Phase, Result, Status};
use crate::net::channel::{Came, Channel, Heard, Offered, Progress, Unsent};
use crate::net::patience::{Bound, Limit, Woken, after, wait_until};
use crate::net::portion::Portion;
use crate::net::socket::Interest;
use crate::set::runtime::Runtime;

impl Conn {
    /// Begins a connection to the first node of `course` that can be tried. It is ready if the pool
    /// had one.
    pub fn start(runtime: &Runtime, course: Box<dyn Course>) -> Result<Conn> {
        let (node, begun) = Connecting::start(course).map_err(|error| runtime.outlook(error))?;
        Ok(match begun {
            Begun::Ready(ready, terms) => {
                let mut conn = Conn::new(node, ready);
                conn.accept(terms);
                conn
            }
            Begun::Waiting(connecting) => Conn::at(node, Stage::Connecting(Box::new(connecting))),
        })
    }

    /// Whether it is connected.
    pub fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Goes on connecting: `Ok` once it is connected, `WantRead` until then.
    pub fn connect_continue(&mut self) -> Status {
        if let Err(status) = self.check(Phase::Connect) {
            return status;
        }
        self.go_on()
    }

    fn accept(&mut self, terms: Option<(Loan, Arc<dyn Account>)>) {
        if let Some((loan, account)) = terms {
            self.lend(loan);
            self.keep_account(account);
        }
    }

    fn go_on(&mut self) -> Status {
        let Stage::Connecting(connecting) = &mut self.stage else { return Status::Ok };
        let outcome = connecting.advance();
        let node = match &outcome {
            Some(Ok((node, _))) => node,
            None | Some(Err(_)) => connecting.node(),
        };
        if !Arc::ptr_eq(&self.node, node) {
            self.node = Arc::clone(node);
        }
        match outcome {
            None => Status::WantRead,
            Some(Ok((_, ready))) => {
                let terms = connecting.stands();
                self.take_up(ready);
                self.accept(terms);
                Status::Ok
            }
            Some(Err(error)) => self.end_connecting(error),
        }
    }

    fn end_connecting(&mut self, error: Error) -> Status {
        let status = self.fail_with(error);
        self.stage = Stage::Over(status);
        status
    }

    /// Waits until it is connected, as the blocking calls do.
    pub(super) fn finish_connecting(&mut self) -> Result<(), Status> {
        let own = match self.limit() {
            Limit::Call(limit) => Some(after(Instant::now(), limit)),
            Limit::Silence(_) => None,
        };
        loop {
            match self.go_on() {
                Status::WantRead => {}
                Status::Ok => return Ok(()),
                failed => return Err(failed),
            }
            let Stage::Connecting(connecting) = &self.stage else { continue };
            let deadline = own.map_or(connecting.deadline(), |own| own.min(connecting.deadline()));
            let cancel = &self.node.runtime.cancel;
            let woken = match connecting.descriptor() {
                Some(descriptor) => {
                    wait_until(descriptor, Interest::READ, deadline, Some(cancel.descriptor()))
                }
                None => {
                    cancel.sleep(deadline.saturating_duration_since(Instant::now()));
                    Ok(Woken::TimedOut)
                }
            };
            let target = &self.node.target;
            let error = match woken {
                Err(error) => target.system_error(Status::Network, Phase::Connect, &error),
                Ok(Woken::Interrupted) => target.cancelled(Phase::Connect),
                Ok(Woken::TimedOut) if own.is_some_and(|own| Instant::now() >= own) => target
                    .error(
                        Status::Timeout,
                        Phase::Connect,
                        "no connection within the limit of upstream_conn_set_timeout_ms()",
                    ),
                Ok(Woken::TimedOut | Woken::Ready(_)) => continue,
            };
            return Err(self.end_connecting(error));
        }
    }

    /// Takes as many of `bytes` as it can without waiting, up to a portion: `Ok` and how many, or
    /// `WantWrite`.
    pub fn try_write(&mut self, bytes: &[u8]) -> (Status, usize) {
        if self.torn {
            return (self.fail(Phase::Write, cut_off(), None), 0);
        }
        let channel = match self.without_waiting(Phase::Write) {
            Ok(channel) => channel,
            Err(status) => return (status, 0),
        };
        let mut progress = Progress::default();
        let (slices, mut portion) = ([IoSlice::new(bytes)], Portion::new());
        let outcome = channel.offer(&mut Unsent::new(&slices), &mut progress, &mut portion);
        self.count_sent(&progress);
        let taken = progress.taken as usize;
        let offered = match outcome {
            Ok(offered) => offered,
            Err(failure) => return (self.fail(Phase::Write, failure, None), taken),
        };
        if !bytes.is_empty() {
            self.unfinished = taken < bytes.len();
        }
        self.settle_write(offered, progress.moved);
        if taken > 0 {
            self.exchange.went_well();
        }
        if taken > 0 || bytes.is_empty() {
            return (Status::Ok, taken);
        }
        (self.want(Phase::Write, Status::WantWrite), 0)
    }

    /// Sends what TLS holds: `Ok` if nothing is left, or `WantWrite`.
    pub fn flush(&mut self) -> Status {
        let channel = match self.without_waiting(Phase::Write) {
            Ok(channel) => channel,
            Err(status) => return status,
        };
        let mut progress = Progress::default();
        match channel.offer(&mut Unsent::new(&[]), &mut progress, &mut Portion::new()) {
            Ok(offered) => {
                self.settle_write(offered, progress.moved);
                match offered {
                    Offered::All => Status::Ok,
                    _ => self.want(Phase::Write, Status::WantWrite),
                }
            }
            Err(failure) => self.fail(Phase::Write, failure, None),
        }
    }

    fn settle_write(&mut self, offered: Offered, moved: bool) {
        // The part of a write that was not taken is not held here: try_write() asks for room for it
        // again.
        self.waiting.write(offered != Offered::All || self.unfinished, Instant::now);
        self.waiting.write_due(offered == Offered::Unfinished);
        if moved {
            self.waiting.moved(Instant::now);
        }
    }

    /// Receives what has come: `Ok` and 1 to `buffer.len()`, `Eof`, or `WantRead`.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> (Status, usize) {
        let outcome = match self.without_waiting(Phase::Read) {
            Ok(channel) => channel.try_read(buffer, &mut Portion::new()),
            Err(status) => return (status, 0),
        };
        self.waiting.read_due(matches!(outcome, Ok(Came::Unfinished(_))));
        match outcome {
            Ok(Came::Bytes(got)) => self.received(got),
            Ok(Came::Nothing(heard) | Came::Unfinished(heard)) => {
                self.waiting.read(true, Instant::now);
                self.waiting.hear(heard, Instant::now);
                self.exchange.waited(self.waiting.since());
                (self.want(Phase::Read, Status::WantRead), 0)
            }
            Err(failure) => (self.fail(Phase::Read, failure, None), 0),
        }
    }

    /// The stream for a call that does not wait. Goes on connecting first.
    fn without_waiting(&mut self, phase: Phase) -> Result<&mut Channel, Status> {
        self.check(phase)?;
        match self.go_on() {
            Status::Ok => {}
            status => return Err(status),
        }
        match &mut self.stage {
            Stage::Ready(link) => Ok(&mut link.channel),
            Stage::Connecting(_) => Err(Status::WantRead),
            Stage::Over(status) => Err(*status),
        }
    }

    /// `status`, or `Timeout` if the silence has lasted too long.
    fn want(&mut self, phase: Phase, status: Status) -> Status {
        if self.io_deadline().is_none_or(|deadline| Instant::now() < deadline) {
            return status;
        }
        // What follows a part of a message would be read as part of it.
        self.torn |= self.unfinished || self.waiting.interest().write;
        let over = self.bound().filter(|bound| Instant::now() >= bound.at);
        let heard = self.waiting.heard();
        let text = match status {
            Status::WantWrite => "the server took no more data".to_owned(),
            _ if self.exchange.answered && heard == Heard::NOTHING => {
                "the server sent nothing more".to_owned()
            }
            _ => format!("the server sent {}", heard.words(over.is_none())),
        };
        let struck = over.map_or_else(|| self.limit().struck(), Bound::struck);
        let stirred = self.waiting.stirred();
        let since = self.exchange.stirred(stirred).or(self.waiting.since());
        self.fail(phase, (Status::Timeout, 0, format!("{text} {struck}")), since)
    }

    fn io_deadline(&self) -> Option<Instant> {
        let silence = self.waiting.deadline(self.limit().time())?;
        Some(self.bound().map_or(silence, |bound| bound.at.min(silence)))
    }

    /// The descriptor to watch; `None` if there is none, as in a forked child.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            _ if self.birthplace.is_elsewhere() => None,
            Stage::Ready(link) => Some(link.channel.descriptor()),
            Stage::Connecting(connecting) => connecting.descriptor(),
            Stage::Over(_) => None,
        }
    }

    /// What to watch the descriptor for.
    pub fn interest(&self) -> Interest {
        match &self.stage {
            Stage::Ready(link) if !self.birthplace.is_elsewhere() => {
                let wanted = self.waiting.interest();
                Interest { write: wanted.write || link.channel.holds_unsent(), ..wanted }
            }
            Stage::Connecting(_) if !self.birthplace.is_elsewhere() => Interest::READ,
            _ => Interest { read: false, write: false },
        }
    }

    /// How long the caller may wait for the descriptor before it must make a call anyway; `None` if
    /// there is no limit.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = match &self.stage {
            _ if self.birthplace.is_elsewhere() => None,
            Stage::Ready(_) if self.waiting.is_due() => return Some(Duration::ZERO),
            Stage::Ready(link) if self.waiting.interest().read && link.channel.holds_unread() => {
                // What is wanted was read by a blocking write, so the socket does not show it.
                return Some(Duration::ZERO);
            }
            Stage::Ready(_) => self.io_deadline(),
            Stage::Connecting(connecting) => Some(connecting.deadline()),
            Stage::Over(_) => None,
        };
        Some(deadline?.saturating_duration_since(Instant::now()))
    }
}
