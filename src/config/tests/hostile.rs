//! Hostile text in every place where an input may come. Whatever it is, what reaches the host is
//! one line of bounded length without control characters.

use super::*;
use crate::base::error::Report;
use crate::base::log::{Level, Logger};
use crate::config::keys::TABLE;
use crate::config::{KeyType, Options, load, parse_in};
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// In a template: the place of the hostile text.
const HERE: &str = "<>";
const HEAD: &str = "[UPSTREAM]\nname u\n";
const NODE: &str = "[NODE]\nname n\nhost h\nport 1\n";

fn hostile_texts() -> Vec<String> {
    let short = [
        "\u{1b}[31mred\u{1b}]0;title\u{7}",
        "a\rb",
        "a\nb",
        "\u{7f}\u{8}",
        "\u{9b}31m\u{85}",
        "a\u{2028}b\u{2029}",
        "\u{202e}gnp.\u{2066}x\u{2069}\u{200f}",
        "\u{200b}\u{feff}\u{ad}\u{e0041}",
        "a\0b",
        "\"'`%s%n{}\\",
        "${",
        "${\u{1b}}",
        "${A}",
        "a\u{1b}=b\u{1b}:c",
        "]\u{1b}[",
    ];
    let long = ["x", "\u{20ac}", "\u{1b}", "\u{1f980}", "/x", "a.", "${A}", "${U:-"];
    let long = long.map(|letter| letter.repeat(3_000_000 / letter.len()));
    // Values, keys and messages have their own bounds: also texts that are just within those.
    let medium = ["x", "\u{1b}", "\u{20ac}"];
    let medium = medium.into_iter().flat_map(|letter| {
        [1000, 1900, 2100, 1_000_000].map(|length| letter.repeat(length / letter.len()))
    });
    short.into_iter().map(str::to_owned).chain(long).chain(medium).collect()
}

/// What the host gets must be plain.
#[track_caller]
fn check(message: &str, place: &str) {
    let is_odd = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
    };
    let place = &place[..place.len().min(80)];
    assert!(!message.is_empty() && message.len() <= 2000, "{place}: {} bytes", message.len());
    assert!(!message.contains(is_odd), "{place}: {message:?}");
}

/// Checks the error, or the warnings as the log gets them.
#[track_caller]
fn check_outcome(outcome: Result<Definition>, place: &str) -> bool {
    match outcome {
        Err(error) => {
            check(Report::from(error).message.to_str().unwrap(), place);
            true
        }
        Ok(definition) => {
            let at = place.to_owned();
            let logger = Logger::new(Level::Trace, move |_, line| check(line, &at));
            for warning in &definition.warnings {
                logger.log(Level::Warn, format_args!("{warning}"));
            }
            false
        }
    }
}

fn all_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|entry| std::iter::once(entry.name).chain(entry.aliases.iter().copied()))
}

fn templates() -> Vec<String> {
    let plain = [
        "<>",
        "[<>]",
        "[<>",
        "[NODE] <>",
        "[NODE]<>",
        "[UPSTREAM<>]",
        "<> x",
        "x <>",
        "@<> x",
        "@<>",
        "@INCLUDE <>",
        "@INCLUDE /<>",
        "@INCLUDE /<>*",
        "@INCLUDE [<>",
        "@INCLUDE<>",
        "@SET <>",
        "@SET <>=x",
        "@SET B=${<>}",
        "@SET B=<>\n@INCLUDE ${B}",
        "#<>\nx",
        "{\"<>\": 1}",
    ];
    let mut all: Vec<String> = plain.into_iter().map(str::to_owned).collect();
    all.extend(plain.map(|line| format!("{HEAD}{NODE}{line}\n")));
    for key in all_names() {
        for line in ["KEY <>", "KEY<> x", "KEY=<>", "KEY: <>", "KEY", "KEY ${<>}", "KEY ${U:-<>}"] {
            let line = line.replace("KEY", key);
            all.push(format!("{HEAD}{line}\n{NODE}"));
            all.push(format!("{HEAD}[NODE]\n{line}\nname n\nhost h\nport 1\n"));
        }
    }
    for (name, kind) in KINDS {
        all.push(format!("{HEAD}{NODE}{name} <>\n"));
        all.push(format!("{HEAD}{NODE}{name}<> x\n"));
        all.push(format!("{HEAD}{NODE}{name} x\n{name} <>\n"));
        assert!(KeyType::ALL.contains(&kind));
    }
    all.push(format!("{HEAD}[NODE]\nname <>\nhost h\nport 1\n[NODE]\nname <>\nhost h\nport 1\n"));
    all.push("[UPSTREAM]\nname <>\n".to_owned() + NODE);
    all.push(format!("{HEAD}[NODE]\nname <>\nhost h\n"));
    all
}

