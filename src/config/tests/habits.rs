//! Habits of other programs and of other forms: each is an error or a warning that says what to
//! write, or means the same here. None is silent.

use super::*;

fn warnings(text: impl AsRef<[u8]>) -> Vec<String> {
    check(text).unwrap_or_else(|error| panic!("{error}")).warnings
}

fn in_upstream(line: &str) -> String {
    node("").replace("name u", &format!("name u\n {line}"))
}

/// What asks for TLS is never read as plaintext in silence, wherever it stands.
#[test]
fn tls_asked_for_in_other_words() {
    for (line, part) in [
        ("tls_on true", "\"tls on\""),
        ("tls_verify off", "\"tls.verify\""),
        ("tls_ca_file /x", "\"tls.ca_file\""),
        ("tls-verify off", "\"tls.verify\""),
        ("tls_cert_path /x", "\"tls.ca_file\""),
        ("tls_insecure_mode true", "\"tls.verify\""),
        ("tls_anything x", "\"tls on\""),
        ("TLS_Anything x", "\"tls on\""),
        ("tlss on", "\"tls\""),
        ("tls.enable on", "\"tls on\""),
        ("tls.enabled on", "\"tls on\""),
        ("tls.on on", "\"tls on\""),
        ("enable_tls yes", "\"tls on\""),
        ("use_tls on", "\"tls on\""),
        ("use_tls off", "\"tls on\""),
        ("ssl on", "\"tls on\""),
        ("ssl off", "\"tls off\""),
        ("SSL on", "\"tls on\""),
        ("ssl", "\"tls on\""),
        ("ssl.certificate /x", "\"tls.crt_file\""),
        ("ssl_verify on", "\"tls.verify\""),
        ("secure on", "\"tls on\""),
        ("starttls on", "\"tls on\""),
        ("ca_file /x", "\"tls.ca_file\""),
        ("verify_hostname off", "\"tls.verify_hostname\""),
        ("transport tls", "\"tls on\""),
        ("Transport TLS", "\"tls on\""),
        ("transport ${ON}_tls", "\"tls on\""),
        ("protocol https", "\"tls on\""),
        ("scheme https", "\"tls on\""),
        ("mode tls", "\"tls on\""),
        ("transport_mode tls", "\"tls on\""),
        ("security.protocol SASL_SSL", "\"tls on\""),
        ("network tcp+tls", "\"tls on\""),
        ("secure_forward yes", "\"tls on\""),
        ("<transport tls>", "\"tls on\""),
        ("client_cert_auth true", "\"tls.crt_file\""),
        ("certificate_authority /x", "\"tls.ca_file\""),
        ("tls.crt /x", "\"tls.crt_file\""),
        ("tls.password x", "\"tls.key_passwd\""),
        ("port 443s", "is not a port"),
        ("host https://h", "is a URL"),
    ] {
        let of_node = match line.split_once(' ') {
            Some((key @ ("port" | "host"), _)) => {
                node("").replace(&format!("{key} {}", if key == "port" { "1" } else { "h" }), line)
            }
            _ => node(line),
        };
        let mut texts = vec![of_node];
        if !line.starts_with("port") && !line.starts_with("host") {
            texts.push(in_upstream(line));
            texts.push(node("\n[NODE]\nname b\nhost h\nport 1\n") + line);
        }
        for text in texts {
            let message = refusal(&text);
            assert!(message.contains(part), "{line}: {message}");
        }
        let mut options = Options::default();
        if let Some((key, value)) = line.split_once(' ').filter(|(_, value)| !value.contains('$')) {
            let set = options.set(key, value);
            let made = set.and_then(|()| parse(node("").as_bytes(), "f", &options));
            assert!(made.is_err(), "{line} as an option");
        }
    }
    for line in
        ["tls true", "TLS On", "transport tcp", "protocol http", "mode udp", "url https://h/x"]
    {
        assert_eq!(warnings(node(line)), [""; 0], "{line}");
    }
}

