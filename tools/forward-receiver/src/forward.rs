//! The Forward protocol's messages (specification v1 and v1.5): bytes in, events out.
//! Pure: no socket, no clock, no counter. A message is accepted or refused as a whole.

use crate::scan::{DecodeError, LIMIT, err, value_length};
use flate2::read::MultiGzDecoder;
use rmpv::{Value, ValueRef};
use std::borrow::Cow;
use std::fmt;
use std::io::Read;

/// When an event happened, to the nanosecond (0 if the sender used whole seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds, self.nanoseconds)
    }
}

pub struct Event<'a> {
    pub tag: &'a str,
    pub time: Time,
    /// The metadata of an `[[time, metadata], record]` event.
    pub metadata: Option<&'a ValueRef<'a>>,
    /// The event; for other signals than logs, the map that holds it.
    pub record: &'a ValueRef<'a>,
    /// Fluent Bit's number of what the chunk holds: 0 logs, 1 metrics, 2 traces.
    pub signal: u64,
}

/// What is known of a message after all its events have been handed out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub events: u64,
    /// Entries that were dropped; only a receiver that reads like fluentd drops any.
    pub dropped: u64,
    /// The id to acknowledge, if the sender wants an answer.
    pub chunk: Option<String>,
    /// The number of events that the sender says it sent.
    pub size: Option<u64>,
}

/// Decodes one whole message and passes each event to `take`, in order. After an error the caller
/// must forget the events that it already got. A nil, the protocol's heartbeat, is a message
/// without events.
pub fn decode(bytes: &[u8], take: &mut dyn FnMut(Event<'_>)) -> Result<Message, DecodeError> {
    let items = match parse(bytes)? {
        ValueRef::Nil => return Ok(Message::default()),
        ValueRef::Array(items) => items,
        _ if bytes[0] == 0x16 => {
            return err("a TLS handshake on a plain port; start the receiver with --tls");
        }
        other => return err(format!("a message has to be an array, not {}", name(&other))),
    };
    let tag = match items.first() {
        Some(ValueRef::String(tag)) => {
            tag.as_str().ok_or_else(|| DecodeError("a tag that is not UTF-8".into()))?
        }
        Some(other) => return err(format!("the tag has to be a string, not {}", name(other))),
        None => return err("an empty array instead of a message"),
    };
    let (body, options) = match (items.get(1), items.len()) {
        (Some(ValueRef::Integer(_) | ValueRef::Ext(..)), 3) => {
            (Body::Single(&items[1], &items[2]), None)
        }
        (Some(ValueRef::Integer(_) | ValueRef::Ext(..)), 4) => {
            (Body::Single(&items[1], &items[2]), Some(&items[3]))
        }
        (Some(ValueRef::Array(entries)), 2 | 3) => (Body::Entries(entries), items.get(2)),
        (Some(ValueRef::Binary(packed)), 2 | 3) => (Body::Packed(packed), items.get(2)),
        (Some(ValueRef::String(packed)), 2 | 3) => (Body::Packed(packed.as_bytes()), items.get(2)),
        (Some(other), count) => {
            return err(format!("no mode has {count} elements with {} after the tag", name(other)));
        }
        (None, _) => return err("nothing after the tag"),
    };
    let options = Options::read(options)?;
    let mut events = 0;
    let mut count = |event: Event<'_>| {
        events += 1;
        take(event);
    };
    match body {
        _ if options.signal > 0 => {
            let Body::Packed(packed) = body else {
                return err(format!("a message of signal {} has to be packed", options.signal));
            };
            each_packed(packed, &options, |entry| {
                let nothing = Time { seconds: 0, nanoseconds: 0 };
                count(Event {
                    tag,
                    time: nothing,
                    metadata: None,
                    record: map(entry)?,
                    signal: options.signal,
                });
                Ok(())
            })?;
        }
        Body::Single(time, record) => {
            count(Event {
                tag,
                time: time_of(time)?,
                metadata: None,
                record: map(record)?,
                signal: 0,
            });
        }
        Body::Entries(entries) => {
            for entry in entries {
                count(event(tag, entry)?);
            }
        }
        Body::Packed(packed) => each_packed(packed, &options, |entry| {
            count(event(tag, entry)?);
            Ok(())
        })?,
    }
    Ok(Message { events, dropped: 0, chunk: options.chunk, size: options.size })
}

/// The answer to a message that carried `chunk`.
pub fn ack(chunk: &str) -> Vec<u8> {
    encode(&Value::Map(vec![("ack".into(), chunk.into())]))
}

pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a Vec takes every write");
    bytes
}

/// Decodes one value, which must be complete.
pub fn parse(bytes: &[u8]) -> Result<ValueRef<'_>, DecodeError> {
    let mut rest = bytes;
    rmpv::decode::read_value_ref(&mut rest)
        .map_err(|error| DecodeError(format!("MessagePack: {error}")))
}

/// The type of `value`, for messages that say what it should have been.
pub fn name(value: &ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Nil => "nil",
        ValueRef::Boolean(_) => "a boolean",
        ValueRef::Integer(_) => "an integer",
        ValueRef::F32(_) | ValueRef::F64(_) => "a float",
        ValueRef::String(_) => "a string",
        ValueRef::Binary(_) => "binary data",
        ValueRef::Array(_) => "an array",
        ValueRef::Map(_) => "a map",
        ValueRef::Ext(..) => "an extension",
    }
}

