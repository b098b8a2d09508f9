//! The keys that a plugin declares as its own: their names, what their values may be, and which
//! other keys are probably misspellings of them. Names no key itself. No message here shows a
//! secret value.

use std::collections::HashMap;

use super::keys;
use super::limits::MAX_KEY;
use super::suggest;
use super::value::{
    is_unseen, opening, parse_bool, parse_duration_ms, parse_int, parse_size, shown, shown_key,
    shown_of, trap,
};

/// What the value of a plugin's key may be. The numbers are part of the C API
/// and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum KeyType {
    /// Any text.
    Text = 0,
    /// `on`, `true`, `yes`; `off`, `false`, `no`.
    Bool = 1,
    /// A whole number, which may be negative.
    Int = 2,
    /// A duration, such as `250ms`; without a unit, seconds.
    Ms = 3,
    /// A number of bytes, such as `64k`.
    Size = 4,
    /// Text that no message may show.
    Secret = 5,
}

impl KeyType {
    /// Every type.
    pub const ALL: [KeyType; 6] =
        [KeyType::Text, KeyType::Bool, KeyType::Int, KeyType::Ms, KeyType::Size, KeyType::Secret];

    /// Its name in a message.
    fn name(self) -> &'static str {
        match self {
            KeyType::Text => "UPSTREAM_KEY_TEXT",
            KeyType::Bool => "UPSTREAM_KEY_BOOL",
            KeyType::Int => "UPSTREAM_KEY_INT",
            KeyType::Ms => "UPSTREAM_KEY_MS",
            KeyType::Size => "UPSTREAM_KEY_SIZE",
            KeyType::Secret => "UPSTREAM_KEY_SECRET",
        }
    }

    /// Checks that `key` may have this `value`, with the same readers as the plugin's getters. The
    /// error is a whole sentence with the fix.
    pub fn check(self, key: &str, value: &str) -> Result<(), String> {
        let text = value.trim();
        let what = match self {
            KeyType::Text | KeyType::Secret => return self.check_text(key, value),
            _ if text.is_empty() => "the value is empty; write one, or remove the line",
            KeyType::Bool if parse_bool(text).is_none() => {
                "is neither on nor off; write on, true, yes, off, false or no"
            }
            KeyType::Int if parse_int(text).is_none() => {
                "is not a whole number of 64 bits; write only digits, such as 42 or -1"
            }
            KeyType::Ms if parse_duration_ms(text).is_none() => {
                "is not a duration; write a whole number with ms, s, m, h or d, such as 250ms or \
                 10s"
            }
            KeyType::Size if parse_size(text).is_none() => {
                "is not a size; write a whole number of bytes, or one with k, M or G, such as 512 \
                 or 64k"
            }
            KeyType::Bool | KeyType::Int | KeyType::Ms | KeyType::Size => return Ok(()),
        };
        match text.is_empty() {
            true => Err(format!("{key}: {what}")),
            false => Err(format!("{key}: {} {what}{}", shown_of(key, text), trap(text))),
        }
    }

    /// Text may be anything, but it must not begin with the `=` or `:` of other formats. A secret
    /// must not begin or end with an invisible character: the login would fail, and nobody could
    /// see why.
    fn check_text(self, key: &str, text: &str) -> Result<(), String> {
        let is_secret = self == KeyType::Secret;
        if let Some((sign @ ('=' | ':'), rest)) = split_first(text)
            && (rest.starts_with([' ', '\t']) || is_secret && rest.is_empty())
        {
            return Err(format!(
                "{key}: the value begins with \"{sign}\"; write only blanks between a key and its \
                 value"
            ));
        }
        if is_secret && (text.starts_with(is_unseen) || text.ends_with(is_unseen)) {
            return Err(format!(
                "{key}: the value begins or ends with an invisible character; type it again"
            ));
        }
        Ok(())
    }
}

/// The keys that were declared.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// In small letters, in the order of their declaration.
    keys: Vec<(Box<str>, KeyType)>,
    index: HashMap<Box<str>, usize>,
}

