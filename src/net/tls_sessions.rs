//! What a node has given for resuming TLS: the tickets of 1.3, the session of 1.2, the key exchange it chose.
//!
//! Each node has a store of its own, never one by server name: nodes that share a name (the ports of a host, a tls.vhost) need not
//! read each other's tickets, and a foreign ticket costs a whole handshake.

use std::collections::VecDeque;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::sync::{Guard, Mutex};

/// Tickets of TLS 1.3, each good for one handshake, that are kept for as many connections at once; rustls's own store keeps as many.
const TICKETS: usize = 8;

/// The sessions of one node. No memory before its first handshake.
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
