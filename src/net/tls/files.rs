//! What stands in the files that `tls.*` keys name: trust roots, certificates, private keys.
//!
//! All of it is read when the set is created; an error carries the line that names the file and the
//! mend.

use std::path::Path;
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::base::error::{Error, Result, Status};
use crate::config::{TlsFile, TlsSettings};
use parking_lot::Mutex;

/// Trust roots for `tls`: `tls.ca_file` and `tls.ca_path` together, else the system's store. Beside
/// the store, the certificates themselves.
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
                &format!("holds a certificate that cannot be a trust root ({error})"),
            ));
        }
    }
    Ok((Arc::new(store), given))
}

/// The client certificate chain and its key, where both are set.
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

/// The refusal of a file's content, with the line that names it.
pub(super) fn refuse(key: &str, file: &TlsFile, cause: &str) -> Error {
    Error::config(&file.position, format!("{key} {}: {cause}", file.path.display()))
}

/// The system's store, read once in a process: it holds over a hundred certificates.
fn system_roots() -> Result<Arc<RootCertStore>> {
    // Not a OnceLock: forked while another thread reads, a child would wait for that thread for
    // ever. So two threads may both read it.
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
                "{cause}; install the package ca-certificates, or set tls.ca_file to the CA of the server"
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
        .map_err(|error| format!("is not good PEM ({error:?})"))?;
    if found.is_empty() {
        return Err(
            "holds no certificate; it wants PEM (\"-----BEGIN CERTIFICATE-----\"). DER is \
             converted by \
                    `openssl x509 -inform der -in FILE -out FILE.pem`"
                .to_owned(),
        );
    }
    Ok(found)
}

fn folder_certificates(folder: &TlsFile) -> Result<Vec<CertificateDer<'static>>> {
    let refuse = |cause: &str| refuse("tls.ca_path", folder, cause);
    let entries = std::fs::read_dir(&folder.path).map_err(|error| refuse(&error.to_string()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    // Such folders hold other things too (revocation lists, notes), so a file without a certificate
    // is passed over; a folder without one is refused.
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    for certificate in files.iter().filter_map(|path| certificates(path).ok()).flatten() {
        // An OpenSSL folder names each certificate twice: by its file, and by a link of its hash.
        if !found.contains(&certificate) {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(refuse("holds no PEM certificate"));
    }
    Ok(found)
}

fn private_key(path: &Path, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&pem);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return decrypt(&text, passphrase);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is encrypted in OpenSSL's old form, which is not read; convert it with \
                    `openssl pkcs8 -topk8 -in FILE -out FILE.p8` and set tls.key_passwd"
            .to_owned());
    }
    if passphrase.is_some() {
        return Err(
            "is not encrypted, but tls.key_passwd is set; take tls.key_passwd out, or name the \
             encrypted key"
                .to_owned(),
        );
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "holds no private key; it wants PEM in PKCS#8, PKCS#1 (RSA) or SEC1 (EC) form"
                .to_owned()
        }
        other => format!("is not good PEM ({other:?})"),
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
            "cannot be decrypted ({error}); is tls.key_passwd its passphrase? Encryption is \
             read in the forms \
                 PBES2 with PBKDF2 or scrypt and AES or 3DES"
        )
    })?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}