/// What the plugin declared is the plugin's.
#[test]
fn a_declared_key_does_not_ask_for_tls() {
    let mut options = Options::default();
    for key in ["transport", "ssl", "tls_mode", "standby"] {
        options.declare(key, KeyType::Text).unwrap();
    }
    let text = node("transport tls\nssl on\ntls_mode x\nstandby yes\n");
    assert_eq!(parse(text.as_bytes(), "f", &options).unwrap().warnings, [""; 0]);
    let error = parse(node("use_tls on").as_bytes(), "f", &options).unwrap_err().to_string();
    assert!(error.contains("\"tls on\""), "{error}");
}

#[test]
fn other_words_for_health_are_warned_of() {
    for (line, key) in [
        ("standby", "priority"),
        ("standby true", "priority"),
        ("Backup", "priority"),
        ("max_fails 3", "health.max_fails"),
        ("fail_timeout 10s", "health.backoff"),
        ("recover_wait 10s", "health.backoff"),
        ("heartbeat_type tcp", "health.check"),
        ("heartbeat_interval 1s", "health.interval"),
        ("max_conns 5", "net.max_connections"),
        ("down", "weight 0"),
        ("healthcheck.enabled true", "health.check"),
        ("keepalive_requests 100", "net.keepalive_max_recycle"),
        ("lb_policy least_request", "\"balance\""),
        ("load_balancing round_robin", "\"balance\""),
        ("include other.conf", "\"@INCLUDE\""),
        ("-- a comment", "starts with \"#\""),
        ("'port' 2", "in quotes"),
    ] {
        let found = warnings(node(line));
        assert_eq!(found.len(), 1, "{line}");
        assert!(found[0].starts_with("f:7:1: ") && found[0].contains(key), "{}", found[0]);
    }
    let alone = "f:7:1: this line has no value; write a key, and a value after it";
    assert_eq!(refusal(node("alone")), alone);
}

/// docs.fluentbit.io prints these as the defaults.
#[test]
fn the_agents_defaults_written_out() {
    let lines = "net.connect_timeout 0\nnet.connect_timeout_log_error true\nnet.io_timeout \
                 0s\nnet.keepalive true\nnet.keepalive_idle_timeout 30s\nnet.dns.prefer_ipv4 \
                 false\nnet.dns.prefer_ipv6 false\nnet.keepalive_max_recycle \
                 2000\nnet.max_worker_connections 0\nnet.tcp_keepalive \
                 off\nnet.tcp_keepalive_time -1\nnet.tcp_keepalive_interval \
                 -1\nnet.tcp_keepalive_probes -1\n";
    let definition = check(node(lines)).unwrap();
    let wait = "no wait is for ever here, so this is the default";
    assert_eq!(
        definition.warnings,
        [
            format!(
                "f:7:1: net.connect_timeout 0: {wait}, 10s; write a longer time if you need one"
            ),
            format!("f:9:1: net.io_timeout 0: {wait}, 60s; write a longer time if you need one"),
        ]
    );
    let net = &definition.nodes[0].settings.net;
    assert_eq!((net.connect_timeout.as_secs(), net.io_timeout.as_secs()), (10, 60));
    assert_eq!((net.tcp_keepalive_time, net.tcp_keepalive_interval), (None, None));
    assert_eq!(net.tcp_keepalive_probes, None);

    // -1 in a node hides what [UPSTREAM] says, and so does 0.
    let text = node("net.tcp_keepalive_time -1\nnet.io_timeout 0ms").replace(
        "name u",
        "name u\nnet.tcp_keepalive on\nnet.tcp_keepalive_time 5s\n\
                            net.io_timeout 5s",
    );
    let definition = check(text).unwrap();
    let net = &definition.nodes[0].settings.net;
    assert_eq!((net.tcp_keepalive_time, net.io_timeout.as_secs()), (None, 60));

    let mut options = Options::default();
    for (key, value) in [("net.io_timeout", "0s"), ("net.tcp_keepalive_probes", "-1")] {
        options.set(key, value).unwrap();
    }
    let made = parse(node("").as_bytes(), "f", &options).unwrap();
    assert_eq!(made.warnings.len(), 1);
    for line in ["net.io_timeout -1", "net.tcp_keepalive_time -2", "net.tcp_keepalive_time 0"] {
        assert!(refusal(node(line)).starts_with("f:7:"), "{line}");
    }
}

