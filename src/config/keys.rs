//! The table of all keys that this library reads: name, allowed values, default, and what the key
//! does. The reference in `docs/configuration.md` is made from it. To add a key, add a row here.

mod markdown;

use super::others;
use super::suggest;
use super::value::{Kind, Value, opening, shown};
use super::words::{self, Word, Words};
use crate::base::wiped::Wiped;

pub use markdown::{overview, reference};

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A `[NODE]` section.
    Node,
    /// The `[UPSTREAM]` section.
    Upstream,
    /// The options that the program sets.
    Options,
}

/// What holds if a key is not given.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This value, as a file would write it.
    Value(&'static str),
    /// No value; the text says what that means.
    Unset(&'static str),
    /// It must be given.
    Mandatory,
}

/// What this version does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It acts on it.
    Acts,
    /// It reads and checks it, and logs one line: the key has no effect yet.
    Later,
    /// It reads and checks it, and logs one line: the system resolver is used.
    SystemResolver,
    /// It reads and checks it, and logs one line: no proxy of the environment is used.
    NoProxy,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its number.
    pub key: Key,
    /// Its name, in small letters.
    pub name: &'static str,
    /// Other names of the same key.
    pub aliases: &'static [&'static str],
    /// What its value may be.
    pub kind: Kind,
    /// Where it may stand.
    pub scopes: &'static [Scope],
    /// What holds if it is not given.
    pub default: Fallback,
    /// What this version does with it.
    pub effect: Effect,
    /// What it does, in sentences, for the reference.
    pub help: &'static str,
}

macro_rules! table {
    ($(
        $key:ident $name:literal $(or $alias:literal)*,
        $kind:expr, $scopes:ident, $default:expr, $effect:ident: $help:literal;
    )*) => {
        /// A known key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Key { $(#[doc = concat!("`", $name, "`")] $key),* }

        /// Every known key, in the order of the reference; indexed by [`Key`].
        pub static TABLE: &[Entry] = &[$(Entry {
            key: Key::$key, name: $name, aliases: &[$($alias),*], kind: $kind, scopes: $scopes,
            default: $default, effect: Effect::$effect, help: $help,
        }),*];
    };
}

const IN_NODE: &[Scope] = &[Scope::Node];
const IN_SECTIONS: &[Scope] = &[Scope::Node, Scope::Upstream];
const ANYWHERE: &[Scope] = &[Scope::Node, Scope::Upstream, Scope::Options];
const FOR_THE_SET: &[Scope] = &[Scope::Upstream, Scope::Options];
const OPTION: &[Scope] = &[Scope::Options];

use Fallback::{Mandatory, Unset, Value as Is};
use Kind::{
    Address, Bool, Directory, File, Host, Integer, Names, NodeHost, Port, Proxy, Secret, Text,
    TlsVersion,
};

// The bounds keep a value within what the system accepts, and far from an overflow when it is added
// to a clock.
const WAIT: Kind = Kind::Duration { min: "1ms", max: "365d" };
const TIME: Kind = Kind::Duration { min: "0", max: "365d" };
/// As `WAIT`. The agent's default is 0, which is "for ever" there.
const WAIT_OR_ZERO: Kind = Kind::OrZero(&WAIT);
/// Linux: MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL are 32767 seconds. The agent's default is -1.
const PROBE_TIME: Kind = Kind::OrSystem(&Kind::Duration { min: "1s", max: "32767s" });
/// Linux: MAX_TCP_KEEPCNT. The agent's default is -1.
const PROBES: Kind = Kind::OrSystem(&Integer { min: 1, max: 127 });
const COUNT: Kind = Integer { min: 0, max: 1_000_000_000 };

/// Words that have no effect.
const fn idle(known: &'static [&'static str]) -> Kind {
    Kind::Word(Words { known, later: &[] })
}

const BALANCE: Kind = Kind::Word(words::Balance::WORDS);
const START: Kind = Kind::Word(words::Start::WORDS);
const CHECK: Kind = Kind::Word(words::Check::WORDS);

