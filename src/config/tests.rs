//! The room as a whole: a text or file goes in, a [`Definition`] or one exact message comes out.

mod bounds;
mod files;
mod habits;
mod hostile;
mod hosts;
mod idle;
mod keys;
mod likeness;
mod properties;
mod scale;
mod secrets;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

/// One `key value` line as written, after `${}` expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Property {
    /// The key in the letter case it was written in.
    key: String,
    /// The value, trimmed at both ends, otherwise as written. Holds no NUL byte.
    value: String,
    /// Where the key stands.
    position: Position,
}

fn environment(name: &str) -> Option<OsString> {
    match name {
        "ON" => Some("On".into()),
        "PORT" => Some("43000".into()),
        "HOST" => Some(" h \n".into()),
        "EMPTY" => Some("".into()),
        "BROKEN" => Some(OsString::from_vec(vec![b'a', 0xff])),
        _ => None,
    }
}

fn check(text: impl AsRef<[u8]>) -> Result<Definition> {
    parse_in(text.as_ref(), "f", &Options::default(), &environment)
}

/// The message of a text that is refused; the status is always the same.
fn refusal(text: impl AsRef<[u8]>) -> String {
    let error = check(text).expect_err("is accepted");
    assert_eq!(error.status, Status::Config);
    error.to_string()
}

/// A file of one node with `lines` in it, the first of which stands on line 7.
fn node(lines: &str) -> String {
    format!("[UPSTREAM]\n name u\n[NODE]\n name n\n host h\n port 1\n{lines}")
}

/// A node's value of a key.
fn property(definition: &Definition, node: usize, key: &str) -> Option<String> {
    let mut properties = properties_of(definition, node).into_iter();
    properties.find(|p| p.key.eq_ignore_ascii_case(key)).map(|p| p.value)
}

/// A node's properties; checks that C gets the same.
fn properties_of(definition: &Definition, node: usize) -> Vec<Property> {
    let owner = definition.nodes[node].owner;
    let numbers =
        (0..definition.properties.count(owner)).map(|at| definition.properties.line(owner, at));
    let given = numbers.map(|number| definition.lines.line(number));
    let properties: Vec<Property> = given
        .map(|line| Property {
            key: line.key().to_owned(),
            value: line.value().to_owned(),
            position: line.position(),
        })
        .collect();
    for property in &properties {
        let value = definition.properties.get(owner, property.key.as_bytes());
        assert_eq!(
            value,
            Some(format!("{}\0", property.value).as_bytes()),
            "{}",
            property.position
        );
    }
    properties
}

#[test]
fn the_reference_example() {
    let d = load(Path::new("examples/forward-balancing.conf"), &Options::default()).unwrap();
    assert_eq!(d.name, "forward-balancing");
    let nodes: Vec<_> =
        d.nodes.iter().map(|n| (n.name.as_str(), n.host.as_str(), n.port)).collect();
    assert_eq!(
        nodes,
        [
            ("node-1", "127.0.0.1", 43000),
            ("node-2", "127.0.0.1", 44000),
            ("node-3", "127.0.0.1", 45000)
        ]
    );
    assert!(d.nodes[0].settings.tls.is_none() && d.nodes[1].settings.tls.is_none());
    let tls = d.nodes[2].settings.tls.as_ref().unwrap();
    assert!(!tls.verify && tls.verify_hostname);
    let shown = |p: &Property| format!("{} {} {}", p.position, p.key, p.value);
    let properties: Vec<_> = properties_of(&d, 2).iter().map(shown).collect();
    let file = "examples/forward-balancing.conf";
    assert_eq!(
        properties,
        [
            format!("{file}:15:5 name node-3"),
            format!("{file}:16:5 host 127.0.0.1"),
            format!("{file}:17:5 port 45000"),
            format!("{file}:18:5 tls on"),
            format!("{file}:19:5 tls.verify off"),
            format!("{file}:20:5 shared_key secret"),
        ]
    );
    // The file comes with the library, so all may read it, and git says nothing of its mode.
    let of_mode = |warning: &&String| !warning.contains("chmod o-r");
    assert_eq!(d.warnings.iter().filter(of_mode).count(), 0);
}

