//! The rustls configuration of the nodes with the same `tls.*` settings. It follows the files: each
//! look at them costs one system call a file, and a changed file is read again. On any error what
//! was read last stays in use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::build::build;
use super::files::Material;
use super::reading::Reading;
use super::store::Places;
use crate::base::error::Result;
use crate::base::log::{Level, Logger};
use crate::base::sync::Mutex;
use crate::config::TlsSettings;

/// How long a connection waits for a look at the files. A look takes microseconds, and reading a
/// changed file some milliseconds. If the disk is slower than this, the connection uses what was
/// read last.
pub const LOOK_WAIT: Duration = Duration::from_millis(1000);

/// A configuration, and the files that it was made from.
pub struct Live {
    settings: Arc<TlsSettings>,
    places: Places,
    logger: Logger,
    current: Mutex<Made>,
    /// Held while files are read.
    files: Mutex<Files>,
    /// Whether there is anything to look at.
    watches: bool,
    /// The dials that wait for the next look.
    waiting: Mutex<Vec<u64>>,
}

/// What a look found.
pub struct Looked {
    /// The dials that waited for it.
    pub dials: Vec<u64>,
    /// What to log. The thread that looks does not log: the set may be gone before the disk
    /// answers, and the host's log with it.
    lines: Vec<(Level, String)>,
}

/// A configuration. Each new one has a higher generation.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) generation: u64,
    pub(super) config: Arc<ClientConfig>,
}

struct Files {
    /// What the configuration in use was made from.
    used: Reading,
    /// What was read since then without success, and the error.
    failed: Option<(Reading, String)>,
}

impl Live {
    /// Reads the files for the first time. Warnings about their content are added to `warnings`.
    pub(super) fn new(
        settings: &Arc<TlsSettings>,
        places: &Places,
        logger: &Logger,
        warnings: &mut Vec<String>,
    ) -> Result<Live> {
        let mut used = Reading::new();
        let (config, complaints) = read(settings, places, &mut used)?;
        for warning in complaints {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        Ok(Live {
            settings: Arc::clone(settings),
            places: places.clone(),
            logger: logger.clone(),
            current: Mutex::new(Made { generation: 0, config: Arc::new(config) }),
            watches: !used.is_empty(),
            files: Mutex::new(Files { used, failed: None }),
            waiting: Mutex::new(Vec::new()),
        })
    }

    /// The configuration in use.
    pub(super) fn current(&self) -> Made {
        self.current.lock().clone()
    }

    /// Whether there are files that may change.
    pub fn watches_files(&self) -> bool {
        self.watches
    }

    /// Lets a dial wait for the next look. Returns whether it is the first: then the caller must
    /// have somebody call [`Live::look`].
    pub fn await_look(&self, dial: u64) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.push(dial);
        waiting.len() == 1
    }

    /// The dials that wait, if no look will come.
    pub fn forget_waiting(&self) -> Vec<u64> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Looks at the files, and reads them again if they have changed. May wait for the disk; needs
    /// the stack of a thread. A dial that comes from now on waits for the next look.
    pub fn look(&self) -> Looked {
        let dials = self.forget_waiting();
        Looked { dials, lines: self.refresh() }
    }

    /// Logs what a look found.
    pub fn log(&self, looked: &Looked) {
        for (level, line) in &looked.lines {
            self.logger.log(*level, format_args!("{line}"));
        }
    }

    fn refresh(&self) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        let mut files = self.files.lock();
        if files.used.is_current() {
            settle(&mut files, &mut lines);
            return lines;
        }
        if files.failed.as_ref().is_some_and(|(reading, _)| reading.is_current()) {
            return lines;
        }
        let mut reading = Reading::new();
        match read(&self.settings, &self.places, &mut reading) {
            Ok((config, warnings)) => {
                if reading.digest() == files.used.digest() {
                    settle(&mut files, &mut lines);
                } else {
                    let mut made = self.current.lock();
                    *made = Made { generation: made.generation + 1, config: Arc::new(config) };
                    drop(made);
                    let what = reading.difference(&files.used);
                    lines.push((Level::Info, format!("TLS: {what}: changed, and read again")));
                    lines.extend(warnings.into_iter().map(|warning| (Level::Warn, warning)));
                }
                *files = Files { used: reading, failed: None };
            }
            Err(error) => {
                let text = error.to_string();
                let is_told = files
                    .failed
                    .as_ref()
                    .is_some_and(|(last, told)| *told == text && last.is_same_state(&reading));
                if !is_told {
                    let line = format!("{text}; until then what was read before stays in use");
                    lines.push((Level::Warn, line));
                }
                files.failed = Some((reading, text));
            }
        }
        lines
    }
}

/// The files are again what is in use.
fn settle(files: &mut Files, lines: &mut Vec<(Level, String)>) {
    if files.failed.take().is_some() {
        let line = "TLS: the files are good again, and hold what is in use";
        lines.push((Level::Info, line.to_owned()));
    }
}

fn read(
    settings: &TlsSettings,
    places: &Places,
    reading: &mut Reading,
) -> Result<(ClientConfig, Vec<String>)> {
    let mut material = Material::read(settings, places, reading)?;
    let warnings = std::mem::take(&mut material.warnings);
    Ok((build(settings, material)?, warnings))
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("settings", &self.settings).finish_non_exhaustive()
    }
}
