//! Keys that other agents and other programs read, and this library does not: what they ask for,
//! and which key says it here. A file that asks for TLS in other words must never be read as
//! plaintext in silence. A key that the plugin declared is the plugin's; nobody asks here about it.

use crate::base::wiped::Wiped;

/// Keys of Fluent Bit that mean nothing here, as a beginning or in full, and why.
const OF_THE_AGENT: [(&str, &str); 7] = [
    ("tls.proxy.", "there is no TLS to a proxy, only through it"),
    ("tls.windows.", "there is no certificate store of Windows"),
    ("tls.verify_client_cert", "it is for a server, and this is a client"),
    ("net.share_port", "it is for a server, and this is a client"),
    ("net.backlog", "it is for a server, and this is a client"),
    ("net.accept_timeout", "it is for a server, and this is a client"),
    ("net.accept_timeout_log_error", "it is for a server, and this is a client"),
];

/// The words that other agents have for balancing and health, and the line that says it here.
const OF_HEALTH: [(&str, &[&str]); 13] = [
    ("priority 1", &["standby", "backup", "reserve", "failover", "is_backup", "spare"]),
    ("weight 0", &["down", "drain", "disabled"]),
    (
        "health.max_fails",
        &[
            "max_fails",
            "max_failures",
            "fall",
            "failure_threshold",
            "fails",
            "max_errors",
            "phi_threshold",
            "phi_failure_detector",
            "hard_timeout",
            "error_limit",
            "outlier_detection",
            "unhealthy_threshold",
            "max_consecutive_failures",
        ],
    ),
    (
        "health.backoff",
        &[
            "fail_timeout",
            "recover_wait",
            "retry_wait",
            "dead_time",
            "ejection_time",
            "base_ejection_time",
            "rise",
            "backoff",
        ],
    ),
    ("health.backoff_max", &["max_ejection_time", "backoff_max", "retry_max_interval"]),
    (
        "health.check",
        &[
            "check",
            "health_check",
            "healthcheck",
            "health_check_enabled",
            "healthcheck_enabled",
            "health_check_path",
            "healthcheck_path",
            "heartbeat",
            "heartbeat_type",
            "active_check",
            "probe",
        ],
    ),
    (
        "health.interval",
        &[
            "heartbeat_interval",
            "check_interval",
            "health_check_interval",
            "healthcheck_interval",
            "inter",
        ],
    ),
    ("net.max_connections", &["max_conns", "maxconn", "max_connections", "max_conn"]),
    ("net.connect_timeout", &["connect_timeout", "connection_timeout", "conn_timeout"]),
    ("net.keepalive", &["keepalive", "keep_alive"]),
    ("net.keepalive_idle_timeout", &["keepalive_timeout", "keep_alive_timeout", "idle_timeout"]),
    ("net.keepalive_max_recycle", &["keepalive_requests", "max_recycle"]),
    (
        "balance",
        &[
            "balancing",
            "load_balance",
            "loadbalance",
            "load_balancing",
            "loadbalancing",
            "load_balancer",
            "balance_mode",
            "lb_method",
            "lb_policy",
            "lb_mode",
            "lb_algorithm",
            "load_balancing_policy",
            "round_robin",
            "roundrobin",
        ],
    ),
];

/// Words that stand alone in the files of other programs.
const FLAGS: [&str; 10] = [
    "standby",
    "backup",
    "reserve",
    "failover",
    "spare",
    "down",
    "drain",
    "disabled",
    "check",
    "phi_failure_detector",
];

/// Keys that ask for TLS although they do not begin with `tls` or `ssl`.
const OF_TLS: [&str; 48] = [
    "secure",
    "secured",
    "use_secure",
    "secure_connection",
    "secure_transport",
    "is_secure",
    "insecure",
    "allow_insecure",
    "insecure_skip_verify",
    "skip_verify",
    "verify_peer",
    "peer_verify",
    "verify_hostname",
    "verify_certificate",
    "verify_cert",
    "verification_mode",
    "encrypt",
    "encrypted",
    "encryption",
    "https",
    "mtls",
    "ca_file",
    "cafile",
    "ca_path",
    "ca_dir",
    "ca_cert",
    "ca_bundle",
    "cacert",
    "ca",
    "crt_file",
    "cert_file",
    "cert",
    "certificate",
    "client_cert",
    "client_key",
    "client_cert_auth",
    "certificate_authority",
    "certificate_authorities",
    "certificates",
    "certs",
    "check_certificate",
    "verify_certs",
    "secure_forward",
    "streamdriver",
    "streamdrivermode",
    "streamdriverauthmode",
    "capath",
    "cadir",
];