/// Rows of the grammar that mean something here, each with what a node's key `k` then holds.
#[test]
fn accepted_grammar() {
    for (row, text, k) in [
        ("CRLF", node("").replace('\n', "\r\n") + " k v\r\n", "v"),
        ("no newline at the end", node(" k v"), "v"),
        ("letter case", node(" K v").to_uppercase().replace('V', "v"), "v"),
        ("byte order mark", format!("\u{feff}{}", node(" k v")), "v"),
        ("tab behind the key", node("k\tv"), "v"),
        ("tabs and spaces mixed", node("\t  \tk \t v \t"), "v"),
        ("unindented keys", node("k v").replace("\n ", "\n"), "v"),
        ("a comment at any indent", node("#c\n  # d\n\t\t#e\n k v\n      #f"), "v"),
        ("blank lines of spaces", node("  \n\t\n\n k v\n   "), "v"),
        ("# inside a value", node(" k a # b"), "a # b"),
        ("; inside a value", node(" k a;b ; c"), "a;b ; c"),
        ("quotes around a value", node(" k \"a b\""), "\"a b\""),
        ("inner blanks stay", node(" k  a \t b  "), "a \t b"),
        ("blanks inside brackets", node(" k v").replace("[NODE]", "[ NODE\t]"), "v"),
        ("blanks behind brackets", node(" k v").replace("]", "]  \t"), "v"),
        ("an indented section", node(" k v").replace("[", "\t ["), "v"),
        ("a key of 32 bytes", node(&format!(" {} x\n k v", "a".repeat(32))), "v"),
        ("a key of 1 KiB", node(&format!(" {} x\n k v", "a".repeat(1024))), "v"),
        ("a value of 1 MiB", node(&format!(" x {}\n k v", "a".repeat(1 << 20))), "v"),
        ("other scripts", node(" k größe 東京"), "größe 東京"),
        ("a variable", node(" k a${PORT}b"), "a43000b"),
        ("a default", node(" k ${UNSET:-d e}"), "d e"),
        ("an empty default", node(" k ${UNSET:-}"), ""),
        ("an empty variable", node(" k ${EMPTY}"), ""),
        ("a variable is trimmed", node(" k ${HOST}"), "h"),
        ("a lone dollar", node(" k $5 $x"), "$5 $x"),
        ("@SET", format!("@SET A=b c\n{}", node(" k ${A}")), "b c"),
        ("@SET blanks", format!("  @set  A = b c \n{}", node(" k ${A}")), "b c"),
        ("@SET of an @SET", format!("@SET A=b\n@SET A=${{A}}${{A}}\n{}", node(" k ${A}")), "bb"),
        ("@SET within a section", node(" @SET A=b\n k ${A}"), "b"),
        ("@SET hides the environment", format!("@SET PORT=x\n{}", node(" k ${PORT}")), "x"),
        ("@SET of nothing", format!("@SET A=\n{}", node(" k ${A}")), ""),
        ("@SET of a dollar", format!("@SET D=$\n{}", node(" k ${D}{A}")), "${A}"),
        ("@SET of =", format!("@SET A==b=\n{}", node(" k ${A}")), "=b="),
    ] {
        let definition = check(&text).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(property(&definition, 0, "k").as_deref(), Some(k), "{row}");
        assert_eq!(definition.warnings, [""; 0], "{row}");
        let node = &definition.nodes[0];
        let known = (
            definition.name.to_lowercase(),
            node.name.to_lowercase(),
            node.host.to_lowercase(),
            node.port,
        );
        assert_eq!(known, ("u".into(), "n".into(), "h".into(), 1), "{row}");
    }
    let definition = check("[NODE]\nname n\nhost h\nport 1\n[UPSTREAM]\nname u").unwrap();
    assert_eq!(definition.name, "u", "[NODE] before [UPSTREAM]");
}

