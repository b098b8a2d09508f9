//! The classic form: bytes to sections of expanded lines, with `@INCLUDE` and `@SET` carried out.
//! Knows nothing of what the keys mean. Iterative: files that include files never deepen the stack.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::document::{self, Document, Header, Main, Section};
use super::expand::{Environment, Variables, is_name};
use super::include::{self, MAX_FILES};
use super::limits::{MAX_FILE, MAX_KEY, MAX_VALUE};
use super::lines::{At, Lines, TooMuch};
use super::source::{self, FileId};
use super::suggest;
use super::value::{is_unseen, opening, shown};
use crate::base::error::{Error, Position, Result};

/// Files within files, at most.
const MAX_DEPTH: usize = 32;
/// What stands around keys and values and is trimmed from them.
const BLANKS: [char; 2] = [' ', '\t'];

/// Reads the classic form.
pub(super) fn read(main: Main<'_>, environment: Environment<'_>) -> Result<Document> {
    let name: Arc<str> = main.name.into();
    let start = Position { file: name.clone(), line: 1, column: 0 };
    let mut reader = Reader {
        variables: Variables::new(environment),
        document: Document {
            sections: Vec::new(),
            lines: Lines::default(),
            warnings: Vec::new(),
            start,
        },
        text_directories: main.text_directories,
        bytes_left: MAX_FILE.saturating_sub(main.bytes.len()),
        growth_left: MAX_FILE,
        files_left: MAX_FILES,
        stack: Vec::new(),
    };
    let chain = Chain { name, id: main.id, depth: 0, parent: None };
    reader.open(main.bytes, Rc::new(chain), main.directory)?;
    while let Some(step) = reader.stack.pop() {
        match step {
            Step::Include { path, chain, at } => reader.include(&path, &chain, &at)?,
            Step::Read(open) => reader.read_on(open)?,
        }
    }
    Ok(reader.document)
}

struct Reader<'a> {
    variables: Variables<'a>,
    document: Document,
    text_directories: Vec<PathBuf>,
    bytes_left: usize,
    /// How much longer than written the values together may get.
    growth_left: usize,
    files_left: usize,
    stack: Vec<Step>,
}

enum Step {
    /// A file to open, named by the last file of the chain.
    Include { path: PathBuf, chain: Rc<Chain>, at: Position },
    /// A file to read on.
    Read(Open),
}

/// A file and those that led to it.
struct Chain {
    name: Arc<str>,
    id: Option<FileId>,
    depth: usize,
    parent: Option<Rc<Chain>>,
}

struct Open {
    text: Rc<str>,
    offset: usize,
    line: usize,
    chain: Rc<Chain>,
    directory: Option<Arc<Path>>,
    /// Its number among the files of the document.
    file: u32,
    section: Current,
}

/// The section that a line belongs to.
#[derive(Clone, Copy)]
enum Current {
    None,
    Unknown,
    Known(u32),
}

