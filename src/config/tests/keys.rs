//! Keys of the library in their sections: values, places, what hides what, what is warned of.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::wiped::Wiped;

fn warnings(text: impl AsRef<[u8]>) -> Vec<String> {
    check(text).unwrap().warnings
}

#[test]
fn refused_values() {
    let not_a_bool = "is neither on nor off; write on, true, yes, off, false or no";
    let not_a_duration =
        "is not a duration; write a whole number with ms, s, m, h or d, such as 250ms or 10s";
    let not_a_port = "is not a port; write a decimal number from 1 to 65535";
    let apart = " (write only blanks between a key and its value, no \"=\" or \":\")";
    let own_line = " (put a comment on its own line, not after a value)";
    for (line, expected) in [
        ("tls 1", format!("f:7:5: tls: \"1\" {not_a_bool}")),
        ("tls   yess", format!("f:7:7: tls: \"yess\" {not_a_bool}")),
        ("tls x${ON}", format!("f:7:5: tls: \"xOn\" {not_a_bool}")),
        ("tls =on", format!("f:7:5: tls: \"=on\" {not_a_bool}{apart}")),
        ("tls = on", "f:7:5: tls: the value begins with \"=\"; write only blanks between a key and \
                      its value".into()),
        ("tls on # x", format!("f:7:5: tls: \"on # x\" {not_a_bool}{own_line}")),
        ("tls \"on\"", format!("f:7:5: tls: \"\\\"on\\\"\" {not_a_bool} (write the value without \
                                quotes)")),
        ("tls on\u{a0}x", format!("f:7:5: tls: \"on\\u{{a0}}x\" {not_a_bool}")),
        ("tls ${UNSET:-}", "f:7:5: tls: the value is empty; write one, or remove the line".into()),
        ("net.io_timeout 10x", format!("f:7:16: net.io_timeout: \"10x\" {not_a_duration}")),
        ("net.io_timeout abc", format!("f:7:16: net.io_timeout: \"abc\" {not_a_duration}")),
        ("net.io_timeout -5", format!("f:7:16: net.io_timeout: \"-5\" {not_a_duration}")),
        ("net.io_timeout 1.5s", format!("f:7:16: net.io_timeout: \"1.5s\" {not_a_duration}")),
        ("net.io_timeout 10 s", format!("f:7:16: net.io_timeout: \"10 s\" {not_a_duration}")),
        (
            "net.io_timeout 99999999999999999999",
            format!("f:7:16: net.io_timeout: \"99999999999999999999\" {not_a_duration}"),
        ),
        (
            "health.backoff 0",
            "f:7:16: health.backoff: \"0\" is out of range; write a duration from 1ms to \
             365d".into(),
        ),
        (
            "net.io_timeout 366d",
            "f:7:16: net.io_timeout: \"366d\" is out of range; write a duration from 1ms to \
             365d".into(),
        ),
        (
            "net.keepalive_max_recycle -1",
            "f:7:27: net.keepalive_max_recycle: \"-1\" is not a whole number from 0 to \
             1000000000".into(),
        ),
        ("tls.debug 5", "f:7:11: tls.debug: \"5\" is not a whole number from 0 to 4".into()),
        (
            "net.source_address eth0",
            "f:7:20: net.source_address: \"eth0\" is not a numeric IP address, such as 192.0.2.1 \
             or 2001:db8::1"
                .into(),
        ),
        (
            "tls.min_version TLSv1.1",
            "f:7:17: tls.min_version: \"TLSv1.1\" is no longer safe, and this library does not \
             speak it; write TLSv1.2 or TLSv1.3"
                .into(),
        ),
        (
            "tls.max_version 2",
            "f:7:17: tls.max_version: \"2\" is not a TLS version; write TLSv1.2 or TLSv1.3".into(),
        ),
        (
            "tls.min_version 1.3\ntls.max_version 1.2",
            "f:7:17: tls.min_version is above the tls.max_version of line 8; lower tls.min_version \
             or raise tls.max_version".into(),
        ),
        ("tls.ciphers ::", "f:7:13: tls.ciphers: \"::\" contains no name (write only blanks \
                            between a key and its value, no \"=\" or \":\")".into()),
        ("health.check http", "f:7:14: health.check: \"http\" is not known; write off or tcp or \
                               tls".into()),
        (
            "tls on\ntls.crt_file /x",
            "f:8:1: tls.crt_file is set without tls.key_file; set both or neither".into(),
        ),
        (
            "tls on\ntls.key_file /x",
            "f:8:1: tls.key_file is set without tls.crt_file; set both or neither".into(),
        ),
        (
            "tls on\ntls.key_passwd x",
            "f:8:1: tls.key_passwd is set without tls.key_file; set both or neither".into(),
        ),
        ("tls.verfiy off", "f:7:1: unknown key \"tls.verfiy\"; did you mean \
                            \"tls.verify\"?".into()),
        (
            "net.conect_timeout 1s",
            "f:7:1: unknown key \"net.conect_timeout\"; did you mean \
             \"net.connect_timeout\"?".into(),
        ),
        ("tls_verify off", "f:7:1: unknown key \"tls_verify\"; it is spelled \
                            \"tls.verify\"".into()),
        ("deliver.timeout 1s", "f:7:1: deliver.timeout belongs in [UPSTREAM]; move the \
                                line".into()),
        ("balance round-robin", "f:7:1: balance belongs in [UPSTREAM]; move the line".into()),
        ("start first", "f:7:1: start belongs in [UPSTREAM]; move the line".into()),
        (
            "config.dir /etc",
            "f:7:1: config.dir belongs in the options, not in a file; move the line".into(),
        ),
    ] {
        assert_eq!(refusal(node(line)), expected, "{line}");
    }
    for port in ["abc", "0", "70000", "-1", "43000x", "+1", "1.0", "0x10", "65536", "99999999999"] {
        let text = node("").replace("port 1", &format!("port {port}"));
        assert_eq!(refusal(text), format!("f:6:7: port: \"{port}\" {not_a_port}"));
    }
    assert_eq!(
        refusal(node("").replace("port 1", "port \"1\"")),
        format!("f:6:7: port: \"\\\"1\\\"\" {not_a_port} (write the value without quotes)")
    );
    assert_eq!(
        refusal(node("").replace("port 1", "port 1 # one")),
        format!("f:6:7: port: \"1 # one\" {not_a_port}{own_line}")
    );
}