#[test]
fn keys_of_the_agent_without_meaning_here_are_warned_of_once_each() {
    for key in [
        "tls.proxy.verify",
        "tls.proxy.verify_hostname",
        "tls.proxy.ca_file",
        "tls.proxy.ca_path",
        "tls.windows.certstore_name",
        "tls.windows.use_enterprise_store",
        "tls.windows.client_thumbprints",
        "tls.verify_client_cert",
        "net.share_port",
        "net.backlog",
        "net.accept_timeout",
        "net.accept_timeout_log_error",
    ] {
        let text = node(&format!("{key} on\n[NODE]\nname b\nhost h\nport 1\n{key} off\n"));
        let found = warnings(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("f:7:1: {key} has no effect: ")), "{}", found[0]);
        let mut options = Options::default();
        options.set(key, "x").unwrap();
        assert_eq!(parse(node("").as_bytes(), "f", &options).unwrap().warnings.len(), 1);
    }
}

#[test]
fn signs_of_other_formats_between_a_key_and_its_value() {
    let begins = |key: &str, sign: &str| {
        format!(
            "{key}: the value begins with \"{sign}\"; write only blanks between a key and its \
                 value"
        )
    };
    for (text, place, expected) in [
        (node("").replace("name n", "name = n"), "f:4:7", begins("name", "=")),
        (node("").replace("name u", "name = u"), "f:2:7", begins("name", "=")),
        (node("").replace("host h", "host\t: h"), "f:5:7", begins("host", ":")),
        (node("").replace("port 1", "port = 1"), "f:6:7", begins("port", "=")),
        (node("shared_key = s3cret"), "f:7:12", begins("shared_key", "=")),
        (node("shared_key : s3cret"), "f:7:12", begins("shared_key", ":")),
        (node("tls.key_passwd = s3cret"), "f:7:16", begins("tls.key_passwd", "=")),
        (
            node("").replace("name n", "name =n"),
            "f:4:7",
            "name: \"=n\" begins with \"=\" (write only blanks between a key and its value, no \
             \"=\" or \":\")"
                .into(),
        ),
    ] {
        assert_eq!(refusal(text), format!("{place}: {expected}"));
    }
    let joined = warnings(node("shared_key=s3cret x"));
    assert_eq!(
        joined,
        ["f:7:1: the key has a \"=\" or \":\" behind it; write a blank in its \
             place"]
    );
}

#[test]
fn a_section_that_is_nearly_one_is_an_error() {
    for (header, meant) in [
        ("NODES", "NODE"),
        ("nodes", "NODE"),
        ("NODE1", "NODE"),
        ("node-2", "NODE"),
        ("NOD", "NODE"),
        ("NOED", "NODE"),
        ("node.a", "NODE"),
        ("upstream_node", "NODE"),
        ("UPSTREAMS", "UPSTREAM"),
        ("UPSTREM", "UPSTREAM"),
    ] {
        let text = node(&format!("[{header}]\nname m\nhost h\nport 2\n"));
        let expected = format!("f:7:1: unknown section {header:?}; did you mean [{meant}]?");
        assert_eq!(refusal(text), expected);
    }
    for header in ["NODE 1", "NODE web", "NODE \"a\"", "node: a"] {
        let text = node(&format!("[{header}]\nname m\nhost h\nport 2\n"));
        assert_eq!(refusal(text), "f:7:1: this section is unknown; did you mean [NODE]?");
    }
    for header in ["SERVICE", "INPUT", "OUTPUT", "FILTER", "PARSER", "CUSTOM", "PLUGINS"] {
        let text = node(&format!("[{header}]\nx y\n"));
        let expected = format!("f:7:1: unknown section \"{header}\" is ignored");
        assert_eq!(warnings(text), [expected]);
    }
}

