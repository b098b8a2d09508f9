//! The readers of values.

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
            [("", 1000), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000),
             ("d", 86_400_000)][unit];
        let text = format!("{number}{unit}");
        prop_assert_eq!(parse_duration_ms(&text), number.checked_mul(factor));
    }

    #[test]
    fn readers_take_any_text(text in any::<String>()) {
        for entry in super::super::keys::TABLE {
            if let Err(cause) = entry.kind.read(entry.name, &text) {
                prop_assert!(cause.starts_with(entry.name), "{}", cause);
            }
        }
        let _ = (parse_bool(&text), parse_duration_ms(&text));
        let _ = (parse_size(&text), parse_int(&text));
    }
}