/// Parts of keys whose value may ask for TLS. A URL is not among them: it is the plugin's own
/// business.
const WITH_A_SCHEME: [&str; 12] = [
    "transport",
    "protocol",
    "proto",
    "scheme",
    "mode",
    "security",
    "connection",
    "type",
    "network",
    "method",
    "socket",
    "layer",
];

/// What a part of a key's name is about, and the key that says it here. The first that fits counts.
const PARTS: [(&str, &str); 22] = [
    ("hostname", "tls.verify_hostname"),
    ("insecure", "tls.verify"),
    ("self_signed", "tls.verify"),
    ("verif", "tls.verify"),
    ("pass", "tls.key_passwd"),
    ("private_key", "tls.key_file"),
    ("client_cert", "tls.crt_file"),
    ("ca_path", "tls.ca_path"),
    ("ca_dir", "tls.ca_path"),
    ("cert_path", "tls.ca_file"),
    ("authorit", "tls.ca_file"),
    ("cacert", "tls.ca_file"),
    ("ca_cert", "tls.ca_file"),
    ("cert", "tls.crt_file"),
    ("crt", "tls.crt_file"),
    ("key", "tls.key_file"),
    ("max_version", "tls.max_version"),
    ("version", "tls.min_version"),
    ("cipher", "tls.ciphers"),
    ("server_name", "tls.vhost"),
    ("sni", "tls.vhost"),
    ("ca", "tls.ca_file"),
];

/// Why a key of the agent has no effect here, if it is one.
pub fn of_the_agent(name: &str) -> Option<String> {
    let is = |known: &str| match known.ends_with('.') {
        true => name.starts_with(known),
        false => name == known,
    };
    let (_, why) = OF_THE_AGENT.into_iter().find(|(known, _)| is(known))?;
    Some(format!("{name} has no effect: {why}"))
}

/// The warning about a word that other agents have for health.
pub fn of_health(name: &str) -> Option<String> {
    let joined = Wiped::new(name.replace(['-', '.'], "_"));
    let (here, _) = OF_HEALTH.iter().find(|(_, words)| words.contains(&joined.as_str()))?;
    Some(format!("unknown key \"{name}\", another program's word; this library reads \"{here}\""))
}

/// Whether an unknown key is meant to switch TLS on.
pub fn is_switch(name: &str) -> bool {
    let word = name.strip_prefix("tls.").unwrap_or_default();
    ["on", "enable", "enabled", "active", "use", "required", "mode", "state"].contains(&word)
}

/// Whether a line that consists of this word alone is a setting in another program's file.
pub fn is_flag(word: &str) -> bool {
    FLAGS.iter().any(|flag| word.eq_ignore_ascii_case(flag))
}

/// The error about a key that asks for TLS in other words. The key is in small letters, and the
/// library does not know it.
pub fn of_tls(name: &str) -> Option<String> {
    // Not in the middle of a word: lossless, accesslog.
    let is_word = |part: &str| {
        ["tls", "ssl", "https"].iter().any(|word| part.starts_with(word))
            || part.ends_with("tls")
            || part.ends_with("ssl")
    };
    let has_word = name.split(['_', '-', '.', '/']).any(is_word) && !name.contains("proxy");
    // A secret in the wrong place may be read as a key.
    let joined = Wiped::new(name.replace('-', "_"));
    if !has_word && !OF_TLS.contains(&joined.as_str()) {
        return None;
    }
    let of_key = PARTS.iter().find(|(part, _)| joined.contains(part)).map(|(_, key)| *key);
    Some(match of_key {
        Some(key) => format!(
            "unknown key \"{name:.64}\"; TLS is set with \"tls on\", and this with \"{key}\""
        ),
        None => format!(
            "unknown key \"{name:.64}\"; TLS is set with \"tls on\", and plaintext with \"tls off\""
        ),
    })
}

/// Whether the value of this key, in small letters, may ask for TLS.
pub fn may_name_a_scheme(name: &str) -> bool {
    name.split(['_', '-', '.']).any(|part| WITH_A_SCHEME.contains(&part))
}

/// The error about such a key, if its value asks for TLS. Shows no value: it may hold a password.
pub fn asks_for_tls(name: &str, value: &str) -> Option<String> {
    let value = Wiped::new(value.trim().to_ascii_lowercase());
    let scheme = value.split_once("://").map_or(value.as_str(), |(scheme, _)| scheme);
    let is_one = scheme.split(['+', '-', '_', ' ', ',', '/', ':']).any(|word| {
        matches!(word, "tls" | "ssl" | "https" | "starttls" | "tcps" | "wss" | "mtls" | "dtls")
            || ["tlsv1", "sslv"].iter().any(|version| word.starts_with(version))
    });
    is_one.then(|| {
        format!(
            "{name} asks for TLS, but the library does not read it and would send plaintext; write \
             \"tls on\" in its place"
        )
    })
}

#[cfg(test)]
mod tests;
