//! The failures of one payload that may be its own fault, until it is known how it fared at other
//! nodes.
//!
//! Invariant: a payload that fails in the same way wherever it comes is suspect itself, and no node
//! is blamed for it.

use std::sync::Arc;

use crate::balance::roster::Turn;
use crate::base::error::Error;
use crate::set::node::Node;
use crate::set::outcome::{Outcome, way_of_payload};

/// The failures of one payload that may be its own fault, until it is known how it went elsewhere.
#[derive(Default)]
pub struct Suspects {
    held: Vec<Suspect>,
    /// It reached a node and failed there in no such way, or not at all.
    differs: bool,
}

struct Suspect {
    node: Arc<Node>,
    generation: u32,
    trial: Option<Turn>,
    error: Box<Error>,
}

impl Suspects {
    /// Takes the outcome of an exchange in which the node got bytes of the payload, or not. Tells
    /// the node, unless that has to wait for how the payload fares elsewhere.
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

    /// The verdict, at the end of the payload's way.
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
    /// Whoever ends early, by a defect, blames as if the payload were good.
    fn drop(&mut self) {
        self.settle();
    }
}
