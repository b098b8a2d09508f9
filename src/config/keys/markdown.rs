//! The key table as the reference shows it. Says nothing that is not in the table.

use std::fmt::Write as _;

use super::{Effect, Entry, Fallback, Kind, Place, TABLE};

/// The table of every known key in Markdown.
pub fn markdown() -> String {
    let mut text =
        String::from("| key | stands in | value | default | meaning |\n|---|---|---|---|---|\n");
    for entry in TABLE {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {}{} |",
            names(entry),
            places(entry.places),
            value(entry.kind),
            default(entry.default),
            entry.help,
            effect(entry.effect)
        );
    }
    text
}

fn names(entry: &Entry) -> String {
    let mut text = format!("`{}`", entry.name);
    for alias in entry.aliases {
        let _ = write!(text, ", also read as `{alias}`");
    }
    text
}

fn places(places: &[Place]) -> String {
    let name = |place: &Place| match place {
        Place::Node => "node",
        Place::Upstream => "upstream",
        Place::Options => "options",
    };
    places.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn words(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn value(kind: Kind) -> String {
    match kind {
        Kind::Bool => "`on`, `off`".into(),
        Kind::Duration { min, max } => format!("duration, {min} to {max}"),
        Kind::Integer { min, max } => format!("whole number, {min} to {max}"),
        Kind::Word { known, later: [] } => words(known),
        Kind::Word { known, later } => {
            format!("{}; in later versions {}", words(known), words(later))
        }
        Kind::Text | Kind::Secret => "text".into(),
        Kind::Host => "host name or address".into(),
        Kind::Port => "1 to 65535".into(),
        Kind::Address => "numeric address".into(),
        Kind::TlsVersion => "`TLSv1.2`, `TLSv1.3`".into(),
        Kind::Names => "names".into(),
        Kind::File => "path of a file".into(),
        Kind::Folder => "path of a folder".into(),
    }
}

fn default(default: Fallback) -> String {
    match default {
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Unset(words) => words.into(),
        Fallback::Mandatory => "must be given".into(),
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Acts => "",
        Effect::Later => {
            ". Checked, but without effect in this version: another value than the default is warned of"
        }
        Effect::SystemResolver => {
            ". Without effect here: the system resolver is used, and a warning says so"
        }
        Effect::NoProxy => ". Without effect here: no proxy is ever used, and a warning says so",
    }
}
