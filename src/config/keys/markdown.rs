//! The key table as the documents show it: the full reference, and an overview. The texts about a
//! key come from the table; only headings and the words around them are here.

use std::fmt::Write as _;

use super::{Effect, Entry, Fallback, Key, Kind, Scope, TABLE};

/// The longest line in the documents.
const WIDTH: usize = 100;

/// The groups of the reference: the first key of each, and its title.
const GROUPS: &[(Key, &str)] = &[
    (Key::Name, "Name and address"),
    (Key::Tls, "TLS"),
    (Key::NetConnectTimeout, "Connections"),
    (Key::DeliverTimeout, "Deliveries"),
    (Key::HealthMaxFails, "Health"),
    (Key::Balance, "Balancing"),
    (Key::DnsExpand, "Names"),
    (Key::ConfigDir, "Only as options"),
];

/// Every key in full: what it does, its value, its default, and where it may be set.
pub fn reference() -> String {
    let mut text = String::new();
    for entry in TABLE {
        if let Some(title) = opened_by(entry) {
            let _ = writeln!(text, "### {title}\n");
        }
        let _ = writeln!(text, "#### `{}`\n", entry.name);
        let _ = writeln!(text, "{}", wrapped(&format!("{}{}", entry.help, effect(entry.effect))));
        for alias in entry.aliases {
            let _ = writeln!(text, "- Also read as: `{alias}`");
        }
        let _ = writeln!(text, "- Value: {}", value(entry.kind));
        let _ = writeln!(text, "- Default: {}", default(entry.default));
        let _ = writeln!(text, "- Stands in: {}\n", scopes(entry.scopes));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Every key in one line: its value and its default.
pub fn overview() -> String {
    let mut text = String::from(
        "[docs/configuration.md](docs/configuration.md#keys) says what each key does.\n\n| key | \
         value | default |\n|---|---|---|\n",
    );
    for entry in TABLE {
        if let Some(title) = opened_by(entry) {
            let _ = writeln!(text, "| **{title}** | | |");
        }
        let names = std::iter::once(&entry.name).chain(entry.aliases);
        let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        let default = default(entry.default);
        let later = if entry.effect == Effect::Later { ", not in this version" } else { "" };
        let _ = writeln!(text, "| {names} | {}{later} | {default} |", kind(entry.kind));
    }
    text
}

/// The title of the group whose first key this is.
fn opened_by(entry: &Entry) -> Option<&'static str> {
    GROUPS.iter().find(|(first, _)| *first == entry.key).map(|(_, title)| *title)
}

/// One paragraph in lines of at most [`WIDTH`] characters.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(lines, "{line}");
            line.clear();
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    lines + &line + "\n"
}

fn scopes(scopes: &[Scope]) -> String {
    let name = |place: &Scope| match place {
        Scope::Node => "`[NODE]`",
        Scope::Upstream => "`[UPSTREAM]`",
        Scope::Options => "options",
    };
    scopes.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What a value of this kind may be, with its bounds.
fn value(of: Kind) -> String {
    match of {
        Kind::Duration { min, max } => format!("duration, {min} to {max}"),
        Kind::Integer { min, max } => number(min, max),
        Kind::OrZero(of) => format!("{}; `0` is the default, with a warning", value(*of)),
        Kind::OrSystem(of) => format!("{}; `-1` is the system's", value(*of)),
        Kind::Word(of) if !of.later.is_empty() => {
            format!("{}; reserved for later versions: {}", words(of.known), words(of.later))
        }
        _ => kind(of),
    }
}

/// What a value of this kind is, in short.
fn kind(of: Kind) -> String {
    match of {
        Kind::Bool => "`on`, `off`".into(),
        Kind::Duration { .. } => "duration".into(),
        Kind::OrZero(of) | Kind::OrSystem(of) => kind(*of),
        Kind::Integer { min, max } if max < 10_000 => number(min, max),
        Kind::Integer { .. } => "whole number".into(),
        Kind::Word(of) => words(of.known),
        Kind::Text | Kind::Secret => "text".into(),
        Kind::Host => "host name or address".into(),
        Kind::NodeHost => "host name, address, or `unix:/path`".into(),
        Kind::Proxy => "`http://[user:password@]host:port`".into(),
        Kind::Port => "1 to 65535".into(),
        Kind::Address => "numeric address".into(),
        Kind::TlsVersion => "`TLSv1.2`, `TLSv1.3`".into(),
        Kind::Names => "names".into(),
        Kind::File => "path of a file".into(),
        Kind::Directory => "path of a directory".into(),
    }
}

fn number(min: u32, max: u32) -> String {
    format!("whole number, {min} to {max}")
}

fn default(default: Fallback) -> String {
    match default {
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Unset(words) => words.into(),
        Fallback::Mandatory => "none; must be given".into(),
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Acts => "",
        Effect::Later => " Not in this version: any value but the default gives a warning.",
        Effect::SystemResolver => " Ignored here, with a warning: the system's resolver is used.",
        Effect::NoProxy => " Ignored here, with a warning: no proxy but that of net.proxy is used.",
    }
}