impl Declared {
    /// Declares a key. To declare it again with the same type is no error. The error is a whole
    /// sentence with the fix.
    pub fn add(&mut self, key: &str, kind: KeyType) -> Result<(), String> {
        writable(key)?;
        let name = key.to_ascii_lowercase();
        if let Some(entry) = keys::find(&name) {
            return Err(format!(
                "{} is the library's own key, which the library checks itself; declare only the \
                 plugin's keys",
                entry.name
            ));
        }
        if let Some(family) = keys::family(&name) {
            return Err(format!(
                "keys that begin with \"{family}\" are the library's own; give {name} another name"
            ));
        }
        match self.get(&name) {
            Some(known) if known == kind => Ok(()),
            Some(known) => {
                let (known, other) = (known.name(), kind.name());
                Err(format!(
                    "{name} was declared as {known} before, so it cannot be declared as {other}; \
                     declare it once"
                ))
            }
            None => {
                let name: Box<str> = name.into();
                self.index.insert(name.clone(), self.keys.len());
                self.keys.push((name, kind));
                Ok(())
            }
        }
    }

    /// The type of a key, which is in small letters.
    pub fn get(&self, name: &str) -> Option<KeyType> {
        self.index.get(name).map(|&at| self.keys[at].1)
    }

    /// A message if `name`, which is neither declared nor the library's, is probably a misspelling
    /// of a declared key. `name` is in small letters. The message is a whole sentence with the fix.
    pub fn slip(&self, name: &str) -> Option<String> {
        // What follows it may be a secret value.
        let head = opening(name);
        if head.len() < name.len() && self.get(head).is_some() {
            return Some(keys::joined(head));
        }
        let near = self.keys.iter().map(|(known, _)| &**known).filter(|known| is_slip(head, known));
        let apart = |known: &&str| suggest::distance(head, known, FURTHEST).unwrap_or(FURTHEST + 1);
        let known = near.min_by_key(apart)?;
        Some(format!("unknown key {}; did you mean \"{known}\"?", shown(head)))
    }
}

/// Keys that are further away than this edit distance count as equally far.
const FURTHEST: usize = 4;

/// The first character of a text, and the rest.
fn split_first(text: &str) -> Option<(char, &str)> {
    let mut signs = text.chars();
    Some((signs.next()?, signs.as_str()))
}

/// Whether `name` is more likely a misspelling of the declared key `known` than another key. The
/// same parts joined differently (`shared-key`, `sharedKey`) are a misspelling at any length. A
/// plural is one only if the word has at least 6 letters: shorter words are near too many others.
fn is_slip(name: &str, known: &str) -> bool {
    let is_plural = known.len() >= 6 && name.strip_suffix('s') == Some(known);
    is_plural || suggest::is_slip(name, known) || name != known && letters(name).eq(letters(known))
}

/// A key without the characters that join its parts.
fn letters(key: &str) -> impl Iterator<Item = u8> {
    key.bytes().filter(|byte| !matches!(byte, b'_' | b'-' | b'.'))
}

/// Whether a file can carry a key of this name.
fn writable(key: &str) -> Result<(), String> {
    // U+FFFD stands for bytes that are not UTF-8.
    let is_odd = key.chars().any(|c| is_unseen(c) || c == '\u{fffd}');
    if key.is_empty() || key.len() > MAX_KEY || is_odd {
        return Err(format!(
            "{} cannot be a key; a key has 1 to {MAX_KEY} bytes, no blank and no invisible \
             character",
            shown_key(key)
        ));
    }
    match key.chars().next() {
        Some(sign @ ('#' | '[' | '@')) => Err(format!(
            "no file can hold the key {}: a line that begins with \"{sign}\" is not a key; choose \
             another name",
            shown_key(key)
        )),
        _ if opening(key).len() < key.len() => Err(format!(
            "no file can hold the key {}: \"=\" or \":\" in a key is taken for a mistake; choose \
             another name",
            shown_key(key)
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
