//! A connection to the node whose turn it is, or to another one if that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balance::visits::Visits;
use crate::base::error::{self, Error};
use crate::set::conn::{Choice, Conn, Course, Detour, Step};
use crate::set::journey::Leg;
use crate::set::node::Node;
use crate::set::round::Round;
use crate::set::upstream::Upstream;

/// One request for a connection in an event loop, on its way over the nodes.
struct Wish {
    up: Arc<Upstream>,
    visits: Visits,
    leg: Option<Leg>,
}

impl Course for Wish {
    fn next(&mut self) -> Step {
        match self.up.next_leg(&mut self.visits, None) {
            Some(leg) => {
                let choice = self.up.choice(&leg);
                self.leg = Some(leg);
                Step::Try(choice)
            }
            None => Step::Over((self.visits.tried().count() == 0).then(|| self.up.nobody())),
        }
    }

    fn set_back(&mut self, _error: &Error, waited: Duration) {
        if let Some(leg) = self.leg.take() {
            if leg.is_aside {
                self.visits.waited(waited);
            }
            self.visits.set_back(leg.set_back());
        }
    }
}

impl Detour for Wish {
    fn beyond(&mut self) -> Result<Choice, Option<Instant>> {
        let leg = self.leg.as_mut().ok_or(None)?;
        self.up.beyond(&mut self.visits, leg, None)
    }

    fn found(&mut self, node: &Arc<Node>) {
        if let Some(leg) = &mut self.leg {
            self.up.found(&mut self.visits, leg, node.place);
        }
    }

    fn found_none(&mut self) {
        if let Some(leg) = &mut self.leg {
            self.up.found_none(leg);
        }
    }
}

impl Upstream {
    /// Connects to the node whose turn it is; if that fails, to the others.
    pub fn connect(&self) -> error::Result<Conn> {
        self.visit(&mut Round::new(0, None), |conn, _, _| Ok(conn))
    }

    /// As [`Upstream::connect`], but without waiting: the connection may still be connecting.
    pub fn connect_start(self: &Arc<Self>) -> error::Result<Conn> {
        let wish = Wish { up: Arc::clone(self), visits: Visits::new(0), leg: None };
        Conn::start(self.runtime(), Box::new(wish))
    }
}