const KINDS: [(&str, KeyType); 6] = [
    ("text_of", KeyType::Text),
    ("bool_of", KeyType::Bool),
    ("int_of", KeyType::Int),
    ("ms_of", KeyType::Ms),
    ("size_of", KeyType::Size),
    ("secret_of", KeyType::Secret),
];

fn declaring() -> Options {
    let mut options = Options::default();
    for (name, kind) in KINDS {
        options.declare(name, kind).unwrap();
    }
    options.set("upstream.name", "u").unwrap();
    options
}

#[test]
fn hostile_text_in_a_file() {
    let options = declaring();
    let (texts, refused) = (hostile_texts(), AtomicUsize::new(0));
    for text in &texts {
        let environment = |name: &str| -> Option<OsString> { (name == "A").then(|| text.into()) };
        // A long one takes time, and all keys of a kind have the same reader.
        let step = if text.len() > 10_000 { 43 } else { 1 };
        for template in templates().into_iter().step_by(step) {
            let whole = template.replace(HERE, text);
            let outcome = parse_in(whole.as_bytes(), "f", &options, &environment);
            refused.fetch_add(usize::from(check_outcome(outcome, &template)), Relaxed);
        }
        // Variables with that value, everywhere too.
        for template in templates().into_iter().step_by(step) {
            let whole = template.replace(HERE, "${A}");
            let outcome = parse_in(whole.as_bytes(), "f", &options, &environment);
            refused.fetch_add(usize::from(check_outcome(outcome, &template)), Relaxed);
        }
    }
    let refused = refused.into_inner();
    assert!(refused > 10 * templates().len(), "only {refused} were refused");
}

#[test]
fn hostile_text_in_options_names_and_paths() {
    let directory = tempfile::tempdir().unwrap();
    for text in hostile_texts() {
        for key in all_names() {
            let mut options = Options::default();
            if let Err(error) = options.set(key, &text) {
                check_outcome(Err(error), key);
            } else {
                let whole = format!("{HEAD}{NODE}");
                check_outcome(parse(whole.as_bytes(), "f", &options), key);
                check_outcome(load(Path::new("no-such-file"), &options), key);
            }
        }
        for (name, _) in KINDS {
            let mut options = declaring();
            let set = options.set(name, &text);
            let whole = format!("{HEAD}{NODE}");
            let made = set.and_then(|()| parse(whole.as_bytes(), "f", &options));
            check_outcome(made, name);
        }
        for key in [text.clone(), format!("tls.{text}"), format!("a {text}"), format!("@{text}")] {
            if let Err(error) = Options::default().set(&key, "x") {
                check_outcome(Err(error), "a key as an option");
            }
            if let Err(error) = Options::default().declare(&key, KeyType::Int) {
                check_outcome(Err(error), "a key declared");
            }
        }
        for whole in ["x", &format!("{HEAD}{NODE}[X]\n"), &format!("{HEAD}{HEAD}")] {
            check_outcome(parse(whole.as_bytes(), &text, &Options::default()), "a source name");
        }
        check_outcome(load(Path::new(&text), &Options::default()), "a path");
        // As the name of a file that is there, included and not.
        let name: String = text.replace(['/', '\0'], "_").chars().take(60).collect();
        let path = directory.path().join(&name);
        for content in ["x\n", "[X]\n", "@INCLUDE nowhere\n", "[NODE]\n", "\u{0}"] {
            std::fs::write(&path, content).unwrap();
            check_outcome(load(&path, &Options::default()), "a file");
            let whole = format!("{HEAD}@INCLUDE {}\n{NODE}", path.display());
            check_outcome(parse(whole.as_bytes(), "f", &Options::default()), "an include");
            let whole = format!("{HEAD}tls on\ntls.ca_file {}\n{NODE}", path.display());
            check_outcome(parse(whole.as_bytes(), "f", &Options::default()), "a file of TLS");
        }
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn bytes_that_are_not_text() {
    for template in templates() {
        let (before, behind) = template.split_once(HERE).unwrap_or((&template, ""));
        for bytes in [&b"\xff"[..], b"\xc3", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0\x80", &[0x80; 99]]
        {
            let whole = [before.as_bytes(), bytes, behind.as_bytes()].concat();
            let refused = check_outcome(parse(&whole, "f", &declaring()), &template);
            assert!(refused || !template.contains(HERE), "{template}");
        }
    }
}
