//! Sections to a [`Definition`]: what must be there is, what may stand once does, and what the keys say
//! together makes sense. Whatever form the sections were written in.

use std::collections::HashMap;

use super::classic::{Document, Header, Line, Section};
use super::keys::{Key, Place};
use super::layers::{Layer, Layers, Warnings, canonical, place};
use super::settings::{
    Balance, Check, CipherNames, DeliverSettings, HealthSettings, NetSettings, NodeSettings, SetSettings,
    Start, TlsFile, TlsSettings,
};
use super::tls_files::TlsFiles;
use super::value::{Value, shown};
use super::{Definition, MAX_INHERITED, NodeDefinition, Options, Property, idle, suggest};
use crate::error::{Error, Position, Result};

/// Checks a whole document.
pub(super) fn define(document: Document, options: &Options) -> Result<Definition> {
    let mut warnings = Warnings::after(document.warnings);
    let (upstream, nodes) = split(document.sections, &document.start)?;

    let options_layer = Layer::read(options.lines(), Place::Options, &mut warnings)?;
    let upstream_layer = Layer::read(&upstream.lines, Place::Upstream, &mut warnings)?;
    let defaults = Layer::defaults();
    let of_set = [&upstream_layer, &options_layer, &defaults];
    let set = Layers(&of_set);
    let name = mandatory_text(&upstream_layer, &upstream, Key::Name)?;
    if let Some(wanted) = set.text(Key::UpstreamName).filter(|wanted| *wanted != name) {
        return Err(Error::config(
            &upstream.position,
            format!(
                "the upstream is named {}, and the option upstream.name asks for {}; change one",
                shown(&name),
                shown(&wanted)
            ),
        ));
    }

    let mut inherited = Inherited::new(&upstream.lines, options.lines());
    let mut tls_files = TlsFiles::new(options.config_dir());
    // What a node gets that sets nothing of its own: read once, and only if there is such a node.
    let mut shared: Option<NodeSettings> = None;
    let mut names: HashMap<String, Position> = HashMap::with_capacity(nodes.len());
    let mut definitions = Vec::with_capacity(nodes.len());
    for section in nodes {
        let layer = Layer::read(&section.lines, Place::Node, &mut warnings)?;
        let name = mandatory_text(&layer, &section, Key::Name)?;
        let host = mandatory_text(&layer, &section, Key::Host)?;
        let port = match mandatory(&layer, &section, Key::Port)? {
            Value::Integer(port) => u16::try_from(*port).unwrap_or_default(),
            other => unreachable!("port is {other:?}"),
        };
        let position = layer.names[Key::Name.name()].value_position();
        if let Some(first) = names.get(&name) {
            let first = place(first, &position);
            return Err(Error::config(
                &position,
                format!("a second node of the name {}, the first is on {first}; rename one", shown(&name)),
            ));
        }
        let settings = match &shared {
            Some(shared) if layer.own == 0 => shared.clone(),
            _ => {
                let layers = [&layer, &upstream_layer, &options_layer, &defaults];
                let settings = node_settings(Layers(&layers), &mut tls_files, &mut warnings)?;
                if layer.own == 0 {
                    shared = Some(settings.clone());
                }
                settings
            }
        };
        idle::warn_of_node(&section.lines, &settings, &mut warnings);
        let properties = inherited.complete(&layer, &section)?;
        names.insert(name.clone(), position);
        let position = section.position.clone();
        definitions.push((NodeDefinition { name, host, port, position, properties, settings }, section));
    }
    idle::warn_of_set(&upstream.lines, definitions.iter().map(|(node, _)| &node.settings), &mut warnings);
    if definitions.iter().all(|(node, _)| node.settings.weight == 0) {
        warnings.add(
            &upstream.position,
            "every node has weight 0 and so takes nothing; give at least one a weight from 1 to 1000",
        );
    }
    let nodes = definitions.into_iter().map(|(mut node, section)| {
        let own = section.lines.into_iter().map(|line| line.property);
        node.properties = own.chain(std::mem::take(&mut node.properties)).collect();
        node
    });
    Ok(Definition { name, nodes: nodes.collect(), settings: set_settings(set), warnings: warnings.finish() })
}

