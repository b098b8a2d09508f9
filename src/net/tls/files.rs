//! Reads all that the `tls.*` keys of a node name: trust roots, revocation lists, the client
//! certificate with its key. An error has the line that names the file, and the fix.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::key_file::private_key;
use super::reading::Reading;
use super::store::{self, Places};
use super::x509::{Certificate, name};
use super::{dates, lists, pem};
use crate::base::error::{Error, Result};
use crate::base::text::brief_path;
use crate::base::wiped::Wiped;
use crate::config::{TlsFile, TlsSettings};

/// How many certificates a client sends at most; a server would refuse more.
const LONGEST_CHAIN: usize = 100;

/// What the files hold.
pub(super) struct Material {
    pub(super) roots: Arc<RootCertStore>,
    /// The certificates of `tls.ca_file` and `tls.ca_path`.
    pub(super) given: Vec<CertificateDer<'static>>,
    /// The lists of `tls.crl_file`.
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    /// The client certificate chain and its key, if both are set.
    pub(super) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// What is wrong with them without being an error.
    pub(super) warnings: Vec<String>,
}

impl Material {
    /// Reads everything; `reading` knows afterwards what was read, also if it fails.
    pub(super) fn read(
        tls: &TlsSettings,
        places: &Places,
        reading: &mut Reading,
    ) -> Result<Material> {
        let mut warnings = Vec::new();
        let (mut roots, mut given, mut lists) =
            (Arc::new(RootCertStore::empty()), Vec::new(), Vec::new());
        if tls.verify {
            (roots, given) = trust(tls, places, reading, &mut warnings)?;
            if let Some(file) = &tls.crl_file {
                lists = revocation_lists(file, reading, &mut warnings)?;
            }
        }
        let identity = identity(tls, reading, &mut warnings)?;
        Ok(Material { roots, given, lists, identity, warnings })
    }
}

/// The trust roots: those of `tls.ca_file` and `tls.ca_path` together; if neither is set, the
/// system's store. The second value are the certificates of the two keys.
fn trust(
    tls: &TlsSettings,
    places: &Places,
    reading: &mut Reading,
    warnings: &mut Vec<String>,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>)> {
    if tls.ca_file.is_none() && tls.ca_path.is_none() {
        return Ok((store::roots(places, reading)?, Vec::new()));
    }
    let mut given = Vec::new();
    let mut store = RootCertStore::empty();
    if let Some(file) = &tls.ca_file {
        let found = reading.file("tls.ca_file", &file.path).and_then(|pem| pem::certificates(&pem));
        let found = found.map_err(|cause| refuse("tls.ca_file", file, &cause))?;
        for one in &found {
            add(&mut store, one).map_err(|cause| refuse("tls.ca_file", file, &cause))?;
        }
        warn_of_roots("tls.ca_file", file, &found, warnings);
        given.extend(found);
    }
    if let Some(folder) = &tls.ca_path {
        let found = folder_certificates(folder, reading, warnings)?;
        for one in &found {
            add(&mut store, one).map_err(|cause| refuse("tls.ca_path", folder, &cause))?;
        }
        warn_of_roots("tls.ca_path", folder, &found, warnings);
        given.extend(found);
    }
    Ok((Arc::new(store), given))
}

fn add(store: &mut RootCertStore, one: &CertificateDer<'static>) -> Result<(), String> {
    store.add(one.clone()).map_err(|_| {
        let whose = match Certificate::read(one) {
            Ok(read) => format!(" (of {})", name(read.subject)),
            Err(_) => String::new(),
        };
        format!("holds a certificate{whose} that cannot be a trust root, or is broken; remove it")
    })
}

/// How many things in a file or directory are warned of one by one: there may be thousands.
const MOST_WARNINGS: usize = 25;

