//! A connection to the node whose turn it is, or to another one if that fails.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::visits::{SetBack, Visits};
use crate::base::error::{Error, Result};
use crate::set::conn::{Conn, Course, Step};
use crate::set::round::Round;
use crate::set::upstream::Upstream;

/// One request for a connection in an event loop, on its way over the nodes.
struct Wish {
    up: Arc<Upstream>,
    visits: Visits,
    leg: Option<(bool, SetBack)>,
}

impl Course for Wish {
    fn next(&mut self) -> Step {
        match self.up.next_leg(&mut self.visits, None) {
            Some(leg) => {
                self.leg = Some((leg.is_aside, leg.set_back()));
                Step::Try(self.up.choice(&leg))
            }
            None => Step::Over((self.visits.tried().count() == 0).then(|| self.up.nobody())),
        }
    }

    fn set_back(&mut self, _error: &Error, waited: Duration) {
        if let Some((is_aside, how)) = self.leg.take() {
            if is_aside {
                self.visits.waited(waited);
            }
            self.visits.set_back(how);
        }
    }
}

impl Upstream {
    /// Connects to the node whose turn it is; if that fails, to the others.
    pub fn connect(&self) -> Result<Conn> {
        self.visit(&mut Round::new(0, None), |conn, _, _| Ok(conn))
    }

    /// As [`Upstream::connect`], but without waiting: the connection may still be connecting.
    pub fn connect_start(self: &Arc<Self>) -> Result<Conn> {
        let wish = Wish { up: Arc::clone(self), visits: Visits::new(0), leg: None };
        Conn::start(self.runtime(), Box::new(wish))
    }
}
