//! A connection in the plugin's hands: reads and writes with their limits, and the way back to the pool.
//!
//! Invariant: a connection goes back only where every call on it ended well and nothing unread is left.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::error::{Error, Phase, Poison, Report, Result, Status};
use crate::log::Level;
use crate::net::channel::{Channel, Failure};
use crate::net::patience::{Limit, Patience, after, jittered};
use crate::net::pool::Place;
use crate::node::{Link, Node, UserData};
use crate::process::Birthplace;
use crate::stats::{add, count};

/// A connection to one node. May move between threads; one call at a time.
pub struct Conn {
    /// Set after a defect was caught in a call on this connection.
    pub poison: Poison,
    node: Arc<Node>,
    /// The node's when this was begun: what an outcome must carry.
    generation: u32,
    link: Option<Box<Link>>,
    birthplace: Birthplace,
    reused: bool,
    /// A call failed, or the plugin trusts it no longer: never pooled again.
    broken: bool,
    /// A write ran out of time in the middle: what is sent next would stand inside that message.
    torn: bool,
    /// Lent to a deliver callback, which must not free it.
    lent: bool,
    timeout: Option<Duration>,
    last: Option<Instant>,
    sent: u64,
    /// Bytes went or came.
    moved: bool,
    /// The first call that failed.
    fault: Option<Box<Error>>,
    last_error: Option<Box<Report>>,
}

impl Conn {
    /// A connection to `node`, from the pool or new, by `deadline`.
    pub fn open(node: &Arc<Node>, deadline: Instant) -> Result<Conn> {
        Conn::acquire(node, deadline, true)
    }

    /// A new connection to `node`, by `deadline`. Idle ones are closed: one of them was just found dead in use.
    pub fn open_fresh(node: &Arc<Node>, deadline: Instant) -> Result<Conn> {
        Conn::acquire(node, deadline, false)
    }

    /// When a connection to `node` that is asked for now must stand.
    pub fn connect_deadline(node: &Node) -> Instant {
        after(Instant::now(), node.target.net.connect_timeout)
    }

    fn acquire(node: &Arc<Node>, deadline: Instant, reuse: bool) -> Result<Conn> {
        let runtime = &node.runtime;
        if runtime.birthplace.is_elsewhere() {
            return Err(forked());
        }
        if runtime.closed.load(Relaxed) {
            return Err(node.target.error(Status::Cancelled, Phase::Connect, "the upstream was destroyed"));
        }
        if runtime.cancel.is_set() {
            return Err(node.target.cancelled(Phase::Connect));
        }
        let generation = node.generation();
        loop {
            match node.pool.acquire(deadline, |link| runtime.close(*link)) {
                Place::Idle(mut link) => {
                    if reuse && !link.is_too_old() && link.channel.is_quiet() {
                        count(&node.counters.reused);
                        return Ok(Conn::new(node, generation, link, true));
                    }
                    runtime.close(*link);
                    node.pool.leave();
                }
                Place::New => {
                    let begun = Instant::now();
                    return match node.runtime.dialer.dial(&node.target, deadline) {
                        Ok(channel) => {
                            node.connected(generation);
                            Ok(Conn::new(node, generation, connected(node, channel), false))
                        }
                        Err(error) => {
                            node.pool.leave();
                            count(&node.counters.connects_failed);
                            log_failure(node, &error);
                            node.connect_failed(generation, &error, begun.elapsed());
                            Err(error)
                        }
                    };
                }
                Place::Cancelled => return Err(node.target.cancelled(Phase::Wait)),
                Place::None => {
                    let cap = node.target.net.max_connections;
                    let cause = format!(
                        "all {cap} connections stayed in use; raise net.max_connections, or release them sooner"
                    );
                    return Err(node.target.error(Status::Limit, Phase::Wait, cause));
                }
            }
        }
    }

    fn new(node: &Arc<Node>, generation: u32, mut link: Box<Link>, reused: bool) -> Conn {
        link.uses = link.uses.saturating_add(1);
        Conn {
            poison: Poison::default(),
            node: Arc::clone(node),
            generation,
            link: Some(link),
            birthplace: node.runtime.birthplace,
            reused,
            broken: false,
            torn: false,
            lent: false,
            timeout: None,
            last: None,
            sent: 0,
            moved: false,
            fault: None,
            last_error: None,
        }
    }

    /// Bounds every call by `last`, and lends the connection out: see [`Conn::is_lent`].
    pub fn lend(&mut self, last: Instant) {
        self.last = Some(last);
        self.lent = true;
    }

