//! From the `tls.*` keys of a node to its rustls configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::ciphers::{provider, versions};
use super::identity::Identity;
use super::sessions::Sessions;
use super::verifier::Verifier;
use super::{dates, files};
use crate::base::error::{Error, Position, Result, Status};
use crate::config::TlsSettings;

/// What a handshake with one node needs.
pub struct TlsClient {
    /// The rustls configuration, shared by all nodes with the same `tls.*` settings.
    shared: Arc<ClientConfig>,
    /// The same with the node's own sessions, made at its first handshake. A forked child makes no
    /// handshake, so nothing can block there.
    own: OnceLock<Arc<ClientConfig>>,
    /// The name to send (SNI), and the name that the certificate must have.
    pub name: ServerName<'static>,
    /// The settings, for the text of an error.
    pub settings: Arc<TlsSettings>,
    /// Whether the log already says that the node asks for a client certificate and there is none.
    is_miss_logged: AtomicBool,
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
            is_miss_logged: AtomicBool::new(false),
        }
    }

    /// Whether this is the first time that the node asked for a client certificate and got none.
    pub fn is_first_miss(&self) -> bool {
        !self.is_miss_logged.swap(true, Relaxed)
    }

    /// The rustls configuration for a connection. It keeps what the server sends for resuming, for
    /// the next connection.
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

/// Makes [`TlsClient`]s. Nodes with the same settings share one configuration.
#[derive(Default)]
pub struct TlsClients {
    made: HashMap<Arc<TlsSettings>, Arc<ClientConfig>>,
    /// The last one made: most nodes have the same settings as the node before.
    last: Option<(Arc<TlsSettings>, Arc<ClientConfig>)>,
    /// Warnings about the files, each only once.
    pub warnings: Vec<String>,
}

impl TlsClients {
    /// The client for a node with these settings. `position` is the node's, for errors about its
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
                    "\"{text}\" cannot be a name in a certificate; set tls.vhost to the name in \
                     the server's certificate"
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

/// The client certificate with its key; checks that they belong together.
fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| {
        format!(
            "holds a key of a kind that the library does not read ({error}); use RSA, ECDSA \
             (P-256, P-384 or P-521) or Ed25519"
        )
    })?;
    let certified = CertifiedKey::new(chain, key);
    let fits = match certified.keys_match() {
        // webpki does not read X.509 v1, but `openssl x509 -req` makes it by default, and servers
        // accept it. So look for the key's public half in the certificate's bytes.
        Err(rustls::Error::InvalidCertificate(_)) => holds_public_key(&certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => false,
        Ok(()) | Err(_) => true,
    };
    fits.then_some(certified).ok_or_else(|| {
        "does not belong to the certificate of tls.crt_file; set both to a pair".to_owned()
    })
}

fn holds_public_key(certified: &CertifiedKey) -> bool {
    match (certified.key.public_key(), certified.cert.first()) {
        (Some(key), Some(certificate)) => {
            certificate.windows(key.len()).any(|part| part == &key[..])
        }
        _ => false,
    }
}