/// The one `[UPSTREAM]` and the nodes.
fn split(sections: Vec<Section>, start: &Position) -> Result<(Section, Vec<Section>)> {
    let (upstreams, nodes): (Vec<Section>, Vec<Section>) =
        sections.into_iter().partition(|section| section.header == Header::Upstream);
    let mut upstreams = upstreams.into_iter();
    let Some(upstream) = upstreams.next() else {
        let position = nodes.first().map_or(start, |node| &node.position);
        return Err(Error::config(position, "there is no [UPSTREAM] section; add one with a name"));
    };
    if let Some(second) = upstreams.next() {
        let first = place(&upstream.position, &second.position);
        return Err(Error::config(
            &second.position,
            format!("a second [UPSTREAM], the first is on {first}; a file defines one upstream, so split it"),
        ));
    }
    if nodes.is_empty() {
        return Err(Error::config(
            &upstream.position,
            "there is no [NODE] section; add one with name, host and port",
        ));
    }
    Ok((upstream, nodes))
}

fn mandatory<'b>(layer: &'b Layer<'_>, section: &Section, key: Key) -> Result<&'b Value> {
    if let Some(setting) = layer.get(key) {
        return Ok(&setting.value);
    }
    let header = match section.header {
        Header::Upstream => "[UPSTREAM]",
        Header::Node => "[NODE]",
    };
    let name = key.name();
    let slip = section.lines.iter().map(|line| &line.property).find(|property| {
        let key = property.key.to_ascii_lowercase();
        suggest::is_slip(&key, name) || key.strip_suffix('s') == Some(name)
    });
    let mend = match slip {
        Some(slip) => format!("did you mean it by {} on line {}?", shown(&slip.key), slip.position.line),
        None => format!("add a line \"{name} ...\""),
    };
    Err(Error::config(&section.position, format!("this {header} has no {name}; {mend}")))
}

fn mandatory_text(layer: &Layer<'_>, section: &Section, key: Key) -> Result<String> {
    match mandatory(layer, section, key)? {
        Value::Text(text) => Ok(text.clone()),
        other => unreachable!("{} is {other:?}", key.name()),
    }
}

/// What nodes take over from `[UPSTREAM]` and the options.
struct Inherited {
    /// With the names they are compared under.
    properties: Vec<(String, Property)>,
    bytes_left: usize,
}

impl Inherited {
    fn new(upstream: &[Line], options: &[Line]) -> Self {
        let mut properties: Vec<(String, Property)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        for line in upstream.iter().chain(options) {
            let (name, _) = canonical(&line.property.key);
            // The node's own name always hides it.
            if name != Key::Name.name() && names.insert(name.clone()) {
                properties.push((name, line.property.clone()));
            }
        }
        Inherited { properties, bytes_left: MAX_INHERITED }
    }

    /// Those that the node's own lines do not hide.
    fn complete(&mut self, node: &Layer<'_>, section: &Section) -> Result<Vec<Property>> {
        let open = self.properties.iter().filter(|(name, _)| !node.names.contains_key(name));
        let bytes: usize =
            open.clone().map(|(_, p)| size_of::<Property>() + p.key.len() + p.value.len()).sum();
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            Error::config(
                &section.position,
                format!(
                    "what the nodes take over from [UPSTREAM] and the options comes to over {} MiB; shorten it",
                    MAX_INHERITED >> 20
                ),
            )
        })?;
        Ok(open.map(|(_, property)| property.clone()).collect())
    }
}

fn set_settings(set: Layers<'_, '_>) -> SetSettings {
    SetSettings {
        // The table lets no other word through.
        balance: Balance::RoundRobin,
        start: if set.word(Key::Start) == "random" { Start::Random } else { Start::First },
        deliver: DeliverSettings {
            timeout: set.duration(Key::DeliverTimeout),
            attempts: set.integer(Key::DeliverAttempts),
            resend: set.bool(Key::DeliverResend),
        },
    }
}

