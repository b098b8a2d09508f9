//! What a dial, or a look into the pool, leads to: a link, or an error that was also reported to
//! the node.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::terms::forked;
use crate::balance::roster::Turn;
use crate::balance::visits::PATIENCE;
use crate::base::clock::millis;
use crate::base::error::{Error, Phase, Result, Status};
use crate::base::log::Level;
use crate::base::moment::Moment;
use crate::base::stats::count;
use crate::net::channel::Channel;
use crate::net::patience::jittered;
use crate::net::pool::Permit;
use crate::set::link::Link;
use crate::set::node::Node;

/// A connection that is open.
pub(super) struct Ready {
    pub(super) link: Box<Link>,
    /// It came from the pool.
    pub(super) reused: bool,
    /// The generation of the node when the exchange over it begins.
    pub(super) generation: u32,
    /// Its trial, if it is one.
    pub(super) trial: Option<Turn>,
}

/// What is needed to judge the outcome of a dial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    /// The generation of the node when it began.
    pub(super) generation: u32,
    begun: Instant,
    /// Its trial, if it is one.
    trial: Option<Turn>,
}

impl Dial {
    /// A dial that begins now.
    pub(super) fn of(node: &Node) -> Dial {
        Dial { generation: node.generation(), begun: Instant::now(), trial: None }
    }

    /// A dial that begins now and is a trial.
    pub(super) fn on_trial(node: &Node, turn: Turn) -> Dial {
        Dial { trial: Some(turn), ..Dial::of(node) }
    }

    /// The error for a caller that waits for a trial until `until` and then leaves it.
    pub(super) fn left_alone(self, node: &Node, until: Instant) -> Error {
        let waited = millis(until.saturating_duration_since(self.begun));
        let cause = format!(
            "the node is on trial and did not connect within {waited} ms; the library goes on \
             connecting in the background"
        );
        node.target.error(Status::Timeout, Phase::Connect, cause)
    }

    /// It ended: with a link, which uses the permit that was taken for it, or with an error, and
    /// then the permit is given back. The node is told.
    pub(super) fn ended(self, node: &Arc<Node>, outcome: Result<Channel>) -> Result<Ready> {
        let generation = self.generation;
        match outcome {
            Ok(channel) => {
                let link = new_link(node, channel);
                let generation = node.connection_stands(generation);
                Ok(Ready { link, reused: false, generation, trial: self.trial })
            }
            Err(error) => Err(self.failed(node, error)),
        }
    }

    /// It failed, or could not be started.
    pub(super) fn failed(self, node: &Arc<Node>, error: Error) -> Error {
        node.pool.leave();
        count(&node.counters.connects_failed);
        let told = node.connect_failed(self.generation, &error, self.begun.elapsed());
        if let Some(turn) = self.trial.filter(|_| !error.may_blame_node()) {
            // The trial had no result, so the next one need not wait until its time is over.
            node.give_back(turn, PATIENCE);
        }
        log_failure(node, &error, told);
        error
    }
}

/// Whether connections may be made: not in a forked child, and not after the set was destroyed or
/// cancelled.
pub(super) fn may_connect(node: &Node) -> Result<()> {
    let runtime = &node.runtime;
    if runtime.birthplace.is_elsewhere() {
        return Err(forked());
    }
    if runtime.closed.load(Relaxed) {
        return Err(node.target.error(
            Status::Cancelled,
            Phase::Connect,
            "the upstream was destroyed",
        ));
    }
    if runtime.cancel.is_set() {
        return Err(node.target.cancelled(Phase::Connect));
    }
    Ok(())
}

/// How many idle connections one call looks at. If so many in a row were dead, the rest probably
/// are too; they are found later.
const LOOKS: usize = 16;

