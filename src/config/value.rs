//! A value's text to its type: one reader for each kind of key, used by the file, the options and
//! the typed getters alike. Never guesses: what is not plainly of the kind is refused, with the
//! mend.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::settings::TlsVersion;
use super::words::Words;

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `on`, `true`, `yes`; `off`, `false`, `no`; any letter case.
    Bool,
    /// A duration in these bounds, which are written as durations themselves.
    Duration {
        /// The least.
        min: &'static str,
        /// The most.
        max: &'static str,
    },
    /// A whole decimal number in these bounds.
    Integer {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// One of a few words, in any letter case.
    Word(Words),
    /// Any text of one line.
    Text,
    /// Text that no message may show.
    Secret,
    /// A host name or a numeric address.
    Host,
    /// A TCP port.
    Port,
    /// A numeric IP address.
    Address,
    /// `TLSv1.2` or `TLSv1.3`.
    TlsVersion,
    /// Names apart by colons, commas or blanks.
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
    /// Of [`Kind::Word`]: its number among the known ones.
    Word(usize),
    /// Of the kinds that stay text; a host without the brackets of an IPv6 literal.
    Text(&'a str),
    /// Of [`Kind::Address`].
    Address(IpAddr),
    /// Of [`Kind::TlsVersion`].
    TlsVersion(TlsVersion),
    /// Of [`Kind::Names`]; never empty.
    Names(Vec<&'a str>),
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
/// case, or without a unit, which is seconds. `None` also where the milliseconds do not fit.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = split_number(text)?;
    let units =
        [("ms", 1), ("", 1_000), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    number.checked_mul(factor(unit, &units)?)
}

/// Reads a size into bytes: a whole number, with `k`, `M` or `G` for the powers of 1024 and with or
/// without a closing `b`, in any letter case. `None` also where the bytes do not fit.
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

/// What `unit`, in any letter case, multiplies by.
fn factor(unit: &str, units: &[(&str, i64)]) -> Option<i64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

/// Reads a whole decimal number, which may be negative.
pub fn parse_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    // `parse` alone would take a leading `+`.
    if digits.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn split_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim();
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// `value` for a message: quoted, what does not print is escaped, and cut where it is long.
pub(super) fn shown(value: &str) -> String {
    const LONGEST: usize = 64;
    match value.char_indices().nth(LONGEST) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

impl Kind {
    /// Reads `text` as the value of `key`; the error is a whole sentence with the mend.
    pub fn read<'a>(self, key: &str, text: &'a str) -> Result<Value<'a>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("{key}: the value is empty; give one, or leave the line out"));
        }
        let refuse = |what: &str| Err(format!("{key}: {} {what}{}", shown(text), trap(text)));
        match self {
            Kind::Bool => match parse_bool(text) {
                Some(value) => Ok(Value::Bool(value)),
                None => {
                    refuse("is neither on nor off; write on, true or yes, or else off, false or no")
                }
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
                None => refuse("is not a port; write a decimal number from 1 to 65535"),
            },
            Kind::Word(words) => word(key, text, words),
            Kind::Text if has_control(text) => {
                refuse("carries a sign that does not print; retype it")
            }
            Kind::Text | Kind::Secret | Kind::File | Kind::Directory => Ok(Value::Text(text)),
            Kind::Host => match host(text) {
                Ok(host) => Ok(Value::Text(host)),
                // Of a URL no user and no password.
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
                if names.is_empty() { refuse("holds no name") } else { Ok(Value::Names(names)) }
            }
        }
    }
}

fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// What a message may show of a line that is not understood, or of a key that is not known: what
/// stands before the first blank, `=` or `:`. Behind it may be the value of a secret.
pub(super) fn opening(text: &str) -> &str {
    let ends = |c: char| matches!(c, '=' | ':') || is_unseen(c);
    text.find(ends).map_or(text, |end| &text[..end])
}

/// Whether a character stands in a line without being seen there.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// What a habit from other formats has left in a value: the end of a message, or nothing.
pub(super) fn trap(text: &str) -> &'static str {
    match text.as_bytes() {
        [b'=' | b':', ..] => {
            " (a key and its value stand apart by blanks alone, without \"=\" or \":\")"
        }
        [b'"' | b'\'', ..] => " (a value is written without quotes)",
        _ if text.contains(['#', ';']) => {
            " (a comment stands on a line of its own, not behind a value)"
        }
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
            "{key}: {} is no longer safe and not spoken by this library; write TLSv1.2 or TLSv1.3",
            shown(text)
        )),
        _ => Err(format!(
            "{key}: {} is not a TLS version; write TLSv1.2 or TLSv1.3{}",
            shown(text),
            trap(text)
        )),
    }
}

