//! The system's trust store. All sets of a process share what was read, because it holds over a
//! hundred certificates; a failure to read it is never remembered.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::RootCertStore;

use super::pem;
use super::reading::Reading;
use crate::base::error::{Error, Result, Status};
use crate::base::process;

/// What the variables of the environment are called, also in OpenSSL.
const FILE: &str = "SSL_CERT_FILE";
const DIRECTORY: &str = "SSL_CERT_DIR";

/// Where the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Places {
    /// The places that the environment names, else those that the system uses. The second value is
    /// a warning if the environment was not asked.
    pub(super) fn find() -> (Places, Option<String>) {
        let given = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let (file, directory) = (given(FILE), given(DIRECTORY));
        let is_given = file.is_some() || directory.is_some();
        if is_given && process::is_privileged() {
            // A search for the file would also ask the environment. The directories hold it too.
            let directories = openssl_probe::candidate_cert_dirs().map(PathBuf::from).collect();
            let warning = format!(
                "{FILE} and {DIRECTORY} are not used, because this process has privileges that \
                 its caller does not have (AT_SECURE); set tls.ca_file"
            );
            return (Places { file: None, directories }, Some(warning));
        }
        if is_given {
            let directories = directory.iter().flat_map(std::env::split_paths);
            let directories = directories.filter(|path| !path.as_os_str().is_empty()).collect();
            return (Places { file: file.map(PathBuf::from), directories }, None);
        }
        let found = openssl_probe::probe();
        (Places { file: found.cert_file, directories: found.cert_dir }, None)
    }
}

struct Loaded {
    places: Places,
    reading: Reading,
    store: Arc<RootCertStore>,
}

// Not a OnceLock: a child forked while another thread reads would wait for that thread for ever. So
// two threads may both read the store.
static LOADED: Mutex<Option<Arc<Loaded>>> = Mutex::new(None);

/// The roots of the store. What was read is added to `reading`.
pub(super) fn roots(places: &Places, reading: &mut Reading) -> Result<Arc<RootCertStore>> {
    let known = LOADED.try_lock().and_then(|loaded| loaded.clone());
    if let Some(known) = known
        && known.places == *places
        && known.reading.is_current()
    {
        reading.add(&known.reading);
        return Ok(Arc::clone(&known.store));
    }
    let mut own = Reading::new();
    let outcome = read(places, &mut own);
    reading.add(&own);
    let store = outcome.map_err(|cause| {
        Error::new(
            Status::Config,
            format!(
                "{cause}; install the package ca-certificates, or set tls.ca_file to the CA of the \
                 server"
            ),
        )
    })?;
    let loaded =
        Arc::new(Loaded { places: places.clone(), reading: own, store: Arc::clone(&store) });
    if let Some(mut last) = LOADED.try_lock() {
        *last = Some(loaded);
    }
    Ok(store)
}

fn read(places: &Places, reading: &mut Reading) -> Result<Arc<RootCertStore>, String> {
    let mut files = Vec::new();
    let mut failure = None;
    if let Some(path) = &places.file {
        match reading.file("the system's certificate store", path) {
            Ok(file) => files.push(file),
            Err(cause) => failure = Some(format!("{}: {cause}", path.display())),
        }
    }
    for path in &places.directories {
        match reading.directory("the system's certificate store", path, false) {
            Ok(found) => files.extend(found),
            Err(cause) => failure = Some(format!("{}: {cause}", path.display())),
        }
    }
    let mut store = RootCertStore::empty();
    let mut found: Vec<_> =
        files.iter().filter_map(|file| pem::certificates(file).ok()).flatten().collect();
    found.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    let (added, _) = store.add_parsable_certificates(found);
    if added > 0 {
        return Ok(Arc::new(store));
    }
    Err(match failure {
        Some(cause) => format!("the system's certificate store cannot be read ({cause})"),
        None => "the system's certificate store is empty".to_owned(),
    })
}
