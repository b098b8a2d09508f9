//! The lines of a document: key, value and position of each. All values are in one text, one after
//! the other, with a NUL byte after each, as C will read them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::limits::MAX_LINES;
use super::spelling::Spellings;
use crate::base::error::{Error, Position, Result};
use crate::base::text::Text;
use crate::base::wiped::{self, Wiped};

/// A position in short form. [`Lines::position`] makes a [`Position`] from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub file: u32,
    pub line: u32,
    pub column: u32,
}

/// A `key value` line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub section: u32,
    /// The number of the key's spelling.
    pub key: u32,
    /// Where the key is.
    pub at: At,
    /// The column of the value.
    pub value_column: u32,
    /// Where the value begins and ends in the text of all values.
    start: u32,
    end: u32,
    origin: Origin,
}

/// Where the text of a value comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    /// From a variable whose name is that of a secret.
    pub is_secret: bool,
    /// Only from variables: the file itself does not hold it.
    pub is_elsewhere: bool,
}

/// A file that was read, or the options.
#[derive(Clone, Debug)]
struct File {
    name: Arc<str>,
    /// `None` for texts and options.
    directory: Option<Arc<Path>>,
    /// Every user of the machine may read it.
    is_open: bool,
}

/// All lines. Add them first, then call [`Lines::finish`], then read them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    list: Vec<Line>,
    files: Vec<File>,
    /// The values while lines are added.
    draft: Wiped<String>,
    values: Arc<Wiped<String>>,
    pub spellings: Spellings,
    /// The lines of some section do not follow each other.
    scattered: bool,
}

impl Lines {
    /// Adds a file; its lines refer to it by the number returned.
    pub fn open(&mut self, name: Arc<str>, directory: Option<Arc<Path>>, is_open: bool) -> u32 {
        self.files.push(File { name, directory, is_open });
        self.files.len() as u32 - 1
    }

    /// Adds a line.
    pub fn push(
        &mut self,
        section: u32,
        key: u32,
        at: At,
        value_column: u32,
        value: &str,
        origin: Origin,
    ) -> Result<(), TooMuch> {
        let (start, end) = (self.draft.len(), self.draft.len() + value.len());
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else {
            return Err(TooMuch::Values);
        };
        if end == u32::MAX {
            return Err(TooMuch::Values);
        }
        if self.list.len() == MAX_LINES {
            return Err(TooMuch::Lines);
        }
        wiped::push_with_nul(&mut self.draft, value);
        self.scattered |= self.list.last().is_some_and(|last| last.section > section);
        self.list.push(Line { section, key, at, value_column, start, end, origin });
        Ok(())
    }

    /// Whether the section that is being read has a line already.
    pub fn has_any(&self, section: u32) -> bool {
        self.list.last().is_some_and(|last| last.section == section)
    }

    /// Ends the adding of lines. Brings the lines of each section together: an `@INCLUDE` of other
    /// sections may have come between them.
    pub fn finish(&mut self) {
        let mut values = std::mem::take(&mut self.draft);
        if self.scattered {
            let room = String::with_capacity(values.len());
            let scattered = std::mem::replace(&mut values, Wiped::new(room));
            self.list.sort_by_key(|line| line.section);
            for line in &mut self.list {
                let start = values.len() as u32;
                values.push_str(&scattered[line.start as usize..=line.end as usize]);
                (line.start, line.end) = (start, start + (line.end - line.start));
            }
        }
        self.values = Arc::new(wiped::fitted(values));
    }

    /// The lines of each section that has any, in the order of the sections.
    pub fn by_section(&self) -> impl Iterator<Item = (u32, Range<u32>)> {
        let mut from = 0;
        self.list.chunk_by(|a, b| a.section == b.section).map(move |lines| {
            let range = from..from + lines.len() as u32;
            from = range.end;
            (lines[0].section, range)
        })
    }

    /// Adds the options as the last section.
    pub fn append_options<'a>(
        &mut self,
        options: impl Iterator<Item = (&'a str, &'a str)>,
        position: &Position,
    ) -> Result<Range<u32>> {
        let file = self.open(Arc::clone(&position.file), None, false);
        let from = self.list.len() as u32;
        for (key, value) in options {
            let key = self.spellings.of(key);
            let at = At { file, line: 0, column: 0 };
            self.push(u32::MAX, key, at, 0, value, Origin::default())
                .map_err(|too_much| Error::config(position, too_much.to_string()))?;
        }
        Ok(from..self.list.len() as u32)
    }

    /// All values, with a NUL byte after each.
    pub fn values(&self) -> &Arc<Wiped<String>> {
        &self.values
    }

    /// Where each value begins in [`Lines::values`], and where the last one ends.
    pub fn starts(&self) -> Box<[u32]> {
        self.list.iter().map(|line| line.start).chain([self.values.len() as u32]).collect()
    }

    /// Whether every user of the machine may read some file.
    pub fn is_any_open(&self) -> bool {
        self.files.iter().any(|file| file.is_open)
    }

    /// Whether every user of the machine may read the file of this number.
    pub fn is_open(&self, file: u32) -> bool {
        self.files[file as usize].is_open
    }

    /// The numbers of all lines.
    pub fn all(&self) -> Range<u32> {
        0..self.list.len() as u32
    }

    /// A run of lines.
    pub fn of(&self, range: &Range<u32>) -> &[Line] {
        &self.list[range.start as usize..range.end as usize]
    }

    /// A line.
    pub fn line(&self, line: u32) -> Given<'_> {
        Given { lines: self, number: line }
    }

    /// The full position, for a message.
    pub fn position(&self, at: At) -> Position {
        let file = Arc::clone(&self.files[at.file as usize].name);
        Position { file, line: at.line as usize, column: at.column as usize }
    }
}

/// Why a line cannot be added.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooMuch {
    /// The values together are longer than 32 bits can count.
    #[error("all values together are over 4 GiB; shorten them")]
    Values,
    #[error("there are more than {MAX_LINES} lines with a key; use fewer")]
    Lines,
}

/// A line among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    lines: &'a Lines,
    number: u32,
}

impl<'a> Given<'a> {
    fn line(self) -> &'a Line {
        &self.lines.list[self.number as usize]
    }

    pub fn number(self) -> u32 {
        self.number
    }

    /// The key as it was spelled.
    pub fn key(self) -> &'a str {
        self.lines.spellings.get(self.line().key)
    }

    /// The number of the key, the same for all its spellings.
    pub fn key_number(self) -> u32 {
        self.lines.spellings.name_of(self.line().key)
    }

    pub fn value(self) -> &'a str {
        let Line { start, end, .. } = *self.line();
        &self.lines.values[start as usize..end as usize]
    }

    /// Where the value begins in [`Lines::values`].
    pub fn start(self) -> u32 {
        self.line().start
    }

    /// `part`, which is all of the value or a part of it, without a copy if possible.
    pub fn text(self, part: &str) -> Text {
        Text::of(&self.lines.values, self.line().start, part)
    }

    /// Where the text of the value comes from.
    pub fn origin(self) -> Origin {
        self.line().origin
    }

    /// Where the key is, in short form.
    pub fn at(self) -> At {
        self.line().at
    }

    /// Where the key is.
    pub fn position(self) -> Position {
        self.lines.position(self.line().at)
    }

    /// Where the value is.
    pub fn value_position(self) -> Position {
        let Line { at, value_column, .. } = *self.line();
        self.lines.position(At { column: value_column, ..at })
    }

    /// The directory of the line's file.
    pub fn directory(self) -> Option<&'a Path> {
        self.lines.files[self.line().at.file as usize].directory.as_deref()
    }
}
