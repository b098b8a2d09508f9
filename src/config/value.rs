//! Turns the text of a value into its type. There is one reader for each kind of key; the file, the
//! options and the typed getters all use it. It never guesses: a value that is not clearly of the
//! kind is refused, and the message says how to fix it.

use std::net::IpAddr;
use std::time::Duration;

use super::host::{host, node_host, unbracketed};
use super::proxy::proxy;
use super::secret;
use super::settings::TlsVersion;
use super::words::Words;
use crate::base::text::without_login;

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `on`, `true`, `yes`; `off`, `false`, `no`; any letter case.
    Bool,
    /// A duration within these bounds, which are written as durations too.
    Duration {
        /// The least.
        min: &'static str,
        /// The most.
        max: &'static str,
    },
    /// A whole decimal number within these bounds.
    Integer {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// As another kind, or 0, which stands for the default.
    OrZero(&'static Kind),
    /// As another kind, or -1, which leaves the choice to the system.
    OrSystem(&'static Kind),
    /// One of a few words, in any letter case.
    Word(Words),
    /// Any text of one line.
    Text,
    /// Text that no message may show.
    Secret,
    /// A host name or a numeric address.
    Host,
    /// As [`Kind::Host`], or `unix:` and the path of a stream socket of this machine.
    NodeHost,
    /// `http://[user:password@]host:port`. No message shows it.
    Proxy,
    /// A TCP port.
    Port,
    /// A numeric IP address.
    Address,
    /// `TLSv1.2` or `TLSv1.3`.
    TlsVersion,
    /// Names, separated by colons, commas or blanks.
    Names,
    /// The path of a file.
    File,
    /// The path of a directory.
    Directory,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Integer`] and [`Kind::Port`].
    Integer(u32),
    /// Of [`Kind::Word`]: the word's number in the list of known words.
    Word(usize),
    /// Of the kinds that stay text; a host without the brackets of an IPv6 literal.
    Text(&'a str),
    /// Of [`Kind::Address`].
    Address(IpAddr),
    /// Of [`Kind::TlsVersion`].
    TlsVersion(TlsVersion),
    /// Of [`Kind::Names`]; never empty.
    Names(Vec<&'a str>),
    /// The 0 of [`Kind::OrZero`].
    Zero,
    /// The -1 of [`Kind::OrSystem`]: as if the key were not given.
    Unset,
}

/// Reads `on`, `true`, `yes` and `off`, `false`, `no` in any letter case.
pub fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match () {
        () if is(["on", "true", "yes"]) => Some(true),
        () if is(["off", "false", "no"]) => Some(false),
        () => None,
    }
}

/// Reads a duration into milliseconds: a whole number with `ms`, `s`, `m`, `h` or `d` in any letter
/// case; without a unit, the number means seconds. `None` also if the milliseconds do not fit.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = split_number(text)?;
    let units =
        [("ms", 1), ("", 1_000), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    number.checked_mul(factor(unit, &units)?)
}

/// Reads a size into bytes: a whole number, then `k` (1024), `M` (1024^2), `G` (1024^3) or nothing,
/// then an optional `b`, in any letter case. `None` also if the bytes do not fit.
pub fn parse_size(text: &str) -> Option<i64> {
    let (number, unit) = split_number(text)?;
    let units = [
        ("", 1),
        ("b", 1),
        ("k", 1 << 10),
        ("kb", 1 << 10),
        ("m", 1 << 20),
        ("mb", 1 << 20),
        ("g", 1 << 30),
        ("gb", 1 << 30),
    ];
    number.checked_mul(factor(unit, &units)?)
}

/// The factor of a unit, in any letter case.
fn factor(unit: &str, units: &[(&str, i64)]) -> Option<i64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

/// Reads a whole decimal number, which may be negative.
pub fn parse_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    // `parse` alone would accept a leading `+`.
    if digits.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn split_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim();
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// `value` for a message: in quotes, escaped, and cut if it is long.
pub(super) fn shown(value: &str) -> String {
    const LONGEST: usize = 64;
    let value = &*without_login(value);
    match value.char_indices().nth(LONGEST) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

/// A key of the caller's for a message. It may be a line with a secret in it.
pub(super) fn shown_key(key: &str) -> String {
    match opening(key) {
        head if head.len() < key.len() && !head.is_empty() => format!("{}...", shown(head)),
        _ => shown(key),
    }
}

/// What a message calls the value of a key that may be a secret.
const UNSHOWN: &str = "the value";

/// `value` of `key` for a message. Not shown if the key may hold a secret.
pub(super) fn shown_of(key: &str, value: &str) -> String {
    if secret::may_be_secret(key) { UNSHOWN.to_owned() } else { shown(value) }
}

/// A message without the value that it shows.
pub(super) fn without_value(message: &str, value: &str) -> String {
    message.replace(&shown(value.trim()), UNSHOWN)
}

impl Kind {
    fn host(self, text: &str) -> Result<&str, String> {
        if matches!(self, Kind::NodeHost) { node_host(text) } else { host(text) }
    }

    /// Reads `text` as the value of `key`; the error is a whole sentence with the fix.
    pub fn read<'a>(self, key: &str, text: &'a str) -> Result<Value<'a>, String> {
        let text = match text.as_bytes() {
            [b'!'..=b'~', .., b'!'..=b'~'] => text, // nearly always
            _ => text.trim(),
        };
        if text.is_empty() {
            return Err(format!("{key}: the value is empty; write one, or remove the line"));
        }
        let refuse = |what: &str| Err(format!("{key}: {} {what}{}", shown(text), trap(text)));
        match self {
            Kind::Bool => match parse_bool(text) {
                Some(value) => Ok(Value::Bool(value)),
                None => refuse("is neither on nor off; write on, true, yes, off, false or no"),
            },
            Kind::Duration { min, max } => match parse_duration_ms(text) {
                None => refuse(
                    "is not a duration; write a whole number with ms, s, m, h or d, such as 250ms \
                     or 10s",
                ),
                Some(ms)
                    if Some(ms) < parse_duration_ms(min) || Some(ms) > parse_duration_ms(max) =>
                {
                    refuse(&format!("is out of range; write a duration from {min} to {max}"))
                }
                Some(ms) => Ok(Value::Duration(Duration::from_millis(ms.unsigned_abs()))),
            },
            Kind::Integer { min, max } => match decimal(text).filter(|n| (min..=max).contains(n)) {
                Some(number) => Ok(Value::Integer(number)),
                None => refuse(&format!("is not a whole number from {min} to {max}")),
            },
            Kind::Port => match decimal(text).filter(|n| (1..=65535).contains(n)) {
                Some(number) => Ok(Value::Integer(number)),
                None if text.contains(',') => {
                    refuse("names several ports; write one, and a [NODE] for each of them")
                }
                None => refuse("is not a port; write a decimal number from 1 to 65535"),
            },
            Kind::OrZero(_) if parse_duration_ms(text) == Some(0) => Ok(Value::Zero),
            Kind::OrSystem(_) if text == "-1" => Ok(Value::Unset),
            Kind::OrZero(kind) | Kind::OrSystem(kind) => kind.read(key, text),
            Kind::Word(words) => word(key, text, words),
            Kind::Text | Kind::File | Kind::Directory if text.starts_with('=') => {
                refuse("begins with \"=\"")
            }
            Kind::Text if has_control(text) => {
                refuse("contains a character that does not print; type it again")
            }
            Kind::Secret if text.starts_with(is_unseen) || text.ends_with(is_unseen) => {
                Err(format!(
                    "{key}: the value begins or ends with an invisible character; type it again"
                ))
            }
            Kind::Text | Kind::Secret | Kind::File | Kind::Directory => Ok(Value::Text(text)),
            // No message shows it, nor a part of it.
            Kind::Proxy => match proxy(text) {
                Ok(_) => Ok(Value::Text(text)),
                Err(why) => Err(format!("{key}: {why}")),
            },
            Kind::Host | Kind::NodeHost => match self.host(text) {
                Ok(host) => Ok(Value::Text(host)),
                // Do not show the user and the password of a URL.
                Err(why) => {
                    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
                    Err(format!("{key}: {} {why}", shown(host)))
                }
            },
            Kind::Address => match unbracketed(text).unwrap_or(text).parse() {
                Ok(address) => Ok(Value::Address(address)),
                Err(_) => refuse("is not a numeric IP address, such as 192.0.2.1 or 2001:db8::1"),
            },
            Kind::TlsVersion => tls_version(key, text),
            Kind::Names => {
                let parts = text.split([':', ',', ' ', '\t']).filter(|name| !name.is_empty());
                let names: Vec<&str> = parts.collect();
                if names.is_empty() { refuse("contains no name") } else { Ok(Value::Names(names)) }
            }
        }
    }
}

fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// What a message may show of a line that is not understood, or of an unknown key: the text before
/// the first blank, `=` or `:`. What follows may be a secret value.
pub(super) fn opening(text: &str) -> &str {
    let ends = |c: char| matches!(c, '=' | ':') || is_unseen(c);
    text.find(ends).map_or(text, |end| &text[..end])
}

/// Whether a person who reads the line cannot see this character.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// A hint at a habit from another format that shows in the value: the end of a message, or empty.
pub(super) fn trap(text: &str) -> &'static str {
    match text.as_bytes() {
        [b'=' | b':', ..] => " (write only blanks between a key and its value, no \"=\" or \":\")",
        [b'"' | b'\'', ..] => " (write the value without quotes)",
        _ if text.contains(['#', ';']) => " (put a comment on its own line, not after a value)",
        _ => "",
    }
}

fn word(key: &str, text: &str, words: Words) -> Result<Value<'static>, String> {
    let is_text = |word: &&&str| text.eq_ignore_ascii_case(word);
    if let Some(number) = words.known.iter().position(|word| is_text(&word)) {
        return Ok(Value::Word(number));
    }
    let known = words.known.join(" or ");
    if let Some(word) = words.later.iter().find(is_text) {
        return Err(format!("{key}: \"{word}\" is not in this version; write {known}"));
    }
    Err(format!("{key}: {} is not known; write {known}{}", shown(text), trap(text)))
}

fn tls_version(key: &str, text: &str) -> Result<Value<'static>, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower
        .strip_prefix("tls")
        .map_or(lower.as_str(), |rest| rest.strip_prefix('v').unwrap_or(rest));
    match number {
        "1.2" => Ok(Value::TlsVersion(TlsVersion::V1_2)),
        "1.3" => Ok(Value::TlsVersion(TlsVersion::V1_3)),
        "1" | "1.0" | "1.1" | "sslv2" | "sslv3" | "ssl2" | "ssl3" => Err(format!(
            "{key}: {} is no longer safe, and this library does not speak it; write TLSv1.2 or \
             TLSv1.3",
            shown(text)
        )),
        _ => Err(format!(
            "{key}: {} is not a TLS version; write TLSv1.2 or TLSv1.3{}",
            shown(text),
            trap(text)
        )),
    }
}

fn has_control(text: &str) -> bool {
    match text.is_ascii() {
        true => text.bytes().any(|byte| byte.is_ascii_control()),
        false => text.contains(char::is_control),
    }
}

#[cfg(test)]
mod tests;
