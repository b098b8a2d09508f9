//! A connection that a plugin uses: reads and writes with their limits, and the way back to the
//! pool.
//!
//! Invariant: a connection goes back to the pool only if every call on it ended well and nothing
//! unread is left.

mod connecting;
mod event;
mod evidence;
mod exchange;
mod open;
mod outcome;
mod peer;
mod reading;
mod telling;
mod terms;
mod trial;
mod waiting;

use std::cell::OnceCell;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connecting::Connecting;
use exchange::Exchange;
pub use open::Opened;
use outcome::Ready;
pub use terms::{
    Account, Choice, Course, Detour, Ended, Ending, Loan, OneNode, Step, Trial, connect_deadline,
    forked,
};
use waiting::Waiting;

use crate::base::error::{Error, Phase, Poison, Report, Status};
use crate::base::log::Level;
use crate::base::process::Birthplace;
use crate::base::stats::add;
use crate::net::channel::{Channel, Failure, Offered, Progress, Unsent, cancelled};
use crate::net::patience::{Bound, Limit, Patience, Whole};
use crate::net::portion::Portion;
use crate::set::link::{Link, UserData};
use crate::set::node::Node;
use crate::set::payload::PayloadId;

/// A connection to one node. It may move between threads; only one call may run at a time.
pub struct Conn {
    /// Set after a defect was caught in a call on this connection.
    pub poison: Poison,
    node: Arc<Node>,
    stage: Stage,
    birthplace: Birthplace,
    reused: bool,
    /// The plugin opened it to the node alone, not through the set or an attempt.
    is_alone: bool,
    /// The plugin does not trust it any more: it must not go back to the pool.
    distrusted: bool,
    /// A write ran out of time in the middle: what is sent next would be read as part of that
    /// message.
    torn: bool,
    /// A non-blocking write took only a part, and the rest has not come yet.
    unfinished: bool,
    waiting: Waiting,
    /// The delivery or attempt it serves.
    loan: Option<Loan>,
    /// Who is told how the exchange went, if not the node itself.
    account: Option<Arc<dyn Account>>,
    /// The name of the payload, once it was asked for.
    payload_id: OnceCell<PayloadId>,
    timeout: Option<Duration>,
    exchange: Exchange,
    last_error: Option<Box<Report>>,
}

/// The stage of a connection.
enum Stage {
    Ready(Box<Link>),
    Connecting(Box<Connecting>),
    /// It was given back, or could not be made; the status says which.
    Over(Status),
}

impl Conn {
    #[inline(always)]
    fn new(node: Arc<Node>, ready: Ready) -> Conn {
        let mut conn = Conn::at(node, Stage::Over(Status::InvalidArg));
        conn.take_up(ready);
        conn
    }

    #[inline(always)]
    fn at(node: Arc<Node>, stage: Stage) -> Conn {
        Conn {
            poison: Poison::default(),
            birthplace: node.runtime.birthplace,
            node,
            stage,
            reused: false,
            is_alone: false,
            distrusted: false,
            torn: false,
            unfinished: false,
            waiting: Waiting::default(),
            loan: None,
            account: None,
            payload_id: OnceCell::new(),
            timeout: None,
            exchange: Exchange::default(),
            last_error: None,
        }
    }

    #[inline(always)]
    fn take_up(&mut self, ready: Ready) {
        let Ready { mut link, reused, generation, trial } = ready;
        link.uses = link.uses.saturating_add(1);
        link.generation = generation;
        self.reused = reused;
        self.exchange = Exchange::begin(&self.node, generation, trial);
        self.stage = Stage::Ready(link);
    }

    /// Limits every call by the terms of the loan, and lends the connection out: see
    /// [`Conn::is_lent`].
    pub fn lend(&mut self, loan: Loan) {
        self.loan = Some(loan);
    }

    /// Whether it is only lent, so that its holder must not free it.
    pub fn is_lent(&self) -> bool {
        self.loan.is_some_and(|loan| loan.is_lent)
    }

    /// `account` will be told how the exchange went.
    pub fn keep_account(&mut self, account: Arc<dyn Account>) {
        self.account = Some(account);
    }

    /// Notes that the plugin opened it to the node alone, perhaps for an attempt that was given
    /// this node.
    pub fn alone(mut self) -> Conn {
        self.is_alone = true;
        self
    }