enum Body<'a> {
    Single(&'a ValueRef<'a>, &'a ValueRef<'a>),
    Entries(&'a [ValueRef<'a>]),
    Packed(&'a [u8]),
}

/// Passes on the entries of a packed body; first decompresses it if the options say so.
pub fn each_packed(
    packed: &[u8],
    options: &Options,
    mut take: impl FnMut(&ValueRef<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let packed = if options.gzip { gunzip(packed)? } else { Cow::Borrowed(packed) };
    let mut rest: &[u8] = &packed;
    while !rest.is_empty() {
        let Some(length) = value_length(rest)? else {
            return err("packed events that end inside an event");
        };
        take(&parse(&rest[..length])?)?;
        rest = &rest[length..];
    }
    Ok(())
}

#[derive(Default)]
pub struct Options {
    pub chunk: Option<String>,
    pub size: Option<u64>,
    gzip: bool,
    signal: u64,
}

impl Options {
    pub fn read(value: Option<&ValueRef<'_>>) -> Result<Options, DecodeError> {
        let mut options = Options::default();
        let entries = match value {
            None | Some(ValueRef::Nil) => return Ok(options),
            Some(ValueRef::Map(entries)) => entries,
            Some(other) => return err(format!("options have to be a map, not {}", name(other))),
        };
        for (key, value) in entries {
            let ValueRef::String(key) = key else {
                return err(format!("an option's name has to be a string, not {}", name(key)));
            };
            let text = match value {
                ValueRef::String(text) => text.as_str(),
                _ => None,
            };
            match (key.as_str(), value, text) {
                (Some("chunk"), ValueRef::Nil, _) => {}
                (Some("chunk"), _, Some(chunk)) => options.chunk = Some(chunk.to_owned()),
                (Some("chunk"), ..) => {
                    return err(format!("options.chunk is {}, not UTF-8 text", name(value)));
                }
                (Some("size"), ..) => match value.as_u64() {
                    Some(size) => options.size = Some(size),
                    None => return err("options.size is no number of events"),
                },
                (Some("fluent_signal"), ..) => match value.as_u64() {
                    Some(signal @ 0..=2) => options.signal = signal,
                    _ => return err("options.fluent_signal is none of 0, 1 and 2"),
                },
                (Some("compressed"), _, Some("gzip")) => options.gzip = true,
                (Some("compressed"), _, Some("text")) => {}
                (Some("compressed"), ..) => {
                    return err("options.compressed has to be \"gzip\" or \"text\"");
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// Decompresses all members: senders append one for each batch.
fn gunzip(packed: &[u8]) -> Result<Cow<'static, [u8]>, DecodeError> {
    let mut plain = Vec::new();
    match MultiGzDecoder::new(packed).take(LIMIT as u64 + 1).read_to_end(&mut plain) {
        Ok(_) if plain.len() > LIMIT => err(format!("gzip data of more than {LIMIT} bytes")),
        Ok(_) => Ok(Cow::Owned(plain)),
        Err(error) => err(format!("gzip: {error}")),
    }
}

fn event<'a>(tag: &'a str, entry: &'a ValueRef<'a>) -> Result<Event<'a>, DecodeError> {
    let ValueRef::Array(pair) = entry else {
        return err(format!("an event has to be [time, record], not {}", name(entry)));
    };
    let [header, record] = &pair[..] else {
        return err(format!("an event has to be [time, record], not an array of {}", pair.len()));
    };
    let record = map(record)?;
    let ValueRef::Array(header) = header else {
        return Ok(Event { tag, time: time_of(header)?, metadata: None, record, signal: 0 });
    };
    match &header[..] {
        [time, metadata] => Ok(Event {
            tag,
            time: time_of(time)?,
            metadata: Some(map(metadata)?),
            record,
            signal: 0,
        }),
        _ => err(format!(
            "an event's header has to be [time, metadata], not an array of {}",
            header.len()
        )),
    }
}

fn map<'a>(value: &'a ValueRef<'a>) -> Result<&'a ValueRef<'a>, DecodeError> {
    match value {
        ValueRef::Map(_) => Ok(value),
        other => err(format!("a record or its metadata has to be a map, not {}", name(other))),
    }
}

pub fn time_of(value: &ValueRef<'_>) -> Result<Time, DecodeError> {
    match value {
        ValueRef::Integer(seconds) => match seconds.as_i64() {
            Some(seconds) => Ok(Time { seconds, nanoseconds: 0 }),
            None => err(format!("{seconds} is no time in seconds")),
        },
        // EventTime: seconds and nanoseconds, 32 bits each, big endian.
        &ValueRef::Ext(0, &[a, b, c, d, e, f, g, h]) => Ok(Time {
            seconds: u32::from_be_bytes([a, b, c, d]).into(),
            nanoseconds: u32::from_be_bytes([e, f, g, h]),
        }),
        ValueRef::Ext(kind, bytes) => err(format!(
            "an EventTime is ext type 0 of 8 bytes, not type {kind} of {}",
            bytes.len()
        )),
        other => err(format!("a time has to be an EventTime or an integer, not {}", name(other))),
    }
}

#[cfg(test)]
mod tests;
