//! One dial, and how far it has come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reply::Reply;
use crate::base::error::{Error, Phase, Status};
use crate::net::channel::{Channel, Handshake};
use crate::net::local::explained_at;
use crate::net::race::{Failed, Race};
use crate::net::target::Target;

/// One dial.
pub(super) struct Dial {
    pub(super) target: Arc<Target>,
    pub(super) deadline: Instant,
    /// The time from the start to the deadline.
    pub(super) granted: Duration,
    pub(super) reply: Arc<Reply>,
    pub(super) stage: Stage,
    /// When the race of its addresses began.
    pub(super) raced: Instant,
    /// Set while the dial uses old addresses and a lookup of its name is running: until when to
    /// wait for new addresses after the old ones have failed.
    pub(super) answer_by: Option<Instant>,
}

pub(super) enum Stage {
    /// With an old answer: until when to wait for a newer one.
    Resolving(Option<(Instant, Arc<[SocketAddr]>)>),
    Racing(Race),
    Handshaking(Handshake),
    /// Connected. Until when to watch that the server does not end it at once.
    Observing(Box<Channel>, Instant),
}

impl Dial {
    pub(super) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Resolving(_) => Phase::Resolve,
            Stage::Racing(_) | Stage::Observing(..) => Phase::Connect,
            Stage::Handshaking(_) => Phase::Tls,
        }
    }

    /// When to look at it again even if nothing happens.
    pub(super) fn alarm(&self) -> Instant {
        let next = match &self.stage {
            Stage::Resolving(old) => old.as_ref().map(|(until, _)| *until),
            Stage::Racing(race) if race.is_lost() => self.answer_by,
            Stage::Racing(race) => race.next_start(),
            Stage::Handshaking(handshake) => handshake.verdict_by(),
            Stage::Observing(_, until) => Some(*until),
        };
        next.map_or(self.deadline, |next| next.min(self.deadline))
    }

    /// The time that was too short, for a message: the key that set it, or the time left to a
    /// delivery if that was shorter.
    pub(super) fn limit(&self) -> String {
        let key = self.target.net.connect_timeout;
        match self.granted < key - key / 8 {
            true => format!("the {} ms that were left for it", self.granted.as_millis()),
            false => "net.connect_timeout".to_owned(),
        }
    }

    pub(super) fn timed_out(&self) -> Error {
        let (host, limit) = (&self.target.host, self.limit());
        let cause = match &self.stage {
            Stage::Resolving(_) => format!("\"{host}\" did not resolve within {limit}"),
            Stage::Racing(race) => {
                let silent: Vec<String> =
                    race.running().map(|address| address.to_string()).collect();
                let mut text = match silent.as_slice() {
                    [only] if *only == self.target.address() => format!("no answer within {limit}"),
                    _ => format!("no answer from {} within {limit}", silent.join(", ")),
                };
                append_failures(&mut text, race, &self.target);
                text
            }
            Stage::Handshaking(_) => {
                format!("the server did not finish the TLS handshake within {limit}")
            }
            Stage::Observing(..) => {
                format!("the server did not show within {limit} that it keeps the connection")
            }
        };
        Error { errno: libc::ETIMEDOUT, ..self.target.error(Status::Timeout, self.phase(), cause) }
    }
}

/// Appends the failure of each address. Leaves out an address that is the node's own: the message
/// begins with it.
pub(super) fn append_failures(text: &mut String, race: &Race, target: &Target) {
    for Failed { address, step, error } in race.failures() {
        if !text.is_empty() {
            text.push_str("; ");
        }
        let address = address.to_string();
        if address != target.address() {
            text.push_str(&format!("{address}: "));
        }
        text.push_str(&explained_at(error, *step, target.net.source_address));
    }
}