fn unbracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// The host without the brackets of an IPv6 literal; the error goes behind the quoted value.
fn host(text: &str) -> Result<&str, String> {
    if text.bytes().all(is_of_host_name) {
        return host_name(text); // nearly always
    }
    if text.contains(['"', '\'']) {
        return Err("carries quotes, which are not part of a host; write it without them".into());
    }
    if text.contains('#') {
        return Err(
            "carries a \"#\"; a comment stands on a line of its own, not behind a value".into()
        );
    }
    if text.contains("://") {
        return Err("is a URL; write the host alone, and the port under the key port".into());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("carries a blank; write one host name or address".into());
    }
    if let Some(inner) = unbracketed(text) {
        return match ipv6(inner) {
            true => Ok(inner),
            false => Err("is not an IPv6 address in its brackets, such as [::1]".into()),
        };
    }
    if text.contains([':', '[', ']']) {
        return match ipv6(text) {
            true => Ok(text),
            false if text.matches(':').count() == 1 || text.starts_with('[') => {
                Err("carries a port; write the host alone, and the port under the key port".into())
            }
            false => Err("is not an IPv6 address, such as ::1".into()),
        };
    }
    if let Some(odd) = text.chars().find(|&c| !u8::try_from(c).is_ok_and(is_of_host_name)) {
        let mend =
            if odd.is_ascii() { "" } else { "; write an international name in its xn-- form" };
        return Err(format!("carries {odd:?}, which no host name has{mend}"));
    }
    host_name(text)
}

/// The host names of RFC 1123, and the underscore, which names in container networks carry.
fn is_of_host_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A text of such letters, checked to be a host name.
fn host_name(text: &str) -> Result<&str, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let mut labels = name.as_bytes().split(|byte| *byte == b'.');
    if name.len() > 253 || labels.any(|label| label.is_empty() || label.len() > 63) {
        return Err(
            "is not a host name: its parts between dots have 1 to 63 letters, 253 in all at most"
                .into(),
        );
    }
    Ok(text)
}

fn has_control(text: &str) -> bool {
    match text.is_ascii() {
        true => text.bytes().any(|byte| byte.is_ascii_control()),
        false => text.contains(char::is_control),
    }
}

/// An IPv6 address, with a zone (`fe80::1%eth0`) or without.
fn ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(zone_fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn booleans() {
        for text in ["on", "true", "yes", "ON", "True", " yEs "] {
            assert_eq!(parse_bool(text), Some(true), "{text}");
        }
        for text in ["off", "false", "no", "OFF", "False", "\tnO"] {
            assert_eq!(parse_bool(text), Some(false), "{text}");
        }
        for text in ["", "1", "0", "yess", "o n", "${TLS}", "enabled", "y", "n"] {
            assert_eq!(parse_bool(text), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("10", 10_000),
            ("250ms", 250),
            ("10s", 10_000),
            ("10S", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            (" 5s ", 5_000),
            ("9223372036854775807ms", i64::MAX),
        ] {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "s",
            "10x",
            "abc",
            "-5",
            "1.5s",
            "10 s",
            "+1",
            "1e3",
            "9223372036854775808ms",
            "9223372036854776",
        ] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_and_integers() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("4k", 4096),
            ("4K", 4096),
            ("4kB", 4096),
            ("1M", 1 << 20),
            ("1mb", 1 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in ["", "k", "-1k", "1.5M", "1T", "4 k", "9223372036854775807k", "kb4"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        for (text, number) in [
            ("0", Some(0)),
            ("-7", Some(-7)),
            (" 42 ", Some(42)),
            ("007", Some(7)),
            ("-9223372036854775808", Some(i64::MIN)),
        ] {
            assert_eq!(parse_int(text), number, "{text}");
        }
        for text in ["", "-", "+1", "--1", "1.0", "0x1", "9223372036854775808", "1k"] {
            assert_eq!(parse_int(text), None, "{text}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        assert_eq!(shown(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(shown(&"é".repeat(65)), format!("\"{}\"...", "é".repeat(64)));
    }

    proptest! {
        #[test]
        fn a_duration_is_its_number_times_its_unit(number in 0..i64::MAX, unit in 0..6_usize) {
            let (unit, factor) =
                [("", 1000), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)][unit];
            prop_assert_eq!(parse_duration_ms(&format!("{number}{unit}")), number.checked_mul(factor));
        }

        #[test]
        fn readers_take_any_text(text in any::<String>()) {
            for entry in super::super::keys::TABLE {
                if let Err(cause) = entry.kind.read(entry.name, &text) {
                    prop_assert!(cause.starts_with(entry.name), "{}", cause);
                }
            }
            let _ = (parse_bool(&text), parse_duration_ms(&text), parse_size(&text), parse_int(&text));
        }
    }
}
