//! What a handshake with one node needs.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
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
use crate::config::{CipherNames, TlsFile, TlsSettings, UNIX};

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
        let name = match text.starts_with(UNIX) {
            // Then no name is checked, or config would have asked for one. An address is not sent.
            true => ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
            false => ServerName::try_from(text.to_owned()).map_err(|_| {
                Error::config(
                    &position(),
                    format!(
                        "\"{text}\" cannot be a name in a certificate; set tls.vhost to the name \
                         in the server's certificate"
                    ),
                )
            })?,
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsVersion;

    /// The settings of a node whose keys are in that line.
    fn settings(folder: &std::path::Path, line: usize, vhost: &str) -> Arc<TlsSettings> {
        let position = Position { file: "t.conf".into(), line, column: 1 };
        let file =
            |name: &str| Some(TlsFile { path: folder.join(name), position: position.clone() });
        Arc::new(TlsSettings {
            verify: true,
            verify_hostname: true,
            vhost: Some(vhost.to_owned()),
            ca_file: file("ca.pem"),
            ca_path: None,
            crl_file: None,
            crt_file: None,
            key_file: None,
            key_passwd: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            ciphers: None,
            alpn: Vec::new(),
            debug: 1,
        })
    }

    fn write_ca(folder: &std::path::Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(folder.join("ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
    }

    fn client(clients: &mut TlsClients, settings: &Arc<TlsSettings>) -> TlsClient {
        let position = || Position { file: "t.conf".into(), line: 1, column: 1 };
        clients.client(settings, "h", position).unwrap()
    }

    #[test]
    fn nodes_with_the_same_files_share_one_configuration_wherever_their_keys_are() {
        let folder = tempfile::tempdir().unwrap();
        write_ca(folder.path());
        let mut clients = TlsClients::default();
        let first = client(&mut clients, &settings(folder.path(), 5, "a.example"));
        let second = client(&mut clients, &settings(folder.path(), 9, "b.example"));
        assert!(Arc::ptr_eq(first.live(), second.live()));
        let other = TlsSettings { verify_hostname: false, ..(*first.settings).clone() };
        let third = client(&mut clients, &Arc::new(other));
        assert!(!Arc::ptr_eq(first.live(), third.live()));
    }

    #[test]
    fn sessions_of_before_a_change_are_not_resumed_and_a_failed_read_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        write_ca(folder.path());
        let client = client(&mut TlsClients::default(), &settings(folder.path(), 5, "a.example"));
        let before = client.config();
        client.live().look();
        assert!(Arc::ptr_eq(&before, &client.config()), "nothing has changed");
        std::fs::write(folder.path().join("ca.pem"), "nonsense").unwrap();
        client.live().look();
        assert!(Arc::ptr_eq(&before, &client.config()), "what was good stays");
        write_ca(folder.path());
        client.live().look();
        assert!(!Arc::ptr_eq(&before, &client.config()));
    }

    #[test]
    fn one_look_serves_all_dials_that_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        write_ca(folder.path());
        let client = client(&mut TlsClients::default(), &settings(folder.path(), 5, "a.example"));
        let live = client.live();
        assert!(live.watches_files() && live.await_look(1));
        assert!(!live.await_look(2) && !live.await_look(3));
        assert_eq!(live.look().dials, [1, 2, 3]);
        assert!(live.await_look(4), "a later dial needs a later look");
    }
}
