//! Checks and types the keys of one section, and knows the order in which node, `[UPSTREAM]`,
//! options and defaults are asked for a key. It judges each name and value alone; `define` and
//! `node_settings` check what the keys mean together.

use super::declared::{Declared, KeyType};
use super::keys::{self, COUNT_OF_KEYS, Effect, Entry, Fallback, Key, Scope, TABLE, Unknown};
use super::lines::{Given, Lines};
use super::others;
use super::spelling::Spellings;
use super::value::{Kind, Value, opening, without_value};
use super::warnings::{About, Warnings};
use super::words::Word;
use crate::base::error::{Error, Position, Result};

/// A key that was given, or its default.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub value: Value<'a>,
    /// Where it was given; `None` for a default.
    pub line: Option<Given<'a>>,
}

/// The library's keys of one section.
pub(super) struct Layer<'a> {
    settings: Vec<Option<Setting<'a>>>,
    /// The keys that are given.
    given: Vec<Key>,
}

/// What to do with a line. Depends on its key, not on its value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Read the value.
    Known(&'static Entry),
    /// Check the value of a key that the plugin declared.
    Own(KeyType),
    /// Warn of the key.
    Suspect,
    /// Refuse a value that asks for TLS in other words.
    Scheme,
}

/// Judges the keys of each section: which are known, set twice, or probably misspelled.
pub(super) struct Judge<'a> {
    declared: &'a Declared,
    /// For each key of the document: the last section that has it, and its line there.
    seen: Vec<(u32, u32)>,
    /// For each key of the document that is not the library's: what it is.
    foreign: Vec<Option<Foreign>>,
    /// How many sections have begun.
    sections: u32,
}

/// What a key is that is not the library's.
#[derive(Clone, Debug)]
enum Foreign {
    /// The plugin declared it.
    Own(KeyType),
    /// It did not.
    Unknown(Unknown),
    /// It did not, and the value may ask for TLS.
    Scheme,
}

