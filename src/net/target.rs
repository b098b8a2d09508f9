//! A node as connections see it: its address, how to reach it, and its name in errors.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::channel::Failure;
use super::local::{blame, explained};
use super::tls::TlsClient;
use crate::base::error::{Error, Origin, Phase, Status};
use crate::base::text::Text;
use crate::config::NetSettings;

/// What is needed to connect to a node.
#[derive(Debug)]
pub struct Target {
    /// The node's name.
    pub name: Text,
    /// Host name or numeric address.
    pub host: Text,
    /// TCP port.
    pub port: u16,
    /// `net.*`.
    pub net: Arc<NetSettings>,
    /// TLS, if the node has it.
    pub tls: Option<Arc<TlsClient>>,
    /// The server accepted the last connections only to end them at once. A new one must stay open
    /// for a moment before it is used.
    pub wary: AtomicBool,
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

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        let Target { host, port, .. } = self;
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
