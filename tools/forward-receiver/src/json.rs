//! Writes what was received as JSON, one line per record, for callers that check each one. It must
//! never fail and never break a line: values that JSON does not have get their own form.

use rmpv::ValueRef;
use std::fmt::Write;

/// Appends `value`. Binary data, and text that is not UTF-8, becomes `{"hex":"..."}`; an extension
/// `{"ext":type,"hex":"..."}`; a float that is not a number becomes `null`; a map key that is not
/// text becomes the text of its JSON.
pub fn write_value(out: &mut String, value: &ValueRef<'_>) {
    match value {
        ValueRef::Nil => out.push_str("null"),
        ValueRef::Boolean(flag) => out.push_str(if *flag { "true" } else { "false" }),
        ValueRef::Integer(number) => push(out, format_args!("{number}")),
        ValueRef::F32(number) if number.is_finite() => push(out, format_args!("{number:?}")),
        ValueRef::F64(number) if number.is_finite() => push(out, format_args!("{number:?}")),
        ValueRef::F32(_) | ValueRef::F64(_) => out.push_str("null"),
        ValueRef::String(text) => match text.as_str() {
            Some(text) => write_text(out, text),
            None => write_hex(out, "", text.as_bytes()),
        },
        ValueRef::Binary(bytes) => write_hex(out, "", bytes),
        ValueRef::Ext(kind, bytes) => write_hex(out, &format!("\"ext\":{kind},"), bytes),
        ValueRef::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        ValueRef::Map(entries) => {
            out.push('{');
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_key(out, key);
                out.push(':');
                write_value(out, item);
            }
            out.push('}');
        }
    }
}

/// Appends `text` as a JSON string (RFC 8259 section 7).
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' => push(out, format_args!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

fn write_key(out: &mut String, key: &ValueRef<'_>) {
    if let ValueRef::String(text) = key
        && let Some(text) = text.as_str()
    {
        return write_text(out, text);
    }
    let mut text = String::new();
    write_value(&mut text, key);
    write_text(out, &text);
}

fn write_hex(out: &mut String, before: &str, bytes: &[u8]) {
    push(out, format_args!("{{{before}\"hex\":\""));
    for byte in bytes {
        push(out, format_args!("{byte:02x}"));
    }
    out.push_str("\"}");
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut rest = bytes;
        let value = rmpv::decode::read_value_ref(&mut rest).unwrap();
        let mut out = String::new();
        write_value(&mut out, &value);
        out
    }

    #[test]
    fn plain_values() {
        assert_eq!(
            json(b"\x84\xa1a\x01\xa1b\xff\xa1c\xc3\xa1d\x93\xc0\xc2\xa0"),
            r#"{"a":1,"b":-1,"c":true,"d":[null,false,""]}"#
        );
        assert_eq!(json(&[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]), "18446744073709551615");
        assert_eq!(json(&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]), "1.5");
        assert_eq!(json(&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]), "null");
    }

    #[test]
    fn text_keeps_the_line_whole() {
        assert_eq!(json(b"\xa7\"\\\n\r\t\x01/"), r#""\"\\\n\r\t\u0001/""#);
        assert_eq!(json(b"\xa2\xc3\xa9"), r#""é""#);
    }

    #[test]
    fn what_json_lacks_has_a_form_of_its_own() {
        assert_eq!(json(b"\xc4\x02\x00\xff"), r#"{"hex":"00ff"}"#);
        assert_eq!(json(b"\xa2\xc3\x28"), r#"{"hex":"c328"}"#);
        assert_eq!(json(b"\xd4\x05\x09"), r#"{"ext":5,"hex":"09"}"#);
        assert_eq!(json(b"\x81\x01\x02"), r#"{"1":2}"#);
    }
}