impl<'a> Judge<'a> {
    /// A judge of the keys in `spellings`, for a plugin that declared the keys in `declared`.
    pub fn new(spellings: &Spellings, declared: &'a Declared) -> Judge<'a> {
        let keys = spellings.count_of_names();
        Judge { declared, seen: vec![(0, 0); keys], foreign: vec![None; keys], sections: 0 }
    }

    /// Whether the plugin declared this line's key.
    pub fn is_own(&self, lines: &Lines, line: Given<'_>) -> bool {
        self.declared.get(&lines.spellings.name(line.key_number()).text).is_some()
    }

    /// Begins the next section.
    pub fn begin(&mut self) {
        self.sections += 1;
    }

    /// Whether the section has had the key of this number.
    pub fn has_seen(&self, name: u32) -> bool {
        self.seen[name as usize].0 == self.sections
    }

    /// What to do with the next line of the section, which is of this `kind`. `None` is nothing.
    pub fn next(&mut self, lines: &Lines, line: Given<'_>, kind: Scope) -> Result<Option<Step>> {
        let number = line.key_number();
        let name = lines.spellings.name(number);
        if self.has_seen(number) {
            let (position, first) = (line.position(), lines.line(self.seen[number as usize].1));
            let first = seen_from(&first.position(), &position);
            let name = opening(&name.text);
            return Err(Error::config(
                &position,
                format!("{name} is set twice in this section, first on {first}; remove one"),
            ));
        }
        self.seen[number as usize] = (self.sections, line.number());
        if let Some(entry) = name.entry {
            return match entry.scopes.contains(&kind) {
                true => Ok(Some(Step::Known(entry))),
                false => Err(Error::config(&line.position(), misplaced(entry))),
            };
        }
        match self.foreign(lines, number) {
            Foreign::Own(kind) => Ok(Some(Step::Own(*kind))),
            Foreign::Scheme => Ok(Some(Step::Scheme)),
            Foreign::Unknown(Unknown::Foreign) => Ok(None),
            Foreign::Unknown(Unknown::Suspect(_) | Unknown::OfTheAgent(_)) => {
                Ok(Some(Step::Suspect))
            }
            Foreign::Unknown(Unknown::Refused(text)) => {
                Err(Error::config(&line.position(), text.clone()))
            }
        }
    }

    /// Warns of a line's key.
    pub fn warn(&mut self, lines: &Lines, line: Given<'_>, warnings: &mut Warnings) {
        match self.foreign(lines, line.key_number()) {
            Foreign::Unknown(Unknown::Suspect(text)) => {
                warnings.add(About::Key, &line.position(), text);
            }
            Foreign::Unknown(Unknown::OfTheAgent(text)) => {
                warnings.add_once(About::NoEffect, text, &line.position(), text);
            }
            _ => {}
        }
    }

    /// What a key is that is not the library's. If the plugin declared it, it is never taken for a
    /// misspelling of another.
    fn foreign(&mut self, lines: &Lines, name: u32) -> &Foreign {
        let declared = self.declared;
        self.foreign[name as usize].get_or_insert_with(|| {
            let name = &lines.spellings.name(name).text;
            if let Some(kind) = declared.get(name) {
                return Foreign::Own(kind);
            }
            Foreign::Unknown(match (keys::judge(name), declared.slip(name)) {
                (Unknown::Foreign | Unknown::Suspect(_), Some(text)) => Unknown::Refused(text),
                (Unknown::Foreign, None) if others::may_name_a_scheme(name) => {
                    return Foreign::Scheme;
                }
                (judgement, _) => judgement,
            })
        })
    }
}

/// Checks the value of a key that the plugin declared.
pub(super) fn read_own(kind: KeyType, line: Given<'_>) -> Result<()> {
    kind.check(line.key(), line.value()).map_err(|cause| refused(line, cause))
}

/// The error about a value. Does not show one that comes from a variable with a secret.
fn refused(line: Given<'_>, cause: String) -> Error {
    let cause = match line.origin().is_secret {
        true => without_value(&cause, line.value()),
        false => cause,
    };
    Error::config(&line.value_position(), cause)
}

/// Checks the value of a key that may ask for TLS in other words.
pub(super) fn read_scheme(line: Given<'_>) -> Result<()> {
    match others::asks_for_tls(line.key(), line.value()) {
        Some(cause) => Err(Error::config(&line.position(), cause)),
        None => Ok(()),
    }
}

/// `other` for a message about `position`: only the line, if the file is the same.
pub(super) fn seen_from(other: &Position, position: &Position) -> String {
    match (other.file == position.file, other.line) {
        (_, 0) => other.file.to_string(),
        (true, line) => format!("line {line}"),
        (false, line) => format!("{}:{line}", other.file),
    }
}

impl<'a> Layer<'a> {
    /// A section without keys.
    pub fn new() -> Self {
        let mut settings = Vec::new();
        settings.resize_with(COUNT_OF_KEYS, || None);
        Layer { settings, given: Vec::new() }
    }

    /// The table's defaults, in the form of a section.
    pub fn defaults() -> Self {
        let setting = |entry: &Entry| Some(Setting { value: entry.default_value()?, line: None });
        Layer { settings: TABLE.iter().map(setting).collect(), given: Vec::new() }
    }

    /// Removes every key.
    pub fn clear(&mut self) {
        for key in self.given.drain(..) {
            self.settings[key as usize] = None;
        }
    }

