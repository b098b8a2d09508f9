//! From the `tls.*` keys of a node, and what their files hold, to a rustls configuration.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::ciphers::{provider, versions};
use super::files::{Material, refuse};
use super::identity::Identity;
use super::key_file;
use super::verifier::{Lists, Verifier};
use crate::base::error::{Error, Result, Status};
use crate::config::{TlsFile, TlsSettings};

/// The configuration; sessions are not resumed with it, see `TlsClient::config`.
pub(super) fn build(settings: &TlsSettings, material: Material) -> Result<ClientConfig> {
    let provider = Arc::new(provider(settings.ciphers.as_ref())?);
    let versions = versions(settings, &provider)?;
    let Material { roots, given, lists, identity, .. } = material;
    let lists = match &settings.crl_file {
        Some(file) if !lists.is_empty() => Some(revocation(file, &lists, &roots, &provider)?),
        _ => None,
    };
    let verifier = Verifier {
        roots,
        given,
        lists,
        chain: settings.verify,
        hostname: settings.checks_name(),
        algorithms: provider.signature_verification_algorithms,
    };
    let certified = match (&settings.key_file, identity) {
        (Some(file), Some((chain, key))) => {
            let certified = certify(chain, key, &provider);
            Some(Arc::new(certified.map_err(|cause| refuse("tls.key_file", file, &cause))?))
        }
        _ => None,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|_| {
            let cause = "tls.ciphers has no suite for any version between tls.min_version and \
                         tls.max_version; name more suites";
            Error::new(Status::Config, cause)
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Identity(certified)));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(config)
}

/// A list of the CA that issued the server's certificate is mandatory: without one nobody knows
/// whether it is revoked. The CAs above are checked where there is a list.
fn revocation(
    file: &TlsFile,
    lists: &[CertificateRevocationListDer<'static>],
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Lists> {
    let begin = || {
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .with_crls(lists.to_vec())
            .enforce_revocation_expiration()
    };
    let broken = |_| {
        refuse("tls.crl_file", file, "holds a list that the library does not read; get it anew")
    };
    Ok(Lists {
        server: begin().only_check_end_entity_revocation().build().map_err(broken)?,
        above: begin().allow_unknown_revocation_status().build().map_err(broken)?,
    })
}

/// The client certificate with its key; checks that they belong together.
fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let unusable = key_file::unusable(&key);
    let key = provider.key_provider.load_private_key(key).map_err(|_| unusable)?;
    let certified = CertifiedKey::new(chain, key);
    let fits = match certified.keys_match() {
        // webpki does not read X.509 v1, but `openssl x509 -req` makes it by default, and servers
        // accept it. So look for the key's public half in the certificate's bytes.
        Err(rustls::Error::InvalidCertificate(_)) => {
            certified.cert.first().is_some_and(|first| holds_public_key(first, &*certified.key))
        }
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => false,
        Ok(()) | Err(_) => true,
    };
    if fits {
        return Ok(certified);
    }
    let place = certified.cert.iter().position(|one| holds_public_key(one, &*certified.key));
    Err(match place {
        Some(place) => format!(
            "belongs to certificate {} of tls.crt_file, not to the first; write the client \
             certificate first, and after each certificate the one that signed it",
            place + 1
        ),
        None => "does not belong to the certificate of tls.crt_file; set both to a pair".to_owned(),
    })
}

fn holds_public_key(certificate: &CertificateDer<'_>, key: &dyn SigningKey) -> bool {
    key.public_key().is_some_and(|key| certificate.windows(key.len()).any(|part| part == &key[..]))
}
