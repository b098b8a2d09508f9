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
    /// Its part of [`Definition::properties`].
    pub owner: Owner,
    /// Where its `[NODE]` stands.
    pub(super) at: At,
    /// The library's own keys, typed: node, then `[UPSTREAM]`, then options, then default.
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
    /// What is worth one log line each: unknown sections, near misses of plugin keys, keys accepted
    /// but without effect here. Each carries file:line:column.
    pub warnings: Vec<String>,
    /// What `upstream_node_get_prop` answers: the node's own lines in file order, then those of
    /// `[UPSTREAM]` and of the options that no earlier one hides (keys compared without letter
    /// case).
    pub properties: Arc<Properties>,
    /// The nodes by name.
    pub index: NameIndex,
    /// Where all of it stands.
    pub(super) lines: Lines,
}

impl Definition {
    /// Where a node's `[NODE]` stands.
    pub fn position_of(&self, node: &NodeDefinition) -> Position {
        self.lines.position(node.at)
    }
}