impl Reader<'_> {
    fn open(&mut self, bytes: &[u8], chain: Rc<Chain>, directory: Option<PathBuf>) -> Result<()> {
        let text = source::decode(bytes).map_err(|bad| {
            let position =
                Position { file: chain.name.clone(), line: bad.line, column: bad.column };
            Error::config(&position, bad.cause)
        })?;
        let directory: Option<Arc<Path>> = directory.map(Arc::from);
        let file = self.document.lines.open(Arc::clone(&chain.name), directory.clone());
        self.stack.push(Step::Read(Open {
            text: text.into(),
            offset: 0,
            line: 0,
            chain,
            directory,
            file,
            section: Current::None,
        }));
        Ok(())
    }

    fn include(&mut self, path: &Path, chain: &Rc<Chain>, at: &Position) -> Result<()> {
        let refuse =
            |reason: &str| Err(Error::config(at, format!("@INCLUDE {}: {reason}", path.display())));
        if chain.depth == MAX_DEPTH {
            return refuse(&format!(
                "files include files more than {MAX_DEPTH} deep; include fewer"
            ));
        }
        if self.files_left == 0 {
            return refuse(&format!("more than {MAX_FILES} files are included; include fewer"));
        }
        if document::is_yaml(path) {
            return refuse(
                "the YAML form is not read by this version; write the file in the classic form",
            );
        }
        let (bytes, id) = match source::read_regular(path, self.bytes_left) {
            Ok(read) => read,
            Err(unreadable) => return refuse(&unreadable.reason),
        };
        let mut above = Some(chain);
        while let Some(link) = above {
            if link.id == Some(id) {
                return refuse(
                    "the file includes itself, over others or at once; take out this line",
                );
            }
            above = link.parent.as_ref();
        }
        self.files_left -= 1;
        self.bytes_left -= bytes.len();
        let name = path.to_string_lossy().into();
        let link =
            Chain { name, id: Some(id), depth: chain.depth + 1, parent: Some(chain.clone()) };
        self.open(&bytes, Rc::new(link), Some(directory_of(path)))
    }

    /// Reads on to the end of the file, or to an `@INCLUDE`, which then comes before the rest.
    fn read_on(&mut self, mut open: Open) -> Result<()> {
        let text = open.text.clone();
        while open.offset < text.len() {
            let rest = &text[open.offset..];
            let end = rest.bytes().position(|byte| byte == b'\n').unwrap_or(rest.len()); // lines are short
            open.offset += end + 1;
            open.line += 1;
            let line = rest[..end].strip_suffix('\r').unwrap_or(&rest[..end]);
            let content = without_blanks_before(line);
            let column = (line.len() - content.len() + 1) as u32;
            let at = At { file: open.file, line: open.line as u32, column };
            let content = without_blanks_behind(content);
            match content.as_bytes().first() {
                None | Some(b'#') => {}
                Some(b'[') => open.section = self.header(content, at)?,
                Some(b'@') => {
                    let position = self.document.lines.position(at);
                    if let Some(mut includes) = self.command(content, position, &open)? {
                        self.stack.push(Step::Read(open));
                        includes.reverse();
                        self.stack.append(&mut includes);
                        return Ok(());
                    }
                }
                Some(_) => self.key_and_value(content, at, open.section)?,
            }
        }
        Ok(())
    }

    fn header(&mut self, content: &str, at: At) -> Result<Current> {
        let position = || self.document.lines.position(at);
        let Some((name, rest)) = content[1..].split_once(']') else {
            return Err(Error::config(
                &position(),
                "a section without its \"]\"; write [UPSTREAM] or [NODE]",
            ));
        };
        let name = name.trim_matches(BLANKS);
        let rest = rest.trim_start_matches(BLANKS);
        if !rest.is_empty() {
            let position = position();
            let column = position.column + content[..content.len() - rest.len()].chars().count();
            return Err(Error::config(
                &Position { column, ..position },
                format!("text behind [{name}]; put it on a line of its own"),
            ));
        }
        let header = match () {
            () if name.eq_ignore_ascii_case("UPSTREAM") => Header::Upstream,
            () if name.eq_ignore_ascii_case("NODE") => Header::Node,
            () if name.is_empty() => {
                return Err(Error::config(
                    &position(),
                    "a section without a name; write [UPSTREAM] or [NODE]",
                ));
            }
            () => {
                let position = position();
                let near = suggest::nearest(&name.to_ascii_uppercase(), ["UPSTREAM", "NODE"], 2);
                let mend = near.map(|near| format!("; did you mean [{near}]?")).unwrap_or_default();
                self.document.warnings.push(format!(
                    "{position}: unknown section {}, which is not read{mend}",
                    shown(name)
                ));
                return Ok(Current::Unknown);
            }
        };
        self.document.lines.spellings.begin();
        self.document.sections.push(Section { header, at, lines: 0..0 });
        Ok(Current::Known(self.document.sections.len() as u32 - 1))
    }

    /// Carries out `@SET`; for `@INCLUDE`, says what to read next.
    fn command(
        &mut self,
        content: &str,
        position: Position,
        open: &Open,
    ) -> Result<Option<Vec<Step>>> {
        let (word, argument) = content.split_once(BLANKS).unwrap_or((content, ""));
        let argument = argument.trim_start_matches(BLANKS);
        let at = Position {
            column: position.column + content[..content.len() - argument.len()].chars().count(),
            ..position.clone()
        };
        if word.eq_ignore_ascii_case("@SET") {
            let Some((name, value)) = argument.split_once('=') else {
                return Err(Error::config(&position, "@SET without \"=\"; write @SET NAME=value"));
            };
            let name = name.trim_end_matches(BLANKS);
            if !is_name(name) {
                // It may be a value that lacks its name, and a secret.
                return Err(Error::config(
                    &at,
                    "@SET: what stands before \"=\" is no variable's name",
                ));
            }
            let value = value.trim_start_matches(BLANKS);
            let column = position.column + content[..content.len() - value.len()].chars().count();
            let value = self.expand(value, &Position { column, ..position })?;
            self.variables.set(name, value);
            return Ok(None);
        }
        if !word.eq_ignore_ascii_case("@INCLUDE") {
            return Err(Error::config(
                &position,
                format!("unknown command {}; there are @INCLUDE and @SET", shown(opening(word))),
            ));
        }
        let pattern = self.expand(argument, &at)?;
        if pattern.is_empty() {
            return Err(Error::config(&position, "@INCLUDE without a path; write @INCLUDE path"));
        }
        let found = match &open.directory {
            Some(directory) => include::find(&pattern, &[directory.to_path_buf()]),
            None => include::find(&pattern, &self.text_directories),
        };
        let paths = found.map_err(|cause| Error::config(&at, cause))?;
        let include = |path| Step::Include { path, chain: open.chain.clone(), at: at.clone() };
        Ok(Some(paths.into_iter().map(include).collect()))
    }

    fn key_and_value(&mut self, content: &str, at: At, section: Current) -> Result<()> {
        let section = match section {
            Current::Unknown => return Ok(()),
            Current::None => {
                return Err(self.refusal(
                    at,
                    format!(
                        "{} stands before any section; open one with [UPSTREAM] or [NODE]",
                        shown(opening(content))
                    ),
                ));
            }
            Current::Known(index) => index,
        };
        let key = match self.document.lines.spellings.expected(content) {
            Some(key) => key,
            None => self.key(content, at)?,
        };
        let spellings = &self.document.lines.spellings;
        let behind = &content[spellings.get(key).len()..];
        let value = without_blanks_before(behind);
        if value.is_empty() {
            let key = spellings.get(key);
            let mend = if key.contains(['=', ':']) {
                ", apart by a blank and without \"=\" or \":\""
            } else {
                ""
            };
            let text =
                format!("the key {} has no value; write one behind it{mend}", shown(opening(key)));
            return Err(self.refusal(at, text));
        }
        let before = spellings.width(key) + behind.len() - value.len();
        let value_column = at.column + before as u32;
        let expanded;
        let value = if value.as_bytes().contains(&b'$') || value.len() > MAX_VALUE {
            let position = self.document.lines.position(At { column: value_column, ..at });
            expanded = self.expand(value, &position)?;
            &expanded
        } else {
            trimmed(value)
        };
        let pushed = self.document.lines.push(section, key, at, value_column, value);
        pushed.map_err(|TooMuch| {
            self.refusal(at, "all values together are over 4 GiB; shorten them".into())
        })
    }

    /// The key that `content` opens with.
    fn key(&mut self, content: &str, at: At) -> Result<u32> {
        let key = content.split_once(BLANKS).map_or(content, |(key, _)| key);
        if !self.document.lines.spellings.knows(key) {
            if key.len() > MAX_KEY {
                let text = format!("a key of {} bytes; it may have {MAX_KEY} at most", key.len());
                return Err(self.refusal(at, text));
            }
            // The reader of the file cannot see it, so that the key is not the one they believe it
            // is.
            if let Some((end, odd)) = key.char_indices().find(|&(_, c)| is_unseen(c)) {
                let whole = shown(opening(&key[..end]));
                let text = format!(
                    "behind {whole} the key carries {odd:?}, which does not show; retype the line"
                );
                return Err(self.refusal(at, text));
            }
        }
        Ok(self.document.lines.spellings.follow(key))
    }

    fn refusal(&self, at: At, cause: String) -> Error {
        Error::config(&self.document.lines.position(at), cause)
    }

    /// The value with its variables put in, trimmed; `at` is where it starts.
    fn expand(&mut self, text: &str, at: &Position) -> Result<String> {
        if text.len() > MAX_VALUE {
            return Err(Error::config(
                at,
                format!("a value of {} bytes; it may have {MAX_VALUE} at most", text.len()),
            ));
        }
        let expanded = self.variables.expand(text).map_err(|fault| {
            let column = at.column + text[..fault.offset].chars().count();
            Error::config(&Position { column, ..at.clone() }, fault.cause)
        })?;
        let trimmed = trimmed(&expanded);
        self.growth_left = self
            .growth_left
            .checked_sub(trimmed.len().saturating_sub(text.len()))
            .ok_or_else(|| {
            let limit = MAX_FILE >> 20;
            Error::config(
                at,
                format!("variables make the file over {limit} MiB longer; shorten them"),
            )
        })?;
        Ok(trimmed.to_owned())
    }
}

/// Without the blanks it begins with.
fn without_blanks_before(text: &str) -> &str {
    let blanks = text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// Without the blanks it ends with.
fn without_blanks_behind(text: &str) -> &str {
    let blanks = text.bytes().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[..text.len() - blanks]
}

/// A value without what stands around it: a variable often brings the newline of the file it was
/// read from.
fn trimmed(value: &str) -> &str {
    let stays = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let bytes = value.as_bytes();
    match (bytes.iter().position(stays), bytes.iter().rposition(stays)) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => "",
    }
}

/// The directory a file stands in; empty for one in the working directory.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
