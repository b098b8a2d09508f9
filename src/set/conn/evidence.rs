//! How a kept connection ended, and what that says of its node. A server that refuses only after
//! the handshake, or a load balancer without a server behind it, takes every payload and stores
//! none: then the end of the connection is the only sign.
//!
//! Invariant: before a connection that was kept is closed, it is checked how it ended. It is looked
//! at when it is used again, when it is closed, and, if nothing shows that its payloads arrived,
//! one second after it was opened.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::base::error::{Error, Phase, Status};
use crate::base::log::Level;
use crate::base::moment::Moment;
use crate::net::channel::{Ending, Failure};
use crate::net::dial::Task;
use crate::net::portion::Portion;
use crate::set::link::Link;
use crate::set::node::Node;

/// A server that closes after more payloads than this may well have taken them: some servers limit
/// how many they take on one connection.
const FEW: u32 = 3;

/// A server that closes within this time has taken none, however many a fast sender has written by
/// then.
const AT_ONCE: Duration = Duration::from_millis(250);

/// A server that closes a connection within this time does not want it. Time limits on idle
/// connections are seconds; a load balancer that finds no server behind it closes at once.
const YOUNG: Duration = Duration::from_secs(1);

/// How late the look may come that is due once a connection is `YOUNG` old.
const LATE: Duration = Duration::from_millis(250);

/// How many idle connections one look checks: it holds the pool's lock meanwhile.
const LOOKS: usize = 64;

/// The least time between two looks at the connections of a node.
const PAUSE: Duration = Duration::from_millis(50);

impl Link {
    fn age(&self, now: Moment) -> Duration {
        now.since(self.opened)
    }

    /// Whether nothing has shown yet that the payloads on it arrived.
    fn is_unproven(&self) -> bool {
        self.carried && !self.stood && !self.channel.is_answered()
    }

    /// Whether, if its end is seen now, it is doubtful that its payloads arrived.
    fn is_doubtful(&self, now: Moment) -> bool {
        let soon = if self.uses <= FEW { YOUNG + LATE } else { AT_ONCE };
        self.is_unproven() && self.age(now) < soon
    }
}

impl Node {
    /// Closes a kept connection cleanly. If it had ended before, that is reported first. Returns
    /// the error if that ejected the node.
    pub fn retire(self: &Arc<Node>, mut link: Link) -> Option<Error> {
        if link.found.is_none() {
            link.is_quiet(&mut Portion::new());
        }
        let verdict = link.found.take().and_then(|ending| self.judged(&link, *ending));
        let on_reset = match verdict {
            None => self.on_reset(&link),
            Some(_) => None,
        };
        let fell_out = verdict.filter(|error| self.tell_evidence(link.generation, error));
        self.runtime.close(link.channel, on_reset);
        fell_out
    }

    /// Closes a connection that is not kept. If the server has closed it too, that is no sign: the
    /// plugin may have asked it to.
    pub fn retire_unkept(self: &Arc<Node>, mut link: Link) {
        // Only one look: what the server does between two looks would be taken for a sign.
        if link.is_quiet(&mut Portion::new()) {
            let on_reset = self.on_reset(&link);
            return self.runtime.close(link.channel, on_reset);
        }
        match link.found.as_deref() {
            Some(Ending::Closed) | None => self.runtime.close(link.channel, None),
            Some(_) => self.retire_quietly(link),
        }
    }

    /// What to do if the server resets a connection that is being closed. A server that has read
    /// everything answers the end with its own end. Over TLS it may have read everything but the
    /// last TLS message, so there a reset says nothing.
    fn on_reset(self: &Arc<Node>, link: &Link) -> Option<Task> {
        if link.channel.tls_version().is_some() || !link.is_doubtful(Moment::now()) {
            return None;
        }
        let cause = "the server reset the connection";
        let error = self.doubt(link, cause, Status::Network, libc::ECONNRESET);
        let (node, generation) = (Arc::downgrade(self), link.generation);
        Some(Box::new(move || {
            if let Some(node) = node.upgrade() {
                node.tell_evidence(generation, &error);
            }
        }))
    }

    /// As [`Node::retire`], for a caller that does not need the result.
    pub fn retire_quietly(self: &Arc<Node>, link: Link) {
        drop(self.retire(link));
    }

    /// A connection from the pool failed in use, with `error`. By itself that says nothing of the
    /// node, but it may show that earlier payloads on it have not arrived.
    pub fn broke(self: &Arc<Node>, link: &Link, error: &Error) {
        let broken = matches!(error.status, Status::Closed | Status::Network);
        if broken && !error.is_local() && link.is_doubtful(Moment::now()) {
            let verdict = self.doubt(link, &error.cause, error.status, error.errno);
            self.tell_evidence(link.generation, &verdict);
        }
    }

    /// The node gave a good sign: an answer, or a connection that stayed open.
    #[inline]
    pub fn answered(&self) {
        if self.target.wary.load(Relaxed) {
            self.target.wary.store(false, Relaxed);
        }
    }

