//! No message shows a secret, wherever it stands and however its line is wrong.

use super::*;
use crate::base::error::Report;
use crate::base::text::message;
use crate::config::{KeyType, Options, load, parse_in};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;

const HEAD: &str = "[UPSTREAM]\nname u\n";
const NODE: &str = "[NODE]\nname n\nhost h\nport 1\n";
/// Secrets as people write them. None is in a message, nor any of these parts of it.
const SECRETS: [(&str, &[&str]); 8] = [
    ("hunter2", &["hunter2"]),
    ("hunter2 horse battery", &["hunter2", "horse"]),
    ("aGh1bnRlcjI=", &["aGh1bnRlcjI"]),
    ("user:hunter2", &["hunter2"]),
    ("@hunter2", &["hunter2"]),
    ("hunter2=x=y", &["hunter2"]),
    ("http://user:hunter2@host:9200/p?q=1", &["hunter2"]),
    ("Password-hunter2", &["hunter2"]),
];

fn environment(name: &str) -> Option<OsString> {
    match name {
        "DB_PASSWORD" | "SHARED_KEY" => Some("hunter2".into()),
        _ => None,
    }
}

/// All that the host gets to read about this text.
fn said(text: &str, options: &Options) -> Vec<String> {
    match parse_in(text.as_bytes(), "f", options, &environment) {
        Ok(definition) => definition.warnings.into_iter().map(message).collect(),
        Err(error) => vec![Report::from(error).message.into_string().unwrap()],
    }
}

fn declaring(kind: KeyType) -> Options {
    let mut options = Options::default();
    for key in ["shared_key", "api_token", "require_ack"] {
        options.declare(key, kind).unwrap();
    }
    options
}

