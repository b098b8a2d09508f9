//! Options: the file's own words, given by the program as defaults under the file.
//! Checked when they are set, by the same table and readers as the file.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::declared::{Declared, KeyType};
use super::keys::{self, Scope, Unknown};
use super::limits::{MAX_KEY, MAX_VALUE};
use crate::base::error::{Error, Position, Result, Status};

/// Defaults under the file: any key of the library, and any key of a plugin's own.
///
/// Keys are compared without letter case. Values are taken as they are: `${VAR}` is not expanded.
#[derive(Clone)]
pub struct Options {
    /// Keys as they were spelled, and values.
    lines: Vec<(String, String)>,
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
    /// Sets a key, or sets it again. A key of the library is checked at once.
    ///
    /// # Errors
    ///
    /// [`Status::Config`](crate::base::error::Status::Config) where the key cannot be an option, is
    /// an unknown name of the families `tls`, `net`, `health` and `deliver`, or the value is not of
    /// the key's kind.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.trim(), value.trim());
        let refuse = |cause: String| Err(Error::config(&self.position, cause));
        if key.is_empty()
            || key.len() > MAX_KEY
            || key.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return refuse(format!(
                "a key has 1 to {MAX_KEY} bytes and no blank; {key:.40?} is none"
            ));
        }
        if value.len() > MAX_VALUE || value.contains('\0') {
            return refuse(format!("{key}: a value has {MAX_VALUE} bytes at most and no NUL byte"));
        }
        let mut name = key.to_ascii_lowercase();
        match keys::find(&name) {
            Some(entry) if !entry.scopes.contains(&Scope::Options) => {
                let mend = if name == "name" {
                    "; for the upstream wanted, set upstream.name"
                } else {
                    ""
                };
                return refuse(format!(
                    "{} is no option; it belongs in the file{mend}",
                    entry.name
                ));
            }
            Some(entry) => {
                if let Err(cause) = entry.kind.read(entry.name, value) {
                    return refuse(cause);
                }
                // Under its first name, so that an alias set later replaces it.
                name = entry.name.to_owned();
            }
            None if self.declared.get(&name).is_some() => {} // its value is checked with the file's
            None => match keys::judge(&name) {
                Unknown::Refused(cause) => return refuse(cause),
                Unknown::Suspect(cause) if name.starts_with("deliver.") => return refuse(cause),
                Unknown::Suspect(_) | Unknown::Foreign => {}
            },
        }
        let line = (key.to_owned(), value.to_owned());
        match self.index.get(&name) {
            Some(&at) => self.lines[at] = line,
            None => {
                self.index.insert(name, self.lines.len());
                self.lines.push(line);
            }
        }
        Ok(())
    }

    /// Declares a key of the plugin's own, in any letter case: its value is checked when a set is
    /// created, wherever it stands, and so is a key that is likely a slip for it.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArg`] where no file can carry the key, it is the library's, or it was
    /// declared of another type.
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

    /// What stands for a place in a file.
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
                "options: tls: \"1\" is neither on nor off; write on, true or yes, or else off, \
                 false or no",
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
            ("host", "h", "options: host is no option; it belongs in the file"),
            (
                "Name",
                "n",
                "options: name is no option; it belongs in the file; for the upstream wanted, set \
                 upstream.name",
            ),
            ("", "x", "options: a key has 1 to 1024 bytes and no blank; \"\" is none"),
            ("a b", "x", "options: a key has 1 to 1024 bytes and no blank; \"a b\" is none"),
            ("a", "\0", "options: a: a value has 1048576 bytes at most and no NUL byte"),
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