/// webpki does not look at the dates of a root, and other libraries refuse what an expired one
/// signed.
fn warn_of_roots(
    key: &str,
    file: &TlsFile,
    roots: &[CertificateDer<'_>],
    warnings: &mut Vec<String>,
) {
    let now = SystemTime::now();
    let causes = roots.iter().filter_map(|one| dates::of_root(one, now));
    let rest = "of its trust roots are out of their dates; remove them";
    warn_of_each(key, file, causes, rest, warnings);
}

/// A warning for each cause; of the last ones, only how many there are.
fn warn_of_each(
    key: &str,
    file: &TlsFile,
    mut causes: impl Iterator<Item = String>,
    rest: &str,
    warnings: &mut Vec<String>,
) {
    let mut warn = |cause: &str| warnings.push(refuse(key, file, cause).to_string());
    causes.by_ref().take(MOST_WARNINGS).for_each(|cause| warn(&cause));
    match causes.count() {
        0 => {}
        more => warn(&format!("{more} more {rest}")),
    }
}

fn folder_certificates(
    folder: &TlsFile,
    reading: &mut Reading,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateDer<'static>>> {
    let refuse = |cause: &str| refuse("tls.ca_path", folder, cause);
    let files =
        reading.directory("tls.ca_path", &folder.path, true).map_err(|cause| refuse(&cause))?;
    let rest = "of its files are left out";
    warn_of_each("tls.ca_path", folder, reading.left_out.drain(..), rest, warnings);
    // Such folders also hold other things (revocation lists, notes), so a file without a
    // certificate is skipped. A folder without any certificate is an error.
    let mut found: Vec<CertificateDer<'static>> =
        files.iter().filter_map(|file| pem::certificates(file).ok()).flatten().collect();
    found.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    if found.is_empty() {
        return Err(refuse("holds no PEM certificate; put one in it"));
    }
    Ok(found)
}

fn revocation_lists(
    file: &TlsFile,
    reading: &mut Reading,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let refuse = |cause: String| refuse("tls.crl_file", file, &cause);
    let pem = reading.file("tls.crl_file", &file.path).map_err(refuse)?;
    let found = pem::revocation_lists(&pem).map_err(refuse)?;
    for one in &found {
        lists::check(one).map_err(refuse)?;
        if let Some(cause) = lists::complaint(one, SystemTime::now()) {
            warnings.push(refuse(cause).to_string());
        }
    }
    Ok(found)
}

fn identity(
    tls: &TlsSettings,
    reading: &mut Reading,
    warnings: &mut Vec<String>,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let (Some(crt), Some(file)) = (&tls.crt_file, &tls.key_file) else {
        return Ok(None);
    };
    let of_chain = |cause: String| refuse("tls.crt_file", crt, &cause);
    let pem = reading.file("tls.crt_file", &crt.path).map_err(of_chain)?;
    let chain = pem::certificates(&pem).map_err(of_chain)?;
    if chain.len() > LONGEST_CHAIN {
        return Err(of_chain(format!(
            "holds over {LONGEST_CHAIN} certificates; name a file with the client certificate and \
             the CAs that lead to its root"
        )));
    }
    let complaints = [dates::complaint(&chain, SystemTime::now()), disorder(&chain)];
    warnings.extend(complaints.into_iter().flatten().map(|cause| of_chain(cause).to_string()));
    let key = reading
        .file("tls.key_file", &file.path)
        .map(Wiped::new)
        .and_then(|pem| private_key(&pem, tls.key_passwd.as_deref()))
        .map_err(|cause| refuse("tls.key_file", file, &cause))?;
    Ok(Some((chain, key)))
}

/// What is wrong with the order of the chain, with the fix.
fn disorder(chain: &[CertificateDer<'_>]) -> Option<String> {
    let read: Vec<_> = chain.iter().map_while(|one| Certificate::read(one).ok()).collect();
    let at = read.windows(2).position(|pair| pair[0].issuer != pair[1].subject)?;
    Some(format!(
        "certificate {} of the file ({}) did not sign certificate {} ({}), and some servers refuse \
         that; write the client certificate first, and after each certificate the one that signed \
         it",
        at + 2,
        name(read[at + 1].subject),
        at + 1,
        name(read[at].subject)
    ))
}

/// The error about a file's content, with the line that names the file.
pub(super) fn refuse(key: &str, file: &TlsFile, cause: &str) -> Error {
    Error::config(&file.position, format!("{key} {}: {cause}", brief_path(&file.path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Position;

    #[test]
    fn thousands_of_flaws_are_few_lines() {
        let position = Position { file: "f".into(), line: 7, column: 1 };
        let file = TlsFile { path: "/roots".into(), position };
        for (count, lines) in [(0, 0), (25, 25), (26, 26), (10_000, 26)] {
            let mut warnings = Vec::new();
            let causes = (0..count).map(|number| format!("has flaw {number}; repair it"));
            warn_of_each("tls.ca_path", &file, causes, "of its files are left out", &mut warnings);
            assert_eq!(warnings.len(), lines);
            if let Some(last) = warnings.get(25) {
                let more = format!("{} more of its files are left out", count - 25);
                assert!(last.starts_with("f:7:1: ") && last.contains(&more), "{last}");
            }
        }
    }
}
