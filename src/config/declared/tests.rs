//! Declared keys: what is refused, what is a misspelling, and that no message shows a secret.

use proptest::prelude::*;

use super::super::{Options, parse};
use super::*;
use crate::base::error::Status;

const OF_FORWARD: [(&str, KeyType); 12] = [
    ("shared_key", KeyType::Secret),
    ("empty_shared_key", KeyType::Bool),
    ("username", KeyType::Text),
    ("password", KeyType::Secret),
    ("self_hostname", KeyType::Text),
    ("time_as_integer", KeyType::Bool),
    ("send_options", KeyType::Bool),
    ("require_ack_response", KeyType::Bool),
    ("tag", KeyType::Text),
    ("ack_timeout", KeyType::Ms),
    ("window", KeyType::Int),
    ("limit", KeyType::Size),
];

fn options(keys: &[(&str, KeyType)]) -> Options {
    let mut options = Options::default();
    for (key, kind) in keys {
        options.declare(key, *kind).unwrap();
    }
    options
}

/// A file of one node with `line` on line 7, read with Forward's keys declared.
fn outcome(line: &str) -> Result<Vec<String>, String> {
    let text = format!("[UPSTREAM]\n name u\n[NODE]\n name n\n host h\n port 1\n{line}");
    let parsed = parse(text.as_bytes(), "f", &options(&OF_FORWARD));
    parsed.map(|definition| definition.warnings).map_err(|error| {
        assert_eq!(error.status, Status::Config);
        error.to_string()
    })
}

