//! The committed C header is what `src/ffi/` says. `UPSTREAM_BLESS=1` writes it anew.
//!
//! cbindgen turns each item of `src/ffi/` into C. This file puts the items of one C object
//! together, as a group of doxygen's, in the order of their source, and wraps the comments.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, iter};

/// No line of the header is longer.
const WIDTH: usize = 100;
/// No paragraph of a comment has more words.
const WORDS: usize = 60;

/// The groups of the header in reading order: the file of `src/ffi/`, the title, and what to know
/// before the first function. Each group uses only those above it.
const GROUPS: [(&str, &str, &str); 11] = [
    ("status", "Statuses and version", ""),
    ("error", "Errors", ""),
    ("options", "Options", "They are optional: upstream_create() also takes NULL."),
    ("node", "Nodes", NODES),
    ("set", "Sets of nodes", ""),
    ("connection", "Connections", CONNECTIONS),
    ("peer", "The other end of a connection", ""),
    ("nonblocking", "Connections in an event loop", EVENT_LOOP),
    ("deliver", "Deliveries", "upstream_deliver() is the call that most plugins need."),
    ("attempt", "Attempts", ATTEMPTS),
    ("stats", "Counters", ""),
];

const NODES: &str = "\
A node that fails is ejected: it gets no turns for health.backoff, and longer each time. Then one
caller tries it, which is its trial. If that goes well, the node is back in the rotation.

A node that asks for it is paused: it gets no turns for a while, and no trial follows. A node of
weight 0 drains: it gets no turns, and connections in use go on.";

const CONNECTIONS: &str = "\
A call that reads or writes here waits: for net.io_timeout without progress, or for the limit of
upstream_conn_set_timeout_ms(). In a delivery or attempt it never waits longer than that has left.

The calls of the next group do not wait.";

const EVENT_LOOP: &str = "\
No call here waits. Each goes as far as it can. If it could not finish, it returns
UPSTREAM_WANT_READ or UPSTREAM_WANT_WRITE.

Then watch upstream_conn_fd() for upstream_conn_poll_events(), for upstream_conn_timeout_ms() at
most, and call again. Readiness is level-triggered.

Do not watch before a call has asked for it: TLS may hold bytes that the descriptor does not show.";

const ATTEMPTS: &str = "\
For a plugin that does its own I/O, or runs the library's connections in its own event loop: the
nodes for one payload, by the rules of a delivery.";

/// What numbers of one kind are for, by how their names begin.
const KINDS: [(&str, &str); 4] = [
    ("UPSTREAM_LOG_", "Levels for upstream_options_set_logger()"),
    ("UPSTREAM_KEY_", "Types for upstream_options_declare_key()"),
    ("UPSTREAM_NODE_", "States of upstream_node_state()"),
    ("UPSTREAM_POLL_", "Bits of upstream_conn_poll_events()"),
];

#[test]
fn the_header_is_what_the_sources_say() {
    let made = header();
    let committed = root().join("include/upstream/upstream.h");
    if std::env::var_os("UPSTREAM_BLESS").is_some() {
        fs::write(&committed, &made).expect("the header can be written");
    }
    assert!(
        fs::read_to_string(&committed).unwrap_or_default() == made,
        "include/upstream/upstream.h is not what src/ffi says; \
         run UPSTREAM_BLESS=1 cargo test --test header"
    );
}

#[test]
fn no_line_is_too_long() {
    let made = header();
    let long: Vec<&str> = made.lines().filter(|line| line.chars().count() > WIDTH).collect();
    assert!(long.is_empty(), "over {WIDTH} columns:\n{}", long.join("\n"));
}

#[test]
fn no_paragraph_is_too_long() {
    let made = header();
    let words = |paragraph: &String| paragraph.split_whitespace().count();
    let longest = paragraphs(&made).max_by_key(words).expect("the header has comments");
    let count = words(&longest);
    assert!(
        count <= WORDS,
        "the longest paragraph has {count} words, not {WORDS} at most:\n{longest}"
    );
}

