//! Options: the keys of the file, set by the program as defaults for what the file does not say.
//! They are checked when they are set, by the same table and the same readers as the file.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::declared::{Declared, KeyType};
use super::keys::{self, Scope, Unknown};
use super::limits::{MAX_KEY, MAX_VALUE};
use super::others;
use super::value::shown_key;
use crate::base::error::{Error, Position, Result, Status};
use crate::base::text::brief;
use crate::base::wiped::Wiped;

/// Defaults for what the file does not say: keys of the library, and keys of the plugin.
///
/// Letter case in keys does not matter. Values are taken as they are: `${VAR}` is not expanded.
#[derive(Clone)]
pub struct Options {
    /// Keys as they were spelled, and values.
    lines: Vec<(String, Wiped<String>)>,
    index: HashMap<String, usize>,
    declared: Declared,
    position: Position,
}

impl Default for Options {
    fn default() -> Self {
        let position = Position { file: "options".into(), line: 0, column: 0 };
        Options {
            lines: Vec::new(),
            index: HashMap::new(),
            declared: Declared::default(),
            position,
        }
    }
}

impl fmt::Debug for Options {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines.iter().map(|(key, _)| key)).finish()
    }
}

impl Options {
    /// Sets a key; an earlier value is replaced. A key of the library is checked at once.
    ///
    /// # Errors
    ///
    /// [`Status::Config`](crate::base::error::Status::Config) if the key cannot be an option, if it
    /// is unknown and begins with `tls.`, `net.`, `health.` or `deliver.`, if the key cannot have
    /// the value, or if an undeclared key asks for TLS in other words.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.trim(), value.trim());
        let refuse = |cause: String| Err(Error::config(&self.position, cause));
        if key.is_empty()
            || key.len() > MAX_KEY
            || key.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return refuse(format!(
                "{} cannot be a key; a key has 1 to {MAX_KEY} bytes and no blank",
                shown_key(key)
            ));
        }
        if value.len() > MAX_VALUE || value.contains('\0') {
            return refuse(format!(
                "{}: the value is too long or has a NUL byte; a value has at most {MAX_VALUE} \
                 bytes and no NUL byte",
                brief(key)
            ));
        }
        let mut name = Wiped::new(key.to_ascii_lowercase());
        match keys::find(&name) {
            Some(entry) if !entry.scopes.contains(&Scope::Options) => {
                let more = if *name == "name" {
                    "; to require a name of the upstream, set upstream.name"
                } else {
                    ""
                };
                return refuse(format!(
                    "{} cannot be an option; set it in the file{more}",
                    entry.name
                ));
            }
            Some(entry) => {
                if let Err(cause) = entry.kind.read(entry.name, value) {
                    return refuse(cause);
                }
                // Stored under its first name, so that a later alias replaces it.
                name = Wiped::new(entry.name.to_owned());
            }
            None if self.declared.get(&name).is_some() => {} // checked when a set is created
            None => match keys::judge(&name) {
                Unknown::Refused(cause) => return refuse(cause),
                Unknown::Suspect(cause) if name.starts_with("deliver.") => return refuse(cause),
                Unknown::Foreign if others::may_name_a_scheme(&name) => {
                    if let Some(cause) = others::asks_for_tls(&name, value) {
                        return refuse(cause);
                    }
                }
                Unknown::Suspect(_) | Unknown::OfTheAgent(_) | Unknown::Foreign => {}
            },
        }
        let line = (key.to_owned(), Wiped::new(value.to_owned()));
        match self.index.get(name.as_str()) {
            Some(&at) => self.lines[at] = line,
            None => {
                self.index.insert(name.to_string(), self.lines.len());
                self.lines.push(line);
            }
        }
        Ok(())
    }

    /// Declares a key of the plugin, in any letter case. When a set is created, its value is
    /// checked in the file and in the options, and a key that is probably a misspelling of it is an
    /// error.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArg`] if no file can hold the key, if it is the library's, or if it was
    /// declared with another type.
    pub fn declare(&mut self, key: &str, kind: KeyType) -> Result<()> {
        self.declared.add(key, kind).map_err(|cause| Error::new(Status::InvalidArg, cause))
    }

    /// The value of a key, in any letter case.
    pub fn get(&self, key: &str) -> Option<&str> {
        let lower = key.to_ascii_lowercase();
        let name = keys::find(&lower).map_or(lower.as_str(), |entry| entry.name);
        self.index.get(name).map(|&at| self.lines[at].1.as_str())
    }

    /// Keys and values, in the order they were first set.
    pub(super) fn lines(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.lines.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The keys that were declared.
    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The position that errors about options have.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    pub(super) fn config_dir(&self) -> Option<PathBuf> {
        self.get(keys::Key::ConfigDir.name()).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_checks_at_once() {
        for (key, value, expected) in [
            (
                "tls",
                "1",
                "options: tls: \"1\" is neither on nor off; write on, true, yes, off, false or no",
            ),
            (
                "tls.verfiy",
                "on",
                "options: unknown key \"tls.verfiy\"; did you mean \"tls.verify\"?",
            ),
            (
                "deliver.tiemout",
                "1s",
                "options: unknown key \"deliver.tiemout\"; did you mean \"deliver.timeout\"?",
            ),
            ("host", "h", "options: host cannot be an option; set it in the file"),
            (
                "Name",
                "n",
                "options: name cannot be an option; set it in the file; to require a name of the \
                 upstream, set upstream.name",
            ),
            ("", "x", "options: \"\" cannot be a key; a key has 1 to 1024 bytes and no blank"),
            (
                "a b",
                "x",
                "options: \"a\"... cannot be a key; a key has 1 to 1024 bytes and no blank",
            ),
            (
                "a",
                "\0",
                "options: a: the value is too long or has a NUL byte; a value has at most 1048576 \
                 bytes and no NUL byte",
            ),
            (
                "balance",
                "hash",
                "options: balance: \"hash\" is not in this version; write round-robin",
            ),
        ] {
            let error = Options::default().set(key, value).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(
                (error.status, error.line()),
                (crate::base::error::Status::Config, 0),
                "{key}"
            );
        }
    }

    #[test]
    fn tls_in_other_words_is_refused_at_once_unless_the_plugin_declared_the_key() {
        for (key, value) in [
            ("transport", "tls"),
            ("Transport", " TLS "),
            ("protocol", "https"),
            ("PROTO", "tcp+tls"),
            ("scheme", "https://h"),
            ("mode", "starttls"),
            ("security", "SSL"),
            ("connection", "tlsv1.2"),
            ("type", "wss"),
            ("use_tls", "on"),
            ("ssl", "off"),
            ("tls_on", "on"),
            ("ca_file", "/ca.pem"),
        ] {
            let mut options = Options::default();
            let error = options.set(key, value).expect_err(key);
            assert!(error.to_string().contains("\"tls on\"") || key == "ca_file", "{error}");
            assert!(options.get(key).is_none(), "{key}");
            options.declare(key, KeyType::Text).unwrap();
            options.set(key, value).expect(key);
        }
        for (key, value) in [("transport", "tcp"), ("url", "https://h"), ("mode", "tail")] {
            Options::default().set(key, value).expect(key);
        }
    }

    #[test]
    fn setting_again_replaces_in_any_letter_case_and_under_an_alias() {
        let mut options = Options::default();
        for (key, value) in [
            ("Tag", "a"),
            ("TAG", "b"),
            ("net.max_connections", "1"),
            ("NET.max_worker_connections", "2"),
        ] {
            options.set(key, value).unwrap();
        }
        assert_eq!((options.get("tag"), options.lines().len()), (Some("b"), 2));
        assert_eq!(options.get("net.max_connections"), Some("2"));
        assert_eq!(options.get("other"), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let mut options = Options::default();
        options.set("shared_key", "hunter2").unwrap();
        assert_eq!(format!("{options:?}"), "[\"shared_key\"]");
    }
}
