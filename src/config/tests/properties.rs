//! What holds for any text: no panic, errors placed inside it, and nothing lost of a well-formed
//! one.

use proptest::prelude::*;

use super::*;

/// Pieces that reach every branch of the grammar far more often than plain noise would.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "[UPSTREAM]", "[NODE]", "[", "]", "\n", "\n", "\r\n", " ", "\t", "name", "host", "port",
            "tls", "on", "tls.verify", "net.", "1", "43000", "#", "@SET ", "@INCLUDE ", "A=b",
            "${A}", "${", "}", ":-", "$",
            "\u{feff}", "é", "\0", "name u\n", "host h\n", "port 1\n", "\"", "=", "::1",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

#[derive(Clone, Debug)]
struct Node {
    host: String,
    port: u16,
    keys: Vec<(String, String)>,
}

fn node() -> impl Strategy<Value = Node> {
    // Without the letter of tls and ssl, which no key of a plugin may ask for.
    let key = "x[a-km-zA-KM-Z0-9_.é-]{0,40}";
    let value = "[!-#%-9;<>-~é]([ -#%-~é\t]{0,30}[!-#%-~é])?";
    let keys = prop::collection::hash_map(key, value, 0..6).prop_map(|keys| {
        let mut seen = std::collections::HashSet::new();
        keys.into_iter().filter(|(key, _)| seen.insert(key.to_ascii_lowercase())).collect()
    });
    ("[a-z][a-z0-9-]{0,20}", 1..=u16::MAX, keys).prop_map(|(host, port, keys)| Node {
        host,
        port,
        keys,
    })
}

/// The ways to write one and the same line.
fn style() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    (
        prop::sample::select(vec!["", " ", "\t", "    ", " \t "]),
        prop::sample::select(vec![" ", "\t", "  \t "]),
        prop::sample::select(vec!["\n", "\r\n", " \t\n", "\n\n", "\n # c\n"]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_checked_without_a_panic(text in pieces()) {
        let lines = text.split(|&byte| byte == b'\n').count();
        if let Err(error) = check(&text) {
            prop_assert_eq!(error.status, Status::Config);
            prop_assert!(error.line() >= 1 && error.line() <= lines, "{}", error);
        }
    }
}

proptest! {
    #[test]
    fn a_well_formed_file_comes_back_whole(
        nodes in prop::collection::vec(node(), 1..8),
        (indent, gap, end) in style(),
        shared in prop::option::of("[a-z]{1,8}"),
    ) {
        let mut text = format!("[upstream]{end}{indent}name{gap}u{end}");
        if let Some(shared) = &shared {
            text += &format!("{indent}Y{gap}{shared}{end}");
        }
        for (index, node) in nodes.iter().enumerate() {
            text += &format!("[Node]{end}{indent}NAME{gap}n{index}{end}");
            text += &format!("{indent}host{gap}{}{end}", node.host);
            for (key, value) in &node.keys {
                text += &format!("{indent}{key}{gap}{value}{end}");
            }
            text += &format!("{indent}Port{gap}{}{end}", node.port);
        }
        let definition = check(&text).unwrap();
        prop_assert_eq!(definition.nodes.len(), nodes.len());
        for (index, (read, written)) in definition.nodes.iter().zip(&nodes).enumerate() {
            let properties = properties_of(&definition, index);
            prop_assert_eq!(read.name.as_str(), format!("n{index}"));
            prop_assert_eq!((read.host.as_str(), read.port), (written.host.as_str(), written.port));
            let mut expected = vec![
                ("NAME".into(), read.name.to_string()),
                ("host".into(), read.host.to_string()),
            ];
            expected.extend(written.keys.iter().cloned());
            expected.push(("Port".into(), read.port.to_string()));
            expected.extend(shared.iter().map(|value| ("Y".to_owned(), value.clone())));
            let pairs: Vec<(String, String)> =
                properties.iter().map(|p| (p.key.clone(), p.value.clone())).collect();
            prop_assert_eq!(pairs, expected);
            let lines: Vec<&str> = text.split('\n').collect();
            for property in &properties {
                let line: Vec<char> = lines[property.position.line - 1].chars().collect();
                let at = property.position.column - 1;
                let key: String = line[at..].iter().take(property.key.chars().count()).collect();
                prop_assert_eq!(&key, &property.key);
            }
        }
    }
}
