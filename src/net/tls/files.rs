//! Reads the files that `tls.*` keys name: trust roots, certificates, private keys.
//!
//! They are all read when the set is created. An error has the line that names the file, and the
//! fix.

use std::path::Path;
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use crate::base::error::{Error, Result, Status};
use crate::base::text::brief_path;
use crate::base::wiped::Wiped;
use crate::config::{TlsFile, TlsSettings};
use parking_lot::Mutex;

/// The trust roots: those of `tls.ca_file` and `tls.ca_path` together; if neither is set, the
/// system's store. The second value are the certificates of the two keys.
pub(super) fn roots(
    tls: &TlsSettings,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>)> {
    if tls.ca_file.is_none() && tls.ca_path.is_none() {
        return Ok((system_roots()?, Vec::new()));
    }
    let mut given = Vec::new();
    if let Some(file) = &tls.ca_file {
        given
            .extend(certificates(&file.path).map_err(|cause| refuse("tls.ca_file", file, &cause))?);
    }
    if let Some(folder) = &tls.ca_path {
        given.extend(folder_certificates(folder)?);
    }
    let mut store = RootCertStore::empty();
    for certificate in &given {
        if let Err(error) = store.add(certificate.clone()) {
            let (key, file) = match (&tls.ca_file, &tls.ca_path) {
                (Some(file), _) => ("tls.ca_file", file),
                (None, Some(folder)) => ("tls.ca_path", folder),
                (None, None) => unreachable!("one of both was read above"),
            };
            return Err(refuse(
                key,
                file,
                &format!("holds a certificate that cannot be a trust root ({error}); remove it"),
            ));
        }
    }
    Ok((Arc::new(store), given))
}

/// The client certificate chain and its key, if both are set.
pub(super) fn identity(
    tls: &TlsSettings,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let (Some(crt), Some(key)) = (&tls.crt_file, &tls.key_file) else {
        return Ok(None);
    };
    let chain = certificates(&crt.path).map_err(|cause| refuse("tls.crt_file", crt, &cause))?;
    let key = private_key(&key.path, tls.key_passwd.as_deref())
        .map_err(|cause| refuse("tls.key_file", key, &cause))?;
    Ok(Some((chain, key)))
}

/// The error about a file's content, with the line that names the file.
pub(super) fn refuse(key: &str, file: &TlsFile, cause: &str) -> Error {
    Error::config(&file.position, format!("{key} {}: {cause}", brief_path(&file.path)))
}

/// The system's store. It is read once in a process, because it holds over a hundred certificates.
fn system_roots() -> Result<Arc<RootCertStore>> {
    // Not a OnceLock: a child forked while another thread reads would wait for that thread for
    // ever. So two threads may both read the store.
    static STORE: Mutex<Option<Result<Arc<RootCertStore>, String>>> = Mutex::new(None);
    let known = STORE.try_lock().and_then(|store| store.clone());
    let loaded = known.unwrap_or_else(|| {
        let loaded = read_system_roots();
        if let Some(mut store) = STORE.try_lock() {
            *store = Some(loaded.clone());
        }
        loaded
    });
    loaded.map_err(|cause| {
        Error::new(
            Status::Config,
            format!(
                "{cause}; install the package ca-certificates, or set tls.ca_file to the CA of the \
                 server"
            ),
        )
    })
}

