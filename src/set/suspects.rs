//! Failures that the payload itself may have caused. They are held back until it is known how the
//! payload fared at other nodes.
//!
//! Invariant: if a payload fails in the same way at every node that it reaches, and at more than
//! one, the payload is the suspect, and no node is blamed.

use std::sync::Arc;

use crate::balance::roster::Turn;
use crate::base::error::Error;
use crate::set::node::Node;
use crate::set::outcome::{Outcome, way_of_payload};

/// The failures of one payload that are held back.
#[derive(Default)]
pub struct Suspects {
    held: Vec<Suspect>,
    /// It reached a node and did not fail there, or failed in a way that no payload causes.
    differs: bool,
}

struct Suspect {
    node: Arc<Node>,
    generation: u32,
    trial: Option<Turn>,
    error: Box<Error>,
}

impl Suspects {
    /// Takes the outcome of an exchange. `reached`: the node got bytes of the payload. Tells the
    /// node, unless that must wait for how the payload fares at other nodes.
    pub fn take(
        &mut self,
        node: &Arc<Node>,
        generation: u32,
        trial: Option<Turn>,
        reached: bool,
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Bad(error) if reached && way_of_payload(&error).is_some() => {
                self.held.push(Suspect { node: Arc::clone(node), generation, trial, error });
            }
            outcome => {
                self.differs |= reached && !matches!(outcome, Outcome::Nothing);
                node.hear(generation, trial, outcome);
            }
        }
    }

    /// Tells the nodes what was held back, at the end of the payload's way.
    #[inline]
    pub fn settle(&mut self) {
        if !self.held.is_empty() {
            self.judge();
        }
    }

    #[cold]
    fn judge(&mut self) {
        let suspects = std::mem::take(&mut self.held);
        let mut ways = suspects.iter().map(|suspect| way_of_payload(&suspect.error));
        let first = ways.next();
        let same = suspects.len() > 1 && ways.all(|way| Some(way) == first);
        for Suspect { node, generation, trial, error } in suspects {
            let outcome =
                if same && !self.differs { Outcome::Nothing } else { Outcome::Bad(error) };
            node.hear(generation, trial, outcome);
        }
    }
}

impl Drop for Suspects {
    /// A call that ends early because of a defect blames the nodes, as if the payload were good.
    fn drop(&mut self) {
        self.settle();
    }
}