#[test]
fn a_bare_word_in_place_of_the_name() {
    let text = "[UPSTREAM]\n  upstream1\n\n[NODE]\n name n\n host h\n port 1\n";
    assert_eq!(
        refusal(text),
        "f:2:3: this line has no value; if it is the name of the upstream, write \"name upstream1\""
    );
    // It may be a secret elsewhere.
    for text in ["[UPSTREAM]\nname u\n word\n", "[UPSTREAM]\nname u\n[NODE]\n word\n host h\n"] {
        let message = refusal(text);
        assert!(message.contains("this line has no value; write a key, and"), "{message}");
    }
}

/// Nobody sees them, and a login would fail.
#[test]
fn what_nobody_sees_at_the_ends_of_words_is_an_error() {
    for odd in ['\u{a0}', '\u{2003}', '\u{3000}', '\u{200b}', '\u{feff}', '\u{ad}', '\u{b}'] {
        let shown = format!("the invisible character {odd:?}");
        for (text, place) in [
            (node(&format!("k v{odd}")), "f:7:3: the value ends with"),
            (node(&format!("shared_key {odd}v")), "f:7:12: the value begins with"),
            (node(&format!("tls on{odd}")), "f:7:5: the value ends with"),
            (node("").replace("name n", &format!("name n{odd}")), "f:4:7: the value ends with"),
            (node(&format!("@SET A=v{odd}\nk ${{A}}")), "f:8:3: the value ends with"),
            (node(&format!("{odd}tls on")), "f:7:1: the key begins with"),
            (node(&format!("tls{odd} on")), "f:7:1: after \"tls\" the key has"),
            (node(&format!("[{odd}NODE]")), "f:7:1: this section header has"),
            (node(&format!("[NODE{odd}]")), "f:7:1: this section header has"),
            (node(&format!("[NODE]{odd}")), "f:7:7: there is"),
        ] {
            let message = refusal(&text);
            assert!(message.starts_with(place) && message.contains(&shown), "{message}");
            assert!(message.contains("; type the line again"), "{message}");
        }
    }
    assert_eq!(property(&check(node("k a\u{a0}b")).unwrap(), 0, "k").unwrap(), "a\u{a0}b");
}

#[test]
fn one_form_under_the_name_of_the_other() {
    let parse_as = |text: &str, name: &str| {
        parse(text.as_bytes(), name, &Options::default()).unwrap_err().to_string()
    };
    let later = "this version does not read the YAML form; write the file in the classic form";
    for text in [
        "upstream_servers:\n  - name: u\n",
        "---\n\nupstream_servers:\n",
        "# x\n\n---\n",
        "%YAML 1.2\n---\n",
        "- name: u\n",
        "{ \"upstream_servers\": [] }\n",
        "name: u\n",
        "\"upstream_servers\": []\n",
    ] {
        let message = parse_as(text, "u.conf");
        assert!(message.contains("this looks like the YAML form"), "{text}: {message}");
        assert!(message.contains(later), "{message}");
        for name in ["f.yaml", "dir/f.YML"] {
            assert_eq!(parse_as(text, name), format!("{name}: {later}"));
        }
    }
    for text in [
        node(""),
        format!("\u{feff}# x\r\n\r\n{}", node("").to_lowercase()),
        format!("@SET A=b\n{}", node("")),
        "  [ Node ]\n".into(),
    ] {
        assert_eq!(
            parse_as(&text, "u.yaml"),
            "u.yaml: this looks like the classic form, but the name ends as those of the YAML form \
             do; name the file .conf"
        );
    }
    assert_eq!(parse_as("[a, b]\n", "u.yaml"), format!("u.yaml: {later}"));
    assert!(refusal("name u\n[UPSTREAM]").contains("comes before the first section"));
}