    /// Whether it is only lent, and so not the holder's to free.
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// The node's generation when it was begun.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Tells the node how it went, where no delivery does: well if bytes moved and nothing failed, badly if a call failed. What a
    /// kept connection breaks by says nothing of its node.
    fn tell_node(&self) {
        if self.lent || self.birthplace.is_elsewhere() {
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

    /// The node it leads to.
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

    /// The stream underneath.
    pub fn channel(&self) -> Option<&Channel> {
        self.link.as_deref().map(|link| &link.channel)
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

    /// Attaches the plugin's data, in place of any before; it stays while the connection is kept.
    /// What was there before is the caller's to drop, once nothing borrows the connection: its owner may call back.
    #[must_use]
    pub fn set_data(&mut self, data: Option<UserData>) -> Option<UserData> {
        match &mut self.link {
            Some(link) => std::mem::replace(&mut link.data, data),
            None => data,
        }
    }

    /// The plugin's data.
    pub fn data(&self) -> Option<&UserData> {
        self.link.as_ref()?.data.as_ref()
    }

    /// Sends all of `slices`.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Status {
        if self.torn {
            let text = "an earlier message was cut off on this connection; discard it";
            return self.fail(Phase::Write, (Status::Closed, 0, text.to_owned()));
        }
        let mut patience = self.patience();
        let mut sent = 0;
        let outcome = self.call(Phase::Write, |channel| channel.write_all(slices, &mut patience, &mut sent));
        self.torn = outcome == Err(Status::Timeout) && sent > 0;
        self.sent += sent;
        self.moved |= sent > 0;
        add(&self.node.counters.bytes_out, sent);
        outcome.map_or_else(|status| status, |()| Status::Ok)
    }

    /// Receives 1 to `buffer.len()` bytes; `Eof` at the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8]) -> (Status, usize) {
        let mut patience = self.patience();
        match self.read_some(buffer, &mut patience) {
            Ok(0) => (Status::Eof, 0),
            Ok(got) => (Status::Ok, got),
            Err(status) => (status, 0),
        }
    }

    /// Receives exactly `buffer.len()` bytes; an end before that is `Closed`.
    pub fn read_exact(&mut self, mut buffer: &mut [u8]) -> Status {
        let mut patience = self.patience();
        while !buffer.is_empty() {
            match self.read_some(buffer, &mut patience) {
                Ok(0) => {
                    let text = format!("the server closed the connection, {} bytes short", buffer.len());
                    return self.fail(Phase::Read, (Status::Closed, 0, text));
                }
                Ok(got) => {
                    patience.progress();
                    buffer = &mut buffer[got..];
                }
                Err(status) => return status,
            }
        }
        Status::Ok
    }

    fn read_some(&mut self, buffer: &mut [u8], patience: &mut Patience) -> Result<usize, Status> {
        let got = self.call(Phase::Read, |channel| channel.read(buffer, patience))?;
        if got == 0 {
            self.broken = true; // nothing more comes, so it is of no use to the next one
        }
        self.moved |= got > 0;
        add(&self.node.counters.bytes_in, got as u64);
        Ok(got)
    }

    fn patience(&self) -> Patience {
        let limit = match self.timeout {
            Some(timeout) => Limit::Call(timeout),
            None => Limit::Silence(self.node.target.net.io_timeout),
        };
        Patience::new(limit, self.last)
    }

    fn call<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&mut Channel) -> Result<T, Failure>,
    ) -> Result<T, Status> {
        self.last_error = None;
        if self.birthplace.is_elsewhere() {
            self.last_error = Some(Box::new(forked().into()));
            return Err(Status::Forked);
        }
        let outcome = match &mut self.link {
            Some(link) => work(&mut link.channel),
            None => Err((Status::InvalidArg, 0, "the connection was given back".to_owned())),
        };
        outcome.map_err(|failure| self.fail(phase, failure))
    }

    fn fail(&mut self, phase: Phase, (status, errno, cause): Failure) -> Status {
        self.broken = true;
        let error = Error { errno, ..self.node.target.error(status, phase, cause) };
        self.node.runtime.logger.log(Level::Debug, format_args!("{error}"));
        self.fault.get_or_insert_with(|| Box::new(error.clone()));
        self.last_error = Some(Box::new(error.into()));
        status
    }

    fn may_be_kept(&self, link: &Link) -> bool {
        let net = &self.node.target.net;
        let worn = net.keepalive_max_recycle != 0 && link.uses >= net.keepalive_max_recycle;
        net.keepalive
            && !self.broken
            && !self.poison.is_set()
            && !worn
            && !link.is_too_old()
            && link.channel.has_life_left()
    }

    /// Gives it back: kept in the pool where it may be, closed otherwise.
    pub fn release(mut self) {
        self.tell_node();
        let Some(link) = self.link.take() else { return };
        if self.birthplace.is_elsewhere() {
            return; // the drop closes the descriptor here; the parent's end is untouched
        }
        let clean = !self.broken;
        if self.may_be_kept(&link) {
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

impl Drop for Conn {
    /// Closed without ceremony: the plugin no longer trusts it.
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.tell_node();
            drop(link);
            if !self.birthplace.is_elsewhere() {
                self.node.pool.leave();
            }
        }
    }
}

/// The error of a call that would touch the parent's connections or threads.
pub fn forked() -> Error {
    Error::new(Status::Forked, "the upstream was made before fork(); create one of its own in the child")
}

fn connected(node: &Node, channel: Channel) -> Box<Link> {
    count(&node.counters.connects);
    let logger = &node.runtime.logger;
    let target = &node.target;
    match (&target.tls, channel.tls_version(), channel.tls_cipher()) {
        (Some(tls), Some(version), Some(cipher)) => {
            count(&node.counters.handshakes);
            let level = if tls.settings.debug >= 3 { Level::Info } else { Level::Debug };
            let version = version.to_string_lossy();
            let peer = channel.peer();
            logger.log(
                level,
                format_args!(
                    "{} ({}): connected to {peer}, {version}, {cipher}",
                    target.name, target.address
                ),
            );
        }
        _ => logger.log(
            Level::Debug,
            format_args!("{} ({}): connected to {}", target.name, target.address, channel.peer()),
        ),
    }
    let lifetime = node.target.net.keepalive_max_lifetime;
    let expires = (!lifetime.is_zero()).then(|| after(Instant::now(), jittered(lifetime)));
    Box::new(Link { channel, expires, uses: 0, data: None })
}

fn log_failure(node: &Node, error: &Error) {
    let level = match error.status {
        Status::Timeout if node.target.net.connect_timeout_log_error => Level::Error,
        Status::Timeout => Level::Debug,
        Status::Cancelled => Level::Debug,
        _ => Level::Warn,
    };
    node.runtime.logger.log(level, format_args!("{error}"));
}
