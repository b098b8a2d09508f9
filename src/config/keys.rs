//! The one table of the keys this library reads: what each is called, may be, defaults to and does.
//! No other file knows a key by name or holds a default.

mod markdown;

use super::suggest;
use super::value::{Kind, Value, opening, shown};

pub use markdown::markdown;

/// A place where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A `[NODE]` section.
    Node,
    /// The `[UPSTREAM]` section.
    Upstream,
    /// The options handed over by the program.
    Options,
}

/// What stands in for a key that is not given.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This value, written as in a file.
    Value(&'static str),
    /// Nothing; the words say what that means.
    Unset(&'static str),
    /// It must be given.
    Mandatory,
}

/// What this version does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It acts on it.
    Acts,
    /// It reads and checks it, and says in one line that it has no effect yet.
    Later,
    /// It reads and checks it, and says in one line that the system resolver is used.
    SystemResolver,
    /// It reads and checks it, and says in one line that no proxy is used.
    NoProxy,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its number.
    pub key: Key,
    /// Its name, in small letters.
    pub name: &'static str,
    /// Other names it is read under.
    pub aliases: &'static [&'static str],
    /// What its value may be.
    pub kind: Kind,
    /// Where it may stand.
    pub places: &'static [Place],
    /// What holds where it is not given.
    pub default: Fallback,
    /// What this version does with it.
    pub effect: Effect,
    /// One line for the reference.
    pub help: &'static str,
}

macro_rules! table {
    ($($key:ident $name:literal $(or $alias:literal)*, $kind:expr, $places:ident, $default:expr, $effect:ident:
       $help:literal;)*) => {
        /// A known key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Key { $(#[doc = concat!("`", $name, "`")] $key),* }

        /// Every known key, in the order of the reference; indexed by [`Key`].
        pub static TABLE: &[Entry] = &[$(Entry {
            key: Key::$key, name: $name, aliases: &[$($alias),*], kind: $kind, places: $places, default: $default,
            effect: Effect::$effect, help: $help,
        }),*];
    };
}

const IN_NODE: &[Place] = &[Place::Node];
const IN_SECTIONS: &[Place] = &[Place::Node, Place::Upstream];
const ANYWHERE: &[Place] = &[Place::Node, Place::Upstream, Place::Options];
const FOR_THE_SET: &[Place] = &[Place::Upstream, Place::Options];
const OPTION: &[Place] = &[Place::Options];

use Fallback::{Mandatory, Unset, Value as Is};
use Kind::{Address, Bool, Directory, File, Host, Integer, Names, Port, Secret, Text, TlsVersion};

// Bounds keep a value inside what the system takes, and far from overflow where it is added to a clock.
const WAIT: Kind = Kind::Duration { min: "1ms", max: "365d" };
const TIME: Kind = Kind::Duration { min: "0", max: "365d" };
/// Linux: MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL are 32767 seconds.
const PROBE_TIME: Kind = Kind::Duration { min: "1s", max: "32767s" };
/// Linux: MAX_TCP_KEEPCNT.
const PROBES: Kind = Integer { min: 1, max: 127 };
const COUNT: Kind = Integer { min: 0, max: 1_000_000_000 };

const fn one_of(known: &'static [&'static str]) -> Kind {
    Kind::Word { known, later: &[] }
}

const BALANCE: Kind = Kind::Word { known: &["round-robin"], later: &["least-connections", "first", "hash"] };