#[test]
fn refused_in_the_upstream_section() {
    for (line, expected) in [
        ("host h", "f:3:2: host belongs in a [NODE]; move the line"),
        ("port 1", "f:3:2: port belongs in a [NODE]; move the line"),
        ("balance hash", "f:3:10: balance: \"hash\" is not in this version; write round-robin"),
        ("balance best", "f:3:10: balance: \"best\" is not known; write round-robin"),
        ("start last", "f:3:8: start: \"last\" is not known; write first or random"),
    ] {
        assert_eq!(
            refusal(node("").replace("name u", &format!("name u\n {line}"))),
            expected,
            "{line}"
        );
    }
}

#[test]
fn hosts() {
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    for (host, expected) in [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[fe80::1%eth0.2]", "fe80::1%eth0.2"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("Logs.Example.", "Logs.Example."),
        ("a_b-c", "a_b-c"),
        ("_agg._tcp", "_agg._tcp"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
        ("1.2.3.example", "1.2.3.example"),
        ("10-0-0-1", "10-0-0-1"),
        ("3com", "3com"),
        ("a-.example", "a-.example"),
        ("${HOST}", "h"),
        (&long, &long),
    ] {
        let definition = check(node("").replace("host h", &format!("host {host}"))).unwrap();
        assert_eq!(definition.nodes[0].host, expected);
        assert_eq!(definition.warnings, [""; 0]);
    }
}

/// Each message says what to write.
#[test]
fn every_key_reaches_its_setting() {
    let definition = check(node(
        "tls ${ON}\ntls.verify yes\ntls.verify_hostname False\ntls.vhost [::1]\ntls.min_version \
         tls1.3\ntls.max_version TLSV1.3\ntls.ciphers A:B,C D\ntls.alpn h2,http/1.1 \
         h2\ntls.debug 4\nnet.connect_timeout \
         250ms\nnet.connect_timeout_log_error off\nnet.io_timeout 2m\nnet.keepalive \
         no\nnet.keepalive_idle_timeout 1h\nnet.keepalive_max_recycle \
         7\nnet.keepalive_max_lifetime 1d\nnet.max_worker_connections 9\nnet.tcp_keepalive \
         on\nnet.tcp_keepalive_time 10\nnet.tcp_keepalive_interval 11S\nnet.tcp_keepalive_probes \
         12\nnet.source_address [::1]\nnet.proxy \
         http://user:secret@[::2]:3128\nnet.dns.prefer_ipv4 on\nNET.DNS.prefer_ipv6 TRUE\n",
    )
    .replace("name u", "name u\ndeliver.timeout 5\ndeliver.attempts 2\ndeliver.resend \
                        off\ndeliver.wait on\nstart Random\nbalance ROUND-robin"))
    .unwrap();
    let idle = |warning: &&String| {
        warning.contains("net.keepalive is off") || warning.contains("net.dns.prefer_ipv6 is on")
    };
    assert_eq!(definition.warnings.iter().filter(idle).count(), definition.warnings.len());
    let set = &definition.settings;
    assert_eq!((set.balance, set.start), (Balance::RoundRobin, Start::Random));
    let deliver =
        DeliverSettings { timeout: Duration::from_secs(5), attempts: 2, resend: false, wait: true };
    assert_eq!(set.deliver, deliver);
    let node = &definition.nodes[0].settings;
    let position = |line| Position { file: "f".into(), line, column: 1 };
    assert_eq!(
        node.tls.as_deref(),
        Some(&TlsSettings {
            verify: true,
            verify_hostname: false,
            vhost: Some("::1".into()),
            ca_file: None,
            ca_path: None,
            crl_file: None,
            crt_file: None,
            key_file: None,
            key_passwd: None,
            min_version: TlsVersion::V1_3,
            max_version: TlsVersion::V1_3,
            ciphers: Some(CipherNames {
                names: ["A", "B", "C", "D"].map(String::from).to_vec(),
                position: position(19)
            }),
            alpn: vec!["h2".into(), "http/1.1".into()],
            debug: 4,
        })
    );
    assert_eq!(
        *node.net,
        NetSettings {
            proxy: Some(Arc::new(Proxy {
                host: "::2".to_owned(),
                port: 3128,
                credentials: Some(Wiped::new("user:secret".to_owned())),
            })),
            connect_timeout: Duration::from_millis(250),
            connect_timeout_log_error: false,
            io_timeout: Duration::from_secs(120),
            keepalive: false,
            keepalive_idle_timeout: Duration::from_secs(3600),
            keepalive_max_recycle: 7,
            keepalive_max_lifetime: Duration::from_secs(86400),
            max_connections: 9,
            tcp_keepalive: true,
            tcp_keepalive_time: Some(Duration::from_secs(10)),
            tcp_keepalive_interval: Some(Duration::from_secs(11)),
            tcp_keepalive_probes: Some(12),
            source_address: Some("::1".parse().unwrap()),
            prefer_ipv4: true,
            prefer_ipv6: true,
            dns_ttl: Duration::from_secs(30),
        }
    );
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let definition = check(node("tls on")).unwrap();
    let tls = definition.nodes[0].settings.tls.as_ref().unwrap();
    assert!(tls.verify && tls.verify_hostname && tls.ciphers.is_none() && tls.vhost.is_none());
    assert_eq!(
        (tls.min_version, tls.max_version, tls.debug),
        (TlsVersion::V1_2, TlsVersion::V1_3, 1)
    );
    let net = &definition.nodes[0].settings.net;
    let seconds = Duration::from_secs;
    assert_eq!((net.connect_timeout, net.io_timeout), (seconds(10), seconds(60)));
    assert_eq!((net.keepalive_idle_timeout, net.keepalive_max_lifetime), (seconds(30), seconds(0)));
    assert_eq!((net.keepalive_max_recycle, net.max_connections), (2000, 0));
    assert!(net.connect_timeout_log_error && net.keepalive && !net.tcp_keepalive);
    assert!(!net.prefer_ipv4 && !net.prefer_ipv6);
    assert_eq!((net.tcp_keepalive_time, net.tcp_keepalive_interval), (None, None));
    assert_eq!((net.tcp_keepalive_probes, net.source_address), (None, None));
    let set = &definition.settings;
    assert_eq!((set.balance, set.start), (Balance::RoundRobin, Start::First));
    assert_eq!(
        set.deliver,
        DeliverSettings { timeout: seconds(60), attempts: 0, resend: true, wait: false }
    );
}

#[test]
fn node_then_upstream_then_options_then_default() {
    let mut options = Options::default();
    for (key, value) in [
        ("net.io_timeout", "3s"),
        ("net.connect_timeout", "3s"),
        ("tls.debug", "3"),
        ("tag", "o"),
        ("extra", "o"),
        ("deliver.attempts", "3"),
        ("deliver.timeout", "3s"),
    ] {
        options.set(key, value).unwrap();
    }
    let text = "[UPSTREAM]\nname u\nnet.io_timeout 2s\nnet.connect_timeout 2s\nTag u\nk \
                u\ndeliver.timeout 2s\n[NODE]\nname a\nhost h\nport 1\n[NODE]\nname b\nhost \
                h\nport 1\nnet.io_timeout 1s\nTAG n\n";
    let definition = parse(text.as_bytes(), "f", &options).unwrap();
    let seconds = |node: usize| {
        let net = &definition.nodes[node].settings.net;
        [net.io_timeout, net.connect_timeout, net.keepalive_idle_timeout].map(|time| time.as_secs())
    };
    assert_eq!((seconds(0), seconds(1)), ([2, 2, 30], [1, 2, 30]));
    let deliver = &definition.settings.deliver;
    assert_eq!((deliver.timeout.as_secs(), deliver.attempts), (2, 3));
    let properties = |node: usize| -> Vec<String> {
        let shown = |p: &Property| format!("{} {}={}", p.position, p.key, p.value);
        properties_of(&definition, node).iter().map(shown).collect()
    };
    let inherited = [
        "f:4:1 net.connect_timeout=2s",
        "f:6:1 k=u",
        "f:7:1 deliver.timeout=2s",
        "options tls.debug=3",
        "options extra=o",
        "options deliver.attempts=3",
    ];
    let own = [
        "f:13:1 name=b",
        "f:14:1 host=h",
        "f:15:1 port=1",
        "f:16:1 net.io_timeout=1s",
        "f:17:1 TAG=n",
    ];
    assert_eq!(properties(1), [&own[..], &inherited[..]].concat());
    let own = ["f:9:1 name=a", "f:10:1 host=h", "f:11:1 port=1", "f:3:1 net.io_timeout=2s"];
    let tag = ["f:5:1 Tag=u"];
    assert_eq!(properties(0), [&own[..], &inherited[..1], &tag, &inherited[1..]].concat());
}

#[test]
fn the_wanted_name_is_the_one_in_the_file() {
    let mut options = Options::default();
    options.set("upstream.name", "u").unwrap();
    assert!(parse(node("").as_bytes(), "f", &options).is_ok());
    options.set("upstream.name", "v").unwrap();
    assert_eq!(
        parse(node("").as_bytes(), "f", &options).unwrap_err().to_string(),
        "f:1:1: the upstream is named \"u\", but the option upstream.name wants \"v\"; change one \
         of them"
    );
}

#[test]
fn warned_of() {
    let plaintext = "tls is off for this node, so connections are in plaintext and";
    for (lines, expected) in [
        ("wieght 5", vec!["f:7:1: unknown key \"wieght\"; did you mean \"weight\"?".to_owned()]),
        ("tsl on", vec!["f:7:1: unknown key \"tsl\"; did you mean \"tls\"?".into()]),
        ("hots x", vec!["f:7:1: unknown key \"hots\"; did you mean \"host\"?".into()]),
        ("; x", vec!["f:7:1: \";\" is read as a key; a comment starts with \"#\"".into()]),
        ("slow_start 2s", vec!["f:7:1: slow_start has no effect in this version".into()]),
        ("weight 2\npriority 1\nhealth.max_fails 5\nhealth.check tcp", vec![]),
        (
            "weight 1\npriority 0\nslow_start 0s\nhealth.max_fails 3\nhealth.check OFF\ndns.ttl 20",
            vec![],
        ),
        (
            "slow_start 5s\ndns.expand on",
            vec![
                "f:7:1: slow_start has no effect in this version".into(),
                "f:8:1: dns.expand has no effect in this version".into(),
            ],
        ),
        (
            "net.dns.mode tcp\nnet.dns.resolver legacy\nnet.proxy_env_ignore on",
            vec![
                "f:7:1: net.dns.mode has no effect: the system resolver resolves all names".into(),
                "f:9:1: net.proxy_env_ignore has no effect: proxies of the environment are \
                 never used; set net.proxy to use one"
                    .into(),
            ],
        ),
        (
            "tls off\nTLS.verify off\ntls.ca_file /nowhere",
            vec![format!("f:8:1: {plaintext} TLS.verify, tls.ca_file have no effect; set tls on")],
        ),
        (
            "tls.crt_file /nowhere",
            vec![format!("f:7:1: {plaintext} tls.crt_file has no effect; set tls on")],
        ),
        (
            "tls on\ntls.verify off\ntls.verify_hostname on",
            vec![
                "f:9:1: tls.verify_hostname has no effect while tls.verify is off: if nobody \
                 checks the chain, anyone can make a certificate with that name; set tls.verify on"
                    .into(),
            ],
        ),
        ("tls on\ntls.verify off", vec![]),
    ] {
        assert_eq!(warnings(node(lines)), expected, "{lines}");
    }
}

#[test]
fn a_file_in_which_no_node_takes_anything_is_warned_of() {
    let drained = node("weight 0");
    assert_eq!(
        warnings(&drained),
        ["f:1:1: every node has weight 0, so none gets a payload; give at least one a weight \
             from 1 to 1000"]
    );
    let one_left = format!("{drained}\n[NODE]\nname m\nhost h\nport 1\n");
    assert_eq!(warnings(one_left), [""; 0]);
}

#[test]
fn many_warnings_are_few_lines() {
    let lines: String = (0..150).map(|i| format!("[SECTION{i}]\n")).collect();
    let warnings = warnings(node(&lines));
    assert_eq!(warnings.len(), 26);
    assert_eq!(warnings[25], "125 more warnings about unknown sections are left out");
}
