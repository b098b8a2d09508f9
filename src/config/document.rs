//! What every form of a file gives: its sections with their lines. To add a form, write a module
//! like `classic` that makes a [`Document`] from a [`Main`], and call it from `read` in `mod.rs`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lines::{At, Lines};
use super::source::FileId;
use super::warnings::Warnings;
use crate::base::error::Position;

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Upstream,
    Node,
}

/// A section that this library reads.
#[derive(Debug)]
pub(super) struct Section {
    pub header: Header,
    pub at: At,
    pub lines: Range<u32>,
}

/// Everything in a file and in the files that it includes.
#[derive(Debug)]
pub(super) struct Document {
    pub sections: Vec<Section>,
    pub lines: Lines,
    pub warnings: Warnings,
    /// Where a `@SET` gives a secret that stands in the file, and its name.
    pub secrets: Vec<(At, String)>,
    /// Where the text starts, for errors about what is missing.
    pub start: Position,
}

/// The main text, and where to look for its relative paths.
pub(super) struct Main<'a> {
    pub bytes: &'a [u8],
    pub name: &'a str,
    pub id: Option<FileId>,
    /// Every user of the machine may read the file.
    pub is_open: bool,
    /// The file's directory; `None` for a text.
    pub directory: Option<PathBuf>,
    /// Where to look for the includes of a text.
    pub text_directories: Vec<PathBuf>,
}

/// Whether the file's name says that it is in the YAML form.
pub(super) fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

/// Whether the first line of a file that is not a comment is one of the YAML form. No line of the
/// classic form looks like this before the first section.
pub(super) fn looks_like_yaml(line: &str) -> bool {
    let ends_key = |word: &str| word.len() > 1 && word.ends_with(':');
    let word = line.split([' ', '\t']).next().unwrap_or_default();
    matches!(word, "---" | "-" | "%YAML") || line.starts_with(['{', '"', '\'']) || ends_key(word)
}

/// Whether a text is in the classic form: its first line that is not a comment says so.
pub(super) fn looks_classic(text: &[u8]) -> bool {
    let lines = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|byte| *byte == b'\n');
    let mut lines = lines.map(<[u8]>::trim_ascii).filter(|line| !matches!(line, [] | [b'#', ..]));
    lines.next().is_some_and(|line| {
        let line = line.to_ascii_uppercase();
        let in_brackets = line.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
        let is_section = in_brackets
            .is_some_and(|name| name.starts_with(b"UPSTREAM") || name.starts_with(b"NODE"));
        is_section || line.starts_with(b"@SET") || line.starts_with(b"@INCLUDE")
    })
}
