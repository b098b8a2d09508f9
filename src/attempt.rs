//! One payload of a plugin that does its own I/O: nodes by the same rules as a delivery's, the outcomes told by the plugin.

use std::sync::Arc;

use crate::balance::Tried;
use crate::error::Status;
use crate::node::Node;
use crate::roster::Turn;
use crate::upstream::Upstream;

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
        if most > 0 && tried.count() >= most || tried.count() >= upstream.nodes().len() {
            return None;
        }
        if tried.count() > 0 && upstream.budget.retry(runtime.clock.now()).is_err() {
            return None;
        }
        let turn = runtime
            .roster
            .probe_due(tried, || runtime.clock.now())
            .or_else(|| runtime.roster.next_untried(tried, !runtime.birthplace.is_elsewhere()))?;
        tried.insert(turn.place);
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
