//! Finds the files that `tls.*` keys name and checks that they can be read, each once. Does not
//! read their content; `net::tls` does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::keys::Key;
use super::lines::Given;
use super::settings::TlsFile;
use super::warnings::{About, Warnings};
use super::{source, value};
use crate::base::error::{Error, Result};
use crate::base::text::brief_path;

/// Finds files, and remembers what it found.
pub(super) struct TlsFiles {
    config_dir: Option<PathBuf>,
    found: HashMap<(Option<PathBuf>, String, bool), PathBuf>,
    /// Key files that every user of the machine may read.
    open_keys: HashSet<PathBuf>,
}

impl TlsFiles {
    pub fn new(config_dir: Option<PathBuf>) -> Self {
        TlsFiles { config_dir, found: HashMap::new(), open_keys: HashSet::new() }
    }

    /// The file (for `tls.ca_path`, the directory) that `line` names as `key`.
    pub fn find(&mut self, key: Key, line: Given<'_>, warnings: &mut Warnings) -> Result<TlsFile> {
        let is_directory = key == Key::TlsCaPath;
        let directory = line.directory().map(Path::to_path_buf);
        let asked = (directory, line.value().to_owned(), is_directory);
        let path = match self.found.get(&asked) {
            Some(path) => path.clone(),
            None => {
                let path =
                    self.look(&asked.1, asked.0.as_deref(), is_directory).map_err(|cause| {
                        Error::config(&line.value_position(), format!("{}: {cause}", key.name()))
                    })?;
                let is_open = |metadata| source::is_open(&metadata);
                if key == Key::TlsKeyFile
                    && path.metadata().is_ok_and(is_open)
                    && self.open_keys.insert(path.clone())
                {
                    let path = brief_path(&path);
                    let text = format!(
                        "{}: every user of this machine may read {path}; run: chmod o-r {path}",
                        key.name()
                    );
                    warnings.add(About::Secret, &line.position(), &text);
                }
                self.found.insert(asked, path.clone());
                path
            }
        };
        Ok(TlsFile { path, position: line.position() })
    }

    fn look(
        &self,
        name: &str,
        beside: Option<&Path>,
        is_directory: bool,
    ) -> Result<PathBuf, String> {
        if name.contains("-----BEGIN") {
            return Err("the value is the text of a file; write the path of the file".into());
        }
        let mut paths = vec![PathBuf::from(name)];
        if Path::new(name).is_relative() {
            paths.extend(self.config_dir.iter().map(|directory| directory.join(name)));
            paths.extend(beside.map(|directory| directory.join(name)));
            paths.dedup();
        }
        for path in &paths {
            match std::fs::symlink_metadata(path) {
                Ok(_) => {
                    let checked =
                        if is_directory { check_directory(path) } else { check_file(path) };
                    return match checked {
                        Ok(()) => Ok(path.clone()),
                        Err(reason) => Err(format!("{}: {reason}", brief_path(path))),
                    };
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Err(format!(
                        "{}: {error}; allow the user of this process to reach it",
                        brief_path(path)
                    ));
                }
                Err(_) => {}
            }
        }
        let looked: Vec<String> = paths.iter().map(|path| brief_path(path)).collect();
        let what = if is_directory { "directory" } else { "file" };
        let quotes =
            if name.starts_with(['"', '\'']) { "; write the value without quotes" } else { "" };
        Err(format!(
            "there is no {what} {}; looked for {}{quotes}",
            value::shown(name),
            looked.join(", then ")
        ))
    }
}

fn check_file(path: &Path) -> Result<(), String> {
    match source::open_regular(path) {
        // Files in /proc say 0 although they have content, but a certificate is not there.
        Ok((_, metadata)) if metadata.len() == 0 => {
            Err("the file is empty; put the PEM text in it".into())
        }
        Ok(_) => Ok(()),
        Err(unreadable) => Err(unreadable.reason),
    }
}

fn check_directory(path: &Path) -> Result<(), String> {
    let entries = std::fs::read_dir(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotADirectory => {
            "is not a directory; set tls.ca_file for a file".to_owned()
        }
        _ => error.to_string(),
    })?;
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        if std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
    }
    Err("the directory has no file; put PEM files of trust roots in it".into())
}