#[test]
fn the_numbers_are_those_of_the_header() {
    assert_eq!(KeyType::ALL.map(|kind| kind as i32), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn values_are_checked_where_they_stand() {
    let refused = |text: &str| Err(format!("f:7:{text}"));
    let good = Ok(Vec::new());
    for (line, expected) in [
        ("require_ack_response on", good.clone()),
        ("Require_Ack_Response YES", good.clone()),
        (
            "  REQUIRE_ack_response  1",
            refused(
                "25: REQUIRE_ack_response: \"1\" is neither on nor off; write on, true, yes, off, \
                 false or no",
            ),
        ),
        ("ack_timeout 250ms", good.clone()),
        (
            "ack_timeout 1.5s",
            refused(
                "13: ack_timeout: \"1.5s\" is not a duration; write a whole number with ms, s, m, \
                 h or d, such as 250ms or 10s",
            ),
        ),
        ("ack_timeout ${NOT_SET_ANYWHERE:-3s}", good.clone()),
        (
            "ack_timeout ${NOT_SET_ANYWHERE:-}",
            refused("13: ack_timeout: the value is empty; write one, or remove the line"),
        ),
        ("window -7", good.clone()),
        (
            "window 0x10",
            refused(
                "8: window: \"0x10\" is not a whole number of 64 bits; write only digits, such as \
                 42 or -1",
            ),
        ),
        ("limit 64k", good.clone()),
        (
            "limit 64kib # all",
            refused(
                "7: limit: \"64kib # all\" is not a size; write a whole number of bytes, or one \
                 with k, M or G, such as 512 or 64k (put a comment on its own line, not after a \
                 value)",
            ),
        ),
        ("tag a b = c", good.clone()),
        ("tag =", good.clone()),
        ("tag ${NOT_SET_ANYWHERE:-}", good.clone()),
        (
            "tag = app",
            refused(
                "5: tag: the value begins with \"=\"; write only blanks between a key and its \
                 value",
            ),
        ),
        ("another_one =x", good),
        (
            "another_one = x",
            refused(
                "13: another_one: the value begins with \"=\"; write only blanks between a key and \
                 its value",
            ),
        ),
    ] {
        assert_eq!(outcome(line), expected, "{line}");
    }
}

#[test]
fn a_slip_for_a_declared_key_is_an_error() {
    for (name, known) in [
        ("require_ack_respons", "require_ack_response"),
        ("require-ack-response", "require_ack_response"),
        ("requireAckResponse", "require_ack_response"),
        ("sharedkey", "shared_key"),
        ("Shared_Kye", "shared_key"),
        ("shared_keys", "shared_key"),
        ("usernmae", "username"),
        ("user_name", "username"),
        ("pasword", "password"),
        ("passwords", "password"),
        ("tga", "tag"),
        ("widnow", "window"),
    ] {
        let expected = Err(format!(
            "f:7:1: unknown key \"{}\"; did you mean \"{known}\"?",
            name.to_lowercase()
        ));
        assert_eq!(outcome(&format!("{name} on")), expected, "{name}");
    }
    for name in [
        "tags",
        "flag",
        "tap",
        "stag",
        "key",
        "time",
        "compress",
        "limits",
        "hosts",
        "http_user",
        "index",
    ] {
        assert_eq!(outcome(&format!("{name} on")), Ok(Vec::new()), "{name}");
    }
    let warning = "f:7:1: unknown key \"wieght\"; did you mean \"weight\"?";
    assert_eq!(outcome("wieght 5"), Ok(vec![warning.into()]));
}

#[test]
fn without_a_declared_key_nothing_is_new() {
    let text = "[UPSTREAM]\nname u\n[NODE]\nname n\nhost h\nport 1\nrequire_ack_respons \
                7\nshared_key =s\n";
    assert_eq!(parse(text.as_bytes(), "f", &Options::default()).unwrap().warnings, [""; 0]);
}

#[test]
fn a_declared_key_is_no_slip_of_another_or_of_the_librarys() {
    let keys = ["wieght", "hots", "nmae", "tsl", "tls_verify", "shared_key", "shared_kye", "prots"];
    let options = options(&keys.map(|key| (key, KeyType::Int)));
    let lines: String = keys.iter().map(|key| format!("{key} 1\n")).collect();
    let text = format!("[UPSTREAM]\nname u\n{lines}[NODE]\nname n\nhost h\nport 1\n{lines}");
    assert_eq!(parse(text.as_bytes(), "f", &options).unwrap().warnings, [""; 0]);
    let without_name = text.replace("\nname n\n", "\n");
    assert_eq!(
        parse(without_name.as_bytes(), "f", &options).unwrap_err().to_string(),
        "f:11:1: this [NODE] has no name; add a line \"name ...\""
    );
}

#[test]
fn every_section_and_every_node_is_checked() {
    let node = |name: &str, line: &str| format!("[NODE]\nname {name}\nhost h\nport 1\n{line}\n");
    let good = node("a", "ack_timeout 1s");
    for (text, place) in [
        (format!("[UPSTREAM]\nname u\nack_timeout x\n{good}"), "f:3:13"),
        (format!("[UPSTREAM]\nname u\n{good}{}", node("b", "ack_timeout x")), "f:12:13"),
        (format!("[UPSTREAM]\nname u\n{good}{}", node("b", "ack_timeuot 1s")), "f:12:1"),
        (format!("[UPSTREAM]\nname u\nack_timeuot 1s\n{good}"), "f:3:1"),
    ] {
        let message = parse(text.as_bytes(), "f", &options(&OF_FORWARD)).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{place}: ")), "{message}");
    }
}

#[test]
fn options_are_checked_when_a_set_is_made_however_the_calls_were_ordered() {
    let text = "[UPSTREAM]\nname u\n[NODE]\nname n\nhost h\nport 1\n";
    for (key, value, expected) in [
        ("ack_timeout", "5", None),
        (
            "ACK_timeout",
            "soon",
            Some("options: ACK_timeout: \"soon\" is not a duration; write a whole number"),
        ),
        (
            "ack_timout",
            "5",
            Some("options: unknown key \"ack_timout\"; did you mean \"ack_timeout\"?"),
        ),
    ] {
        for declared_first in [true, false] {
            let mut options = Options::default();
            let declare =
                |options: &mut Options| options.declare("Ack_Timeout", KeyType::Ms).unwrap();
            if declared_first {
                declare(&mut options);
            }
            options.set(key, value).unwrap();
            if !declared_first {
                declare(&mut options);
            }
            let message =
                parse(text.as_bytes(), "f", &options).err().map(|error| error.to_string());
            match (&message, expected) {
                (Some(message), Some(expected)) => {
                    assert!(message.starts_with(expected), "{message}")
                }
                _ => assert_eq!(message.as_deref(), expected, "{key}"),
            }
        }
    }
}

#[test]
fn what_cannot_be_declared_is_refused() {
    let long = "k".repeat(1025);
    for (key, part) in [
        ("", "a key has 1 to 1024 bytes"),
        (" ", "no blank"),
        ("a b", "no blank"),
        ("a\tb", "no blank"),
        ("a\u{a0}b", "no invisible character"),
        ("a\u{fffd}", "cannot be a key"),
        (&long, "a key has 1 to 1024 bytes"),
        ("#a", "begins with \"#\""),
        ("[a", "begins with \"[\""),
        ("@a", "begins with \"@\""),
        ("a=b", "is taken for a mistake"),
        ("tls", "tls is the library's own key"),
        ("TLS.Verify", "tls.verify is the library's own key"),
        ("host", "is the library's own key"),
        ("config.dir", "is the library's own key"),
        ("deliver.wait", "is the library's own key"),
        ("net.max_worker_connections", "net.max_connections is the library's own key"),
        ("tls.frobnicate", "begin with \"tls.\""),
        ("Deliver.other", "begin with \"deliver.\""),
    ] {
        for kind in KeyType::ALL {
            let error = Options::default().declare(key, kind).unwrap_err();
            assert_eq!(error.status, Status::InvalidArg, "{key}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    assert!(Options::default().declare(&long[..1024], KeyType::Text).is_ok());
}

#[test]
fn a_second_type_is_refused_and_the_first_stays() {
    let mut options = options(&[("Key_One", KeyType::Int)]);
    options.declare("KEY_one", KeyType::Int).unwrap();
    assert_eq!(
        options.declare("key_ONE", KeyType::Ms).unwrap_err().to_string(),
        "key_one was declared as UPSTREAM_KEY_INT before, so it cannot be declared as \
         UPSTREAM_KEY_MS; declare it once"
    );
    assert_eq!(options.declared().get("key_one"), Some(KeyType::Int));
}

/// Every way in which a line with a secret can go wrong.
#[test]
fn no_message_shows_a_secret() {
    for line in [
        "shared_key = hunter2",
        "shared_key : hunter2",
        "shared_key hunter2\u{a0}",
        "shared_key \u{200b}hunter2",
        "shared_key=hunter2",
        "shared_key=hunter2 x",
        "shared_key:hunter2 x",
        "Shared_Kye=hunter2 x",
        "shared_kye hunter2",
        "shared_key\u{a0}hunter2",
        "shared_key\u{200b}hunter2",
        "\u{a0}shared_key hunter2",
        "shared_key ${hunter2 !}",
        "shared_key x${hunter2",
        "tls.key_passwd=hunter2 x",
        "tls.key_pass=hunter2 x",
        "shared_key a\nshared_key hunter2",
        "shared_key hunter2\nport 2",
        "other_key=hunter2 x\nother_key=hunter2 x",
        "@shared_key=hunter2",
        "@SET shared_key hunter2",
        "@SET shared_key hunter2=x",
        "[NODE]\nname m\nhost tcp://user:hunter2@h:1\nport 1",
        "[NODE]\nname m\nhost user:hunter2@h\nport 1",
    ] {
        let message = outcome(line).expect_err(line);
        assert!(!message.contains("hunter2"), "{message}");
    }
    let early =
        parse(b"shared_key hunter2\n[UPSTREAM]\nname u", "f", &options(&OF_FORWARD)).unwrap_err();
    assert_eq!(
        early.to_string(),
        "f:1:1: \"shared_key\" comes before the first section; put [UPSTREAM] or [NODE] above it"
    );
}

proptest! {
    /// What is let through is what the getters read.
    #[test]
    fn a_value_is_let_through_as_it_is_read(kind in 0..6_usize, text in "[-+0-9a-zA-Z.= ]{0,12}") {
        let kind = KeyType::ALL[kind];
        let reads = match kind {
            KeyType::Bool => parse_bool(&text).is_some(),
            KeyType::Int => parse_int(&text).is_some(),
            KeyType::Ms => parse_duration_ms(&text).is_some(),
            KeyType::Size => parse_size(&text).is_some(),
            KeyType::Text => !text.starts_with("= "),
            KeyType::Secret => !text.starts_with("= ") && text != "=" && text.trim() == text,
        };
        prop_assert_eq!(kind.check("key", &text).is_ok(), reads);
    }

    /// One letter left out, doubled, or swapped with its neighbour in a long key is noticed;
    /// the key itself never.
    #[test]
    fn one_letter_amiss_in_a_long_key_is_noticed(
        key in "[a-z]{3,8}_[a-z]{3,600}", at in any::<prop::sample::Index>(), how in 0..3,
    ) {
        prop_assume!(keys::judge(&key) == keys::Unknown::Foreign);
        let mut declared = Declared::default();
        declared.add(&key, KeyType::Text).unwrap();
        prop_assert_eq!(declared.get(&key), Some(KeyType::Text));
        let mut letters = key.clone().into_bytes();
        let at = at.index(letters.len() - 1);
        match how {
            0 => drop(letters.remove(at)),
            1 => letters.insert(at, letters[at]),
            _ => letters.swap(at, at + 1),
        }
        let name = String::from_utf8(letters).unwrap();
        prop_assert_eq!(declared.slip(&name).is_some(), name != key, "{}", name);
    }

    /// No name, however odd, brings a secret's value into a message or the reader to its knees.
    #[test]
    fn any_line_is_judged(line in "[ -~\u{a0}]{0,60}") {
        let _ = outcome(&line);
    }
}
