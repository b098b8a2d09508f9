//! What is another program's word, and what is a plugin's own key.

use super::*;

#[test]
fn a_word_of_tls_is_one_wherever_it_stands_in_a_key() {
    for (name, key) in [
        ("tls_on", "tls on"),
        ("tls-on", "tls on"),
        ("tlson", "tls on"),
        ("tls_enabled", "tls on"),
        ("use_tls", "tls on"),
        ("usetls", "tls on"),
        ("enable-tls", "tls on"),
        ("starttls", "tls on"),
        ("ssl", "tls on"),
        ("ssl.enabled", "tls on"),
        ("ssl_enable", "tls on"),
        ("use_ssl", "tls on"),
        ("enablessl", "tls on"),
        ("http.ssl", "tls on"),
        ("https", "tls on"),
        ("secure", "tls on"),
        ("encryption", "tls on"),
        ("tls_cert_path", "tls.ca_file"),
        ("tls_ca_cert_path", "tls.ca_file"),
        ("ssl.certificate_authorities", "tls.ca_file"),
        ("ssl_cacert", "tls.ca_file"),
        ("use_https", "tls on"),
        ("ca_file", "tls.ca_file"),
        ("certificate_authority", "tls.ca_file"),
        ("client_cert_auth", "tls.crt_file"),
        ("secure_forward", "tls on"),
        ("tls_ca", "tls.ca_file"),
        ("tls_client_cert_path", "tls.crt_file"),
        ("ssl.certificate", "tls.crt_file"),
        ("tls_client_private_key_path", "tls.key_file"),
        ("tls_client_private_key_passphrase", "tls.key_passwd"),
        ("ssl.key", "tls.key_file"),
        ("tls_insecure_mode", "tls.verify"),
        ("tls_allow_self_signed_cert", "tls.verify"),
        ("insecure_skip_verify", "tls.verify"),
        ("ssl_verify", "tls.verify"),
        ("ssl.verification_mode", "tls.verify"),
        ("tls_version", "tls.min_version"),
        ("ssl_ciphers", "tls.ciphers"),
        ("tls_server_name", "tls.vhost"),
    ] {
        let text = of_tls(name).expect(name);
        assert!(text.contains(&format!("\"{key}\"")), "{name}: {text}");
    }
}

#[test]
fn keys_of_plugins_are_no_words_of_tls() {
    for name in [
        "classless",
        "lossless",
        "accesslog",
        "passlist",
        "titles",
        "key",
        "key_name",
        "cache",
        "path",
        "certain",
        "verify",
        "vhost",
        "http_user",
        "title",
        "security_token",
        "mode",
        "transport",
        "location",
        "category",
        "https_proxy",
    ] {
        assert_eq!(of_tls(name), None, "{name}");
        assert_eq!(of_health(name), None, "{name}");
        assert_eq!(of_the_agent(name), None, "{name}");
    }
}

#[test]
fn a_value_asks_for_tls_if_it_names_a_scheme_with_tls() {
    for value in [
        "tls",
        "TLS",
        " ssl ",
        "https",
        "tcp+tls",
        "tcp_tls",
        "StartTLS",
        "https://h:1/x?y",
        "ssl://u:secret@h",
        "wss://h",
        "TLSv1.2",
        "tcp, tls",
        "SASL_SSL",
        "tls:tcp",
    ] {
        let text = asks_for_tls("transport", value).expect(value);
        assert!(text.contains("\"tls on\"") && !text.contains("secret"), "{text}");
    }
    for value in ["tcp", "udp", "http", "http://h/tls", "", "forward", "x.tls.example"] {
        assert_eq!(asks_for_tls("transport", value), None, "{value}");
    }
    for name in ["transport", "transport_mode", "security.protocol", "socket-type", "network"] {
        assert!(may_name_a_scheme(name), "{name}");
    }
    for name in ["url", "tag", "modem", "transporter", "index"] {
        assert!(!may_name_a_scheme(name), "{name}");
    }
}

#[test]
fn each_word_stands_in_one_table_and_no_flag_is_unknown() {
    let words: Vec<&str> = OF_HEALTH.iter().flat_map(|(_, words)| words.iter().copied()).collect();
    let mut sorted = words.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), words.len());
    assert!(words.iter().all(|word| of_tls(word).is_none()));
    assert!(FLAGS.iter().all(|flag| of_health(flag).is_some()));
}
