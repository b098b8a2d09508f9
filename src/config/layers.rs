//! One section's keys, checked and typed, and the order in which node, `[UPSTREAM]`, options and defaults
//! answer for a key. Judges names and values; what the keys mean together is for `define`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::classic::Line;
use super::keys::{self, COUNT_OF_KEYS, Effect, Entry, Key, Place, TABLE, Unknown};
use super::value::Value;
use crate::error::{Error, Position, Result};

/// A key that was given, or its default.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub value: Value,
    /// Where it was given; `None` for a default.
    pub line: Option<&'a Line>,
}

/// The library's keys of one section.
pub(super) struct Layer<'a> {
    settings: Vec<Option<Setting<'a>>>,
    /// Every key of the section by the name it is compared under.
    pub names: HashMap<String, &'a Line>,
    /// How many keys are given that bear on a node's settings.
    pub own: usize,
}

/// What is worth a log line, each thing said once.
#[derive(Default)]
pub(super) struct Warnings {
    pub lines: Vec<String>,
    said: std::collections::HashSet<String>,
    judged: HashMap<String, Unknown>,
}

impl Warnings {
    /// Goes on behind `lines`.
    pub fn after(lines: Vec<String>) -> Self {
        Warnings {
            lines,
            ..Warnings::default()
        }
    }

    /// Adds a line.
    pub fn add(&mut self, position: &Position, text: &str) {
        let line = format!("{position}: {text}");
        if self.said.insert(line.clone()) {
            self.lines.push(line);
        }
    }

    /// Adds a line unless one about this `subject` was added before, wherever it stood.
    fn add_once(&mut self, subject: &str, position: &Position, text: &str) {
        if self.said.insert(subject.to_owned()) {
            self.add(position, text);
        }
    }

    fn judge(&mut self, name: &str) -> &Unknown {
        if !self.judged.contains_key(name) {
            self.judged.insert(name.to_owned(), keys::judge(name));
        }
        &self.judged[name]
    }
}

/// The name keys are compared under: small letters, and of several names of a key the first.
pub(super) fn canonical(key: &str) -> (String, Option<&'static Entry>) {
    let lower = key.to_ascii_lowercase();
    match keys::find(&lower) {
        Some(entry) => (entry.name.to_owned(), Some(entry)),
        None => (lower, None),
    }
}

/// `other` as seen from `position`: the line alone where the file is the same.
pub(super) fn place(other: &Position, position: &Position) -> String {
    if other.file == position.file {
        format!("line {}", other.line)
    } else {
        format!("{}:{}", other.file, other.line)
    }
}

impl<'a> Layer<'a> {
    /// Checks the lines of a section of this kind.
    pub fn read(lines: &'a [Line], kind: Place, warnings: &mut Warnings) -> Result<Self> {
        let mut settings = Vec::new();
        settings.resize_with(COUNT_OF_KEYS, || None);
        let mut layer = Layer {
            settings,
            names: HashMap::with_capacity(lines.len()),
            own: 0,
        };
        for line in lines {
            let position = &line.property.position;
            let (name, entry) = canonical(&line.property.key);
            if let Some(first) = layer.names.get(&name) {
                let first = place(&first.property.position, position);
                return Err(Error::config(
                    position,
                    format!("{name} stands twice in this section, first on {first}; take out one"),
                ));
            }
            match entry {
                Some(entry) => layer.known(line, entry, kind, warnings)?,
                None => match warnings.judge(&name) {
                    Unknown::Foreign => {}
                    Unknown::Suspect(text) => {
                        let text = text.clone();
                        warnings.add(position, &text);
                    }
                    Unknown::Refused(text) => return Err(Error::config(position, text.clone())),
                },
            }
            layer.names.insert(name, line);
        }
        Ok(layer)
    }

    fn known(
        &mut self,
        line: &'a Line,
        entry: &'static Entry,
        kind: Place,
        warnings: &mut Warnings,
    ) -> Result<()> {
        let position = &line.property.position;
        if !entry.places.contains(&kind) {
            return Err(Error::config(position, misplaced(entry)));
        }
        let value = entry
            .kind
            .read(entry.name, &line.property.value)
            .map_err(|cause| Error::config(&line.value_position(), cause))?;
        let name = entry.name;
        match entry.effect {
            Effect::Acts => {}
            Effect::Later if entry.default_value().as_ref() == Some(&value) => {}
            Effect::Later => {
                warnings.add_once(
                    name,
                    position,
                    &format!("{name} has no effect in this version"),
                );
            }
            Effect::SystemResolver => {
                let text =
                    format!("{name} has no effect: names are resolved by the system resolver");
                warnings.add_once("the resolver", position, &text);
            }
            Effect::NoProxy => {
                let text = format!(
                    "{name} has no effect: no proxy is used, whatever the environment says"
                );
                warnings.add_once("the proxy", position, &text);
            }
        }
        self.own += usize::from(!matches!(entry.key, Key::Name | Key::Host | Key::Port));
        self.settings[entry.key as usize] = Some(Setting {
            value,
            line: Some(line),
        });
        Ok(())
    }

    /// What the section itself says of a key.
    pub fn get(&self, key: Key) -> Option<&Setting<'a>> {
        self.settings[key as usize].as_ref()
    }
}

fn misplaced(entry: &Entry) -> String {
    let home = match entry.places {
        [Place::Node] => "a [NODE]",
        [Place::Options] => "the options, not in a file",
        _ => "[UPSTREAM]",
    };
    format!("{} belongs in {home}; move the line", entry.name)
}

/// Sections that answer for a key, the nearest first; behind them the defaults.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a, 'b>(pub &'b [&'b Layer<'a>]);

impl<'a, 'b> Layers<'a, 'b> {
    /// What holds for a key; `None` where nothing was given and there is no default.
    pub fn get(self, key: Key) -> Option<&'b Setting<'a>> {
        static DEFAULTS: LazyLock<Vec<Option<Setting<'static>>>> = LazyLock::new(|| {
            let default = |entry: &Entry| {
                Some(Setting {
                    value: entry.default_value()?,
                    line: None,
                })
            };
            TABLE.iter().map(default).collect()
        });
        let given = self.0.iter().find_map(|layer| layer.get(key));
        given.or_else(|| DEFAULTS[key as usize].as_ref())
    }

    pub fn text(self, key: Key) -> Option<String> {
        match self.get(key) {
            Some(Setting {
                value: Value::Text(text),
                ..
            }) => Some(text.clone()),
            _ => None,
        }
    }

    pub fn address(self, key: Key) -> Option<std::net::IpAddr> {
        match self.get(key) {
            Some(Setting {
                value: Value::Address(address),
                ..
            }) => Some(*address),
            _ => None,
        }
    }
}

/// Typed reading of keys; `None` where nothing was given and there is no default.
macro_rules! readers {
    ($($name:ident $given:ident $variant:ident $type:ty;)*) => {
        impl Layers<'_, '_> {
            $(
                pub fn $given(self, key: Key) -> Option<$type> {
                    match self.get(key)?.value {
                        Value::$variant(value) => Some(value),
                        ref other => unreachable!("{} is {other:?}", key.name()),
                    }
                }

                pub fn $name(self, key: Key) -> $type {
                    self.$given(key).unwrap_or_else(|| unreachable!("{} has no default", key.name()))
                }
            )*
        }
    };
}
readers! {
    bool given_bool Bool bool;
    duration given_duration Duration std::time::Duration;
    integer given_integer Integer u32;
    word given_word Word &'static str;
    version given_version TlsVersion super::settings::TlsVersion;
}
