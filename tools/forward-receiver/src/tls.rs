//! The server's side of TLS: a certificate made at the start, or one given as PEM files. It must
//! never do less than was asked for: settings that cannot be met are an error.

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The names in the certificate that it makes, unless others are given.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub enum Identity {
    /// Self-signed, for these names; its PEM is written to the file, for clients to trust.
    Made {
        names: Vec<String>,
        write_to: Option<PathBuf>,
    },
    Given {
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// If `client_ca` is given, a client must have a certificate from one of its authorities.
pub fn configure(
    identity: &Identity,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| format!("{}: {error}", file.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = match identity {
        Identity::Given { certificate, key } => {
            let read = PrivateKeyDer::from_pem_file(key);
            (
                certificates(certificate)?,
                read.map_err(|error| format!("{}: {error}", key.display()))?,
            )
        }
        Identity::Made { names, write_to } => make(names, write_to.as_deref())?,
    };
    builder.with_single_cert(chain, key).map(Arc::new).map_err(|error| format!("TLS: {error}"))
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn make(names: &[String], write_to: Option<&Path>) -> Result<Pair, String> {
    let names =
        if names.is_empty() { LOCAL_NAMES.map(String::from).to_vec() } else { names.to_vec() };
    let failed = |error: rcgen::Error| format!("making a certificate: {error}");
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "forward-receiver");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    if let Some(file) = write_to {
        fs::write(file, certificate.pem())
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    Ok((vec![certificate.der().clone()], key))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if all.is_empty() {
        return Err(format!("{}: holds no certificate in PEM form", file.display()));
    }
    Ok(all)
}
