//! The messages about lines that are not understood. Such a line may be a secret in the wrong
//! place: a value whose key is missing, or all of an included file. So of its text only a word is
//! shown that is certainly a key, and never what follows it.

use super::spelling::Spellings;
use super::value::{is_unseen, opening, shown};
use super::{keys, others, secret, suggest};
use crate::base::text::brief;
use crate::base::wiped::Wiped;

/// A line that is one word. In `[UPSTREAM]` the first one may be the upstream's name.
pub(super) fn one_word(spellings: &Spellings, word: &str, may_be_name: bool) -> String {
    let lower = Wiped::new(opening(word).to_ascii_lowercase());
    // A word with digits may be a secret, and the text shows the word.
    let may_be_shown = !lower.bytes().any(|byte| byte.is_ascii_digit());
    if let (None, Some(text), true) = (keys::find(&lower), others::of_tls(&lower), may_be_shown) {
        return text;
    }
    let more = if word.contains(['=', ':']) {
        ", with a blank between them and no \"=\" or \":\""
    } else {
        ""
    };
    match key(spellings, word) {
        Some(key) => format!("the key {} has no value; write one after it{more}", shown(key)),
        None if may_be_name && is_plain(word) => format!(
            "this line has no value; if it is the name of the upstream, write \"name {}\"",
            brief(word)
        ),
        None => format!("this line has no value; write a key, and a value after it{more}"),
    }
}

/// A line before the first section of a file.
pub(super) fn no_section(spellings: &Spellings, line: &str, is_included: bool) -> String {
    let (what, hint) = match key(spellings, line) {
        Some(key) => (shown(key), ""),
        None if is_included => (
            "this line".to_owned(),
            " (an included file cannot be the value of a key, but ${VAR} can)",
        ),
        None => ("this line".to_owned(), ""),
    };
    format!("{what} comes before the first section; put [UPSTREAM] or [NODE] above it{hint}")
}

/// A key with a character that is not seen, `odd`, after its text `before`.
pub(super) fn unseen(spellings: &Spellings, before: &str, odd: char) -> String {
    let has = match key(spellings, before) {
        _ if before.is_empty() => "the key begins with".to_owned(),
        Some(seen) => format!("after {} the key has", shown(seen)),
        None => "the key has".to_owned(),
    };
    format!("{has} the invisible character {odd:?}; type the line again")
}

/// Whether a text has the characters of a word only.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The error about the header of a section that is not known, if it is one: the text in its
/// brackets is probably meant to be `UPSTREAM` or `NODE`.
pub(super) fn no_header(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("this section header has no name; write [UPSTREAM] or [NODE]".into());
    }
    if let Some(odd) = name.chars().find(|&c| is_unseen(c) && !matches!(c, ' ' | '\t')) {
        return Some(format!(
            "this section header has the invisible character {odd:?}; type the line again"
        ));
    }
    let (upper, words) = (Wiped::new(name.to_ascii_uppercase()), ["NODE", "UPSTREAM"]);
    let begun = words.into_iter().find(|word| {
        let is_apart = |c: char| !c.is_alphabetic();
        upper.strip_prefix(word).is_some_and(|rest| rest == "S" || rest.starts_with(is_apart))
            || upper.strip_suffix(word).is_some_and(|rest| rest.ends_with(is_apart))
    });
    let meant = begun.or_else(|| suggest::nearest(&upper, words, 1))?;
    let what = match is_plain(name) {
        true => format!("unknown section {}", shown(name)),
        false => "this section is unknown".into(),
    };
    Some(format!("{what}; did you mean [{meant}]?"))
}

/// A section that is not known.
pub(super) fn section(name: &str) -> String {
    let word = opening(name);
    if word.is_empty() || !is_plain(word) {
        return "this unknown section is ignored".to_owned();
    }
    let near = suggest::nearest(&Wiped::new(name.to_ascii_uppercase()), ["UPSTREAM", "NODE"], 2);
    let fix = near.map(|near| format!("; did you mean [{near}]?")).unwrap_or_default();
    format!("unknown section {} is ignored{fix}", shown(word))
}

/// A line that begins with `@`: its first word, and what follows that.
pub(super) fn command(word: &str, argument: &str) -> String {
    let starts_with = |command: &str| {
        word.get(..command.len()).is_some_and(|start| start.eq_ignore_ascii_case(command))
    };
    match argument.is_empty() {
        false => format!("unknown command {}; write @INCLUDE or @SET", shown(opening(word))),
        true if starts_with("@SET") => {
            "there is no blank after @SET; write @SET NAME=value".to_owned()
        }
        true if starts_with("@INCLUDE") => {
            "there is no blank after @INCLUDE; write @INCLUDE path".to_owned()
        }
        true => "this command is unknown; write @INCLUDE or @SET".to_owned(),
    }
}

/// The key at the start of a line, if a message may show it: a key that is known, nearly one that
/// is known, one that was seen before, or the name of a secret with something after it.
fn key<'t>(spellings: &Spellings, line: &'t str) -> Option<&'t str> {
    let word = opening(line);
    let is_alone = word.len() == line.len();
    let is_key = spellings.knows(word)
        || keys::is_near(&Wiped::new(word.to_ascii_lowercase()))
        || !is_alone && secret::is_secret(word);
    is_key.then_some(word).filter(|word| !word.is_empty())
}
