//! Keys that a section must have.

use super::document::{Header, Section};
use super::keys::Key;
use super::layers::{Judge, Layer, Setting};
use super::lines::Lines;
use super::suggest;
use super::value::{Value, shown};
use crate::base::error::{Error, Result};
use crate::base::wiped::Wiped;

/// A section's setting of a key that it must have; an error if it is missing.
pub(super) fn mandatory<'a, 'b>(
    lines: &Lines,
    judge: &Judge<'_>,
    layer: &'b Layer<'a>,
    section: &Section,
    key: Key,
) -> Result<&'b Setting<'a>> {
    if let Some(setting) = layer.get(key) {
        return Ok(setting);
    }
    let header = match section.header {
        Header::Upstream => "[UPSTREAM]",
        Header::Node => "[NODE]",
    };
    let name = key.name();
    let others = section
        .lines
        .clone()
        .map(|line| lines.line(line))
        .filter(|line| !judge.is_own(lines, *line));
    let slip = others.into_iter().find(|line| {
        let key = Wiped::new(line.key().to_ascii_lowercase());
        suggest::is_slip(&key, name) || key.strip_suffix('s') == Some(name)
    });
    let fix = match slip {
        Some(slip) => {
            format!("is {} on line {} a misspelling?", shown(slip.key()), slip.position().line)
        }
        None => format!("add a line \"{name} ...\""),
    };
    Err(Error::config(&lines.position(section.at), format!("this {header} has no {name}; {fix}")))
}

/// As [`mandatory`], for a key whose value is text.
pub(super) fn mandatory_text<'a>(
    lines: &Lines,
    judge: &Judge<'_>,
    layer: &Layer<'a>,
    section: &Section,
    key: Key,
) -> Result<&'a str> {
    match mandatory(lines, judge, layer, section, key)?.value {
        Value::Text(text) => Ok(text),
        ref other => unreachable!("{} is {other:?}", key.name()),
    }
}