table! {
    Name "name", Text, IN_SECTIONS, Mandatory, Acts: "Name of the upstream or of the node; two nodes of one name are an error";
    Host "host", Host, IN_NODE, Mandatory, Acts: "Host name, IPv4 address, or IPv6 address with or without brackets";
    Port "port", Port, IN_NODE, Mandatory, Acts: "TCP port";

    Tls "tls", Bool, ANYWHERE, Is("off"), Acts: "TLS to the node";
    TlsVerify "tls.verify", Bool, ANYWHERE, Is("on"), Acts: "Check the certificate chain";
    TlsVerifyHostname "tls.verify_hostname", Bool, ANYWHERE, Is("on"), Acts: "Check that the certificate is the host's, or `tls.vhost`'s";
    TlsVhost "tls.vhost", Host, ANYWHERE, Unset("the host"), Acts: "Server name sent (SNI) and checked; an IP address is never sent";
    TlsCaFile "tls.ca_file", File, ANYWHERE, Unset("system store"), Acts: "PEM file of trust roots; together with `tls.ca_path` both count";
    TlsCaPath "tls.ca_path", Directory, ANYWHERE, Unset("system store"), Acts: "Directory of PEM files of trust roots";
    TlsCrtFile "tls.crt_file", File, ANYWHERE, Unset("none"), Acts: "Client certificate chain, PEM; needs `tls.key_file`";
    TlsKeyFile "tls.key_file", File, ANYWHERE, Unset("none"), Acts: "Client private key, PEM (PKCS#8, PKCS#1 or SEC1); needs `tls.crt_file`";
    TlsKeyPasswd "tls.key_passwd", Secret, ANYWHERE, Unset("none"), Acts: "Passphrase of an encrypted PKCS#8 key";
    TlsMinVersion "tls.min_version", TlsVersion, ANYWHERE, Is("TLSv1.2"), Acts: "Lowest protocol version";
    TlsMaxVersion "tls.max_version", TlsVersion, ANYWHERE, Is("TLSv1.3"), Acts: "Highest protocol version";
    TlsCiphers "tls.ciphers", Names, ANYWHERE, Unset("the TLS library's own"), Acts: "Cipher suites by OpenSSL or IANA name, apart by colons, commas or blanks";
    TlsDebug "tls.debug", Integer { min: 0, max: 4 }, ANYWHERE, Is("1"), Acts: "Detail of TLS log lines";

    NetConnectTimeout "net.connect_timeout", WAIT, ANYWHERE, Is("10s"), Acts: "Name resolution, TCP to all addresses and TLS handshake together";
    NetConnectTimeoutLogError "net.connect_timeout_log_error", Bool, ANYWHERE, Is("on"), Acts: "Log a connect timeout as an error (off: for debugging only)";
    NetIoTimeout "net.io_timeout", WAIT, ANYWHERE, Is("60s"), Acts: "One blocking read or write without progress; in a delivery that could go on to another node, at most half of the time that it had left";
    NetKeepalive "net.keepalive", Bool, ANYWHERE, Is("on"), Acts: "Keep connections for reuse";
    NetKeepaliveIdleTimeout "net.keepalive_idle_timeout", TIME, ANYWHERE, Is("30s"), Acts: "How long a kept connection may lie idle";
    NetKeepaliveMaxRecycle "net.keepalive_max_recycle", COUNT, ANYWHERE, Is("2000"), Acts: "Uses of one connection; 0 is without limit";
    NetKeepaliveMaxLifetime "net.keepalive_max_lifetime", TIME, ANYWHERE, Is("0"), Acts: "Age of one connection, less up to 10% at random; 0 is without limit";
    NetMaxConnections "net.max_connections" or "net.max_worker_connections", COUNT, ANYWHERE, Is("0"), Acts: "Open connections to the node; at the cap a call waits up to the connect timeout; 0 is without limit";
    NetTcpKeepalive "net.tcp_keepalive", Bool, ANYWHERE, Is("off"), Acts: "Probe idle connections (SO_KEEPALIVE)";
    NetTcpKeepaliveTime "net.tcp_keepalive_time", PROBE_TIME, ANYWHERE, Unset("the system's"), Acts: "Idle time before the first probe";
    NetTcpKeepaliveInterval "net.tcp_keepalive_interval", PROBE_TIME, ANYWHERE, Unset("the system's"), Acts: "Time between probes";
    NetTcpKeepaliveProbes "net.tcp_keepalive_probes", PROBES, ANYWHERE, Unset("the system's"), Acts: "Unanswered probes before the connection is given up";
    NetSourceAddress "net.source_address", Address, ANYWHERE, Unset("the system's choice"), Acts: "Local address to bind";
    NetDnsPreferIpv4 "net.dns.prefer_ipv4", Bool, ANYWHERE, Is("off"), Acts: "Try IPv4 addresses first; one that connected where the first did not leads for ten minutes, unless it fails";
    NetDnsPreferIpv6 "net.dns.prefer_ipv6", Bool, ANYWHERE, Is("off"), Acts: "Try IPv6 addresses first; one that connected where the first did not leads for ten minutes, unless it fails";
    NetDnsResolver "net.dns.resolver", one_of(&["LEGACY", "ASYNC"]), ANYWHERE, Unset("the system resolver"), SystemResolver: "The agent's choice of resolver";
    NetDnsMode "net.dns.mode", one_of(&["UDP", "TCP"]), ANYWHERE, Unset("the system resolver's"), SystemResolver: "The agent's transport for DNS";
    NetProxyEnvIgnore "net.proxy_env_ignore", Bool, ANYWHERE, Unset("no proxy"), NoProxy: "Whether the agent follows the proxy variables of the environment";

    DeliverTimeout "deliver.timeout", WAIT, FOR_THE_SET, Is("60s"), Acts: "All attempts of one delivery together; a connect, or a silence, takes at most half of what is left while another node could take the payload";
    DeliverAttempts "deliver.attempts", COUNT, FOR_THE_SET, Is("0"), Acts: "Nodes tried for one payload; 0 is each node once";
    DeliverResend "deliver.resend", Bool, FOR_THE_SET, Is("on"), Acts: "Send a payload that may have arrived again elsewhere; off: at most once";
    DeliverWait "deliver.wait", Bool, FOR_THE_SET, Is("off"), Acts: "With every node out, a delivery waits inside its deadline for the first that is due";

    HealthMaxFails "health.max_fails", Integer { min: 1, max: 1000 }, ANYWHERE, Is("3"), Acts: "Consecutive failures that eject a node";
    HealthBackoff "health.backoff", WAIT, ANYWHERE, Is("1s"), Acts: "How long a node is first ejected";
    HealthBackoffMax "health.backoff_max", WAIT, ANYWHERE, Is("60s"), Acts: "How long a node is ejected at most";
    HealthCheck "health.check", one_of(&["off", "tcp", "tls"]), ANYWHERE, Is("off"), Acts: "Active check of ejected nodes";
    HealthInterval "health.interval", WAIT, ANYWHERE, Is("10s"), Acts: "Time between active checks";

    Balance "balance", BALANCE, FOR_THE_SET, Is("round-robin"), Acts: "How the next node is chosen";
    Start "start", one_of(&["first", "random"]), FOR_THE_SET, Is("first"), Acts: "The node the rotation starts with";
    Weight "weight", Integer { min: 0, max: 1000 }, ANYWHERE, Is("1"), Acts: "Share of the node; 0 drains it";
    Priority "priority", Integer { min: 0, max: 1000 }, ANYWHERE, Is("0"), Acts: "Tier of the node; higher numbers wait in reserve";
    SlowStart "slow_start", TIME, ANYWHERE, Is("0"), Later: "How long a node that is back takes to reach its full share";
    DnsExpand "dns.expand", Bool, ANYWHERE, Is("off"), Later: "Each address of the name is a node of its own";
    DnsTtl "dns.ttl", TIME, ANYWHERE, Is("30s"), Acts: "How long an answer of the resolver holds; then, and when a node takes no connection, the name is looked up again, at most once a second, and the old answer serves on where that fails";

    ConfigDir "config.dir", Text, OPTION, Unset("none"), Acts: "Directory where relative paths are looked for after the working directory";
    UpstreamName "upstream.name", Text, OPTION, Unset("the only one"), Acts: "Name of the upstream wanted; another name in the file is an error";
}