table! {
    Name "name", Text, IN_SECTIONS, Mandatory, Acts:
        "The name of the upstream or of the node. Two nodes of one name are an error.";
    Host "host", NodeHost, IN_NODE, Mandatory, Acts:
        "Host name, IPv4 address, or IPv6 address with or without brackets. `unix:` and a path, \
         such as `unix:/run/aggregator.sock`: a stream socket of this machine.";
    Port "port", Port, IN_NODE, Mandatory, Acts:
        "TCP port. Not needed if the host is a socket of this machine.";

    Tls "tls", Bool, ANYWHERE, Is("off"), Acts: "Use TLS to the node.";
    TlsVerify "tls.verify", Bool, ANYWHERE, Is("on"), Acts: "Check the server's certificate chain.";
    TlsVerifyHostname "tls.verify_hostname", Bool, ANYWHERE, Is("on"), Acts:
        "Check that the certificate is for the host, or for `tls.vhost` if that is set.";
    TlsVhost "tls.vhost", Host, ANYWHERE, Unset("the host"), Acts:
        "The server name to send (SNI) and to check. An IP address is checked but never sent.";
    TlsCaFile "tls.ca_file", File, ANYWHERE, Unset("the system's store"), Acts:
        "PEM file of trusted CA certificates. If `tls.ca_path` is set too, both are used.";
    TlsCaPath "tls.ca_path", Directory, ANYWHERE, Unset("the system's store"), Acts:
        "Directory of PEM files of trusted CA certificates.";
    TlsCrlFile "tls.crl_file", File, ANYWHERE, Unset("none"), Acts:
        "PEM file of revocation lists. A server is refused if its certificate, or that of a CA \
         above it, is in a list. It is also refused if there is no list of the CA that issued its \
         certificate, or that list is out of date.";
    TlsCrtFile "tls.crt_file", File, ANYWHERE, Unset("none"), Acts:
        "Client certificate chain, PEM. Needs `tls.key_file`.";
    TlsKeyFile "tls.key_file", File, ANYWHERE, Unset("none"), Acts:
        "Private key of the client certificate, PEM (PKCS#8, PKCS#1 or SEC1). \
         Needs `tls.crt_file`.";
    TlsKeyPasswd "tls.key_passwd", Secret, ANYWHERE, Unset("none"), Acts:
        "Passphrase of `tls.key_file`, if that is encrypted PKCS#8.";
    TlsMinVersion "tls.min_version", TlsVersion, ANYWHERE, Is("TLSv1.2"), Acts:
        "Lowest TLS version.";
    TlsMaxVersion "tls.max_version", TlsVersion, ANYWHERE, Is("TLSv1.3"), Acts:
        "Highest TLS version.";
    TlsCiphers "tls.ciphers", Names, ANYWHERE, Unset("the TLS library's own"), Acts:
        "Cipher suites by OpenSSL or IANA name, separated by colons, commas or blanks.";
    TlsAlpn "tls.alpn", Names, ANYWHERE, Unset("none"), Acts:
        "Application protocols to offer (ALPN), in order, such as `h2 http/1.1`, separated by \
         colons, commas or blanks. `upstream_conn_alpn` tells which one the server chose.";
    TlsDebug "tls.debug", Integer { min: 0, max: 4 }, ANYWHERE, Is("1"), Acts:
        "Level of the log line about each TLS connection: INFO for 3 and 4, DEBUG for less.";

    NetConnectTimeout "net.connect_timeout", WAIT_OR_ZERO, ANYWHERE, Is("10s"), Acts:
        "Limit for name lookup, TCP to all addresses, and TLS handshake together. Of a name with \
         several addresses each connect starts at the next one. If that has no connection within \
         250 ms (a quarter of this time, if that is less), or no TLS within 1 s, another one is \
         tried beside it. An address that was passed over comes last for ten minutes, or until a \
         connect to the node fails.";
    NetConnectTimeoutLogError "net.connect_timeout_log_error", Bool, ANYWHERE, Is("on"), Acts:
        "Log a connect that ran out of time at level ERROR. `off`: at level DEBUG.";
    NetIoTimeout "net.io_timeout", WAIT_OR_ZERO, ANYWHERE, Is("60s"), Acts:
        "How long one read or write may make no progress. While another node could take the \
         payload, a delivery also waits no longer than half of the time that it has left. The \
         kernel ends a connection if sent data is not acknowledged for this long \
         (`TCP_USER_TIMEOUT`).";
    NetKeepalive "net.keepalive", Bool, ANYWHERE, Is("on"), Acts: "Keep connections for reuse.";
    NetKeepaliveIdleTimeout "net.keepalive_idle_timeout", TIME, ANYWHERE, Is("30s"), Acts:
        "How long a kept connection may be idle before it is closed.";
    NetKeepaliveMaxRecycle "net.keepalive_max_recycle", COUNT, ANYWHERE, Is("2000"), Acts:
        "How many times one connection may be used. `0`: no limit.";
    NetKeepaliveMaxLifetime "net.keepalive_max_lifetime", TIME, ANYWHERE, Is("0"), Acts:
        "How long one connection may be used, less up to 10% at random. `0`: no limit.";
    NetMaxConnections "net.max_connections" or "net.max_worker_connections", COUNT, ANYWHERE,
        Is("0"), Acts:
        "How many connections to the node may be open. If all are in use, a call goes on to \
         another node of the same priority that has room. If none has, it waits for the first \
         connection that becomes free, up to `net.connect_timeout`. `0`: no limit.";
    NetTcpKeepalive "net.tcp_keepalive", Bool, ANYWHERE, Is("off"), Acts:
        "Let the kernel send probes on idle connections (`SO_KEEPALIVE`).";
    NetTcpKeepaliveTime "net.tcp_keepalive_time", PROBE_TIME, ANYWHERE, Unset("the system's"), Acts:
        "Idle time before the first probe.";
    NetTcpKeepaliveInterval "net.tcp_keepalive_interval", PROBE_TIME, ANYWHERE,
        Unset("the system's"), Acts:
        "Time between two probes.";
    NetTcpKeepaliveProbes "net.tcp_keepalive_probes", PROBES, ANYWHERE, Unset("the system's"), Acts:
        "How many probes may stay unanswered before the connection counts as broken.";
    NetSourceAddress "net.source_address", Address, ANYWHERE, Unset("the system's choice"), Acts:
        "Local IP address to connect from.";
    NetProxy "net.proxy", Proxy, ANYWHERE, Unset("none"), Acts:
        "HTTP proxy to connect through (CONNECT), as `http://host:port` or \
         `http://user:password@host:port`; in user and password, `%` and two hexadecimal digits \
         stand for a byte. The proxy looks up the node's host, and TLS is between this library and \
         the node. The proxy variables of the environment are never followed.";
    NetDnsPreferIpv4 "net.dns.prefer_ipv4", Bool, ANYWHERE, Is("off"), Acts:
        "Try IPv4 addresses before IPv6 addresses. Without this key IPv6 comes first (RFC 8305), \
         whatever the system's `gai.conf` says. `net.dns.prefer_ipv6` overrides this key.";
    NetDnsPreferIpv6 "net.dns.prefer_ipv6", Bool, ANYWHERE, Is("off"), Acts:
        "Try IPv6 addresses before IPv4 addresses, as by default.";
    NetDnsResolver "net.dns.resolver", idle(&["LEGACY", "ASYNC"]), ANYWHERE,
        Unset("the system resolver"), SystemResolver: "The agent's choice of resolver.";
    NetDnsMode "net.dns.mode", idle(&["UDP", "TCP"]), ANYWHERE, Unset("the system resolver's"),
        SystemResolver: "The agent's transport for DNS.";
    NetProxyEnvIgnore "net.proxy_env_ignore", Bool, ANYWHERE, Unset("no proxy"), NoProxy:
        "Whether the agent follows the proxy variables of the environment.";

    DeliverTimeout "deliver.timeout", WAIT, FOR_THE_SET, Is("60s"), Acts:
        "Limit for one delivery over all nodes. While another node could take the payload, one \
         node may use half of the time that is left.";
    DeliverAttempts "deliver.attempts", COUNT, FOR_THE_SET, Is("0"), Acts:
        "How many nodes may be tried for one payload. `0`: each node once.";
    DeliverResend "deliver.resend", Bool, FOR_THE_SET, Is("on"), Acts:
        "Send a payload to another node if it may have arrived at a node that then failed: at \
         least once. `off`: at most once.";
    DeliverWait "deliver.wait", Bool, FOR_THE_SET, Is("off"), Acts:
        "What a delivery does if no node is up. It tries three ejected nodes at most. `off`: then \
         it fails. `on`: then it waits for the first node that may be tried again, until its time \
         (`deliver.timeout`) is over.";

    HealthMaxFails "health.max_fails", Integer { min: 1, max: 1000 }, ANYWHERE, Is("3"), Acts:
        "How many failures in a row eject a node. A refused connection, an unreachable host, a \
         TLS failure or a name that does not exist ejects at once.";
    HealthBackoff "health.backoff", WAIT, ANYWHERE, Is("1s"), Acts:
        "How long the first ejection lasts. Each further one lasts 1.6 times as long as the one \
         before: `health.backoff` * 1.6^n after n ejections. Each 10 s that the node is back in \
         the rotation take 1 from n. Each ejection is up to 20% longer or shorter at random, but \
         never longer than `health.backoff_max`.";
    HealthBackoffMax "health.backoff_max", WAIT, ANYWHERE, Is("60s"), Acts:
        "The longest that an ejection may last. Must not be below `health.backoff`.";
    HealthCheck "health.check", CHECK, ANYWHERE, Is("off"), Acts:
        "Let the library itself check ejected nodes: by a TCP connection (`tcp`), or with the \
         TLS handshake too (`tls`). A node that passes is back in the rotation, unless it was \
         ejected because it accepted and then was silent: then a payload must succeed there.";
    HealthInterval "health.interval", WAIT, ANYWHERE, Is("10s"), Acts:
        "Time between two checks of `health.check`, less up to 10% at random.";

    Balance "balance", BALANCE, FOR_THE_SET, Is("round-robin"), Acts:
        "How the next node is chosen.";
    Start "start", START, FOR_THE_SET, Is("first"), Acts:
        "Where the rotation starts: at the first node of the file, or at a random one.";
    Weight "weight", Integer { min: 0, max: 1000 }, ANYWHERE, Is("1"), Acts:
        "The node's turns in relation to the others': weight 2 gets twice as many as weight 1. \
         `0` drains the node.";
    Priority "priority", Integer { min: 0, max: 1000 }, ANYWHERE, Is("0"), Acts:
        "The node is used only while no node with a lower number is in the rotation.";
    SlowStart "slow_start", TIME, ANYWHERE, Is("0"), Later:
        "How long a restored node takes to reach its full share.";
    DnsExpand "dns.expand", Bool, ANYWHERE, Is("off"), Later:
        "Make each address of the name a node of its own.";
    DnsTtl "dns.ttl", TIME, ANYWHERE, Is("30s"), Acts:
        "How long the addresses of a name are used before it is looked up again. It is also \
         looked up when no connection to the node can be made, and never more than once a \
         second. If a lookup fails, the last addresses stay in use.";

    ConfigDir "config.dir", Text, OPTION, Unset("none"), Acts:
        "A directory in which relative paths are looked for, after the working directory.";
    UpstreamName "upstream.name", Text, OPTION, Unset("any name"), Acts:
        "The name that the upstream in the file must have. Another one is an error.";
}

