//! Makes the typed settings of one node, and checks that its keys make sense together.

use std::sync::Arc;

use super::keys::Key;
use super::layers::{Layers, seen_from};
use super::lines::Given;
use super::proxy::proxy;
use super::settings::{
    CipherNames, HealthSettings, NetSettings, NodeSettings, Proxy, TlsFile, TlsSettings,
};
use super::tls_files::TlsFiles;
use super::value::Value;
use super::warnings::{About, Warnings};
use super::words::Check;
use crate::base::error::{Error, Result};

/// The settings of a node.
pub(super) fn node_settings(
    node: Layers<'_, '_>,
    files: &mut TlsFiles,
    warnings: &mut Warnings,
) -> Result<NodeSettings> {
    check_versions(node)?;
    let tls = match node.bool(Key::Tls) {
        true => Some(Arc::new(tls_settings(node, files, warnings)?)),
        false => None,
    };
    let net = NetSettings {
        proxy: node.text(Key::NetProxy).map(proxy_of),
        connect_timeout: node.duration(Key::NetConnectTimeout),
        connect_timeout_log_error: node.bool(Key::NetConnectTimeoutLogError),
        io_timeout: node.duration(Key::NetIoTimeout),
        keepalive: node.bool(Key::NetKeepalive),
        keepalive_idle_timeout: node.duration(Key::NetKeepaliveIdleTimeout),
        keepalive_max_recycle: node.integer(Key::NetKeepaliveMaxRecycle),
        keepalive_max_lifetime: node.duration(Key::NetKeepaliveMaxLifetime),
        max_connections: node.integer(Key::NetMaxConnections),
        tcp_keepalive: node.bool(Key::NetTcpKeepalive),
        tcp_keepalive_time: node.given_duration(Key::NetTcpKeepaliveTime),
        tcp_keepalive_interval: node.given_duration(Key::NetTcpKeepaliveInterval),
        tcp_keepalive_probes: node.given_integer(Key::NetTcpKeepaliveProbes),
        source_address: node.address(Key::NetSourceAddress),
        prefer_ipv4: node.bool(Key::NetDnsPreferIpv4),
        prefer_ipv6: node.bool(Key::NetDnsPreferIpv6),
        dns_ttl: node.duration(Key::DnsTtl),
    };
    let (weight, priority) = (node.integer(Key::Weight), node.integer(Key::Priority));
    let health = health_settings(node)?;
    if let (None, Check::Tls, Some(line)) = (&tls, health.check, node.given(Key::HealthCheck)) {
        warnings.add(
            About::NoEffect,
            &line.position(),
            "health.check tls checks no more than health.check tcp: tls is off for this node; set \
             tls on, or health.check tcp",
        );
    }
    Ok(NodeSettings { tls, net: Arc::new(net), health: Arc::new(health), weight, priority })
}

/// The value was read before.
fn proxy_of(text: &str) -> Arc<Proxy> {
    Arc::new(proxy(text).unwrap_or_else(|_| unreachable!("net.proxy was checked")))
}

fn health_settings(node: Layers<'_, '_>) -> Result<HealthSettings> {
    let health = HealthSettings {
        max_fails: node.integer(Key::HealthMaxFails),
        backoff: node.duration(Key::HealthBackoff),
        backoff_max: node.duration(Key::HealthBackoffMax),
        check: node.word(Key::HealthCheck),
        interval: node.duration(Key::HealthInterval),
    };
    let (backoff, most) = (node.given(Key::HealthBackoff), node.given(Key::HealthBackoffMax));
    match backoff.or(most) {
        Some(line) if health.backoff > health.backoff_max => Err(Error::config(
            &line.value_position(),
            "health.backoff is above health.backoff_max; lower health.backoff or raise \
             health.backoff_max",
        )),
        _ => Ok(health),
    }
}