/// How many keys there are.
pub const COUNT_OF_KEYS: usize = TABLE.len();

/// Families that belong to the library alone: an unknown name in them is an error.
const STRICT: [&str; 3] = ["tls.", "net.", "health."];
/// Families in which an unknown name is worth a warning.
const LOOSE: [&str; 2] = ["deliver.", "dns."];

impl Key {
    /// The key's row.
    pub fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// The key's name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }
}

impl Entry {
    /// The default as a value; `None` where there is none.
    pub fn default_value(&self) -> Option<Value<'static>> {
        match self.default {
            Fallback::Value(text) => self.kind.read(self.name, text).ok(),
            Fallback::Unset(_) | Fallback::Mandatory => None,
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> + Clone {
    TABLE.iter().flat_map(|entry| std::iter::once(entry.name).chain(entry.aliases.iter().copied()))
}

/// The key of this name, which is in small letters.
pub fn find(name: &str) -> Option<&'static Entry> {
    // Some fifty names, compared by length first: no index to build, and nothing left on the heap at exit.
    TABLE.iter().find(|entry| entry.name == name || entry.aliases.contains(&name))
}

/// What to make of a key that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A plugin's own key.
    Foreign,
    /// Likely a slip: worth this warning.
    Suspect(String),
    /// An error.
    Refused(String),
}

/// The family, if any, in which every name is the library's, known or not.
pub fn family(name: &str) -> Option<&'static str> {
    STRICT.into_iter().chain(LOOSE).find(|family| name.starts_with(family))
}

/// The message about a line in which `=` or `:` stands right behind the key `head`.
pub fn joined(head: &str) -> String {
    format!("unknown key {}...; write \"{head}\", a blank and the value, without \"=\" or \":\"", shown(head))
}

/// Judges a key that is not in the table; `name` is in small letters.
pub fn judge(name: &str) -> Unknown {
    let whole = name;
    // What stands behind it may be a secret's value.
    let name = opening(whole);
    if name.len() < whole.len() && find(name).is_some() {
        return Unknown::Refused(joined(name));
    }
    if let Some(family) = STRICT.into_iter().find(|family| name.starts_with(family)) {
        return Unknown::Refused(unknown_in(family, name));
    }
    let strict = |name: &str| STRICT.iter().any(|family| name.starts_with(family));
    let respelled = name.replacen(['_', '-'], ".", 1);
    if respelled != name && find(&respelled).is_some() {
        let text = format!("unknown key \"{name}\"; it is spelled \"{respelled}\"");
        return if strict(&respelled) { Unknown::Refused(text) } else { Unknown::Suspect(text) };
    }
    if let Some(known) = names().find(|known| suggest::is_slip(name, known)) {
        let text = format!("unknown key \"{name}\"; did you mean \"{known}\"?");
        return if strict(known) { Unknown::Refused(text) } else { Unknown::Suspect(text) };
    }
    if let Some(family) = LOOSE.into_iter().find(|family| name.starts_with(family)) {
        return Unknown::Suspect(unknown_in(family, name));
    }
    if name.starts_with(';') || name.starts_with("//") {
        return Unknown::Suspect(format!("\"{name}\" is read as a key; a comment starts with \"#\""));
    }
    Unknown::Foreign
}