/// How many keys there are.
pub const COUNT_OF_KEYS: usize = TABLE.len();

/// Prefixes that only the library uses: an unknown key with one is an error.
const STRICT: [&str; 3] = ["tls.", "net.", "health."];
/// Prefixes with which an unknown key gives a warning.
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
    /// The default as a value; `None` if there is none.
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
    // A linear search: there are about fifty names and most differ in length. So no index has to be
    // built, and nothing stays on the heap at exit.
    TABLE.iter().find(|entry| entry.name == name || entry.aliases.contains(&name))
}

/// Whether `name`, in small letters, is a key of the table or nearly one.
pub fn is_near(name: &str) -> bool {
    find(name).is_some() || names().any(|known| suggest::is_slip(name, known))
}

/// What a key is that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A plugin's own key.
    Foreign,
    /// A key of the agent that means nothing here; this is the warning, given once.
    OfTheAgent(String),
    /// Probably a misspelling; this is the warning.
    Suspect(String),
    /// An error; this is its text.
    Refused(String),
}

/// The prefix of `name` that belongs to the library, whether it knows the key or not.
pub fn family(name: &str) -> Option<&'static str> {
    STRICT.into_iter().chain(LOOSE).find(|family| name.starts_with(family))
}

/// The message about a line in which `=` or `:` follows the key `head` directly.
pub fn joined(head: &str) -> String {
    format!(
        "unknown key {}...; write \"{head}\", a blank and the value, without \"=\" or \":\"",
        shown(head)
    )
}

