//! The library's own keys as typed values. Defaults live in the key table, never here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::words::{Balance, Check, Start};
use crate::base::error::Position;
use crate::base::text::Text;
use crate::base::wiped::Wiped;

/// The library's settings of one node. Nodes with the same settings share them.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// TLS to this node; `None` is plaintext.
    pub tls: Option<Arc<TlsSettings>>,
    /// `net.*`.
    pub net: Arc<NetSettings>,
    /// `health.*`.
    pub health: Arc<HealthSettings>,
    /// The node's share of the turns; 0 is none.
    pub weight: u32,
    /// The node's tier; the lowest tier with a usable node is in use.
    pub priority: u32,
}

/// `tls.*` of a node that has `tls on`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Check the certificate chain.
    pub verify: bool,
    /// Check that the certificate is for the host.
    pub verify_hostname: bool,
    /// SNI and the name to check, if it is not the host.
    pub vhost: Option<String>,
    /// PEM file of trust roots.
    pub ca_file: Option<TlsFile>,
    /// Directory of PEM files of trust roots.
    pub ca_path: Option<TlsFile>,
    /// PEM file of revocation lists.
    pub crl_file: Option<TlsFile>,
    /// Client certificate chain, PEM.
    pub crt_file: Option<TlsFile>,
    /// Client private key, PEM.
    pub key_file: Option<TlsFile>,
    /// Passphrase of the key.
    pub key_passwd: Option<Text>,
    /// Lowest protocol version.
    pub min_version: TlsVersion,
    /// Highest protocol version; never below `min_version`.
    pub max_version: TlsVersion,
    /// The cipher suites wanted, if any. `net::tls` checks the names.
    pub ciphers: Option<CipherNames>,
    /// The protocols offered by ALPN, in order; empty if none are.
    pub alpn: Vec<String>,
    /// Log level of the line about a connection: 0 to 4.
    pub debug: u8,
}

impl TlsSettings {
    /// Whether the certificate must be for a certain name.
    pub fn checks_name(&self) -> bool {
        self.verify && self.verify_hostname
    }
}

/// A file that a `tls.*` key names; it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    /// The path at which it was found: as given, else under `config.dir`, else in the directory of
    /// the upstream file.
    pub path: PathBuf,
    /// Where the key is, for errors about the content.
    pub position: Position,
}

impl std::hash::Hash for TlsFile {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

/// The names of `tls.ciphers`, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CipherNames {
    /// OpenSSL or IANA names.
    pub names: Vec<String>,
    /// Where the key is.
    pub position: Position,
}

impl std::hash::Hash for CipherNames {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.names.hash(state);
    }
}

/// A TLS protocol version this library speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    V1_2,
    /// TLS 1.3, RFC 8446.
    V1_3,
}

/// `net.proxy`.
#[derive(PartialEq, Eq)]
pub struct Proxy {
    /// Host name or numeric address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `user:password`.
    pub credentials: Option<Wiped<String>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port) // never the password
    }
}

/// `net.*`: how connections to a node are made and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSettings {
    /// Name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Log a connect timeout at level ERROR; if false, at DEBUG.
    pub connect_timeout_log_error: bool,
    /// How long one blocking read or write may make no progress.
    pub io_timeout: Duration,
    /// Keep connections in the pool.
    pub keepalive: bool,
    /// How long a connection may be idle in the pool.
    pub keepalive_idle_timeout: Duration,
    /// How often one connection may be used; 0 is no limit.
    pub keepalive_max_recycle: u32,
    /// How old one connection may become; zero is no limit.
    pub keepalive_max_lifetime: Duration,
    /// How many connections to the node may be open; 0 is no limit.
    pub max_connections: u32,
    /// SO_KEEPALIVE.
    pub tcp_keepalive: bool,
    /// Idle time before the first probe; `None` is the system's.
    pub tcp_keepalive_time: Option<Duration>,
    /// Time between probes; `None` is the system's.
    pub tcp_keepalive_interval: Option<Duration>,
    /// Unanswered probes after which the connection is broken; `None` is the system's.
    pub tcp_keepalive_probes: Option<u32>,
    /// The HTTP proxy to connect through.
    pub proxy: Option<Arc<Proxy>>,
    /// Local address to bind.
    pub source_address: Option<IpAddr>,
    /// Try IPv4 addresses first.
    pub prefer_ipv4: bool,
    /// Try IPv6 addresses first.
    pub prefer_ipv6: bool,
    /// How long an answer of the resolver is used.
    pub dns_ttl: Duration,
}

/// `health.*`: when a node is ejected, and how it is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Failures in a row that eject the node.
    pub max_fails: u32,
    /// How long the first ejection lasts.
    pub backoff: Duration,
    /// How long the longest ejection lasts; never below `backoff`.
    pub backoff_max: Duration,
    /// How the library itself checks ejected nodes.
    pub check: Check,
    /// Time between two such checks.
    pub interval: Duration,
}

/// Keys of the set as a whole, from `[UPSTREAM]` or the options.
#[derive(Clone, Debug)]
pub struct SetSettings {
    /// How the next node is chosen.
    pub balance: Balance,
    /// Where the rotation starts.
    pub start: Start,
    /// `deliver.*`.
    pub deliver: DeliverSettings,
}

/// `deliver.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverSettings {
    /// The time for all attempts of one delivery.
    pub timeout: Duration,
    /// How many nodes to try for one payload; 0 is each node once.
    pub attempts: u32,
    /// Send a payload to another node although it may have arrived at the first.
    pub resend: bool,
    /// If every node is ejected, wait for the first that is due, inside the deadline.
    pub wait: bool,
}