#[test]
fn an_unknown_section_is_warned_of_and_the_rest_loads() {
    let text = node(
        "[SERVICE]\n flush 1\n alone\n host x\n k ${UNSET}\n host y\n[NEDO]\n k \
         v\n[bode x]\n[NODE]\nname m\nhost h\nport 2",
    );
    let definition = check(text).unwrap();
    assert_eq!(definition.nodes.len(), 2);
    assert_eq!(
        definition.warnings,
        [
            "f:7:1: unknown section \"SERVICE\" is ignored",
            "f:13:1: unknown section \"NEDO\" is ignored; did you mean [NODE]?",
            "f:15:1: unknown section \"bode\" is ignored",
        ]
    );
}

/// Rows of the grammar that are refused, each with the whole message.
#[test]
fn refused_grammar() {
    let long_key = node(&format!(" {} v", "k".repeat(1025)));
    let long_value = node(&format!(" k {}", "v".repeat((1 << 20) + 1)));
    for (text, expected) in [
        ("", "f:1: there is no [UPSTREAM] section; add one with a name"),
        ("# nothing\n", "f:1: there is no [UPSTREAM] section; add one with a name"),
        (
            "\n[NODE]\nname n\nhost h\nport 1",
            "f:2:1: there is no [UPSTREAM] section; add one with a name",
        ),
        (
            "[UPSTREAM]\n name u\n",
            "f:1:1: there is no [NODE] section; add one with name, host and port",
        ),
        (
            "[UPSTREAM]\n[NODE]\nname n\nhost h\nport 1",
            "f:1:1: this [UPSTREAM] has no name; add a line \"name ...\"",
        ),
        (
            "[UPSTREAM]\nnmae u\n[NODE]\nname n\nhost h\nport 1",
            "f:1:1: this [UPSTREAM] has no name; is \"nmae\" on line 2 a misspelling?",
        ),
        (
            "[UPSTREAM]\nname u\n  [NODE]\nhost h\nport 1",
            "f:3:3: this [NODE] has no name; add a line \"name ...\"",
        ),
        (
            "[UPSTREAM]\nname u\n[NODE]\nname n\nport 1",
            "f:3:1: this [NODE] has no host; add a line \"host ...\"",
        ),
        (
            "[UPSTREAM]\nname u\n[NODE]\nname n\nhosts a\nport 1",
            "f:3:1: this [NODE] has no host; is \"hosts\" on line 5 a misspelling?",
        ),
        (
            "[UPSTREAM]\nname u\n[NODE]\nname n\nhost h",
            "f:3:1: this [NODE] has no port; add a line \"port ...\"",
        ),
        (
            &node("[UPSTREAM]\nname v"),
            "f:7:1: this is a second [UPSTREAM], the first one is on line 1; a file may have only \
             one, so make two files",
        ),
        (&node("[NODE] # two"), "f:7:8: there is text after [NODE]; put it on its own line"),
        (&node("[NODE]]"), "f:7:7: there is text after [NODE]; put it on its own line"),
        (&node("[NODE"), "f:7:1: this section header has no \"]\"; write [UPSTREAM] or [NODE]"),
        (&node(" [ ]"), "f:7:2: this section header has no name; write [UPSTREAM] or [NODE]"),
        (
            "name u\n[UPSTREAM]",
            "f:1:1: \"name\" comes before the first section; put [UPSTREAM] or [NODE] above it",
        ),
        (&node(" k v\n K w"), "f:8:2: k is set twice in this section, first on line 7; remove one"),
        (&node(" host g"), "f:7:2: host is set twice in this section, first on line 5; remove one"),
        (
            &node("net.max_connections 1\nnet.max_worker_connections 1"),
            "f:8:1: net.max_connections is set twice in this section, first on line 7; remove one",
        ),
        (
            &node("[NODE]\nhost h\nport 1\nname   n"),
            "f:10:8: two nodes have the name \"n\", the first one on line 4; rename one",
        ),
        (&node(" alone"), "f:7:2: this line has no value; write a key, and a value after it"),
        (&node(" weight \t "), "f:7:2: the key \"weight\" has no value; write one after it"),
        (
            &node(" tls=on"),
            "f:7:2: the key \"tls\" has no value; write one after it, with a blank between them \
             and no \"=\" or \":\"",
        ),
        (&long_key, "f:7:2: the key has 1025 bytes; at most 1024 are allowed"),
        (&long_value, "f:7:4: the value has 1048577 bytes; at most 1048576 are allowed"),
        (&node(" k\0 v"), "f:7:3: there is a NUL byte here; save the file as text in UTF-8"),
        (&node(" é a\0"), "f:7:5: there is a NUL byte here; save the file as text in UTF-8"),
        (
            &node("\u{a0}tls on"),
            "f:7:1: the key begins with the invisible character '\\u{a0}'; type the line again",
        ),
        (
            &node("t\u{200b}ls on"),
            "f:7:1: the key has the invisible character '\\u{200b}'; type the line \
             again",
        ),
        (
            &node(" k  é${UNSET}"),
            "f:7:6: the variable UNSET is not set; set it, or give a default: ${UNSET:-default}, \
             or ${UNSET:-} for an empty value",
        ),
        (&node(" k  ${HOST"), "f:7:5: \"${\" has no \"}\"; write ${NAME} or ${NAME:-default}"),
        (
            &node(" k x${BROKEN}"),
            "f:7:5: the variable BROKEN is not valid UTF-8; set it to plain text",
        ),
        (
            &node(" k ${A}\n@SET A=b"),
            "f:7:4: the variable A is not set; set it, or give a default: ${A:-default}, or ${A:-} \
             for an empty value",
        ),
        (&node("@SET A"), "f:7:1: @SET has no \"=\"; write @SET NAME=value"),
        (
            &node("@SET A B=c"),
            "f:7:6: @SET: the text before \"=\" is not the name of a variable; use letters, \
             digits, \"_\", \".\" and \"-\"",
        ),
        (
            &node("@SET A= x${B}"),
            "f:7:10: the variable B is not set; set it, or give a default: ${B:-default}, or \
             ${B:-} for an empty value",
        ),
        (&node("@INCLUDE"), "f:7:1: @INCLUDE has no path; write @INCLUDE path"),
        (&node("@INCLUDE ${EMPTY}"), "f:7:1: @INCLUDE has no path; write @INCLUDE path"),
        (&node(" @type x"), "f:7:2: unknown command \"@type\"; write @INCLUDE or @SET"),
    ] {
        assert_eq!(refusal(text), expected, "{:.200}", text);
    }
    for (bytes, expected) in [
        (
            &b"[UPSTREAM]\n n\xffame u"[..],
            "f:2:3: this byte is not valid UTF-8; save the file in UTF-8",
        ),
        (b"[UPSTREAM]\n name \xc3(", "f:2:7: this byte is not valid UTF-8; save the file in UTF-8"),
        (b"# \xe9\n", "f:1:3: this byte is not valid UTF-8; save the file in UTF-8"),
        (b"[UP\xff]", "f:1:4: this byte is not valid UTF-8; save the file in UTF-8"),
        (b"\xff\xfe[\0N\0", "f:1:1: the file is in UTF-16; save it in UTF-8"),
    ] {
        assert_eq!(refusal(bytes), expected);
    }
}

#[test]
fn the_line_is_in_the_error_as_a_number_too() {
    let error = check(node(" port")).unwrap_err();
    assert_eq!((error.line(), error.node()), (7, None));
}

#[test]
fn what_grows_in_memory_is_bounded() {
    let growing = format!("@SET A={}\n{}", "a".repeat(1 << 20), node(""));
    let lines: String = (0..40).map(|i| format!(" k{i} ${{A}}\n")).collect();
    assert_eq!(
        refusal(growing + &lines),
        "f:40:6: the variables make the file more than 32 MiB longer; shorten them"
    );

    let text = vec![b'#'; (32 << 20) + 1];
    assert_eq!(refusal(&text), "f: the text is over 32 MiB; make it smaller");
    assert_eq!(refusal(&text[1..]), "f:1: there is no [UPSTREAM] section; add one with a name");
}