/// Judges a key that is not in the table; `name` is in small letters.
pub fn judge(name: &str) -> Unknown {
    let whole = name;
    // What follows it may be a secret value.
    let name = opening(whole);
    if name.len() < whole.len() && find(name).is_some() {
        return Unknown::Refused(joined(name));
    }
    if let Some(text) = others::of_the_agent(name) {
        return Unknown::OfTheAgent(text);
    }
    if let Some(family) = STRICT.into_iter().find(|family| name.starts_with(family)) {
        return Unknown::Refused(unknown_in(family, name));
    }
    let strict = |name: &str| STRICT.iter().any(|family| name.starts_with(family));
    let respelled = Wiped::new(name.replacen(['_', '-'], ".", 1));
    if *respelled != name && find(&respelled).is_some() {
        let text = format!("unknown key \"{name}\"; it is spelled \"{}\"", *respelled);
        return if strict(&respelled) { Unknown::Refused(text) } else { Unknown::Suspect(text) };
    }
    if let Some(text) = others::of_health(name) {
        return Unknown::Suspect(text);
    }
    if let Some(known) = names().find(|known| suggest::is_slip(name, known)) {
        let text = format!("unknown key \"{name}\"; did you mean \"{known}\"?");
        let is_strict = strict(known) || others::of_tls(name).is_some();
        return if is_strict { Unknown::Refused(text) } else { Unknown::Suspect(text) };
    }
    if let Some(text) = others::of_tls(name) {
        return Unknown::Refused(text);
    }
    if let Some(family) = LOOSE.into_iter().find(|family| name.starts_with(family)) {
        return Unknown::Suspect(unknown_in(family, name));
    }
    if [";", "//", "--"].iter().any(|comment| name.starts_with(comment)) {
        return Unknown::Suspect(format!(
            "\"{name}\" is read as a key; a comment starts with \"#\""
        ));
    }
    if name.starts_with('<') {
        return Unknown::Refused(
            "\"<\" begins a section in the files of other programs; here one begins with [NODE], \
             and TLS is set with \"tls on\""
                .into(),
        );
    }
    if ["include", "!include", "%include", "@include"].contains(&name) {
        return Unknown::Suspect(format!(
            "\"{name}\" is read as a key; write \"@INCLUDE\" to read another file"
        ));
    }
    if name.starts_with(['"', '\'']) {
        return Unknown::Suspect("the key is in quotes; write it without them".into());
    }
    if name.len() < whole.len() {
        // Without its name: it may be a secret.
        let text = "the key has a \"=\" or \":\" behind it; write a blank in its place";
        return Unknown::Suspect(text.into());
    }
    Unknown::Foreign
}

fn unknown_in(family: &str, name: &str) -> String {
    let members = names().filter(|known| known.starts_with(family));
    // A word that another program has for it says more than a likeness by chance.
    let limit = if others::of_tls(name).is_some() { 2 } else { 4 };
    match suggest::nearest(name, members.clone(), limit).filter(|_| !others::is_switch(name)) {
        Some(known) => format!("unknown key \"{name}\"; did you mean \"{known}\"?"),
        None => others::of_tls(name).unwrap_or_else(|| {
            let members: Vec<&str> = members.collect();
            format!("unknown key \"{name}\"; the keys of this family are {}", members.join(", "))
        }),
    }
}

#[cfg(test)]
mod tests;
