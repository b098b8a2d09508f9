//! What a server sent for resuming TLS: the tickets of 1.3, the session of 1.2, the key exchange
//! that it chose.
//!
//! Each node has its own store, not one for each server name: nodes with the same name (several
//! ports of a host, the same tls.vhost) may not accept each other's tickets, and a ticket that is
//! not accepted costs a full handshake.

use std::collections::VecDeque;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::base::sync::{Guard, Mutex};

/// How many tickets of TLS 1.3 are kept. Each is good for one handshake, so as many connections can
/// resume at once. rustls's own store keeps the same number.
const TICKETS: usize = 8;

/// The sessions of one node. Uses no memory before the first handshake.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Option<Box<Held>>>);

#[derive(Debug, Default)]
struct Held {
    group: Option<NamedGroup>,
    session: Option<Tls12ClientSessionValue>,
    /// Oldest first.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    fn held(&self) -> Guard<'_, Option<Box<Held>>> {
        self.0.lock()
    }

    fn change(&self, work: impl FnOnce(&mut Held)) {
        work(self.held().get_or_insert_default());
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.change(|held| held.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.held().as_ref()?.group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.change(|held| held.session = Some(session));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.held().as_ref()?.session.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        if let Some(held) = &mut *self.held() {
            held.session = None;
        }
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.change(|held| {
            if held.tickets.len() >= TICKETS {
                held.tickets.pop_front();
            }
            held.tickets.push_back(ticket);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.held().as_mut()?.tickets.pop_back()
    }
}

#[cfg(test)]
pub(in crate::net) mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};

    use crate::base::error::Position;
    use crate::config::{TlsSettings, TlsVersion};
    use crate::net::tls::{TlsClient, TlsClients};

    fn settings(version: TlsVersion) -> TlsSettings {
        TlsSettings {
            verify: false,
            verify_hostname: false,
            vhost: None,
            ca_file: None,
            ca_path: None,
            crl_file: None,
            crt_file: None,
            key_file: None,
            key_passwd: None,
            min_version: version,
            max_version: version,
            ciphers: None,
            alpn: Vec::new(),
            debug: 0,
        }
    }

    pub(in crate::net) fn server() -> Arc<ServerConfig> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap())
    }

    /// A client that takes any certificate.
    pub(in crate::net) fn client(version: TlsVersion) -> TlsClient {
        let position = || Position { file: "t.conf".into(), line: 1, column: 1 };
        let settings = Arc::new(settings(version));
        TlsClients::default().client(&settings, "localhost", position).unwrap()
    }

    fn pass(from: &mut Connection, to: &mut Connection) {
        while from.wants_write() {
            let mut wire = Vec::new();
            from.write_tls(&mut wire).unwrap();
            let mut wire = &wire[..];
            while !wire.is_empty() {
                to.read_tls(&mut wire).unwrap();
                to.process_new_packets().unwrap();
            }
        }
    }

    /// A connection of `client` to `server`, with all that they say to each other unasked: whether
    /// it was resumed.
    fn resumes(client: &TlsClient, server: &Arc<ServerConfig>) -> bool {
        let mut client: Connection =
            ClientConnection::new(client.config(), client.name.clone()).unwrap().into();
        let mut server: Connection = ServerConnection::new(Arc::clone(server)).unwrap().into();
        for _ in 0..4 {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        client.handshake_kind().unwrap() == HandshakeKind::Resumed
    }

    #[test]
    fn a_node_resumes_its_own_sessions_and_no_others() {
        for version in [TlsVersion::V1_3, TlsVersion::V1_2] {
            let position = || Position { file: "t.conf".into(), line: 1, column: 1 };
            let mut clients = TlsClients::default();
            let settings = Arc::new(settings(version));
            let mut node = || clients.client(&settings, "localhost", position).unwrap();
            let (first, second) = (node(), node()); // two ports of one host
            let server = server(); // both lead here, so that a ticket of the other's would do
            assert!(!resumes(&first, &server));
            assert!(resumes(&first, &server));
            assert!(!resumes(&second, &server), "it has nothing of the first's to offer");
            for _ in 0..20 {
                assert!(resumes(&first, &server), "each handshake leaves enough for the next");
            }
        }
    }
}
