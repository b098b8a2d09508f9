//! What every form of a file gives: its sections with their lines. To add a form, write a file
//! beside `classic` that makes a [`Document`] of a [`Main`], and have `read` in `mod.rs` choose it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lines::{At, Lines};
use super::source::FileId;
use crate::base::error::Position;

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Upstream,
    Node,
}

/// A section this library reads.
#[derive(Debug)]
pub(super) struct Section {
    pub header: Header,
    pub at: At,
    pub lines: Range<u32>,
}

/// All a file says, files it includes among it.
#[derive(Debug)]
pub(super) struct Document {
    pub sections: Vec<Section>,
    pub lines: Lines,
    pub warnings: Vec<String>,
    /// Where the text starts, for errors about what it lacks.
    pub start: Position,
}

/// The main text and where its relative paths are looked for.
pub(super) struct Main<'a> {
    pub bytes: &'a [u8],
    pub name: &'a str,
    pub id: Option<FileId>,
    /// Directory of the file; `None` for a text.
    pub directory: Option<PathBuf>,
    /// Where the includes of a text are looked for.
    pub text_directories: Vec<PathBuf>,
}

/// Whether the name of a file says that it has the YAML form.
pub(super) fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}