fn tls_settings(
    node: Layers<'_, '_>,
    files: &mut TlsFiles,
    warnings: &mut Warnings,
) -> Result<TlsSettings> {
    check_certificate_and_key(node)?;
    let verify = node.bool(Key::TlsVerify);
    let verify_hostname = node.bool(Key::TlsVerifyHostname);
    if let (false, true, Some(line)) = (verify, verify_hostname, node.given(Key::TlsVerifyHostname))
    {
        warnings.add(
            About::NoEffect,
            &line.position(),
            "tls.verify_hostname has no effect while tls.verify is off: if nobody checks the \
             chain, anyone can make a certificate with that name; set tls.verify on",
        );
    }
    for key in [Key::TlsCaFile, Key::TlsCaPath, Key::TlsCrlFile] {
        if let (false, Some(line)) = (verify, node.given(key)) {
            let key = key.name();
            warnings.add(
                About::NoEffect,
                &line.position(),
                &format!(
                    "{key} has no effect while tls.verify is off: the server's certificate is not \
                     checked; set tls.verify on, or remove {key}"
                ),
            );
        }
    }
    let mut file = |key: Key| -> Result<Option<TlsFile>> {
        node.given(key).map(|line| files.find(key, line, warnings)).transpose()
    };
    Ok(TlsSettings {
        verify,
        verify_hostname,
        vhost: node.text(Key::TlsVhost).map(str::to_owned),
        ca_file: file(Key::TlsCaFile)?,
        ca_path: file(Key::TlsCaPath)?,
        crl_file: file(Key::TlsCrlFile)?,
        crt_file: file(Key::TlsCrtFile)?,
        key_file: file(Key::TlsKeyFile)?,
        key_passwd: node
            .given(Key::TlsKeyPasswd)
            .zip(node.text(Key::TlsKeyPasswd))
            .map(|(line, passphrase)| line.text(passphrase)),
        min_version: node.version(Key::TlsMinVersion),
        max_version: node.version(Key::TlsMaxVersion),
        ciphers: ciphers(node),
        alpn: alpn(node)?,
        debug: u8::try_from(node.integer(Key::TlsDebug)).unwrap_or(u8::MAX),
    })
}

fn ciphers(node: Layers<'_, '_>) -> Option<CipherNames> {
    match &node.get(Key::TlsCiphers)?.value {
        Value::Names(names) => Some(CipherNames {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            position: node.given(Key::TlsCiphers)?.position(),
        }),
        other => unreachable!("tls.ciphers is {other:?}"),
    }
}

/// The longest name of a protocol in ALPN, in bytes (RFC 7301 section 3.1).
const LONGEST_PROTOCOL: usize = 255;

/// How many protocols may be offered: so many that the first message still fits in one packet.
const MOST_PROTOCOLS: usize = 16;

fn alpn(node: Layers<'_, '_>) -> Result<Vec<String>> {
    let Some(setting) = node.get(Key::TlsAlpn) else { return Ok(Vec::new()) };
    let names = match &setting.value {
        Value::Names(names) => names,
        other => unreachable!("tls.alpn is {other:?}"),
    };
    let mut protocols: Vec<String> = Vec::new();
    for name in names {
        if !protocols.iter().any(|known| known == name) {
            protocols.push((*name).to_owned());
        }
        let cause = if name.len() > LONGEST_PROTOCOL {
            format!(
                "tls.alpn: a name of {} bytes is too long; the longest has {LONGEST_PROTOCOL}",
                name.len()
            )
        } else if protocols.len() > MOST_PROTOCOLS {
            format!("tls.alpn names over {MOST_PROTOCOLS} protocols; name fewer")
        } else {
            continue;
        };
        let position = node.given(Key::TlsAlpn).map(Given::value_position);
        let position = position.unwrap_or_else(|| unreachable!("it has no default"));
        return Err(Error::config(&position, cause));
    }
    Ok(protocols)
}

fn check_versions(node: Layers<'_, '_>) -> Result<()> {
    if node.version(Key::TlsMinVersion) <= node.version(Key::TlsMaxVersion) {
        return Ok(());
    }
    let (min, max) = (node.given(Key::TlsMinVersion), node.given(Key::TlsMaxVersion));
    let Some(line) = min.or(max) else { return Ok(()) };
    let position = line.value_position();
    let of_max =
        max.map_or(String::new(), |max| format!(" of {}", seen_from(&max.position(), &position)));
    Err(Error::config(
        &position,
        format!(
            "tls.min_version is above the tls.max_version{of_max}; lower tls.min_version or raise \
             tls.max_version"
        ),
    ))
}

fn check_certificate_and_key(node: Layers<'_, '_>) -> Result<()> {
    for (key, other) in [
        (Key::TlsCrtFile, Key::TlsKeyFile),
        (Key::TlsKeyFile, Key::TlsCrtFile),
        (Key::TlsKeyPasswd, Key::TlsKeyFile),
    ] {
        if let (Some(line), None) = (node.given(key), node.get(other)) {
            return Err(Error::config(
                &line.position(),
                format!("{} is set without {}; set both or neither", key.name(), other.name()),
            ));
        }
    }
    Ok(())
}
