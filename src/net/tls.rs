//! TLS for a node: from its `tls.*` keys to a rustls configuration, made once when the set is
//! created.
//!
//! Never weaker than asked: what cannot be honoured is an error here, not a surprise at the
//! handshake.

mod dates;
pub(in crate::net) mod error;
mod files;
mod sessions;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use sessions::Sessions;

use crate::base::error::{Error, Position, Result, Status};
use crate::config::{CipherNames, TlsSettings, TlsVersion};

/// What a handshake with one node needs.
pub struct TlsClient {
    /// The rustls configuration, shared by all nodes of the same keys.
    shared: Arc<ClientConfig>,
    /// The same with the node's own sessions, made with its first handshake. A forked child makes
    /// none, so nothing waits there.
    own: OnceLock<Arc<ClientConfig>>,
    /// SNI, and the name that the certificate must carry.
    pub name: ServerName<'static>,
    /// The settings, for the words of an error.
    pub settings: Arc<TlsSettings>,
    /// The log has it that the node asks for a client certificate and there is none.
    missed_told: AtomicBool,
}

impl TlsClient {
    fn new(
        shared: &Arc<ClientConfig>,
        name: ServerName<'static>,
        settings: &Arc<TlsSettings>,
    ) -> TlsClient {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        TlsClient {
            shared,
            own: OnceLock::new(),
            name,
            settings,
            missed_told: AtomicBool::new(false),
        }
    }

    /// Whether this is the first time that the node asked for a client certificate in vain.
    pub fn is_first_miss(&self) -> bool {
        !self.missed_told.swap(true, Relaxed)
    }