#[test]
fn no_message_shows_a_secret() {
    let in_any_place = [
        "<>",
        "shared_key <>",
        "shared_key=<>",
        "shared_key:<>",
        "shared_key: <>",
        "shared_key = <>",
        "shared_kye <>",
        "shared_kye=<>",
        "sharedKey <>",
        "shared_key\u{a0}<>",
        "shared_key <>\nshared_key <>",
        "api_token <>",
        "api_token=<>",
        "password <>",
        "tls.key_passwd <>",
        "tls.key_passwd=<>",
        "tls.key_passwd=<> y",
        "tls.key_passwd:<>",
        "tls_key_passwd <>",
        "tls.key_pass <>",
        "tls.key_passwd <>\ntls.key_passwd <>",
        "tls on\ntls.key_passwd <>",
        "tls.key_passwd ${DB_PASSWORD}${NOT_SET}",
        "tls.key_passwd ${NOT_SET:-<>",
        "shared_key ${SHARED_KEY:=<>}",
        "weight ${DB_PASSWORD}",
        "tls ${DB_PASSWORD}",
        "net.io_timeout ${SHARED_KEY}",
        "net.source_address ${SHARED_KEY}",
        "tls.ciphers ${SHARED_KEY}",
        "@SETPASS=<>",
        "@SET PASS <>",
        "@SET =<>",
        "@SET PASS=${NOT_SET}<>",
        "@INCLUDE ${DB_PASSWORD}",
        "{\"shared_key\": \"<>\"}",
        "\"shared_key\": \"<>\"",
        "- shared_key: <>",
        "export SHARED_KEY=<>",
        ";shared_key=<>",
        "//shared_key=<>",
        "[<>",
        "[NODE] <>",
        "[shared_key=<>]",
        "[OUTPUT shared_key <>]",
        "[\"<>\"]",
        "url http://user:<>@host/\nnet.io_timeout http://user:<>@host/",
        "tls on\ntls.ca_file http://user:<>@host/",
        "health.check http://user:<>@host/",
    ];
    for kind in [None, Some(KeyType::Secret), Some(KeyType::Bool), Some(KeyType::Size)] {
        let options = kind.map_or_else(Options::default, declaring);
        for (secret, parts) in SECRETS {
            for line in in_any_place {
                let line = line.replace("<>", secret);
                for text in [
                    line.clone(),
                    format!("{HEAD}{line}\n{NODE}"),
                    format!("{HEAD}{NODE}{line}\n"),
                    format!("{HEAD}{NODE}{line}\n weight x\n"),
                    format!("{HEAD}{NODE}[OTHER]\n{line}\n"),
                ] {
                    for said in said(&text, &options) {
                        let shows = parts.iter().any(|part| said.contains(part));
                        assert!(!shows, "{text}\n{said}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_message_about_a_host_shows_a_login() {
    for host in [
        "http://user:hunter2@host:9200",
        "https://user:hun@ter2@host",
        "user:hunter2@host",
        "user:hunter2@host:9200",
        "//user:hunter2@host",
        "http://user:hunter2@[::1]:9200/x y",
        "http://a,http://user:hunter2@b",
    ] {
        for key in ["host", "tls.vhost"] {
            let text = format!("{HEAD}[NODE]\nname n\nport 1\n{key} {host}\n");
            let said = said(&text, &Options::default());
            assert!(!said.is_empty(), "{text}");
            let shows = |line: &String| line.contains("hunter2") || line.contains("ter2");
            assert!(!said.iter().any(shows), "{said:?}");
        }
    }
}

#[test]
fn no_message_about_an_option_shows_a_secret() {
    for (key, value) in [
        ("tls.key_passwd", ""),
        ("shared_key=hunter2", "x"),
        ("tls.key_passwd=hunter2", "x"),
        ("tls.key_passwd hunter2", "x"),
        ("shared_key", "\0hunter2"),
        ("api_token", "hunter2"),
        ("require_ack", "http://u:hunter2@h"),
        ("tls.vhost", "http://u:hunter2@h"),
    ] {
        let mut options = declaring(KeyType::Int);
        let set = options.set(key, value);
        let text = format!("{HEAD}{NODE}");
        let error = set.and_then(|()| parse_in(text.as_bytes(), "f", &options, &environment));
        let error = error.map(|_| ()).unwrap_err();
        let said = Report::from(error).message.into_string().unwrap();
        assert!(!said.contains("hunter2"), "{said}");
    }
    let error = Options::default().declare("api_key hunter2", KeyType::Int).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_secret_alone_in_an_included_file_is_told_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, main) = (directory.path().join("secret"), directory.path().join("main.conf"));
    std::fs::write(&main, format!("{HEAD}{NODE}shared_key x\n@INCLUDE secret\n")).unwrap();
    for (text, parts) in SECRETS {
        std::fs::write(&secret, format!("{text}\n")).unwrap();
        let error = load(&main, &Options::default()).unwrap_err();
        let said = Report::from(error).message.into_string().unwrap();
        assert!(said.contains("/secret:1:1: "), "{said}");
        assert!(!parts.iter().any(|part| said.contains(part)), "{said}");
    }
}

/// The warnings about files that all may read.
fn open_files(main: &Path, options: &Options) -> Vec<String> {
    let warnings = load(main, options).unwrap().warnings;
    warnings.into_iter().filter(|line| line.contains("chmod o-r")).collect()
}

#[test]
fn a_file_with_a_secret_that_all_may_read_gets_one_warning() {
    let directory = tempfile::tempdir().unwrap();
    let (main, part) = (directory.path().join("main.conf"), directory.path().join("part.conf"));
    let write = |path: &Path, text: &str, mode: u32| {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let options = declaring(KeyType::Secret);
    let all = format!("{HEAD}@INCLUDE part.conf\n");
    for (lines, count) in [
        ("shared_key s\n", 1),
        ("shared_key s\npassword p\napi_token t\n", 1),
        ("tls.key_passwd s\n", 1),
        ("my_secret s\n", 1),
        ("url https://user:pw@host/\n", 1),
        ("shared_key ${NOT_SET:-s}\n", 1),
        ("@SET DB_PASS=s\nx ${DB_PASS}\n", 1),
        ("shared_key ${NOT_SET:-}x\n", 1),
        ("shared_key ${PATH}\n", 0),
        ("@SET DB_PASS=${PATH}\nshared_key ${DB_PASS}\n", 0),
        ("password_auth on\nuse_token No\n", 0),
        ("tag s\nurl https://user@host/\nkey_file s\n", 0),
        ("require_ack s\n", 1), // declared as a secret
    ] {
        for (mode, expected) in [(0o644, count), (0o604, count), (0o640, 0), (0o600, 0)] {
            write(&part, &format!("{NODE}{lines}"), mode);
            write(&main, &all, 0o644);
            let found = open_files(&main, &options);
            assert_eq!(found.len(), expected, "{lines} {mode:o} {found:?}");
            let names = |line: &String| line.ends_with(&format!("chmod o-r {}", part.display()));
            assert!(found.iter().all(names), "{found:?}");
        }
    }
    write(&main, &format!("{HEAD}shared_key s\n@INCLUDE part.conf\n"), 0o644);
    write(&part, &format!("{NODE}shared_key s\n"), 0o644);
    assert_eq!(open_files(&main, &options).len(), 2);
    // What a plugin declares as another type is no secret, and a text in memory has no mode.
    let text = format!("{HEAD}{NODE}shared_key s\n");
    assert_eq!(open_files(&main, &declaring(KeyType::Text)).len(), 0);
    assert_eq!(said(&text, &options), [""; 0]);
}

#[test]
fn a_key_file_that_all_may_read_gets_one_warning() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (crt, key) = (path("crt"), path("key"));
    std::fs::write(&crt, "x").unwrap();
    std::fs::write(&key, "x").unwrap();
    let tls = format!("tls on\ntls.crt_file {crt}\ntls.key_file {key}\n");
    let text = format!("{HEAD}{NODE}{tls}[NODE]\nname m\nhost h\nport 1\n{tls}");
    for (mode, count) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = said(&text, &Options::default());
        assert_eq!(said.len(), count, "{said:?}");
        let fix = format!("run: chmod o-r {key}");
        assert!(said.iter().all(|line| line.ends_with(&fix)), "{said:?}");
    }
}
