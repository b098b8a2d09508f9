//! One dial, and how far it has come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lookup::Lookup;
use super::reply::Reply;
use crate::base::error::{Error, Phase, Status};
use crate::net::channel::Channel;
use crate::net::local::explained_at;
use crate::net::race::{Failed, Race, Why};
use crate::net::target::Target;

/// One dial.
pub(super) struct Dial {
    pub(super) target: Arc<Target>,
    pub(super) deadline: Instant,
    /// The time from the start to the deadline.
    pub(super) granted: Duration,
    pub(super) reply: Arc<Reply>,
    pub(super) stage: Stage,
    /// What it knows of its name. Lookups may be under way after the race has begun.
    pub(super) lookup: Lookup,
    /// When the race of its addresses began.
    pub(super) raced: Instant,
}

pub(super) enum Stage {
    Resolving,
    Racing(Box<Race>),
    /// Connected. Until when to watch that the server does not end it at once.
    Observing(Box<Channel>, Instant),
}

impl Dial {
    pub(super) fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Resolving => Phase::Resolve,
            Stage::Racing(race) if race.handshaking().next().is_some() => Phase::Tls,
            Stage::Racing(_) | Stage::Observing(..) => Phase::Connect,
        }
    }

    /// When to look at it again even if nothing happens.
    pub(super) fn alarm(&self) -> Instant {
        let next = match &self.stage {
            Stage::Resolving => self.lookup.go_at(),
            Stage::Racing(race) if race.is_lost() => self.lookup.hope_until(),
            Stage::Racing(race) => race.alarm(),
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
        let limit = self.limit();
        let cause = match &self.stage {
            Stage::Resolving => {
                format!("{} did not resolve within {limit}", self.target.looked_up())
            }
            Stage::Racing(race) => self.undecided(race, &limit),
            Stage::Observing(..) => {
                format!("the server did not show within {limit} that it keeps the connection")
            }
        };
        Error { errno: libc::ETIMEDOUT, ..self.target.error(Status::Timeout, self.phase(), cause) }
    }

    /// What a race that ran out of time waited for.
    fn undecided(&self, race: &Race, limit: &str) -> String {
        let list = |addresses: Vec<String>| match addresses.as_slice() {
            [only] if race.is_of_one() && *only == self.target.address() => None,
            _ => Some(addresses.join(", ")),
        };
        let handshaking: Vec<String> =
            race.handshaking().map(|address| address.to_string()).collect();
        let connecting: Vec<String> =
            race.connecting().map(|address| address.to_string()).collect();
        let mut texts = Vec::new();
        if !handshaking.is_empty() {
            let servers = match list(handshaking) {
                Some(addresses) if !race.is_of_one() => format!("the server at {addresses}"),
                _ => "the server".to_owned(),
            };
            texts.push(format!("{servers} did not finish the TLS handshake within {limit}"));
        }
        if !connecting.is_empty() {
            texts.push(match list(connecting) {
                Some(addresses) if self.target.proxy().is_some() => {
                    format!("no answer from the proxy {addresses} within {limit}")
                }
                Some(addresses) => format!("no answer from {addresses} within {limit}"),
                None => format!("no answer within {limit}"),
            });
        }
        let mut text = texts.join("; ");
        append_failures(&mut text, race, &self.target, self.phase());
        text
    }
}

/// Appends the failure of each address. Leaves out an address that is the node's own, because the
/// message begins with it, and the address of a handshake if there was no other. Names the step
/// that failed if it is not of `phase`, with which the message begins too.
pub(super) fn append_failures(text: &mut String, race: &Race, target: &Target, phase: Phase) {
    for Failed { address, why } in race.failures() {
        if !text.is_empty() {
            text.push_str("; ");
        }
        let (of, is_named) = match why {
            Why::Connect(..) | Why::Proxy(_) => (Phase::Connect, true),
            Why::Tls(_) => (Phase::Tls, !race.is_of_one()),
        };
        let address = address.to_string();
        match target.proxy() {
            Some(_) if of == Phase::Connect => text.push_str(&format!("the proxy {address}: ")),
            _ if is_named && address != target.address() => {
                text.push_str(&format!("{address}: "));
            }
            _ => {}
        }
        if of != phase {
            text.push_str(&format!("{of}: "));
        }
        match why {
            Why::Connect(step, error) => {
                text.push_str(&explained_at(error, *step, target.net.source_address))
            }
            Why::Proxy(cause) | Why::Tls((_, _, cause)) => text.push_str(cause),
        }
    }
}