    /// Reads the line of a key.
    pub fn read(
        &mut self,
        entry: &'static Entry,
        line: Given<'a>,
        warnings: &mut Warnings,
    ) -> Result<()> {
        let name = entry.name;
        let value = entry.kind.read(name, line.value()).map_err(|cause| refused(line, cause))?;
        let value = match value {
            Value::Zero => {
                let Fallback::Value(default) = entry.default else {
                    unreachable!("{name} has no default");
                };
                let text = format!(
                    "{name} 0: no wait is for ever here, so this is the default, {default}; write \
                     a longer time if you need one"
                );
                warnings.add_once(About::Value, name, &line.position(), &text);
                entry.kind.read(name, default).unwrap_or(Value::Zero)
            }
            value => value,
        };
        match entry.effect {
            Effect::Acts => {}
            Effect::Later if entry.default_value().as_ref() == Some(&value) => {}
            Effect::Later => {
                warnings.add_once(
                    About::NoEffect,
                    name,
                    &line.position(),
                    &format!("{name} has no effect in this version"),
                );
            }
            Effect::SystemResolver => {
                let text = format!("{name} has no effect: the system resolver resolves all names");
                warnings.add_once(About::NoEffect, "the resolver", &line.position(), &text);
            }
            Effect::NoProxy => {
                let text = format!(
                    "{name} has no effect: proxies of the environment are never used; set \
                     net.proxy to use one"
                );
                warnings.add_once(About::NoEffect, "the proxy", &line.position(), &text);
            }
        }
        self.settings[entry.key as usize] = Some(Setting { value, line: Some(line) });
        self.given.push(entry.key);
        Ok(())
    }

    /// The section's own setting of a key.
    pub fn get(&self, key: Key) -> Option<&Setting<'a>> {
        self.settings[key as usize].as_ref()
    }
}

fn misplaced(entry: &Entry) -> String {
    let home = match entry.scopes {
        [Scope::Node] => "a [NODE]",
        [Scope::Options] => "the options, not in a file",
        _ => "[UPSTREAM]",
    };
    format!("{} belongs in {home}; move the line", entry.name)
}

/// The sections to ask for a key: the nearest first, the defaults last.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a, 'b>(pub &'b [&'b Layer<'a>]);

impl<'a, 'b> Layers<'a, 'b> {
    /// What holds for a key; `None` if it was not given and has no default.
    pub fn get(self, key: Key) -> Option<&'b Setting<'a>> {
        self.0.iter().find_map(|layer| layer.get(key))
    }

    /// Where a key was given, if it was.
    pub fn given(self, key: Key) -> Option<Given<'a>> {
        self.get(key)?.line
    }

    pub fn text(self, key: Key) -> Option<&'a str> {
        match self.get(key) {
            Some(Setting { value: Value::Text(text), .. }) => Some(text),
            _ => None,
        }
    }

    pub fn address(self, key: Key) -> Option<std::net::IpAddr> {
        match self.get(key) {
            Some(Setting { value: Value::Address(address), .. }) => Some(*address),
            _ => None,
        }
    }
}

impl Layers<'_, '_> {
    /// The word that holds for a key. `W` must be the enum of that key.
    pub fn word<W: Word>(self, key: Key) -> W {
        debug_assert!(
            matches!(key.entry().kind, Kind::Word(words) if words == W::WORDS),
            "{}",
            key.name()
        );
        match self.get(key).map(|setting| &setting.value) {
            Some(Value::Word(number)) => W::ALL[*number],
            other => unreachable!("{} is {other:?}", key.name()),
        }
    }
}

/// Typed readers of keys; those of `given_*` return `None` if the key was not given and has no
/// default.
macro_rules! readers {
    ($($name:ident $given:ident $variant:ident $type:ty;)*) => {
        impl Layers<'_, '_> {
            $(
                pub fn $given(self, key: Key) -> Option<$type> {
                    match self.get(key)?.value {
                        Value::$variant(value) => Some(value),
                        Value::Unset => None,
                        ref other => unreachable!("{} is {other:?}", key.name()),
                    }
                }

                pub fn $name(self, key: Key) -> $type {
                    self.$given(key)
                        .unwrap_or_else(|| unreachable!("{} has no default", key.name()))
                }
            )*
        }
    };
}
readers! {
    bool given_bool Bool bool;
    duration given_duration Duration std::time::Duration;
    integer given_integer Integer u32;
    version given_version TlsVersion super::settings::TlsVersion;
}
