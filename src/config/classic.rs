//! The classic form: turns bytes into sections of lines, expands `${}`, and carries out `@INCLUDE`
//! and `@SET`. It does not know what the keys mean. It keeps its own list of open files instead of
//! calling itself, so nested includes use no more stack.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::blanks::{BLANKS, trimmed, unseen_around, without_blanks_before, without_blanks_behind};
use super::document::{self, Document, Header, Main, Section};
use super::expand::{Environment, Expanded, Variables, is_all_variables, is_name};
use super::include::Finder;
use super::limits::{MAX_FILE, MAX_FILES, MAX_KEY, MAX_KEYS, MAX_NODES, MAX_VALUE};
use super::lines::{At, Lines, Origin};
use super::others;
use super::source::{self, FileId};
use super::value::{is_unseen, opening};
use super::warnings::{About, Warnings};
use super::{secret, unclear};
use crate::base::error::{Error, Position, Result};
use crate::base::text::{brief, brief_path};
use crate::base::wiped::Wiped;

/// How deep includes may be nested.
const MAX_DEPTH: usize = 32;

/// Reads the classic form.
pub(super) fn read(main: Main<'_>, environment: Environment<'_>) -> Result<Document> {
    let name: Arc<str> = main.name.into();
    let start = Position { file: name.clone(), line: 1, column: 0 };
    let mut reader = Reader {
        variables: Variables::new(environment),
        document: Document {
            sections: Vec::new(),
            lines: Lines::default(),
            warnings: Warnings::default(),
            secrets: Vec::new(),
            start,
        },
        text_directories: main.text_directories,
        bytes_left: MAX_FILE.saturating_sub(main.bytes.len()),
        growth_left: MAX_FILE,
        files_left: MAX_FILES,
        finder: Finder::new(),
        stack: Vec::new(),
    };
    let chain = Chain { name, id: main.id, depth: 0, parent: None };
    reader.open(main.bytes, Rc::new(chain), main.directory, main.is_open)?;
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
    /// By how many bytes variables may still lengthen the values, all together.
    growth_left: usize,
    files_left: usize,
    finder: Finder,
    stack: Vec<Step>,
}

enum Step {
    /// A file to open. The last file of the chain includes it.
    Include { path: PathBuf, chain: Rc<Chain>, at: Position },
    /// A file to go on reading.
    Read(Open),
}

/// A file, and the files through which it is included.
struct Chain {
    name: Arc<str>,
    id: Option<FileId>,
    depth: usize,
    parent: Option<Rc<Chain>>,
}

