//! Text to [`Definition`]: what an upstream file says, checked in full before anything uses it.
//!
//! Reads files, never sockets; knows every key (see [`keys`]) and nothing of what is done with it.

pub mod settings;

use crate::error::Position;

pub use settings::{
    Balance, CipherNames, DeliverSettings, NetSettings, NodeSettings, SetSettings, Start, TlsFile, TlsSettings,
    TlsVersion,
};

/// One `key value` line as written, after `${}` expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key in the letter case it was written in.
    pub key: String,
    /// The value, trimmed at both ends, otherwise as written. Holds no NUL byte.
    pub value: String,
    /// Where the key stands.
    pub position: Position,
}

/// A node of the file: its own lines, and the library's keys read from them.
#[derive(Clone, Debug)]
pub struct NodeDefinition {
    /// The node's name, unique in the set.
    pub name: String,
    /// Host name or numeric address, without the brackets of an IPv6 literal.
    pub host: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// What `upstream_node_get_prop` answers: the node's own lines in file order, then those of
    /// `[UPSTREAM]` and of the options that no earlier one hides (keys compared without letter case).
    pub properties: Vec<Property>,
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
}
