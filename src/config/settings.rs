//! The library's own keys as typed values. Defaults live in the key table, never here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::words::{Balance, Check, Start};
use crate::base::error::Position;

/// Everything the library reads for one node. Nodes that say the same share it.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// TLS to this node; `None` is plaintext.
    pub tls: Option<Arc<TlsSettings>>,
    /// `net.*`.
    pub net: Arc<NetSettings>,
    /// `health.*`.
    pub health: Arc<HealthSettings>,
    /// Share of the turns; 0 has none.
    pub weight: u32,
    /// Tier; the lowest number with an eligible node is in use.
    pub priority: u32,
}

/// `tls.*` of a node that has `tls on`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Check the certificate chain.
    pub verify: bool,
    /// Check that the certificate is the host's.
    pub verify_hostname: bool,
    /// SNI and the name to check, where it is not the host.
    pub vhost: Option<String>,
    /// PEM file of trust roots.
    pub ca_file: Option<TlsFile>,
    /// Directory of PEM files of trust roots.
    pub ca_path: Option<TlsFile>,
    /// Client certificate chain, PEM.
    pub crt_file: Option<TlsFile>,
    /// Client private key, PEM.
    pub key_file: Option<TlsFile>,
    /// Passphrase of the key.
    pub key_passwd: Option<String>,
    /// Lowest protocol version.
    pub min_version: TlsVersion,
    /// Highest protocol version; never below `min_version`.
    pub max_version: TlsVersion,
    /// Cipher suites asked for, if any; names not yet known to be good.
    pub ciphers: Option<CipherNames>,
    /// 0 to 4.
    pub debug: u8,
}

/// A file a `tls.*` key names: found, and where the key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    /// The path, resolved: as given, else under `config.dir`, else beside the upstream file.
    pub path: PathBuf,
    /// Where the key stands, for errors about the content.
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
    /// Where the key stands.
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

/// `net.*`: how connections to a node are made and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSettings {
    /// Name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Log a connect timeout at error level (else at debug).
    pub connect_timeout_log_error: bool,
    /// One blocking read or write without progress.
    pub io_timeout: Duration,
    /// Pool connections.
    pub keepalive: bool,
    /// How long one may lie idle in the pool.
    pub keepalive_idle_timeout: Duration,
    /// Uses of one connection; 0 is without limit.
    pub keepalive_max_recycle: u32,
    /// Age of one connection; zero is without limit.
    pub keepalive_max_lifetime: Duration,
    /// Open connections to the node; 0 is without limit.
    pub max_connections: u32,
    /// SO_KEEPALIVE.
    pub tcp_keepalive: bool,
    /// Idle time before the first probe; `None` is the system's.
    pub tcp_keepalive_time: Option<Duration>,
    /// Time between probes; `None` is the system's.
    pub tcp_keepalive_interval: Option<Duration>,
    /// Probes before the connection is given up; `None` is the system's.
    pub tcp_keepalive_probes: Option<u32>,
    /// Local address to bind.
    pub source_address: Option<IpAddr>,
    /// Try IPv4 addresses first.
    pub prefer_ipv4: bool,
    /// Try IPv6 addresses first.
    pub prefer_ipv6: bool,
    /// How long an answer of the resolver holds.
    pub dns_ttl: Duration,
}

/// `health.*`: when a node is taken out of the rotation and how it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Consecutive failures that eject.
    pub max_fails: u32,
    /// The first ejection.
    pub backoff: Duration,
    /// The longest; never below `backoff`.
    pub backoff_max: Duration,
    /// Active check of ejected nodes.
    pub check: Check,
    /// Time between active checks.
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
    /// All attempts of one delivery.
    pub timeout: Duration,
    /// Nodes tried for one payload; 0 is each node once.
    pub attempts: u32,
    /// Send a payload that may have arrived again elsewhere.
    pub resend: bool,
    /// With every node out, wait inside the deadline for the first that is due.
    pub wait: bool,
}