#[test]
fn each_function_says_what_it_returns_and_how_long_it_takes() {
    let mut lacking = Vec::new();
    for item in items(&header()).into_iter().filter(|item| item.is_function()) {
        let says = |head: &str| item.comment.iter().any(|line| line.starts_with(head));
        let is_void = item.code.starts_with("void ") && !item.code.starts_with("void *");
        if !is_void && !says("Returns:") {
            lacking.push(format!("{}: Returns:", item.name));
        }
        if !says("Time:") {
            lacking.push(format!("{}: Time:", item.name));
        }
    }
    assert!(lacking.is_empty(), "not said:\n{}", lacking.join("\n"));
}

#[test]
fn each_example_compiles() {
    let made = header();
    let examples: Vec<String> =
        items(&made).iter().flat_map(|item| examples(&item.comment)).collect();
    assert!(!examples.is_empty());
    for example in examples {
        // An example is a function, or the lines of one that has a handle of each kind.
        let is_function = example.contains("\n{\n");
        let (before, after) = if is_function { ("", "") } else { (HANDLES, "}\n") };
        compile(&format!("{INCLUDES}{made}{before}{example}{after}"));
    }
}

const INCLUDES: &str = "#include <poll.h>\n#include <stdio.h>\n#include <string.h>\n";
const HANDLES: &str = "\
void example(upstream_options_t *o, upstream_t *up, upstream_node_t *n, upstream_conn_t *c);
void example(upstream_options_t *o, upstream_t *up, upstream_node_t *n, upstream_conn_t *c)
{
";

fn compile(source: &str) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut child = Command::new(compiler)
        .args(["-x", "c", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
        .args(["-Wno-unused-function", "-Wno-unused-parameter", "-D_POSIX_C_SOURCE=200809L"])
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .expect("a C compiler runs");
    let stdin = child.stdin.take().expect("it was asked for");
    std::io::Write::write_all(&mut &stdin, source.as_bytes()).expect("the compiler reads");
    drop(stdin);
    assert!(child.wait().expect("the compiler ends").success(), "does not compile: {source}");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The whole header.
fn header() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml"))
        .expect("cbindgen.toml is readable");
    config.line_length = WIDTH;
    let mut builder = cbindgen::Builder::new().with_config(config);
    for (file, ..) in GROUPS {
        builder = builder.with_src(root().join(format!("src/ffi/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().expect("cbindgen reads src/ffi").write(&mut made);
    let made = String::from_utf8(made).expect("a header is text");
    let (mut macros, mut left) = (items(&text("src/ffi/trailer.txt")), items(&made));

    let mut out = wrapped(&text("src/ffi/header.txt"));
    out += "\n#ifndef UPSTREAM_UPSTREAM_H\n#define UPSTREAM_UPSTREAM_H\n\n";
    out += "#include <stddef.h>\n#include <stdint.h>\n#include <sys/uio.h>\n\n";
    out += "#ifdef __cplusplus\nextern \"C\" {\n#endif\n";
    for (file, title, introduction) in GROUPS {
        let source = text(format!("src/ffi/{file}.rs"));
        let mut group: Vec<(usize, Item)> = Vec::new();
        for item in std::mem::take(&mut left) {
            match item.place_in(&source) {
                Some(place) => group.push((place, item)),
                None => left.push(item),
            }
        }
        group.sort_by_key(|(place, _)| *place);
        let mut group: Vec<Item> = group.into_iter().map(|(_, item)| item).collect();
        // A macro stands behind the struct whose size it takes.
        for item in std::mem::take(&mut macros) {
            let is_its = |of: &Item| item.code.contains(&format!("sizeof({})", of.name));
            match group.iter().position(is_its) {
                Some(at) => group.insert(at + 1, item),
                None => macros.push(item),
            }
        }
        if file == "status" {
            group.splice(0..0, items(&version()));
        }
        out += &format!("\n{}\n", group_head(file, title, introduction));
        let (mut kind, mut was_number) = (None, false);
        for item in &group {
            let of_item = KINDS.iter().find(|(begins, _)| item.name.starts_with(begins));
            let goes_on = kind == of_item && was_number && item.is_number();
            if !goes_on {
                out += kind.map_or("", |_| "/** @} */\n");
                out.push('\n');
                if let Some((_, head)) = of_item {
                    let head = [format!("@name {head}"), "@{".to_owned()];
                    out += &format!("{}\n", comment("", &head));
                }
            }
            out += &item.to_string();
            (kind, was_number) = (of_item, item.is_number());
        }
        out += kind.map_or("", |_| "/** @} */\n");
        out += "\n/** @} */\n";
    }
    assert!(left.is_empty() && macros.is_empty(), "of no group: {left:?} {macros:?}");
    out + "\n#ifdef __cplusplus\n} /* extern \"C\" */\n#endif\n\n#endif /* UPSTREAM_UPSTREAM_H */\n"
}

fn group_head(file: &str, title: &str, introduction: &str) -> String {
    let mut lines = vec![format!("@defgroup upstream_{file} {title}")];
    if !introduction.is_empty() {
        lines.push(String::new());
        lines.extend(introduction.lines().map(str::to_owned));
    }
    lines.push("@{".to_owned());
    comment("", &lines)
}

fn version() -> String {
    let define = |name: &str, text: &str, value: &str| {
        format!("/** {text} */\n#define UPSTREAM_VERSION_{name} {value}\n\n")
    };
    let of_header = "Version of this header; upstream_version() tells that of the library in use.";
    let number = [
        "\\\n    (UPSTREAM_VERSION_MAJOR * 10000 + UPSTREAM_VERSION_MINOR * 100",
        " + UPSTREAM_VERSION_PATCH)",
    ];
    [
        define("MAJOR", of_header, env!("CARGO_PKG_VERSION_MAJOR")),
        define("MINOR", "Second number of the version.", env!("CARGO_PKG_VERSION_MINOR")),
        define("PATCH", "Third number of the version.", env!("CARGO_PKG_VERSION_PATCH")),
        define("STRING", "The version as text.", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")),
        define(
            "NUMBER",
            "The version as one number to compare: 10000 * major + 100 * minor + patch.",
            &number.concat(),
        ),
    ]
    .concat()
}

/// One item of a header: its comment, without the signs of a comment, and its code.
#[derive(Debug)]
struct Item {
    name: String,
    comment: Vec<String>,
    code: String,
}

impl Item {
    fn is_function(&self) -> bool {
        self.code.ends_with(");") && !self.code.starts_with("typedef")
    }

    /// Numbers stand together, without empty lines.
    fn is_number(&self) -> bool {
        self.code.starts_with("#define") && !self.code.contains('{')
    }

    /// Where a Rust source defines it.
    fn place_in(&self, source: &str) -> Option<usize> {
        ["pub const", "pub struct", "pub type", "fn"].iter().find_map(|kind| {
            let at = source.find(&format!("{kind} {}", self.name))?;
            let next = source[at + kind.len() + 1 + self.name.len()..].chars().next();
            (!next.is_some_and(|c| c.is_alphanumeric() || c == '_')).then_some(at)
        })
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", comment("", &self.comment))?;
        write!(f, "{}", wrapped(&self.code))
    }
}

/// The items of a header, which stand apart by empty lines. What is no item (a guard, a group) is
/// left out.
fn items(header: &str) -> Vec<Item> {
    header.split("\n\n").flat_map(split_numbers).filter_map(|block| item(&block)).collect()
}

/// Numbers of one kind have no empty line between them.
fn split_numbers(block: &str) -> Vec<String> {
    let is_end = |line: &str| line.starts_with("#define") && !line.ends_with('\\');
    let (mut blocks, mut current) = (Vec::new(), String::new());
    for line in block.trim_matches('\n').lines() {
        current += line;
        current.push('\n');
        if is_end(line) {
            blocks.push(std::mem::take(&mut current));
        }
    }
    blocks.push(current);
    blocks
}

fn item(block: &str) -> Option<Item> {
    let block = block.trim();
    let inner = block.strip_prefix("/**")?;
    let (comment, code) = inner.split_once("*/")?;
    let code = code.trim().to_owned();
    let is_name = |word: &&str| word.starts_with("upstream_") || word.starts_with("UPSTREAM_");
    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let name = if code.starts_with("#define") {
        words.find(is_name)
    } else if let Some(at) = code.find("(*upstream_") {
        code[at + 2..].split(')').next()
    } else if code.starts_with("typedef") {
        words.rfind(is_name)
    } else {
        code.split('(').next().and_then(|head| head.rsplit([' ', '*']).next())
    };
    let name = name?.to_owned();
    Some(Item { name, comment: bare(comment), code })
}

/// The lines of a comment without its stars.
fn bare(comment: &str) -> Vec<String> {
    let bare = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix('*').unwrap_or(line);
        line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()
    };
    let lines: Vec<String> = comment.lines().map(bare).collect();
    let from = lines.iter().take_while(|line| line.is_empty()).count();
    let behind = lines.iter().rev().take_while(|line| line.is_empty()).count();
    lines[from..(lines.len() - behind).max(from)].to_vec()
}

/// `text` with each comment of it wrapped.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim_end();
    while let Some((code, behind)) = rest.split_once("/**") {
        let (inside, after) = behind.split_once("*/").expect("a comment ends");
        let indent: String = code.chars().rev().take_while(|c| *c == ' ').collect();
        out += &code[..code.len() - indent.len()];
        out += &comment(&indent, &bare(inside));
        rest = after;
    }
    out + rest + "\n"
}

/// A comment of these lines: on one line if it fits, else wrapped.
fn comment(indent: &str, lines: &[String]) -> String {
    if let [line] = lines
        && indent.len() + "/** ".len() + line.chars().count() + " */".len() <= WIDTH
        && !line.starts_with('@')
    {
        return format!("{indent}/** {line} */");
    }
    let width = WIDTH - indent.len() - " * ".len();
    let lines = reflowed(lines, width).into_iter().map(|line| match line.is_empty() {
        true => format!("{indent} *"),
        false => format!("{indent} * {line}"),
    });
    let begin = iter::once(format!("{indent}/**"));
    begin.chain(lines).chain(iter::once(format!("{indent} */"))).collect::<Vec<_>>().join("\n")
}

/// Lines of prose filled up to `width`; code stays as it is.
fn reflowed(lines: &[String], width: usize) -> Vec<String> {
    let (mut out, mut in_code): (Vec<String>, bool) = (Vec::new(), false);
    // How far the lines of the paragraph under way are indented; none if a new one begins.
    let mut hang: Option<usize> = None;
    for line in lines {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        if in_code || is_fence || line.is_empty() || line.starts_with('@') {
            out.push(line.clone());
            hang = None;
            continue;
        }
        if hang.is_none() || line.starts_with("- ") {
            hang = Some(if line.starts_with("- ") { 2 } else { 0 });
            out.push(String::new());
        }
        for word in line.split_whitespace() {
            let last = out.last_mut().expect("a paragraph has begun");
            if last.is_empty() {
                last.push_str(word);
            } else if last.chars().count() + 1 + word.chars().count() <= width {
                last.push(' ');
                last.push_str(word);
            } else {
                out.push(format!("{:1$}{word}", "", hang.unwrap_or(0)));
            }
        }
    }
    out
}

/// The paragraphs of all comments; an item of a list is one.
fn paragraphs(header: &str) -> impl Iterator<Item = String> {
    let comments = header.split("/*").skip(1).filter_map(|behind| behind.split("*/").next());
    comments.flat_map(|comment| {
        let (mut all, mut in_code) = (vec![String::new()], false);
        for line in bare(comment.trim_start_matches('*')) {
            let is_fence = line.trim_start().starts_with("```");
            in_code ^= is_fence;
            if in_code || is_fence || line.is_empty() || line.starts_with("- ") {
                all.push(String::new());
            }
            if !in_code && !is_fence {
                let last = all.last_mut().expect("there is one");
                last.push_str(&line);
                last.push(' ');
            }
        }
        all
    })
}

/// The examples in a comment.
fn examples(comment: &[String]) -> Vec<String> {
    let (mut all, mut in_code) = (Vec::new(), false);
    for line in comment {
        match line.as_str() {
            "```c" => {
                in_code = true;
                all.push(String::new());
            }
            "```" => in_code = false,
            line if in_code => {
                let last = all.last_mut().expect("a fence opened it");
                last.push_str(line);
                last.push('\n');
            }
            _ => {}
        }
    }
    all
}