fn node_settings(
    node: Layers<'_, '_>,
    files: &mut TlsFiles,
    warnings: &mut Warnings,
) -> Result<NodeSettings> {
    check_versions(node)?;
    let tls = if node.bool(Key::Tls) { Some(tls_settings(node, files, warnings)?) } else { None };
    let net = NetSettings {
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
    if let (None, Some(Check::Tls), Some(line)) = (&tls, health.check, given(node, Key::HealthCheck)) {
        warnings.add(
            &line.property.position,
            "health.check tls checks no more than tcp does here: tls is off for this node",
        );
    }
    Ok(NodeSettings { tls, net, health, weight, priority })
}

fn health_settings(node: Layers<'_, '_>) -> Result<HealthSettings> {
    let health = HealthSettings {
        max_fails: node.integer(Key::HealthMaxFails),
        backoff: node.duration(Key::HealthBackoff),
        backoff_max: node.duration(Key::HealthBackoffMax),
        check: match node.word(Key::HealthCheck) {
            "tcp" => Some(Check::Tcp),
            "tls" => Some(Check::Tls),
            _ => None,
        },
        interval: node.duration(Key::HealthInterval),
    };
    let (backoff, most) = (given(node, Key::HealthBackoff), given(node, Key::HealthBackoffMax));
    match backoff.or(most) {
        Some(line) if health.backoff > health.backoff_max => Err(Error::config(
            &line.value_position(),
            "health.backoff is above health.backoff_max; lower one or raise the other",
        )),
        _ => Ok(health),
    }
}

fn tls_settings(node: Layers<'_, '_>, files: &mut TlsFiles, warnings: &mut Warnings) -> Result<TlsSettings> {
    check_certificate_and_key(node)?;
    let verify = node.bool(Key::TlsVerify);
    let verify_hostname = node.bool(Key::TlsVerifyHostname);
    if let (false, true, Some(line)) = (verify, verify_hostname, given(node, Key::TlsVerifyHostname)) {
        warnings.add(
            &line.property.position,
            "tls.verify_hostname has no effect with tls.verify off: without the chain anyone can write a certificate \
             of that name; set tls.verify on",
        );
    }
    let mut file = |key: Key| -> Result<Option<TlsFile>> {
        given(node, key).map(|line| files.find(key, line)).transpose()
    };
    Ok(TlsSettings {
        verify,
        verify_hostname,
        vhost: node.text(Key::TlsVhost),
        ca_file: file(Key::TlsCaFile)?,
        ca_path: file(Key::TlsCaPath)?,
        crt_file: file(Key::TlsCrtFile)?,
        key_file: file(Key::TlsKeyFile)?,
        key_passwd: node.text(Key::TlsKeyPasswd),
        min_version: node.version(Key::TlsMinVersion),
        max_version: node.version(Key::TlsMaxVersion),
        ciphers: ciphers(node),
        debug: u8::try_from(node.integer(Key::TlsDebug)).unwrap_or(u8::MAX),
    })
}

/// Where a key was given, if it was.
fn given<'a>(node: Layers<'a, '_>, key: Key) -> Option<&'a Line> {
    node.get(key)?.line
}

fn ciphers(node: Layers<'_, '_>) -> Option<CipherNames> {
    match &node.get(Key::TlsCiphers)?.value {
        Value::Names(names) => Some(CipherNames {
            names: names.clone(),
            position: given(node, Key::TlsCiphers)?.property.position.clone(),
        }),
        other => unreachable!("tls.ciphers is {other:?}"),
    }
}

fn check_versions(node: Layers<'_, '_>) -> Result<()> {
    if node.version(Key::TlsMinVersion) <= node.version(Key::TlsMaxVersion) {
        return Ok(());
    }
    let (min, max) = (given(node, Key::TlsMinVersion), given(node, Key::TlsMaxVersion));
    let Some(line) = min.or(max) else { return Ok(()) };
    let position = line.value_position();
    let of_max = max.map_or(String::new(), |max| format!(" of {}", place(&max.property.position, &position)));
    Err(Error::config(
        &position,
        format!("tls.min_version is above the tls.max_version{of_max}; lower one or raise the other"),
    ))
}

fn check_certificate_and_key(node: Layers<'_, '_>) -> Result<()> {
    for (key, other) in [
        (Key::TlsCrtFile, Key::TlsKeyFile),
        (Key::TlsKeyFile, Key::TlsCrtFile),
        (Key::TlsKeyPasswd, Key::TlsKeyFile),
    ] {
        if let (Some(line), None) = (given(node, key), node.get(other)) {
            return Err(Error::config(
                &line.property.position,
                format!("{} without {}; give both or neither", key.name(), other.name()),
            ));
        }
    }
    Ok(())
}