/// The first idle connection that may be used again: `link`, or one below it in the pool. Those
/// that may not are closed, up to [`LOOKS`]. If there is none, the caller still has the permit. If
/// the end of one of them ejected the node, the result is the error, and the permit is given back:
/// nothing of the payload was sent, so another node must get it.
#[inline(always)]
pub(super) fn first_usable(
    node: &Arc<Node>,
    link: Box<Link>,
    reuse: bool,
) -> Result<Option<Box<Link>>> {
    let (mut next, mut looks, mut portion) = (Some(link), 0, Link::shared_portion());
    while let Some(mut link) = next {
        if reuse && !link.is_too_old() && link.is_quiet_among(&mut portion) {
            count(&node.counters.reused);
            return Ok(Some(link));
        }
        if let Some(error) = node.retire(*link) {
            node.pool.leave();
            return Err(error);
        }
        looks += 1;
        if looks == LOOKS || portion.is_used_up() {
            break;
        }
        next = node.pool.exchange();
    }
    Ok(None)
}

/// The error if all of `net.max_connections` stay in use.
pub(super) fn cap_held(node: &Node) -> Error {
    let cap = node.target.net.max_connections;
    let cause = format!(
        "all {cap} connections are in use; raise net.max_connections, or release them sooner"
    );
    node.target.error(Status::Limit, Phase::Wait, cause)
}

/// The same for a call that waited at all of these nodes.
pub(super) fn caps_held<'a>(mut nodes: impl Iterator<Item = &'a Arc<Node>>) -> Error {
    let first = nodes.next().expect("a wait is for at least one node");
    let mut error = cap_held(first);
    let more = match nodes.count() {
        0 => return error,
        1 => "another node is at its limit too".to_owned(),
        more => format!("{more} other nodes are at their limits too"),
    };
    error.cause = format!("{}; {more}", error.cause);
    error
}

/// Whether the node was ejected, perhaps while a call waited for it.
pub(super) fn is_out(node: &Node) -> bool {
    node.runtime.roster.due(node.place).is_some()
}

/// Gives a permit back that is not used.
pub(super) fn hand_back(node: &Arc<Node>, permit: Permit<Box<Link>>) {
    match permit {
        Permit::Idle(link) => node.keep(link),
        Permit::New => node.pool.leave(),
        Permit::None | Permit::Cancelled => {}
    }
}

fn new_link(node: &Node, channel: Channel) -> Box<Link> {
    count(&node.counters.connects);
    let target = &node.target;
    match (&target.tls, channel.tls_version(), channel.tls_cipher()) {
        (Some(tls), Some(version), Some(cipher)) => {
            count(&node.counters.handshakes);
            let level = if tls.settings.debug >= 3 { Level::Info } else { Level::Debug };
            let version = version.to_string_lossy();
            let peer = channel.peer();
            node.log(level, format_args!("connected to {peer}, {version}, {cipher}"));
        }
        _ => node.log(Level::Debug, format_args!("connected to {}", channel.peer())),
    }
    if let Some(tls) = &target.tls
        && channel.is_certificate_missed()
        && tls.is_first_miss()
    {
        node.log(
            Level::Warn,
            format_args!(
                "the server asks for a client certificate and there is none; if the server \
                 requires one, it stores nothing: set tls.crt_file and tls.key_file"
            ),
        );
    }
    let lifetime = node.target.net.keepalive_max_lifetime;
    let opened = Moment::now();
    Box::new(Link {
        channel,
        opened,
        expires: (!lifetime.is_zero()).then(|| opened.after(jittered(lifetime))),
        uses: 0,
        generation: 0,
        carried: false,
        stood: false,
        found: None,
        of_trial: false,
        data: None,
    })
}

/// `told`: the log has it already, as the reason for an ejection.
fn log_failure(node: &Node, error: &Error, told: bool) {
    let level = match error.status {
        _ if told => return,
        Status::Timeout if node.target.net.connect_timeout_log_error => Level::Error,
        Status::Timeout | Status::Cancelled => Level::Debug,
        _ => Level::Warn,
    };
    // For a node that is out this is no news.
    let is_news = node.runtime.roster.due(node.place).is_none();
    match is_news && level != Level::Debug {
        true => node.failures.log(&node.runtime.logger, level, format_args!("{error}")),
        false => node.runtime.logger.log(Level::Debug, format_args!("{error}")),
    }
}
