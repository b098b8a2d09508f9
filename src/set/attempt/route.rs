//! The way that the connections of an attempt take over the nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::books::Ledger;
use crate::base::error::{Error, Status};
use crate::base::stats::count;
use crate::set::conn::{Account, Choice, Course, Detour, Loan, Step};
use crate::set::journey::{Leg, Stopped};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// The way of the next connection of an attempt.
pub(super) struct Route {
    pub(super) up: Arc<Upstream>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) last: Instant,
    pub(super) held_up: bool,
    pub(super) leg: Option<Leg>,
    pub(super) stands: bool,
    /// The node of `leg` gets the payload after another.
    pub(super) is_redelivery: bool,
}

impl Route {
    /// The node of `leg` is the one that was asked, or another with room.
    fn count_redelivery(&mut self, leg: &Leg) {
        if std::mem::take(&mut self.is_redelivery) {
            count(&self.up.nodes()[leg.place].counters.redeliveries);
        }
    }
}

impl Course for Route {
    fn next(&mut self) -> Step {
        let state = &mut *self.ledger.0.lock();
        if state.may_have_arrived && !self.up.deliver_settings().resend {
            return Step::Over(Some(state.at_most_once()));
        }
        let now = Instant::now();
        match self.up.may_go_on(&mut state.visits, Some((now, self.last)), self.held_up) {
            Ok(()) => {}
            Err(Stopped::Because(error)) => return Step::Over(Some(state.over(error))),
            Err(Stopped::For(wait)) => {
                self.held_up = true;
                let left = self.last.saturating_duration_since(now);
                return Step::Wait(
                    self.up.until_retry(wait).min(left),
                    Arc::clone(&self.up.nodes()[0]),
                );
            }
        }
        let may_go_on = state.visits.may_go_on();
        let leg = may_go_on.then(|| self.up.next_leg(&mut state.visits, Some((now, self.last))));
        let Some(leg) = leg.flatten() else {
            let error = match state.visits.tried().count() {
                0 => self.up.nobody(),
                _ => Error::new(Status::NoNode, "every node that this payload may ask was tried"),
            };
            return Step::Over(Some(state.over(error)));
        };
        self.is_redelivery = state.visits.is_retry() && !leg.is_aside;
        let choice = self.up.choice(&leg);
        self.leg = Some(leg);
        Step::Try(choice)
    }

    fn set_back(&mut self, _error: &Error, waited: Duration) {
        let Some(leg) = self.leg.take() else { return };
        self.count_redelivery(&leg);
        let visits = &mut self.ledger.0.lock().visits;
        if leg.is_aside {
            visits.waited(waited);
        } else {
            count(&self.up.nodes()[leg.place].counters.deliveries_failed);
            visits.attempted();
        }
        visits.set_back(leg.set_back());
    }

    fn stands(&mut self) -> Option<(Loan, Arc<dyn Account>)> {
        let leg = self.leg.take()?;
        self.count_redelivery(&leg);
        let state = &mut *self.ledger.0.lock();
        state.visits.attempted();
        let node = &self.up.nodes()[leg.place];
        if state.is_over {
            state.has_said = false; // the connection reports for itself
        } else {
            state.hand_out(node, node.generation(), None, false);
        }
        self.stands = true;
        let until_sent = !self.up.deliver_settings().resend;
        let loan = Loan { last: self.last, share: leg.share, until_sent, is_lent: false };
        Some((loan, Arc::clone(&self.ledger) as Arc<dyn Account>))
    }
}

impl Detour for Route {
    fn beyond(&mut self) -> Result<Choice, Option<Instant>> {
        let leg = self.leg.as_mut().ok_or(None)?;
        let term = Some((Instant::now(), self.last));
        self.up.beyond(&mut self.ledger.0.lock().visits, leg, term)
    }

    fn found(&mut self, node: &Arc<Node>) {
        if let Some(leg) = &mut self.leg {
            self.up.found(&mut self.ledger.0.lock().visits, leg, node.place);
        }
    }

    fn found_none(&mut self) {
        if let Some(leg) = &mut self.leg {
            self.up.found_none(leg);
        }
    }
}

impl Drop for Route {
    /// If no connection was made, none is in use.
    fn drop(&mut self) {
        if !self.stands {
            self.ledger.0.lock().is_connected = false;
        }
    }
}