    /// How much time is left to the delivery or attempt that it serves; `None` if it serves none.
    pub fn time_left_for_payload(&self) -> Option<Duration> {
        self.loan.map(|loan| loan.last.saturating_duration_since(Instant::now()))
    }

    /// The name of the payload that it carries; `None` if it serves no delivery or attempt.
    pub fn payload_id(&self) -> Option<&PayloadId> {
        self.loan?;
        Some(self.payload_id.get_or_init(|| self.node.runtime.payload_ids.make()))
    }

    /// Sets the name of the payload, or that it has none yet.
    pub fn set_payload_id(&mut self, id: Option<PayloadId>) {
        self.payload_id = id.map_or_else(OnceCell::new, OnceCell::from);
    }

    /// The name of the payload, if it was asked for.
    pub fn known_payload_id(&self) -> Option<PayloadId> {
        self.payload_id.get().cloned()
    }

    /// The node that it leads to; while it is connecting, the node that is being tried.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Whether it came from the pool.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// How many bytes were sent since it was handed out.
    pub fn sent(&self) -> u64 {
        self.exchange.sent
    }

    /// The stream, once it is connected.
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
        self.distrusted = true;
    }

    /// Sets a limit for each whole call from now on. Zero goes back to the configured limit, which
    /// is on the time without progress.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = (!timeout.is_zero()).then_some(timeout);
    }

    /// Attaches the plugin's data, which stays while the connection is kept; the connection must be
    /// connected. Returns the data that was there before. The caller must drop that only when
    /// nothing borrows the connection, because its owner may call back.
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
            return self.fail(Phase::Write, cut_off(), None);
        }
        if let Err(status) = self.check(Phase::Write) {
            return status;
        }
        let (mut unsent, mut progress) = (Unsent::new(slices), Progress::default());
        let (timed, mut portion) = (self.timeout.is_some(), Portion::new());
        let mut since = None;
        let outcome = match &mut self.stage {
            // Most writes go out at once. The time limit is worked out only if a write must wait or
            // is long, or if the whole call is timed.
            Stage::Ready(link) if !timed => {
                match link.channel.offer(&mut unsent, &mut progress, &mut portion) {
                    Ok(Offered::All) => return self.written(&progress),
                    Ok(offered) => match self.patient() {
                        Ok((channel, mut patience)) => {
                            let outcome = channel.write_rest(
                                offered,
                                &mut unsent,
                                &mut patience,
                                &mut progress,
                            );
                            since = patience.waits_since();
                            outcome
                        }
                        Err(status) => return status,
                    },
                    Err(failure) => Err(failure),
                }
            }
            _ => match self.patient() {
                Ok((channel, mut patience)) => {
                    let outcome = channel.write_all(&mut unsent, &mut patience, &mut progress);
                    since = patience.waits_since();
                    outcome
                }
                Err(status) => return status,
            },
        };
        match outcome {
            Ok(()) => self.written(&progress),
            Err(failure) => {
                self.count_sent(&progress);
                self.torn =
                    matches!(failure.0, Status::Timeout | Status::Cancelled) && progress.taken > 0;
                self.fail(Phase::Write, failure, since)
            }
        }
    }

    fn written(&mut self, progress: &Progress) -> Status {
        self.count_sent(progress);
        if progress.taken > 0 {
            self.unfinished = false;
            self.exchange.went_well();
        }
        self.waiting.write(self.unfinished, Instant::now);
        Status::Ok
    }

    fn count_sent(&mut self, progress: &Progress) {
        self.exchange.wrote(progress.taken);
        add(&self.node.counters.bytes_out, progress.taken);
    }

    /// What every call that reads or writes does first: checks whether it may.
    fn check(&mut self, phase: Phase) -> Result<(), Status> {
        if self.birthplace.is_elsewhere() {
            self.last_error = Some(Box::new(forked().into()));
            return Err(Status::Forked);
        }
        if let Stage::Over(status) = self.stage {
            return Err(status); // the error that it ended with stays
        }
        self.last_error = None;
        if self.node.runtime.cancel.is_set() {
            return Err(self.fail(phase, cancelled(), None));
        }
        Ok(())
    }

    /// The stream for a blocking call, and how long the call may wait. Finishes connecting first.
    fn begin(&mut self, phase: Phase) -> Result<(&mut Channel, Patience<'_>), Status> {
        self.check(phase)?;
        self.patient()
    }

    /// As [`Conn::begin`], without the check.
    fn patient(&mut self) -> Result<(&mut Channel, Patience<'_>), Status> {
        if let Stage::Connecting(_) = self.stage {
            self.finish_connecting()?;
        }
        let (limit, bound) = (self.limit(), self.bound());
        let Conn { stage, node, exchange, .. } = self;
        match stage {
            Stage::Ready(link) => {
                let mut patience = Patience::new(limit, bound, Some(&node.runtime.cancel));
                patience.had_bytes = exchange.answered;
                Ok((&mut link.channel, patience))
            }
            Stage::Connecting(_) => Err(Status::WantRead), // not after finish_connecting()
            Stage::Over(status) => Err(*status),
        }
    }

    fn limit(&self) -> Limit {
        self.timeout.map_or(Limit::Silence(self.node.target.net.io_timeout), Limit::Call)
    }

    /// When every call must end, whatever its own limit is. The plugin's own limit may shorten the
    /// node's share of a delivery's time, but never lengthens it.
    fn bound(&self) -> Option<Bound> {
        let loan = self.loan?;
        let is_held = !(loan.until_sent && self.exchange.sent > 0);
        let share = loan.share.filter(|share| is_held && share.ends < loan.last);
        let of_share = share.map(|share| Bound { at: share.ends, of: Whole::Share(share.time) });
        Some(of_share.unwrap_or(Bound { at: loan.last, of: Whole::Delivery }))
    }

    fn fail_with(&mut self, error: Error) -> Status {
        let status = error.status;
        self.node.runtime.logger.log(Level::Debug, format_args!("{error}"));
        self.last_error = Some(Box::new(error.into()));
        status
    }

    fn may_be_kept(&self, link: &Link) -> bool {
        let net = &self.node.target.net;
        let worn = net.keepalive_max_recycle != 0 && link.uses >= net.keepalive_max_recycle;
        net.keepalive
            && !self.distrusted
            && !self.exchange.is_broken()
            && !self.torn
            && !self.unfinished
            && !link.channel.holds_unread()
            && !self.poison.is_set()
            && !worn
            && !link.is_too_old()
            && link.channel.has_life_left()
    }

    /// Gives it back. It is kept in the pool if that is allowed, and closed otherwise. If it is
    /// still connecting, that ends. It cannot be used after this.
    pub fn release(&mut self) {
        if self.birthplace.is_elsewhere() {
            return; // the drop closes the descriptor here; the parent's end is untouched
        }
        self.tell(Ending::Released);
        if let Some(mut link) = self.take_link() {
            if self.may_be_kept(&link) && is_sent(&mut link.channel) {
                self.node.keep(link);
            } else {
                self.end(link);
            }
        }
    }

    fn take_link(&mut self) -> Option<Box<Link>> {
        match std::mem::replace(&mut self.stage, Stage::Over(Status::InvalidArg)) {
            Stage::Ready(mut link) => {
                link.carried |= self.exchange.sent > 0;
                if link.channel.is_answered() {
                    self.node.answered();
                }
                Some(link)
            }
            Stage::Connecting(_) | Stage::Over(_) => None,
        }
    }

    /// Closes it for good. If it did not fail, bytes may still be on their way, and they must
    /// arrive.
    fn end(&self, link: Box<Link>) {
        match self.exchange.fault().filter(|_| self.exchange.has_failed()) {
            None if self.poison.is_set() => drop(link), // a panic may have left it half done
            None => self.node.retire_unkept(*link),
            Some(error) => {
                if self.reused {
                    self.node.broke(&link, error);
                }
                drop(link);
            }
        }
        self.node.pool.leave();
    }
}

/// Whether everything that was written has been sent, or can be sent now without waiting.
fn is_sent(channel: &mut Channel) -> bool {
    let (mut nothing, mut progress, mut portion) =
        (Unsent::new(&[]), Progress::default(), Portion::new());
    !channel.holds_unsent()
        || matches!(channel.offer(&mut nothing, &mut progress, &mut portion), Ok(Offered::All))
}

impl Drop for Conn {
    /// Closes it: the plugin does not trust it any more. What it has sent must still arrive.
    fn drop(&mut self) {
        if self.birthplace.is_elsewhere() {
            return; // the parent's end is untouched
        }
        self.tell(Ending::Discarded);
        if let Some(link) = self.take_link() {
            self.end(link);
        }
    }
}

fn cut_off() -> Failure {
    (Status::Closed, 0, "an earlier write on this connection was cut off; discard it".to_owned())
}
