//! What a handshake with one node needs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::live::{Live, Made};
use super::sessions::Sessions;
use super::store::Places;
use crate::base::error::{Error, Position, Result};
use crate::base::log::Logger;
use crate::base::sync::Mutex;
use crate::config::{CipherNames, TlsFile, TlsSettings};

/// What a handshake with one node needs.
pub struct TlsClient {
    /// Shared by all nodes with the same `tls.*` settings.
    live: Arc<Live>,
    /// Its configuration with the node's own sessions, made at the node's first handshake and after
    /// each change of the files: what was agreed on with an old certificate, or trusted because of
    /// an old file, must not be resumed. A forked child makes no handshake, so nothing can block
    /// there.
    own: Mutex<Option<Made>>,
    /// The name to send (SNI), and the name that the certificate must have.
    pub name: ServerName<'static>,
    /// The settings, for the text of an error.
    pub settings: Arc<TlsSettings>,
    /// Whether the log already says that the node asks for a client certificate and there is none.
    is_miss_logged: AtomicBool,
}

impl TlsClient {
    fn new(live: &Arc<Live>, name: ServerName<'static>, settings: &Arc<TlsSettings>) -> TlsClient {
        TlsClient {
            live: Arc::clone(live),
            own: Mutex::new(None),
            name,
            settings: Arc::clone(settings),
            is_miss_logged: AtomicBool::new(false),
        }
    }

    /// Whether this is the first time that the node asked for a client certificate and got none.
    pub fn is_first_miss(&self) -> bool {
        !self.is_miss_logged.swap(true, Relaxed)
    }

    /// The files behind it.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The rustls configuration for a connection. It keeps what the server sends for resuming, for
    /// the next connection.
    pub fn config(&self) -> Arc<ClientConfig> {
        let current = self.live.current();
        let mut own = self.own.lock();
        if let Some(made) = &*own
            && made.generation == current.generation
        {
            return Arc::clone(&made.config);
        }
        let mut config = ClientConfig::clone(&current.config);
        config.resumption = Resumption::store(Arc::new(Sessions::default()));
        let config = Arc::new(config);
        *own = Some(Made { generation: current.generation, config: Arc::clone(&config) });
        config
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
    made: HashMap<TlsSettings, Arc<Live>>,
    /// The last one made: most nodes have the same settings as the node before.
    last: Option<(Arc<TlsSettings>, Arc<Live>)>,
    /// Where the system's store is.
    places: Option<Places>,
    logger: Logger,
    /// Warnings about the files, each only once.
    pub warnings: Vec<String>,
}

impl TlsClients {
    /// Those of a set that logs to `logger`.
    pub fn new(logger: &Logger) -> TlsClients {
        TlsClients { logger: logger.clone(), ..TlsClients::default() }
    }

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
        if let Some((last, live)) = &self.last
            && Arc::ptr_eq(last, settings)
        {
            return Ok(TlsClient::new(live, name, settings));
        }
        let key = common(settings);
        let live = match self.made.get(&key) {
            Some(live) => Arc::clone(live),
            None => {
                let places = match &self.places {
                    Some(places) => places.clone(),
                    None => self.find_store(settings),
                };
                let live = Live::new(settings, &places, &self.logger, &mut self.warnings)?;
                Arc::clone(self.made.entry(key).or_insert(Arc::new(live)))
            }
        };
        let client = TlsClient::new(&live, name, settings);
        self.last = Some((Arc::clone(settings), live));
        Ok(client)
    }

    /// Where the system's store is, if it is needed.
    fn find_store(&mut self, settings: &TlsSettings) -> Places {
        if !settings.verify || settings.ca_file.is_some() || settings.ca_path.is_some() {
            return Places::default();
        }
        let (places, warning) = Places::find();
        self.warnings.extend(warning);
        self.places = Some(places.clone());
        places
    }
}

/// The settings without what two nodes with the same configuration may differ in: the name, and
/// where in the file the keys are.
fn common(settings: &TlsSettings) -> TlsSettings {
    let nowhere = || Position { file: "".into(), line: 0, column: 0 };
    let file = |file: &Option<TlsFile>| {
        file.as_ref().map(|file| TlsFile { path: file.path.clone(), position: nowhere() })
    };
    let ciphers = settings
        .ciphers
        .as_ref()
        .map(|ciphers| CipherNames { names: ciphers.names.clone(), position: nowhere() });
    TlsSettings {
        vhost: None,
        ca_file: file(&settings.ca_file),
        ca_path: file(&settings.ca_path),
        crl_file: file(&settings.crl_file),
        crt_file: file(&settings.crt_file),
        key_file: file(&settings.key_file),
        ciphers,
        debug: 0,
        ..settings.clone()
    }
}