fn read_system_roots() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(Arc::new(store));
    }
    Err(match found.errors.first() {
        Some(error) => format!("the system's certificate store cannot be read ({error})"),
        None => "the system's certificate store is empty".to_owned(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, pem::Error>>()
        .map_err(|error| bad_pem(&error))?;
    if found.is_empty() {
        return Err(
            "holds no certificate; write it in PEM (\"-----BEGIN CERTIFICATE-----\"). To convert \
             DER: `openssl x509 -inform der -in FILE -out FILE.pem`"
                .to_owned(),
        );
    }
    Ok(found)
}

fn bad_pem(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no \"-----END\" line",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is broken",
        pem::Error::Base64Decode(_) => "the text of a section is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    };
    format!("is not good PEM: {what}; write the file again")
}

fn folder_certificates(folder: &TlsFile) -> Result<Vec<CertificateDer<'static>>> {
    let refuse = |cause: &str| refuse("tls.ca_path", folder, cause);
    let entries = std::fs::read_dir(&folder.path).map_err(|error| refuse(&error.to_string()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    // Such folders also hold other things (revocation lists, notes), so a file without a
    // certificate is skipped. A folder without any certificate is an error.
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    for certificate in files.iter().filter_map(|path| certificates(path).ok()).flatten() {
        // An OpenSSL folder has each certificate twice: as a file, and as a link named by its hash.
        if !found.contains(&certificate) {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(refuse("holds no PEM certificate; put one in it"));
    }
    Ok(found)
}

fn private_key(path: &Path, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let pem = Wiped::new(std::fs::read(path).map_err(|error| error.to_string())?);
    let text = String::from_utf8_lossy(&pem);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return decrypt(&text, passphrase);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "is encrypted in OpenSSL's old form, which the library does not read; convert it with \
             `openssl pkcs8 -topk8 -in FILE -out FILE.p8` and set tls.key_passwd"
                .to_owned(),
        );
    }
    if passphrase.is_some() {
        return Err(
            "is not encrypted, but tls.key_passwd is set; remove tls.key_passwd, or name the \
             encrypted key"
                .to_owned(),
        );
    }
    if let Some(key) = plain_key(&text) {
        return Ok(key);
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "holds no private key; write it in PEM, in the form PKCS#8, PKCS#1 (RSA) or SEC1 (EC)"
                .to_owned()
        }
        other => bad_pem(&other),
    })
}

/// The key of a file in the usual form, read without leaving a copy of its text in memory. `None`
/// if it is not in that form; another reader then says what is wrong, if anything is.
fn plain_key(text: &str) -> Option<PrivateKeyDer<'static>> {
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let begin = |label: &str| text.find(&format!("-----BEGIN {label}-----"));
    let (start, label) =
        labels.into_iter().filter_map(|label| Some((begin(label)?, label))).min()?;
    let end = format!("-----END {label}-----");
    let length = text[start..].find(&end)? + end.len();
    let (_, key) = pkcs8::SecretDocument::from_pem(&text[start..start + length]).ok()?;
    // rustls wipes what it is given here.
    let key = key.as_bytes().to_vec();
    Some(match label {
        "PRIVATE KEY" => PrivatePkcs8KeyDer::from(key).into(),
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(key).into(),
        _ => PrivateSec1KeyDer::from(key).into(),
    })
}

fn decrypt(pem: &str, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let passphrase = passphrase.ok_or("is encrypted; set tls.key_passwd to its passphrase")?;
    let start = pem.find("-----BEGIN ENCRYPTED").unwrap_or(0);
    let (_, document) = pkcs8::SecretDocument::from_pem(&pem[start..])
        .map_err(|error| format!("is not good PEM ({error})"))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| format!("is not an encrypted PKCS#8 key ({error})"))?;
    let plain = encrypted.decrypt(passphrase).map_err(|error| {
        format!(
            "cannot be decrypted ({error}); is tls.key_passwd its passphrase? The library reads \
             PBES2 with PBKDF2 or scrypt, and AES or 3DES"
        )
    })?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_pem_is_told_in_a_sentence() {
        for (pem, words) in [
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "has no \"-----END\" line"),
            ("-----BEGIN CERTIFICATE\nAAAA\n", "\"-----BEGIN\" line is broken"),
            ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "not base64"),
        ] {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let text = bad_pem(&found.unwrap_err());
            assert!(text.starts_with("is not good PEM: ") && text.contains(words), "{text}");
        }
    }
}
