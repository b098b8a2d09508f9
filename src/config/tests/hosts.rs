//! Hosts: names, addresses and sockets of this machine, and what is none of these.

use super::*;

#[test]
fn what_is_no_host() {
    let port = "contains a port; write only the host here, and its port in the key port";
    let quotes = "contains quotes, which are not part of a host; write it without them";
    let comment = "contains a \"#\"; put a comment on its own line, not after a value";
    let url = "is a URL; write only the host here, and its port in the key port";
    let several = "names several hosts; write one, and a [NODE] for each of them";
    let blank =
        "contains a blank; write one host name or address, and a [NODE] for each further one";
    let ipv4 = "is not an IPv4 address; write four numbers from 0 to 255 without leading zeros, \
                such as 192.0.2.1, or a host name";
    let ipv6 = "is not an IPv6 address, such as ::1; write only the host here, and its port in \
                the key port";
    let brackets = "is not an IPv6 address in brackets, such as [::1]";
    let label = "is not a host name: each part between dots has 1 to 63 letters, and the whole \
                 name at most 253; write a name or an address";
    let hyphen = "is not a host name: no part between dots begins with \"-\"; write a name or an \
                  address";
    let odd = |odd: char| {
        format!("contains {odd:?}, which a host name cannot have; write only the name or address")
    };
    for (host, expected) in [
        ("'h'", quotes),
        ("h # first", comment),
        ("h#", comment),
        ("a b", blank),
        ("a,b,c", several),
        ("192.168.2.3,192.168.2.4", several),
        ("a:1, b:2", several),
        ("a,", several),
        ("a;b", several),
        ("h:1", port),
        ("10.0.0.1:43000", port),
        ("localhost:24224", port),
        ("[::1]:1", port),
        ("3333:1:2:3:4:5:6:7:9092", port),
        ("3333:...:9092", ipv6),
        ("tcp://h", url),
        ("http://h/x", url),
        ("https://h:1", url),
        ("1::2::3", ipv6),
        ("[::1", ipv6),
        ("[h]", brackets),
        ("[10.0.0.1]", brackets),
        ("256.1.1.1", ipv4),
        ("1.2.3", ipv4),
        ("1.2.3.4.5", ipv4),
        ("1.2.3.4.", ipv4),
        ("010.0.0.1", ipv4),
        ("12345", ipv4),
        ("0x7f000001", ipv4),
        ("a.0x1f", ipv4),
        ("a..b", label),
        (".", label),
        (".a", label),
        ("a..", label),
        ("-", hyphen),
        ("-a", hyphen),
        ("a.-b", hyphen),
        ("a/b", &odd('/')),
        ("a(b)", &odd('(')),
        ("a@", &odd('@')),
        ("*", "contains '*', and a pattern is not a host; write one name or address"),
        (
            "straße",
            "contains 'ß', which a host name cannot have; write an international name in its xn-- \
             form",
        ),
    ] {
        let text = node("").replace("host h", &format!("host {host}"));
        let shown = format!("{:?}", host.rsplit_once('@').map_or(host, |(_, host)| host));
        assert_eq!(refusal(text), format!("f:5:7: host: {shown} {expected}"));
    }
    let long = ["a".repeat(64), format!("{}b", "a.".repeat(127))];
    for host in &long {
        let text = node("").replace("host h", &format!("host {host}"));
        assert!(refusal(text).ends_with(label), "{host}");
    }
    assert_eq!(
        refusal(node("").replace("port 1", "port 1,2")),
        "f:6:7: port: \"1,2\" names several ports; write one, and a [NODE] for each of them"
    );
}

#[test]
fn an_ipv6_address_that_seems_to_end_in_its_port_is_warned_of() {
    let with = |host: &str, port: &str| {
        let text = node("").replace("host h", host).replace("port 1", port);
        check(text).unwrap().warnings
    };
    assert_eq!(
        with("host 2001:db8::1:9092", "port 9092"),
        ["f:5:7: host 2001:db8::1:9092 ends in the port 9092, but is an address as a whole; \
          write 2001:db8::1 if that is the address, or [2001:db8::1:9092]"]
    );
    for (host, port) in [
        ("host [2001:db8::1:9092]", "port 9092"),
        ("host 2001:db8::1:9092", "port 9093"),
        ("host 1:2:3:4:5:6:7:9092", "port 9092"),
    ] {
        assert_eq!(with(host, port), [""; 0], "{host} {port}");
    }
}

#[test]
fn a_socket_of_this_machine_needs_no_port() {
    let at = |host: &str, more: &str| {
        let text = format!("[UPSTREAM]\nname u\n[NODE]\nname n\nhost {host}\n{more}");
        check(text)
    };
    let longest = format!("unix:/{}", "x".repeat(106));
    for host in ["unix:/run/a.sock", "unix:///run/a.sock", "unix:/a b", "unix:/\u{e4}", &longest] {
        let definition = at(host, "").unwrap();
        let node = &definition.nodes[0];
        assert_eq!((node.host.as_str(), node.port), (host, 0));
        assert_eq!(definition.warnings, [""; 0], "{host}");
    }
    assert_eq!(
        at("unix:/a", "port 1\nnet.source_address ::1\nnet.keepalive on\ndns.ttl 1")
            .unwrap()
            .warnings,
        ["f:6:1: the host is a socket of this machine for this node, so port, \
             net.source_address, dns.ttl have no effect; remove them, or give a host name or \
             address"]
    );
    let named = "has no name to check in the server's certificate; set tls.vhost to the name \
                 there, or tls.verify_hostname off";
    assert_eq!(
        at("unix:/a", "tls on").unwrap_err().to_string(),
        format!("f:5:6: host \"unix:/a\" {named}")
    );
    for more in ["tls.vhost h", "tls.verify off", "tls.verify_hostname off"] {
        assert_eq!(at("unix:/a", &format!("tls on\n{more}")).unwrap().warnings, [""; 0], "{more}");
    }
}

#[test]
fn what_is_no_path_of_a_socket() {
    let long = format!("unix:/{}", "x".repeat(107));
    for (host, words) in [
        ("unix:", "begins with /"),
        ("unix:a", "begins with /"),
        ("unix:@abstract", "begins with /"),
        ("unix:localhost:80", "begins with /"),
        ("unix:/run/", "names a directory"),
        ("unix:/a\u{1b}b", "does not print"),
        (&long, "at most 107 bytes"),
        ("/run/a.sock", "write unix: before it"),
        ("UNIX:/a", "in small letters"),
    ] {
        let text = node("").replace("host h", &format!("host {host}"));
        let error = refusal(text);
        assert!(error.starts_with("f:5:") && error.contains(words), "{host}: {error}");
    }
    // A name that the certificate must have is no path.
    assert!(refusal(node("tls on\ntls.vhost unix:/a")).contains("tls.vhost"));
}
