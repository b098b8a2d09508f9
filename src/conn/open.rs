//! How a connection to a node is had: kept in the pool, or new. Waits for its turn and for the dialer, never past the
//! deadline.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Conn, forked};
use crate::error::{Error, Phase, Result, Status};
use crate::log::Level;
use crate::net::channel::Channel;
use crate::net::patience::after;
use crate::net::pool::Place;
use crate::node::{Link, Node};
use crate::stats::count;

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
        may_connect(node)?;
        loop {
            match node.pool.acquire(deadline, |link| node.runtime.close(*link)) {
                Place::Idle(link) => match reuse_or_close(node, link, reuse) {
                    Some(link) => return Ok(Conn::new(node, link, true)),
                    None => node.pool.leave(),
                },
                Place::New => {
                    let outcome = node.runtime.dialer.dial(&node.target, deadline);
                    return dialled(node, outcome).map(|link| Conn::new(node, link, false));
                }
                Place::Cancelled => return Err(node.target.cancelled(Phase::Wait)),
                Place::None => return Err(cap_held(node)),
            }
        }
    }
}

/// Whether connections may be made at all: not in a forked child, and not after the set's end.
pub(super) fn may_connect(node: &Node) -> Result<()> {
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
    Ok(())
}

/// An idle connection that may be used again; otherwise it is closed, and its place is the caller's.
pub(super) fn reuse_or_close(node: &Node, mut link: Box<Link>, reuse: bool) -> Option<Box<Link>> {
    if reuse && !link.is_too_old() && link.channel.is_quiet() {
        count(&node.counters.reused);
        return Some(link);
    }
    node.runtime.close(*link);
    None
}

/// What came of a dial: a link in the place that was taken for it, or the place is left.
pub(super) fn dialled(node: &Node, outcome: Result<Channel>) -> Result<Box<Link>> {
    match outcome {
        Ok(channel) => Ok(connected(node, channel)),
        Err(error) => {
            node.pool.leave();
            count(&node.counters.connects_failed);
            log_failure(node, &error);
            Err(error)
        }
    }
}

/// The error of a wait at the cap that was in vain.
pub(super) fn cap_held(node: &Node) -> Error {
    let cap = node.target.net.max_connections;
    let cause =
        format!("all {cap} connections stayed in use; raise net.max_connections, or release them sooner");
    node.target.error(Status::Limit, Phase::Wait, cause)
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
    let expires = (!lifetime.is_zero()).then(|| after(Instant::now(), lifetime - spread(lifetime)));
    Box::new(Link { channel, expires, uses: 0, data: None })
}

/// Up to a tenth of `lifetime`, at random, so that connections made together do not all end together.
fn spread(lifetime: Duration) -> Duration {
    // The keys of a RandomState differ each time; hashing nothing with them gives 64 random bits.
    let random = RandomState::new().build_hasher().finish();
    lifetime.mul_f64(0.1 * (random as f64 / u64::MAX as f64))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_end_within_their_last_tenth_and_apart() {
        let lifetime = Duration::from_secs(1000);
        let spreads: Vec<Duration> = (0..100).map(|_| spread(lifetime)).collect();
        assert!(spreads.iter().all(|spread| *spread <= lifetime / 10));
        assert!(spreads.iter().any(|spread| *spread != spreads[0]));
    }
}