    /// The rustls configuration for a connection. What the node gives for resuming it is kept for
    /// the next.
    pub fn config(&self) -> Arc<ClientConfig> {
        let own = || {
            let mut config = ClientConfig::clone(&self.shared);
            config.resumption = Resumption::store(Arc::new(Sessions::default()));
            Arc::new(config)
        };
        Arc::clone(self.own.get_or_init(own))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes [`TlsClient`]s, one configuration for all nodes that say the same.
#[derive(Default)]
pub struct TlsClients {
    made: HashMap<Arc<TlsSettings>, Arc<ClientConfig>>,
    /// The one asked for last: nodes mostly say the same as the one before.
    last: Option<(Arc<TlsSettings>, Arc<ClientConfig>)>,
    /// What is to be said of the files, once for each.
    pub warnings: Vec<String>,
}

impl TlsClients {
    /// The client for a node of these settings; `position` is the node's, for errors about its
    /// host.
    pub fn client(
        &mut self,
        settings: &Arc<TlsSettings>,
        host: &str,
        position: impl FnOnce() -> Position,
    ) -> Result<TlsClient> {
        let text = settings.vhost.as_deref().unwrap_or(host);
        let name = ServerName::try_from(text.to_owned()).map_err(|_| {
            Error::config(
                &position(),
                format!(
                    "\"{text}\" cannot stand in a certificate; set tls.vhost to the name that \
                     the server's carries"
                ),
            )
        })?;
        if let Some((last, config)) = &self.last
            && Arc::ptr_eq(last, settings)
        {
            return Ok(TlsClient::new(config, name, settings));
        }
        let config = match self.made.get(settings) {
            Some(config) => Arc::clone(config),
            None => Arc::new(build(settings, &mut self.warnings)?),
        };
        self.made.insert(Arc::clone(settings), Arc::clone(&config));
        let client = TlsClient::new(&config, name, settings);
        self.last = Some((Arc::clone(settings), config));
        Ok(client)
    }
}

fn build(settings: &TlsSettings, warnings: &mut Vec<String>) -> Result<ClientConfig> {
    let provider = provider(settings.ciphers.as_ref())?;
    let versions = versions(settings, &provider)?;
    let (roots, given) = if settings.verify {
        files::roots(settings)?
    } else {
        (Arc::new(RootCertStore::empty()), Vec::new())
    };
    let verifier = Verifier {
        roots,
        given,
        chain: settings.verify,
        hostname: settings.verify && settings.verify_hostname,
        algorithms: provider.signature_verification_algorithms,
    };
    let identity = files::identity(settings)?;
    if let (Some(file), Some((chain, _))) = (&settings.crt_file, &identity)
        && let Some(cause) = dates::complaint(chain, SystemTime::now())
    {
        let warning = files::refuse("tls.crt_file", file, &cause).to_string();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let certified = match (&settings.key_file, identity) {
        (Some(file), Some((chain, key))) => {
            let certified = certify(chain, key, &provider);
            Some(Arc::new(certified.map_err(|cause| files::refuse("tls.key_file", file, &cause))?))
        }
        _ => None,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .map_err(|error| Error::new(Status::Config, format!("tls: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Identity(certified)));
    config.resumption = Resumption::disabled(); // see `TlsClient::config`
    Ok(config)
}

/// The client certificate with its key, checked to belong together.
fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| {
        format!(
            "holds a key that is not read ({error}); RSA, ECDSA (P-256, P-384, P-521) and \
             Ed25519 are"
        )
    })?;
    let certified = CertifiedKey::new(chain, key);
    let fits = match certified.keys_match() {
        // webpki reads no X.509 v1, which `openssl x509 -req` makes unless it is told otherwise and
        // servers take. Its public key stands in it as in any other.
        Err(rustls::Error::InvalidCertificate(_)) => holds_public_key(&certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => false,
        Ok(()) | Err(_) => true,
    };
    fits.then_some(certified)
        .ok_or_else(|| "does not fit the certificate of tls.crt_file".to_owned())
}

fn holds_public_key(certified: &CertifiedKey) -> bool {
    match (certified.key.public_key(), certified.cert.first()) {
        (Some(key), Some(certificate)) => {
            certificate.windows(key.len()).any(|part| part == &key[..])
        }
        _ => false,
    }
}

/// The provider, with the suites that `tls.ciphers` names and no other. The first key share is
/// X25519's, which every server knows; X25519MLKEM768 is offered behind it, for servers that
/// insist. In front it would add 1.2 KB to each hello, and a second round trip at each server that
/// does not know it.
fn provider(ciphers: Option<&CipherNames>) -> Result<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(ciphers) = ciphers {
        let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
        for name in &ciphers.names {
            let suite = provider.cipher_suites.iter().find(|suite| {
                let iana = iana_name(suite);
                name.eq_ignore_ascii_case(&iana) || name.eq_ignore_ascii_case(&openssl_name(&iana))
            });
            let Some(suite) = suite else {
                let known: Vec<String> = provider
                    .cipher_suites
                    .iter()
                    .map(|suite| openssl_name(&iana_name(suite)))
                    .collect();
                return Err(Error::config(
                    &ciphers.position,
                    format!(
                        "tls.ciphers: \"{name}\" is not known; the known are {}",
                        known.join(", ")
                    ),
                ));
            };
            if !chosen.contains(suite) {
                chosen.push(*suite);
            }
        }
        provider.cipher_suites = chosen;
    }
    Ok(provider)
}

/// The versions between the bounds that have a cipher suite left.
fn versions(
    settings: &TlsSettings,
    provider: &CryptoProvider,
) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let within = |v: TlsVersion| settings.min_version <= v && v <= settings.max_version;
    let mut versions = Vec::new();
    for (v, rustls) in [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)] {
        if within(v) && provider.cipher_suites.iter().any(|suite| suite.version() == rustls) {
            versions.push(rustls);
        }
    }
    if versions.is_empty()
        && let Some(ciphers) = &settings.ciphers
    {
        return Err(Error::config(
            &ciphers.position,
            "tls.ciphers names no suite of a version between tls.min_version and tls.max_version; \
             the names of \
             TLSv1.3 begin with TLS_AES_ or TLS_CHACHA20_, all others are TLSv1.2's",
        ));
    }
    Ok(versions)
}

/// The name in the IANA registry, as OpenSSL too writes those of TLS 1.3.
pub(super) fn iana_name(suite: &SupportedCipherSuite) -> String {
    // rustls marks the suites of TLS 1.3 by a prefix of its own.
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// OpenSSL's name of an IANA one: `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is
/// `ECDHE-RSA-AES128-GCM-SHA256`.
fn openssl_name(iana: &str) -> String {
    let Some((exchange, cipher)) =
        iana.strip_prefix("TLS_").and_then(|rest| rest.split_once("_WITH_"))
    else {
        return iana.to_owned();
    };
    let cipher = match cipher {
        "CHACHA20_POLY1305_SHA256" => "CHACHA20-POLY1305".to_owned(),
        other => other.replace("AES_", "AES").replace('_', "-"),
    };
    format!("{}-{cipher}", exchange.replace('_', "-"))
}

/// Whether the server asked for a client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asked {
    /// It did not.
    #[default]
    No,
    /// It did, and got that of `tls.crt_file`.
    Answered,
    /// It did, and there is none.
    InVain,
}

thread_local! {
    /// Set while a handshake runs on this thread when the server asks for a client certificate.
    /// rustls tells only the resolver, and the resolver knows no connection.
    static CERTIFICATE_ASKED: Cell<Asked> = const { Cell::new(Asked::No) };
}

/// Runs a step of a handshake; the second value is whether the server asked for a certificate in
/// it.
pub(super) fn watch_for_certificate_request<T>(step: impl FnOnce() -> T) -> (T, Asked) {
    CERTIFICATE_ASKED.set(Asked::No);
    let outcome = step();
    (outcome, CERTIFICATE_ASKED.get())
}

/// The client's own certificate, if it has one.
#[derive(Debug)]
struct Identity(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        CERTIFICATE_ASKED.set(if self.0.is_some() { Asked::Answered } else { Asked::InVain });
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Checks the server's certificate as far as the keys ask for it.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    /// The certificates of `tls.ca_file` and `tls.ca_path`.
    given: Vec<CertificateDer<'static>>,
    chain: bool,
    hostname: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// With `tls.verify off` any certificate will do, so one that webpki cannot read (X.509 v1 of
    /// an old device) does too: whoever sits between could as well present a readable one of its
    /// own.
    fn takes_unread(&self, certificate: &CertificateDer<'_>) -> bool {
        !self.chain && ParsedCertificate::try_from(certificate).is_err()
    }

    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match verify_server_cert_signed_by_trust_anchor(
            parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        ) {
            // A self-signed certificate as `openssl req -x509` makes it is a CA and the server's at
            // once. Given as tls.ca_file it is trusted by name, as OpenSSL does; webpki has checked
            // its dates before it comes to this error.
            Err(error) if is_ca_as_server(&error) && self.given.contains(certificate) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Whether webpki refused a certificate only for being a CA's.
pub(super) fn is_ca_as_server(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.chain {
            let parsed = ParsedCertificate::try_from(certificate)?;
            self.check_chain(certificate, &parsed, intermediates, now)?;
            if self.hostname {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.takes_unread(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.takes_unread(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> CipherNames {
        CipherNames {
            names: list.iter().map(|name| (*name).to_owned()).collect(),
            position: Position { file: "t.conf".into(), line: 9, column: 5 },
        }
    }

    #[test]
    fn both_kinds_of_cipher_name_are_known() {
        let chosen = provider(Some(&names(&[
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "ecdhe-ecdsa-chacha20-poly1305",
            "TLS_AES_256_GCM_SHA384",
        ])))
        .unwrap();
        let iana: Vec<String> = chosen.cipher_suites.iter().map(iana_name).collect();
        assert_eq!(
            iana,
            [
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_AES_256_GCM_SHA384"
            ]
        );
    }

    #[test]
    fn an_unknown_cipher_lists_the_known() {
        let error = provider(Some(&names(&["RC4-MD5"]))).unwrap_err().to_string();
        assert!(
            error.starts_with("t.conf:9:5: tls.ciphers: \"RC4-MD5\" is not known; the known are "),
            "{error}"
        );
        assert!(error.contains("ECDHE-RSA-AES256-GCM-SHA384"), "{error}");
        assert!(error.contains("TLS_CHACHA20_POLY1305_SHA256"), "{error}");
    }
}