fn unknown_in(family: &str, name: &str) -> String {
    let members = names().filter(|known| known.starts_with(family));
    match suggest::nearest(name, members.clone(), 4) {
        Some(known) => format!("unknown key \"{name}\"; did you mean \"{known}\"?"),
        None => {
            let members: Vec<&str> = members.collect();
            format!("unknown key \"{name}\"; of this family there are {}", members.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_indexed_by_key_and_every_default_is_a_value_of_its_kind() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.key as usize, index, "{}", entry.name);
            assert_eq!(entry.name, entry.name.to_ascii_lowercase());
            if let Fallback::Value(text) = entry.default {
                entry.kind.read(entry.name, text).expect(text);
            }
            for name in std::iter::once(entry.name).chain(entry.aliases.iter().copied()) {
                assert_eq!(find(name).map(|found| found.key), Some(entry.key), "{name}");
            }
        }
        assert_eq!(names().count(), names().collect::<std::collections::HashSet<_>>().len());
    }

    #[test]
    fn plugin_keys_are_no_slips() {
        let of_plugins = "shared_key empty_shared_key username password self_hostname time_as_integer send_options \
             require_ack_response tag compress ack_timeout hosts ports path post sort cost time ts key stats state \
             weights format uri http_user http_passwd header index type logstash_format json_date_key label retry_limit \
             workers match alias upstream log_level add_label line_format topic brokers timeout user pass domain names \
             target database table region bucket hostname nodename node";
        for name in of_plugins.split_whitespace() {
            assert_eq!(judge(name), Unknown::Foreign, "{name}");
        }
    }

    #[test]
    fn unknown_names_are_judged() {
        let refused = |text: &str| Unknown::Refused(text.into());
        let suspect = |text: &str| Unknown::Suspect(text.into());
        for (name, expected) in [
            ("tls.verfiy", refused("unknown key \"tls.verfiy\"; did you mean \"tls.verify\"?")),
            (
                "net.conect_timeout",
                refused("unknown key \"net.conect_timeout\"; did you mean \"net.connect_timeout\"?"),
            ),
            (
                "net.max_worker_conections",
                refused(
                    "unknown key \"net.max_worker_conections\"; did you mean \"net.max_worker_connections\"?",
                ),
            ),
            (
                "health.frobnicate",
                refused(
                    "unknown key \"health.frobnicate\"; of this family there are health.max_fails, health.backoff, \
                     health.backoff_max, health.check, health.interval",
                ),
            ),
            ("tls_verify", refused("unknown key \"tls_verify\"; it is spelled \"tls.verify\"")),
            ("tls-verify", refused("unknown key \"tls-verify\"; it is spelled \"tls.verify\"")),
            (
                "net_keepalive_idle_timeout",
                refused(
                    "unknown key \"net_keepalive_idle_timeout\"; it is spelled \"net.keepalive_idle_timeout\"",
                ),
            ),
            ("tsl.verify", refused("unknown key \"tsl.verify\"; did you mean \"tls.verify\"?")),
            (
                "tls=on",
                refused(
                    "unknown key \"tls\"...; write \"tls\", a blank and the value, without \"=\" or \":\"",
                ),
            ),
            (
                "host:",
                refused(
                    "unknown key \"host\"...; write \"host\", a blank and the value, without \"=\" or \":\"",
                ),
            ),
            ("tsl", suspect("unknown key \"tsl\"; did you mean \"tls\"?")),
            ("wieght", suspect("unknown key \"wieght\"; did you mean \"weight\"?")),
            (
                "deliver_timeout",
                suspect("unknown key \"deliver_timeout\"; it is spelled \"deliver.timeout\""),
            ),
            (
                "deliver.tiemout",
                suspect("unknown key \"deliver.tiemout\"; did you mean \"deliver.timeout\"?"),
            ),
            (
                "deliver.frobnicate",
                suspect(
                    "unknown key \"deliver.frobnicate\"; of this family there are deliver.timeout, deliver.attempts, \
                     deliver.resend, deliver.wait",
                ),
            ),
            (";", suspect("\";\" is read as a key; a comment starts with \"#\"")),
        ] {
            assert_eq!(judge(name), expected, "{name}");
        }
    }
}
