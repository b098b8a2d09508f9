//! A checked upstream file.

use std::sync::Arc;

use super::lines::{At, Lines};
use super::name_index::NameIndex;
use super::properties::{Owner, Properties};
use super::settings::{NodeSettings, SetSettings};
use crate::base::error::Position;
use crate::base::text::Text;

/// A node of the file: its own lines, and the library's keys read from them.
#[derive(Clone, Debug)]
pub struct NodeDefinition {
    /// The node's name, unique in the set.
    pub name: Text,
    /// Host name or numeric address, without the brackets of an IPv6 literal.
    pub host: Text,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// Which of [`Definition::properties`] are the node's.
    pub owner: Owner,
    /// Where its `[NODE]` is.
    pub(super) at: At,
    /// The library's own keys, typed. The node's value goes before that of `[UPSTREAM]`, then that
    /// of the options, then the default.
    pub settings: NodeSettings,
}

/// A whole upstream file, checked.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The set's name.
    pub name: String,
    /// The nodes in file order; never empty.
    pub nodes: Vec<NodeDefinition>,
    /// Keys that concern the set as a whole.
    pub settings: SetSettings,
    /// One log line each: unknown sections, keys that are probably misspelled, keys that have no
    /// effect. Each begins with file:line:column.
    pub warnings: Vec<String>,
    /// What `upstream_node_get_prop` returns: the node's own lines in file order, then the lines of
    /// `[UPSTREAM]` and of the options whose keys are not there yet (in any letter case).
    pub properties: Arc<Properties>,
    /// The nodes by name.
    pub index: NameIndex,
    /// Every line, and where it is.
    pub(super) lines: Lines,
}

impl Definition {
    /// Where a node's `[NODE]` is.
    pub fn position_of(&self, node: &NodeDefinition) -> Position {
        self.lines.position(node.at)
    }
}
