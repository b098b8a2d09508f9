//! A node as connections see it: its address, how to reach it, and its name in errors.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::channel::Failure;
use super::local::{blame, explained};
use super::tls::TlsClient;
use crate::base::error::{Error, Origin, Phase, Status};
use crate::base::text::Text;
use crate::config::{NetSettings, Proxy, UNIX};

/// What is needed to connect to a node.
#[derive(Debug)]
pub struct Target {
    /// The node's name.
    pub name: Text,
    /// Host name, numeric address, or `unix:` and a path.
    pub host: Text,
    /// TCP port; 0 for a path.
    pub port: u16,
    /// `net.*`.
    pub net: Arc<NetSettings>,
    /// TLS, if the node has it.
    pub tls: Option<Arc<TlsClient>>,
    /// The server accepted the last connections only to end them at once. A new one must stay open
    /// for a moment before it is used.
    pub wary: AtomicBool,
}

/// Where a connection goes first.
pub(super) enum Door<'a> {
    /// A name or a numeric address, and a port.
    Host(&'a str, u16),
    /// A socket of this machine.
    Unix(&'a str),
}

impl Target {
    /// The same address without TLS: only to see whether it answers. Do not send anything there.
    pub fn without_tls(&self) -> Target {
        Target {
            name: self.name.clone(),
            host: self.host.clone(),
            port: self.port,
            net: Arc::clone(&self.net),
            tls: None,
            wary: AtomicBool::new(false),
        }
    }

    /// Where a connection to it goes first.
    pub(super) fn door(&self) -> Door<'_> {
        match (self.host.strip_prefix(UNIX), &self.net.proxy) {
            (Some(path), _) => Door::Unix(path),
            (None, Some(proxy)) => Door::Host(&proxy.host, proxy.port),
            (None, None) => Door::Host(&self.host, self.port),
        }
    }

    /// The name that is looked up, for messages.
    pub(super) fn looked_up(&self) -> String {
        match (self.proxy(), &self.host) {
            (Some(proxy), _) => format!("the proxy \"{}\"", proxy.host),
            (None, host) => format!("\"{host}\""),
        }
    }

    /// The proxy on the way to it.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.net.proxy.as_deref().filter(|_| !self.host.starts_with(UNIX))
    }

    /// `host:port` or `unix:/path`, for messages and proxies.
    pub fn address(&self) -> String {
        let Target { host, port, .. } = self;
        if host.starts_with(UNIX) {
            return host.to_string();
        }
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// An error about this node.
    pub fn error(&self, status: Status, phase: Phase, cause: impl Into<String>) -> Error {
        self.locate(phase, Error::new(status, cause))
    }

    fn origin(&self, phase: Phase) -> Origin {
        Origin::Node { name: self.name.as_str().into(), address: self.address().into(), phase }
    }

    /// The same error, about this node.
    pub fn locate(&self, phase: Phase, error: Error) -> Error {
        Error { origin: self.origin(phase), ..error }
    }

    /// An error of the system about this node.
    pub fn system_error(&self, status: Status, phase: Phase, error: &io::Error) -> Error {
        Error {
            errno: error.raw_os_error().unwrap_or(0),
            blame: blame(error),
            ..self.error(status, phase, explained(error, self.net.source_address))
        }
    }

    /// The error of a stream to this node that broke.
    pub fn failure(&self, phase: Phase, (status, errno, cause): Failure) -> Error {
        let blame = blame(&io::Error::from_raw_os_error(errno));
        Error { errno, blame, ..self.error(status, phase, cause) }
    }

    /// The error of a call to this node on a set that was cancelled.
    pub fn cancelled(&self, phase: Phase) -> Error {
        self.locate(phase, Error::cancelled())
    }
}
