//! How an exchange is reported: what the plugin said of it, what the calls saw, and the one outcome
//! that follows from both.

use std::time::{Duration, Instant};

use super::exchange::Word;
use super::terms::{Ended, Ending};
use super::{Conn, Stage};
use crate::balance::breaker::Proof;
use crate::base::error::{Blame, Error, Phase, Status};
use crate::base::text::without_logins;
use crate::net::channel::Failure;
use crate::set::outcome::{Outcome, blame_for_silence, of_status};

impl Conn {
    /// The plugin says how this exchange went.
    pub fn say(&mut self, status: Status, text: Option<&str>) {
        let by = "upstream_conn_report() was called with";
        self.exchange.say(Word { status, text: text.map(in_one_line), busy: None, by });
    }

    /// The server wants no new turns for `time`; zero means `health.backoff`.
    pub fn say_busy(&mut self, time: Duration, text: Option<&str>) {
        let (status, by) = (Status::Busy, "upstream_conn_busy() was called with");
        self.exchange.say(Word { status, text: text.map(in_one_line), busy: Some(time), by });
    }

    /// The exchange says nothing of the node.
    pub fn say_nothing(&mut self) {
        self.exchange.word = None;
        self.exchange.returned = Some(Status::WantRead);
    }

    /// The status that a deliver callback returned. It decides where the payload goes. It says
    /// something of the node only if the plugin has not reported before.
    pub fn returned(&mut self, status: Status) {
        self.exchange.returned = Some(status);
    }

    /// The error for that status.
    pub fn error_of_return(&self, status: Status) -> Error {
        let text = self.exchange.word.as_ref().and_then(|word| word.text.as_deref());
        self.error_of(status, text, RETURNED)
    }

    /// Whether this was a kept connection that the server had closed: that says nothing of the
    /// node.
    pub fn is_stale(&self) -> bool {
        let ended = |error: &Error| {
            matches!(error.status, Status::Closed | Status::Network) && error.may_blame_node()
        };
        let broke = self.exchange.fatal.as_deref().map_or(self.exchange.ended, ended);
        self.reused && !self.exchange.received && broke
    }

    /// Whether bytes were sent that the node has not answered, if the exchange ends with `status`.
    /// Half an answer, followed by the end or by silence, is no answer.
    pub fn may_have_arrived(&self, status: Status) -> bool {
        let is_cut_off = matches!(
            status,
            Status::Closed | Status::Eof | Status::Network | Status::Timeout | Status::Cancelled
        );
        let is_answer =
            self.exchange.answered && !is_cut_off || matches!(status, Status::Stop | Status::Busy);
        self.exchange.sent > 0 && !is_answer
    }

    /// Ends the exchange and says how it went; `None` if it has ended before.
    pub fn end_exchange(&mut self, ending: Ending) -> Option<Ended> {
        if std::mem::replace(&mut self.exchange.told, true) {
            return None;
        }
        let mut outcome = self.outcome(ending);
        let is_told = match outcome {
            // A pause is reported by the connection alone.
            Outcome::Nothing | Outcome::Busy(_) => false,
            Outcome::Good(_) | Outcome::Bad(_) => {
                self.node.told_once.reports.claim(self.exchange.reports)
            }
        };
        if is_told {
            outcome = Outcome::Nothing;
        }
        let status = self.exchange.status();
        let seen = self.exchange.fault().map(|error| error.status).filter(|_| status.is_none());
        let failed = seen.is_some()
            || self.exchange.ended
            || status.is_some_and(|status| status != Status::Ok);
        Some(Ended {
            generation: self.exchange.generation,
            trial: self.exchange.trial,
            outcome,
            is_said: status.is_some(),
            is_told,
            reached: self.exchange.sent > 0,
            may_have_arrived: failed
                && self.may_have_arrived(status.or(seen).unwrap_or(Status::Ok)),
        })
    }

    fn outcome(&self, ending: Ending) -> Outcome {
        let exchange = &self.exchange;
        let busy = exchange.word.as_ref().and_then(|word| word.busy);
        let is_stale = self.is_stale();
        if let Some(status) = exchange.status() {
            return match status {
                Status::Busy => Outcome::Busy(busy),
                status if (status as i32) < 0 && is_stale => Outcome::Nothing,
                status => of_status(status, exchange.answered || exchange.sent == 0, || {
                    self.error_of_word(status)
                }),
            };
        }
        if is_stale {
            return Outcome::Nothing;
        }
        if let Some(error) = exchange.fault() {
            return Outcome::Bad(Box::new(error.clone()));
        }
        if exchange.ended && !exchange.answered {
            let cause = "the server closed the connection instead of answering";
            return Outcome::Bad(Box::new(self.node.target.error(
                Status::Closed,
                Phase::Read,
                cause,
            )));
        }
        match ending {
            Ending::Released if exchange.answered => Outcome::Good(Proof::Answered),
            Ending::Released | Ending::Discarded => Outcome::Nothing,
        }
    }

