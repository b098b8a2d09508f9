//! Nodes with room first: a payload whose node is at its `net.max_connections` goes to another
//! node that has room. Only if none has, it waits, and then the first permit of any of them will
//! do.
//!
//! Invariants: a node that is passed over was neither tried nor handed out. While no node is at its
//! cap, the order of the turns is the plain one.

use std::sync::Arc;
use std::time::Instant;

use crate::balance::visits::Visits;
use crate::set::conn::{Choice, Detour};
use crate::set::journey::{Leg, Term};
use crate::set::node::Node;
use crate::set::upstream::Upstream;

impl Upstream {
    /// The node of `leg` is at its cap: moves the leg on to another node of its tier. `Err` if all
    /// are at their caps: when the wait for one of them must end, if there is a limit.
    #[cold]
    pub fn beyond(
        &self,
        visits: &mut Visits,
        leg: &mut Leg,
        term: Option<Term>,
    ) -> Result<Choice, Option<Instant>> {
        let roster = &self.runtime().roster;
        roster.passed_over(leg.place);
        leg.full.push(leg.place);
        match roster.another(visits.tried(), leg.place) {
            Some(turn) => {
                visits.goes_to(turn.place);
                leg.place = turn.place;
                Ok(self.choice(leg))
            }
            None => {
                // Of the time of the payload, nodes that are not waited for get their part.
                let share = term.and_then(|(now, last)| visits.share(now, last, roster.takers()));
                Err(share.map(|share| share.ends).or(term.map(|(_, last)| last)))
            }
        }
    }

    /// The search for a node with room ended at `place`.
    pub fn found(&self, visits: &mut Visits, leg: &mut Leg, place: usize) {
        for full in leg.full.drain(..) {
            if full == place {
                self.runtime().roster.handed_beside(place); // it was passed over before
            } else {
                visits.forget(full);
            }
        }
        leg.place = place;
    }

    /// None of the nodes had room in time. They count as tried, and the first as handed out.
    pub fn found_none(&self, leg: &mut Leg) {
        if let Some(first) = leg.full.first() {
            self.runtime().roster.handed_beside(*first);
            leg.place = *first;
        }
        leg.full.clear();
    }
}

/// The search of a blocking call.
pub struct Search<'a> {
    /// The set.
    pub up: &'a Upstream,
    /// The nodes that the payload has been to.
    pub visits: &'a mut Visits,
    /// Where it is.
    pub leg: &'a mut Leg,
    /// Its time.
    pub term: Option<Term>,
}

impl Detour for Search<'_> {
    fn beyond(&mut self) -> Result<Choice, Option<Instant>> {
        self.up.beyond(self.visits, self.leg, self.term)
    }

    fn found(&mut self, node: &Arc<Node>) {
        self.up.found(self.visits, self.leg, node.place);
    }

    fn found_none(&mut self) {
        self.up.found_none(self.leg);
    }
}
