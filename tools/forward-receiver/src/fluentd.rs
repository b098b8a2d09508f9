//! Reads a message exactly as fluentd 1.19 does (in_forward, with the default of
//! skip_invalid_event): an event is dropped if its time is neither an integer nor an EventTime, or
//! if its record is not a map; the message is acknowledged all the same. What fluentd cannot read
//! at all is an error here too.

use crate::forward::{Event, Message, Options, each_packed, parse, time_of};
use crate::scan::{DecodeError, err};
use rmpv::ValueRef;

/// As [`crate::forward::decode`].
pub fn decode(bytes: &[u8], take: &mut dyn FnMut(Event<'_>)) -> Result<Message, DecodeError> {
    let value = parse(bytes)?;
    let ValueRef::Array(items) = &value else {
        // A heartbeat, or "incoming chunk is broken": a line in its log, and no answer.
        return Ok(Message::default());
    };
    let tag = match items.first() {
        Some(ValueRef::String(tag)) => tag.as_str(),
        _ => None,
    };
    let mut message = Message::default();
    let mut see =
        |time: Option<&ValueRef<'_>>, record: Option<&ValueRef<'_>>| -> Result<(), DecodeError> {
            match (tag, time, record) {
                (
                    Some(tag),
                    Some(time @ (ValueRef::Integer(_) | ValueRef::Ext(..))),
                    Some(record @ ValueRef::Map(_)),
                ) => {
                    message.events += 1;
                    take(Event { tag, time: time_of(time)?, metadata: None, record, signal: 0 });
                }
                _ => message.dropped += 1,
            }
            Ok(())
        };
    let options = match items.get(1) {
        Some(ValueRef::Binary(packed)) => packed_events(packed, items.get(2), &mut see)?,
        Some(ValueRef::String(packed)) => packed_events(packed.as_bytes(), items.get(2), &mut see)?,
        Some(ValueRef::Array(entries)) => {
            for entry in entries {
                let (time, record) = taken_apart(entry);
                see(time, record)?;
            }
            Options::read(items.get(2))?
        }
        Some(time) => {
            see(Some(time), items.get(2))?;
            Options::read(items.get(3))?
        }
        None => return err("nothing after the tag"),
    };
    message.chunk = options.chunk;
    message.size = options.size;
    Ok(message)
}

/// Takes the time and the record of an entry.
type See<'a> =
    dyn FnMut(Option<&ValueRef<'_>>, Option<&ValueRef<'_>>) -> Result<(), DecodeError> + 'a;

fn packed_events(
    packed: &[u8],
    options: Option<&ValueRef<'_>>,
    see: &mut See<'_>,
) -> Result<Options, DecodeError> {
    let options = Options::read(options)?;
    each_packed(packed, &options, |entry| {
        let (time, record) = taken_apart(entry);
        see(time, record)
    })?;
    Ok(options)
}

/// Splits a value as Ruby does for a block with two parameters.
fn taken_apart<'a>(
    entry: &'a ValueRef<'a>,
) -> (Option<&'a ValueRef<'a>>, Option<&'a ValueRef<'a>>) {
    match entry {
        ValueRef::Array(parts) => (parts.first(), parts.get(1)),
        other => (Some(other), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::encode;
    use rmpv::Value;

    fn time() -> Value {
        Value::Ext(0, vec![0x65, 0x53, 0xf1, 0, 0, 0, 0, 5])
    }

    fn record(text: &str) -> Value {
        Value::Map(vec![("log".into(), text.into())])
    }

    fn pair(time: Value, record: Value) -> Value {
        Value::Array(vec![time, record])
    }

    /// What fluentd accepts, and what it drops with a warning.
    fn entries() -> Vec<Value> {
        let nothing = || Value::Map(vec![]);
        vec![
            pair(time(), record("taken")),
            pair(Value::from(1_700_000_000), record("taken too")),
            pair(Value::Array(vec![time(), nothing()]), record("with metadata")),
            pair(Value::from(1.5), record("a float")),
            pair(Value::Nil, record("no time")),
            pair(time(), Value::from("no map")),
            pair(time(), Value::Nil),
            Value::Array(vec![time()]),
            record("metrics are maps"),
        ]
    }

    fn read(items: Vec<Value>) -> (Message, Vec<String>) {
        let mut seen = Vec::new();
        let message =
            decode(&encode(&Value::Array(items)), &mut |event| seen.push(event.record.to_string()));
        (message.unwrap(), seen)
    }

    #[test]
    fn what_fluentd_drops_is_dropped_and_acknowledged() {
        let options = || Value::Map(vec![("chunk".into(), "c".into())]);
        let packed: Vec<u8> = entries().iter().flat_map(encode).collect();
        for body in [Value::Array(entries()), Value::Binary(packed)] {
            let (message, seen) = read(vec!["tag".into(), body, options()]);
            assert_eq!((message.events, message.dropped), (2, 7));
            assert_eq!(message.chunk.as_deref(), Some("c"));
            assert_eq!(seen, ["{\"log\": \"taken\"}", "{\"log\": \"taken too\"}"]);
        }
        let (message, _) = read(vec![
            "tag".into(),
            Value::Array(vec![time(), Value::Map(vec![])]),
            record("x"),
            options(),
        ]);
        assert_eq!((message.events, message.dropped), (0, 2));
        let (message, _) = read(vec!["tag".into(), time(), record("a message"), options()]);
        assert_eq!((message.events, message.dropped, message.chunk.as_deref()), (1, 0, Some("c")));
    }

    #[test]
    fn a_group_mark_without_metadata_would_be_a_record() {
        let mark =
            pair(Value::Ext(0, vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Value::Map(vec![]));
        let (message, _) = read(vec!["tag".into(), Value::Array(vec![mark])]);
        assert_eq!((message.events, message.dropped), (1, 0));
    }

    #[test]
    fn a_tag_that_is_no_string_drops_all() {
        let (message, _) = read(vec![Value::from(1), Value::Array(entries())]);
        assert_eq!((message.events, message.dropped), (0, 9));
    }
}