struct Open {
    text: Rc<Wiped<String>>,
    offset: usize,
    line: usize,
    chain: Rc<Chain>,
    directory: Option<Arc<Path>>,
    /// The file's number in the document.
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
    fn open(
        &mut self,
        bytes: &[u8],
        chain: Rc<Chain>,
        directory: Option<PathBuf>,
        is_open: bool,
    ) -> Result<()> {
        let text = source::decode(bytes).map_err(|bad| {
            let position =
                Position { file: chain.name.clone(), line: bad.line, column: bad.column };
            Error::config(&position, bad.cause)
        })?;
        let directory: Option<Arc<Path>> = directory.map(Arc::from);
        let file = self.document.lines.open(Arc::clone(&chain.name), directory.clone(), is_open);
        self.stack.push(Step::Read(Open {
            text: Rc::new(Wiped::new(text.to_owned())),
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
        let refuse = |reason: &str| {
            Err(Error::config(at, format!("@INCLUDE {}: {reason}", brief_path(path))))
        };
        if chain.depth == MAX_DEPTH {
            return refuse(&format!("includes are nested more than {MAX_DEPTH} deep; nest fewer"));
        }
        if self.files_left == 0 {
            return refuse(&format!("more than {MAX_FILES} files are included; include fewer"));
        }
        if document::is_yaml(path) {
            return refuse(
                "this version does not read the YAML form; write the file in the classic form",
            );
        }
        let content = match source::read_regular(path, self.bytes_left) {
            Ok(content) => content,
            Err(unreadable) => return refuse(&unreadable.reason),
        };
        let mut above = Some(chain);
        while let Some(link) = above {
            if link.id == Some(content.id) {
                return refuse(
                    "the file includes itself, directly or through others; remove this line",
                );
            }
            above = link.parent.as_ref();
        }
        self.files_left -= 1;
        self.bytes_left -= content.bytes.len();
        let name = path.to_string_lossy().into();
        let (id, depth) = (Some(content.id), chain.depth + 1);
        let link = Chain { name, id, depth, parent: Some(chain.clone()) };
        self.open(&content.bytes, Rc::new(link), Some(directory_of(path)), content.is_open)
    }

    /// Reads to the end of the file, or to an `@INCLUDE`; the included files are then read before
    /// the rest.
    fn read_on(&mut self, mut open: Open) -> Result<()> {
        let text = open.text.clone();
        while open.offset < text.len() {
            let rest = &text[open.offset..];
            let end = rest.bytes().position(|byte| byte == b'\n').unwrap_or(rest.len());
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
        let Some(end) = content.bytes().position(|byte| byte == b']') else {
            return Err(Error::config(
                &position(),
                "this section header has no \"]\"; write [UPSTREAM] or [NODE]",
            ));
        };
        let name = without_blanks_behind(without_blanks_before(&content[1..end]));
        let rest = without_blanks_before(&content[end + 1..]);
        if !rest.is_empty() {
            let position = position();
            let column = position.column + content[..content.len() - rest.len()].chars().count();
            let name = brief(opening(name));
            let text = match rest.chars().next().filter(|&odd| is_unseen(odd)) {
                Some(odd) => format!(
                    "there is the invisible character {odd:?} after [{name}]; type the line again"
                ),
                None => format!("there is text after [{name}]; put it on its own line"),
            };
            return Err(Error::config(&Position { column, ..position }, text));
        }
        let header = match () {
            () if name.eq_ignore_ascii_case("UPSTREAM") => Header::Upstream,
            () if name.eq_ignore_ascii_case("NODE") => Header::Node,
            () => return self.unknown_section(name, &position()),
        };
        // One more than the nodes, for [UPSTREAM].
        if self.document.sections.len() > MAX_NODES {
            let text = format!("the file has more than {MAX_NODES} sections; make it smaller");
            return Err(self.refusal(at, text));
        }
        self.document.lines.spellings.begin();
        self.document.sections.push(Section { header, at, lines: 0..0 });
        Ok(Current::Known(self.document.sections.len() as u32 - 1))
    }

    /// A section that is not read. If it is probably a misspelt `[NODE]`, it is an error: a server
    /// must not be left out in silence.
    fn unknown_section(&mut self, name: &str, at: &Position) -> Result<Current> {
        if let Some(cause) = unclear::no_header(name) {
            return Err(Error::config(at, cause));
        }
        let warnings = &mut self.document.warnings;
        if !warnings.only_counts(About::Section) {
            warnings.add(About::Section, at, &unclear::section(name));
        }
        Ok(Current::Unknown)
    }

    /// Carries out `@SET`. For `@INCLUDE`, returns what to read next.
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
                return Err(Error::config(&position, "@SET has no \"=\"; write @SET NAME=value"));
            };
            let name = name.trim_end_matches(BLANKS);
            if !is_name(name) {
                // Do not show the text: it may be a secret value whose name was left out.
                return Err(Error::config(
                    &at,
                    "@SET: the text before \"=\" is not the name of a variable; use letters, \
                     digits, \"_\", \".\" and \"-\"",
                ));
            }
            let value = value.trim_start_matches(BLANKS);
            let column = position.column + content[..content.len() - value.len()].chars().count();
            if secret::is_secret(name) && !is_all_variables(value) {
                let at = At { file: open.file, line: open.line as u32, column: 0 };
                self.document.secrets.push((at, name.to_owned()));
            }
            let value = self.expand(value, &Position { column, ..position.clone() })?;
            let set = self.variables.set(name, value.text);
            set.map_err(|cause| Error::config(&position, cause))?;
            return Ok(None);
        }
        if !word.eq_ignore_ascii_case("@INCLUDE") {
            return Err(Error::config(&position, unclear::command(word, argument)));
        }
        let Expanded { text: pattern, is_secret } = self.expand(argument, &at)?;
        if pattern.is_empty() {
            return Err(Error::config(&position, "@INCLUDE has no path; write @INCLUDE path"));
        }
        let found = match &open.directory {
            Some(directory) => self.finder.find(&pattern, &[directory.to_path_buf()]),
            None => self.finder.find(&pattern, &self.text_directories),
        };
        let paths = found.map_err(|cause| match is_secret {
            true => Error::config(&at, "@INCLUDE: the variable names no file; write a path"),
            false => Error::config(&at, cause),
        })?;
        let include = |path| Step::Include { path, chain: open.chain.clone(), at: at.clone() };
        Ok(Some(paths.into_iter().map(include).collect()))
    }

    fn key_and_value(&mut self, content: &str, at: At, section: Current) -> Result<()> {
        let section = match section {
            Current::Unknown => return Ok(()),
            Current::None => return Err(self.before_the_first_section(content, at)),
            Current::Known(index) => index,
        };
        let key = match self.document.lines.spellings.expected(content) {
            Some(key) => key,
            None => self.key(content, at, section)?,
        };
        let spellings = &self.document.lines.spellings;
        let behind = &content[spellings.get(key).len()..];
        let value = without_blanks_before(behind);
        let before = spellings.width(key) + behind.len() - value.len();
        let value_column = at.column + before as u32;
        if let [sign @ (b'=' | b':'), b' ' | b'\t', ..] = value.as_bytes() {
            return Err(self.with_sign(key, *sign, At { column: value_column, ..at }));
        }
        let expanded;
        let mut origin = Origin::default();
        let value = if value.as_bytes().contains(&b'$') || value.len() > MAX_VALUE {
            let position = self.document.lines.position(At { column: value_column, ..at });
            origin.is_elsewhere = is_all_variables(value);
            expanded = self.expand(value, &position)?;
            origin.is_secret = expanded.is_secret;
            &expanded.text
        } else {
            trimmed(value)
        };
        if let Some(cause) = unseen_around(value) {
            return Err(self.refusal(At { column: value_column, ..at }, cause));
        }
        let pushed = self.document.lines.push(section, key, at, value_column, value, origin);
        pushed.map_err(|too_much| self.refusal(at, too_much.to_string()))
    }

    fn before_the_first_section(&self, content: &str, at: At) -> Error {
        let spellings = &self.document.lines.spellings;
        let text = match document::looks_like_yaml(content) {
            true => "this looks like the YAML form; this version does not read the YAML form; \
                     write the file in the classic form, with [UPSTREAM] and [NODE]"
                .to_owned(),
            false => unclear::no_section(spellings, content, at.file > 0),
        };
        self.refusal(at, text)
    }

    /// A line that is one word: a setting in another program's file, or a mistake.
    fn one_word(&mut self, word: &str, at: At, section: u32) -> Result<u32> {
        let Document { sections, lines, .. } = &mut self.document;
        if others::is_flag(word) {
            return Ok(lines.spellings.follow(word));
        }
        let may_be_name =
            sections[section as usize].header == Header::Upstream && !lines.has_any(section);
        let text = unclear::one_word(&lines.spellings, word, may_be_name);
        Err(self.refusal(at, text))
    }

    /// A value that begins with the sign that other formats have before it.
    fn with_sign(&self, key: u32, sign: u8, at: At) -> Error {
        let (sign, key) = (char::from(sign), self.document.lines.spellings.get(key));
        let text = format!(
            "{}: the value begins with \"{sign}\"; write only blanks between a key and its value",
            brief(opening(key))
        );
        self.refusal(at, text)
    }

    /// The key at the start of `content`.
    fn key(&mut self, content: &str, at: At, section: u32) -> Result<u32> {
        let spellings = &self.document.lines.spellings;
        let Some((key, _)) = content.split_once(BLANKS) else {
            return self.one_word(content, at, section);
        };
        if !spellings.knows(key) {
            if key.len() > MAX_KEY {
                let text =
                    format!("the key has {} bytes; at most {MAX_KEY} are allowed", key.len());
                return Err(self.refusal(at, text));
            }
            // A person who reads the file does not see the character and takes the key for another.
            if let Some((end, odd)) = key.char_indices().find(|&(_, c)| is_unseen(c)) {
                return Err(self.refusal(at, unclear::unseen(spellings, &key[..end], odd)));
            }
            if self.document.lines.spellings.count() > MAX_KEYS {
                let text = format!("the file has more than {MAX_KEYS} different keys; use fewer");
                return Err(self.refusal(at, text));
            }
        }
        Ok(self.document.lines.spellings.follow(key))
    }

    fn refusal(&self, at: At, cause: String) -> Error {
        Error::config(&self.document.lines.position(at), cause)
    }

    /// The value with its variables expanded, trimmed. `at` is where it starts.
    fn expand(&mut self, text: &str, at: &Position) -> Result<Expanded> {
        if text.len() > MAX_VALUE {
            return Err(Error::config(
                at,
                format!("the value has {} bytes; at most {MAX_VALUE} are allowed", text.len()),
            ));
        }
        let mut expanded = self.variables.expand(text).map_err(|fault| {
            let column = at.column + text[..fault.offset].chars().count();
            Error::config(&Position { column, ..at.clone() }, fault.cause)
        })?;
        self.growth_left = self
            .growth_left
            .checked_sub(expanded.text.len().saturating_sub(text.len()))
            .ok_or_else(|| {
                let limit = MAX_FILE >> 20;
                Error::config(
                    at,
                    format!(
                        "the variables make the file more than {limit} MiB longer; shorten them"
                    ),
                )
            })?;
        let trimmed = trimmed(&expanded.text);
        if trimmed.len() < expanded.text.len() {
            expanded.text = Wiped::new(trimmed.to_owned());
        }
        Ok(expanded)
    }
}

/// The directory of a file; empty for a file in the working directory.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