    /// The error that an ending means for the node, if any.
    fn judged(&self, link: &Link, ending: Ending) -> Option<Error> {
        let target = &self.target;
        let doubtful = link.is_doubtful(Moment::now());
        match ending {
            Ending::Unread => None,
            Ending::Refused(failure) => {
                let error = target.failure(Phase::Tls, failure);
                let cause = match link.is_unproven() {
                    true => format!("{}; {}", error.cause, may_be_lost(link)),
                    false => error.cause.clone(),
                };
                Some(Error { cause, ..error })
            }
            Ending::Broken(failure) if is_silence(&failure) => {
                let (status, errno, cause) = failure;
                let limit = target.net.io_timeout.as_millis();
                let cause = format!(
                    "the server did not acknowledge what was sent within the {limit} ms of \
                     net.io_timeout ({cause}); {}",
                    may_be_lost(link)
                );
                Some(target.failure(Phase::Write, (status, errno, cause)))
            }
            Ending::Broken(failure) => {
                let error = target.failure(Phase::Read, failure);
                (doubtful && !error.is_local())
                    .then(|| self.doubt(link, &error.cause, error.status, error.errno))
            }
            Ending::Closed => doubtful
                .then(|| self.doubt(link, "the server closed the connection", Status::Closed, 0)),
        }
    }

    /// The error for a connection that ended so soon that its payloads may be lost.
    fn doubt(&self, link: &Link, cause: &str, status: Status, errno: i32) -> Error {
        let age = link.age(Moment::now()).as_millis();
        let cause = format!(
            "{cause} without an answer, at most {age} ms after it was opened; {}. If this is a \
             load balancer, check that it has a server behind it; otherwise see the server's log",
            may_be_lost(link)
        );
        Error { errno, ..self.target.error(status, Phase::Read, cause) }
    }

    /// Reports the error to the node and logs it. Returns whether the node was ejected.
    fn tell_evidence(self: &Arc<Node>, generation: u32, error: &Error) -> bool {
        if self.runtime.birthplace.is_elsewhere() {
            return false;
        }
        if generation != self.generation() {
            self.runtime.logger.log(Level::Debug, format_args!("{error}")); // too late to count
            return false;
        }
        let fell_out = self.evidence(generation, error);
        if fell_out {
            self.target.wary.store(true, Relaxed);
        }
        fell_out
    }

    /// Has the dialer thread look at the kept connections again, when the first of them that
    /// carried a payload without an answer is `YOUNG` old. `link` is one more of them.
    #[inline(always)]
    pub fn look_again(self: &Arc<Node>, link: &Link) {
        if link.is_unproven() && !self.signs.look_due.load(Relaxed) {
            self.look_at(link.opened.after(YOUNG));
        }
    }

    #[cold]
    fn look_at(self: &Arc<Node>, when: Moment) {
        if self.signs.look_due.swap(true, Relaxed) {
            return;
        }
        let node = Arc::downgrade(self); // the timer keeps nothing alive
        let look = move || {
            if let Some(node) = node.upgrade() {
                node.look_at_unproven();
            }
        };
        let when = when.max(Moment::now().after(PAUSE)).instant();
        // Fails only if the dialer thread has ended, which closes the connections too.
        let _ = self.runtime.dialer.at(when, Box::new(look));
    }

    fn look_at_unproven(self: &Arc<Node>) {
        self.signs.look_due.store(false, Relaxed);
        let now = Moment::now();
        let (mut good, mut next) = (None, None::<Moment>);
        let (mut looks, mut portion) = (0, Link::shared_portion());
        let stays = |link: &mut Box<Link>| {
            if !link.is_unproven() {
                return true;
            }
            looks += 1;
            let is_looked_at = looks <= LOOKS && !portion.is_used_up();
            if is_looked_at && !link.is_quiet_among(&mut portion) {
                return false;
            }
            if is_looked_at && link.age(now) >= YOUNG {
                link.stood = true;
                good = Some(link.generation);
            } else {
                let due = link.opened.after(YOUNG);
                next = Some(next.map_or(due, |next| next.min(due)));
            }
            true
        };
        // Judged after the pool's lock is released: an ejection takes that lock.
        let gone = self.pool.take_out(stays);
        if let Some(generation) = good {
            self.answered();
            self.stood(generation);
        }
        gone.into_iter().for_each(|link| self.retire_quietly(*link));
        if let Some(next) = next {
            self.look_at(next);
        }
    }
}

/// Whether the kernel ended the connection because nothing came back.
fn is_silence(failure: &Failure) -> bool {
    matches!(failure.1, libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH)
}

fn may_be_lost(link: &Link) -> String {
    match link.uses {
        1 => "the payload that was sent on it may be lost".to_owned(),
        uses => format!("{uses} payloads were sent on it, and those without an answer may be lost"),
    }
}
