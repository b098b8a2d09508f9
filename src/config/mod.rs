//! Turns text into a [`Definition`]: everything that an upstream file says, checked before anybody
//! uses it.
//!
//! This room reads files and never touches a socket. It knows every key (see [`keys`]), but it does
//! not act on any.

mod blanks;
mod classic;
mod declared;
mod define;
mod definition;
mod document;
mod expand;
mod host;
mod idle;
mod include;
pub(crate) mod keys;
mod layers;
mod limits;
mod lines;
mod mandatory;
mod members;
mod name_index;
mod node_settings;
mod options;
mod others;
mod properties;
mod proxy;
mod secret;
mod settings;
mod source;
mod spelling;
mod suggest;
#[cfg(test)]
mod tests;
mod tls_files;
mod unclear;
pub(crate) mod value;
mod warnings;
mod words;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Position, Result, Status};
use crate::base::process;
use crate::base::text::brief_path;

pub use declared::KeyType;
pub use definition::{Definition, NodeDefinition};
use document::Main;
pub use host::UNIX;
use limits::MAX_FILE;
pub use name_index::NameIndex;
pub use options::Options;
pub use properties::{Owner, Properties};
pub use settings::{
    CipherNames, DeliverSettings, HealthSettings, NetSettings, NodeSettings, Proxy, TlsFile,
    TlsSettings, TlsVersion,
};
pub(crate) use source::open_regular;
pub use words::{Balance, Check, Start};

/// Reads and checks an upstream file. A relative `path` is looked for in the working directory,
/// then in the directory of the option `config.dir`. Waits for nothing but the disk.
///
/// # Errors
///
/// [`Status::Io`] if the file itself cannot be read. [`Status::Config`], with the line, if its
/// content is wrong; that includes the files that it includes or names.
pub fn load(path: &Path, options: &Options) -> Result<Definition> {
    let path = find(path, options);
    let name = path.to_string_lossy();
    let whole = Position { file: name.as_ref().into(), line: 0, column: 0 };
    let content = source::read_regular(&path, MAX_FILE).map_err(|unreadable| {
        let places = if path.is_relative() && unreadable.errno == libc::ENOENT {
            format!("; {}", places_looked_at(options))
        } else {
            String::new()
        };
        let error = Error::new(Status::Io, format!("{}{places}", unreadable.reason)).at(&whole);
        Error { errno: unreadable.errno, ..error }
    })?;
    let main = Main {
        bytes: &content.bytes,
        name: &name,
        id: Some(content.id),
        is_open: content.is_open,
        directory: Some(classic::directory_of(&path)),
        text_directories: Vec::new(),
    };
    with_environment(process::is_privileged(), |environment| read(main, options, environment))
}

/// Checks the text of an upstream file. Messages name it `source_name`. Relative paths in it are
/// looked for in the working directory, then in the directory of the option
/// `config.dir`.
///
/// # Errors
///
/// [`Status::Config`], with the line.
pub fn parse(text: &[u8], source_name: &str, options: &Options) -> Result<Definition> {
    with_environment(process::is_privileged(), |environment| {
        parse_in(text, source_name, options, environment)
    })
}

/// Reads with the variables of the environment. In a privileged process they come from somebody
/// with fewer privileges, who must not decide where data goes: there they count as unset.
fn with_environment(
    is_privileged: bool,
    work: impl FnOnce(expand::Environment<'_>) -> Result<Definition>,
) -> Result<Definition> {
    if !is_privileged {
        return work(&|name| std::env::var_os(name));
    }
    let refused = RefCell::new(None);
    let outcome = work(&|name| {
        if std::env::var_os(name).is_some() {
            refused.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        None
    });
    let Some(name) = refused.into_inner() else { return outcome };
    let why = format!(
        "the variable {name} of the environment is not used, because this process has privileges \
         that its caller does not have (AT_SECURE); write the value in the file, or set it there \
         with @SET {name}=..."
    );
    match outcome {
        Ok(mut definition) => {
            definition.warnings.push(why);
            Ok(definition)
        }
        Err(error) => Err(Error { cause: format!("{}; {why}", error.cause), ..error }),
    }
}

fn parse_in(
    text: &[u8],
    source_name: &str,
    options: &Options,
    environment: expand::Environment<'_>,
) -> Result<Definition> {
    if text.len() > MAX_FILE {
        let whole = Position { file: source_name.into(), line: 0, column: 0 };
        return Err(Error::config(
            &whole,
            format!("the text is over {} MiB; make it smaller", MAX_FILE >> 20),
        ));
    }
    let mut text_directories = vec![PathBuf::new()];
    text_directories.extend(options.config_dir());
    let main = Main {
        bytes: text,
        name: source_name,
        id: None,
        is_open: false,
        directory: None,
        text_directories,
    };
    read(main, options, environment)
}

fn read(
    main: Main<'_>,
    options: &Options,
    environment: expand::Environment<'_>,
) -> Result<Definition> {
    if document::is_yaml(Path::new(main.name)) {
        let whole = Position { file: main.name.into(), line: 0, column: 0 };
        let cause = match document::looks_classic(main.bytes) {
            true => {
                "this looks like the classic form, but the name ends as those of the YAML form do; \
                 name the file .conf"
            }
            false => "this version does not read the YAML form; write the file in the classic form",
        };
        return Err(Error::config(&whole, cause));
    }
    define::define(classic::read(main, environment)?, options)
}

/// `path` in the working directory; if there is no such file, under `config.dir`.
fn find(path: &Path, options: &Options) -> PathBuf {
    if path.is_relative() && std::fs::symlink_metadata(path).is_err() {
        let other = options.config_dir().map(|directory| directory.join(path));
        if let Some(other) = other.filter(|other| std::fs::symlink_metadata(other).is_ok()) {
            return other;
        }
    }
    path.to_path_buf()
}

fn places_looked_at(options: &Options) -> String {
    let working = match std::env::current_dir() {
        Ok(directory) => format!("the working directory {}", brief_path(&directory)),
        Err(_) => "the working directory".into(),
    };
    match options.config_dir() {
        Some(directory) => {
            format!("looked in {working}, then in {} (config.dir)", brief_path(&directory))
        }
        None => format!("looked in {working}; give an absolute path, or set the option config.dir"),
    }
}
