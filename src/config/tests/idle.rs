//! Lines that have no effect because of other lines.

use super::*;

#[test]
fn lines_that_others_make_idle_are_warned_of() {
    let plaintext = "so connections are in plaintext and";
    for (of_upstream, of_node, expected) in [
        (
            "tls.verify off\ntls.ca_file /nowhere",
            "",
            vec![format!(
                "f:3:1: tls is off for every node, {plaintext} tls.verify, tls.ca_file have no \
                 effect; set tls on"
            )],
        ),
        ("tls.verify off", "tls on", vec![]),
        (
            "net.keepalive off\nnet.Keepalive_Max_Recycle 5",
            "",
            vec![
                "f:4:1: net.keepalive is off for every node, so net.Keepalive_Max_Recycle has no \
                 effect; set net.keepalive on"
                    .into(),
            ],
        ),
        ("net.keepalive off\nnet.keepalive_max_recycle 5", "net.keepalive on", vec![]),
        (
            "net.tcp_keepalive_time 5s",
            "net.tcp_keepalive_probes 5\nhealth.interval 3s",
            vec![
                "f:8:1: net.tcp_keepalive is off for this node, so net.tcp_keepalive_probes has no \
                 effect; set net.tcp_keepalive on"
                    .into(),
                "f:9:1: health.check is off for this node, so health.interval has no effect; set \
                 health.check tcp or tls"
                    .into(),
                "f:3:1: net.tcp_keepalive is off for every node, so net.tcp_keepalive_time has no \
                 effect; set net.tcp_keepalive on"
                    .into(),
            ],
        ),
        (
            "net.tcp_keepalive on\nhealth.check tcp",
            "net.tcp_keepalive_probes 5\nhealth.interval 3s",
            vec![],
        ),
        (
            "net.dns.prefer_ipv6 on",
            "net.dns.prefer_ipv4 on",
            vec![
                "f:8:1: net.dns.prefer_ipv6 is on too for this node, so net.dns.prefer_ipv4 has no \
                 effect; set only one of the two"
                    .into(),
            ],
        ),
        ("net.dns.prefer_ipv6 off", "net.dns.prefer_ipv4 on", vec![]),
    ] {
        let text = node(of_node).replace("name u", &format!("name u\n{of_upstream}"));
        assert_eq!(check(&text).unwrap().warnings, expected, "{text}");
    }
    let mut options = Options::default();
    options.set("tls.verify", "off").unwrap();
    let by_options = parse(node("").as_bytes(), "f", &options).unwrap();
    assert_eq!(by_options.warnings, [""; 0], "a program's defaults are for whatever file there is");
}
