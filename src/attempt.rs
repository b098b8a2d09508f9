//! One payload of a plugin that does its own I/O: nodes by the same rules as a delivery's, the outcomes told by the plugin.

use std::sync::Arc;

use crate::balance::Tried;
use crate::error::Status;
use crate::node::Node;
use crate::roster::Turn;
use crate::upstream::Upstream;
use crate::visits::next_of_attempt;

/// The nodes for one payload, none twice.
pub struct Attempt {
    upstream: Arc<Upstream>,
    tried: Tried,
    current: Option<Turn>,
}

impl Attempt {
    /// An attempt that has been nowhere yet.
    pub fn new(upstream: Arc<Upstream>) -> Attempt {
        Attempt { upstream, tried: Tried::new(), current: None }
    }

    /// The next node; asking again says that the last one failed. `None` once every node was tried, `deliver.attempts` is
    /// reached, or the retry budget is spent.
    pub fn next_node(&mut self) -> Option<&Arc<Node>> {
        let (upstream, tried) = (&*self.upstream, &mut self.tried);
        let runtime = upstream.runtime();
        if let Some(turn) = self.current.take() {
            upstream.nodes()[turn.place].passed_over(turn.generation);
        }
        let most = upstream.deliver_settings().attempts as usize;
        let wait = !runtime.birthplace.is_elsewhere();
        let now = || runtime.clock.now();
        let turn = next_of_attempt(tried, most, &runtime.roster, &upstream.budget, now, wait)?;
        self.current = Some(turn);
        Some(&upstream.nodes()[turn.place])
    }

    /// How it went at the last node.
    pub fn end(self, outcome: Status) {
        if let Some(turn) = self.current {
            self.upstream.nodes()[turn.place].report(turn.generation, outcome);
            if outcome == Status::Ok {
                self.upstream.budget.succeeded();
            }
        }
    }
}
