//! The table, and how unknown keys are judged.

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
    let of_plugins = "shared_key empty_shared_key username password self_hostname time_as_integer \
                      send_options require_ack_response tag compress ack_timeout hosts ports path \
                      post sort cost time ts key stats state weights format uri http_user \
                      http_passwd header index type logstash_format json_date_key label \
                      retry_limit workers match alias upstream log_level add_label line_format \
                      topic brokers timeout user pass domain names target database table region \
                      bucket hostname nodename node";
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
                "unknown key \"net.max_worker_conections\"; did you mean \
                 \"net.max_worker_connections\"?",
            ),
        ),
        (
            "health.frobnicate",
            refused(
                "unknown key \"health.frobnicate\"; the keys of this family are health.max_fails, \
                 health.backoff, health.backoff_max, health.check, health.interval",
            ),
        ),
        ("tls_verify", refused("unknown key \"tls_verify\"; it is spelled \"tls.verify\"")),
        ("tls-verify", refused("unknown key \"tls-verify\"; it is spelled \"tls.verify\"")),
        (
            "net_keepalive_idle_timeout",
            refused(
                "unknown key \"net_keepalive_idle_timeout\"; it is spelled \
                 \"net.keepalive_idle_timeout\"",
            ),
        ),
        ("tsl.verify", refused("unknown key \"tsl.verify\"; did you mean \"tls.verify\"?")),
        (
            "tls=on",
            refused(
                "unknown key \"tls\"...; write \"tls\", a blank and the value, without \"=\" or \
                 \":\"",
            ),
        ),
        (
            "host:",
            refused(
                "unknown key \"host\"...; write \"host\", a blank and the value, without \"=\" or \
                 \":\"",
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
                "unknown key \"deliver.frobnicate\"; the keys of this family are deliver.timeout, \
                 deliver.attempts, deliver.resend, deliver.wait",
            ),
        ),
        (";", suspect("\";\" is read as a key; a comment starts with \"#\"")),
    ] {
        assert_eq!(judge(name), expected, "{name}");
    }
}
