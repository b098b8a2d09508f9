//! One payload of a plugin that does its own I/O: nodes by the same rules as a delivery's, the outcomes told by the plugin.

use std::sync::Arc;

use crate::balance::Tried;
use crate::conn::PATIENCE;
use crate::error::Status;
use crate::node::Node;
use crate::roster::Turn;
use crate::stats::count;
use crate::upstream::Upstream;
use crate::visits::next_of_attempt;

/// The nodes for one payload, none twice.
pub struct Attempt {
    upstream: Arc<Upstream>,
    tried: Tried,
    /// The node asked last, and how often a plugin had told of a failure there by then.
    current: Option<(Turn, u64)>,
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
        if let Some((turn, told)) = self.current.take() {
            let node = &upstream.nodes()[turn.place];
            // What the plugin has told of it since is this failure.
            if node.failures_told() == told {
                node.passed_over(turn.generation);
            }
        }
        let most = upstream.deliver_settings().attempts as usize;
        let wait = !runtime.birthplace.is_elsewhere();
        let now = || runtime.clock.now();
        let turn = next_of_attempt(tried, most, &runtime.roster, &upstream.budget, now, wait)?;
        let node = &upstream.nodes()[turn.place];
        if tried.count() > 1 {
            count(&node.counters.redeliveries);
        }
        self.current = Some((turn, node.failures_told()));
        Some(node)
    }

    /// How it went at the last node.
    pub fn end(self, outcome: Status) {
        if let Some((turn, _)) = self.current {
            let node = &self.upstream.nodes()[turn.place];
            if !node.report(turn.generation, outcome) && turn.probe {
                node.give_back(turn, PATIENCE); // it told nothing of the node, as where a trial cannot be begun
            }
            if outcome == Status::Ok {
                return self.upstream.budget.succeeded();
            }
        }
        if self.tried.count() > 0 {
            count(&self.upstream.deliveries_failed);
        }
    }
}

#[cfg(test)]
mod tests;