    fn error_of_word(&self, status: Status) -> Error {
        match &self.exchange.word {
            Some(word) if word.status == status => {
                self.error_of(status, word.text.as_deref(), word.by)
            }
            _ => self.error_of_return(status),
        }
    }

    /// The error for a status that the plugin gave: with the plugin's text if there is one, else
    /// the connection's own error of that status. `by` says which call gave it.
    #[cold]
    fn error_of(&self, status: Status, text: Option<&str>, by: &str) -> Error {
        let target = &self.node.target;
        let fault = self.exchange.fault();
        let name = status.name();
        // What this machine could not do is not the node's fault, whatever the plugin says.
        let blame = match fault.map(|fault| (fault.blame, fault.status)) {
            Some((Blame::Local, _)) => Blame::Local,
            Some((Blame::Caller, Status::Timeout)) if status == Status::Timeout => Blame::Caller,
            _ => Blame::Open,
        };
        let said =
            |status, cause: String| Error { blame, ..target.error(status, Phase::Callback, cause) };
        match (text, self.last_error()) {
            (Some(text), _) if status == Status::Eof => said(Status::Closed, text.to_owned()),
            (Some(text), _) => said(status, text.to_owned()),
            (None, Some(report)) if report.error.status == status => report.error.clone(),
            (None, _) if status == Status::Eof => {
                target.error(Status::Closed, Phase::Read, "the server closed the connection")
            }
            (None, _) if matches!(status, Status::WantRead | Status::WantWrite) => said(
                Status::InvalidArg,
                format!("{by} {name}, which only non-blocking calls return"),
            ),
            (None, Some(report)) => {
                said(status, format!("{by} {name} after: {}", report.error.cause))
            }
            (None, None) => said(status, format!("{by} {name}")),
        }
    }

    /// A call failed.
    #[cold]
    pub(super) fn fail(
        &mut self,
        phase: Phase,
        failure: Failure,
        since: Option<Instant>,
    ) -> Status {
        let mut error = match failure.0 {
            Status::Cancelled => self.node.target.cancelled(phase),
            _ => self.node.target.failure(phase, failure),
        };
        let limit_struck = error.status == Status::Timeout && error.errno == 0;
        if limit_struck {
            // For a limit on the whole call, an answer that comes in small pieces is as late as
            // none.
            let is_whole = self.bound().is_some_and(|bound| Instant::now() >= bound.at);
            let had = if is_whole { self.exchange.had() } else { Duration::ZERO };
            let silence = self.exchange.silence(since).max(had);
            error.blame = blame_for_silence(silence, self.node.target.net.io_timeout);
        }
        let may_go_on = limit_struck && !self.torn || error.status == Status::Protocol;
        self.exchange.fail(&error, !may_go_on);
        self.fail_with(error)
    }

    /// Reports how it went, unless a delivery does so.
    pub(super) fn tell(&mut self, ending: Ending) {
        if self.is_lent()
            || self.birthplace.is_elsewhere()
            || !matches!(self.stage, Stage::Ready(_))
        {
            return;
        }
        let Some(ended) = self.end_exchange(ending) else { return };
        match &self.account {
            Some(account) => account.ended(&self.node, ended),
            None => self.tell_node(ended),
        }
    }

    fn tell_node(&self, ended: Ended) {
        let (node, Ended { generation, trial, outcome, is_said, .. }) = (&self.node, ended);
        let is_visit = self.is_alone && self.exchange.visited;
        // The attempt that is at this node reports for it if all looks well, and may already have
        // reported a failure.
        let is_anothers = match outcome {
            Outcome::Good(_) => is_visit && !is_said,
            Outcome::Bad(_) => is_visit && node.told_once.spoken.claim(self.exchange.spoken),
            Outcome::Busy(_) | Outcome::Nothing => false,
        };
        let is_bad = matches!(outcome, Outcome::Bad(_));
        if !is_anothers && node.hear(generation, trial, outcome) && is_bad {
            node.told_once.note_failure();
            if is_visit {
                node.told_once.failed_alone.add();
            }
        }
    }
}

const RETURNED: &str = "the deliver callback returned";

/// How many letters of a plugin's own text an error may hold.
const TEXT: usize = 500;

/// A plugin's text as part of one line.
fn in_one_line(text: &str) -> Box<str> {
    let text = without_logins(text); // before the cut, which may part a login from its "@"
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut line: String = clean.take(TEXT + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(TEXT) {
        line.truncate(end);
        line.push_str("...");
    }
    line.trim().into()
}
