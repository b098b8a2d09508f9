use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

fn text(text: &str) -> Value {
    Value::from(text)
}

fn map_of(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| (text(key), value.clone())).collect())
}

fn event_time(seconds: u32, nanoseconds: u32) -> Value {
    Value::Ext(0, [seconds.to_be_bytes(), nanoseconds.to_be_bytes()].concat())
}

/// Three events: an EventTime, a whole second, a header with metadata.
fn events() -> Vec<Value> {
    let record = |n: u64| map_of(&[("n", Value::from(n))]);
    vec![
        Value::Array(vec![event_time(1_700_000_000, 5), record(1)]),
        Value::Array(vec![Value::from(1_700_000_001u64), record(2)]),
        Value::Array(vec![
            Value::Array(vec![
                event_time(4_000_000_000, 999_999_999),
                map_of(&[("m", Value::from(1))]),
            ]),
            record(3),
        ]),
    ]
}

fn packed() -> Vec<u8> {
    events().iter().flat_map(encode).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Each event as `tag time record`, with the metadata's size appended where there is any.
fn decode_all(message: &Value) -> Result<(Message, Vec<String>), DecodeError> {
    let mut seen = Vec::new();
    let message = decode(&encode(message), &mut |event: Event<'_>| {
        let metadata = event.metadata.map(|map| format!(" {map}")).unwrap_or_default();
        seen.push(format!("{} {} {}{metadata}", event.tag, event.time, event.record));
    })?;
    Ok((message, seen))
}

fn all_three() -> Vec<String> {
    vec![
        "app 1700000000.000000005 {\"n\": 1}".into(),
        "app 1700000001.000000000 {\"n\": 2}".into(),
        "app 4000000000.999999999 {\"n\": 3} {\"m\": 1}".into(),
    ]
}

fn refused(items: Vec<Value>) -> String {
    decode_all(&Value::Array(items)).unwrap_err().0
}

#[test]
fn forward_mode() {
    let (message, seen) =
        decode_all(&Value::Array(vec![text("app"), Value::Array(events())])).unwrap();
    assert_eq!(message, Message { events: 3, ..Message::default() });
    assert_eq!(seen, all_three());

    let options = map_of(&[
        ("size", Value::from(3)),
        ("chunk", text("id==")),
        ("fluent_signal", Value::from(0)),
    ]);
    let (message, _) =
        decode_all(&Value::Array(vec![text("app"), Value::Array(events()), options])).unwrap();
    assert_eq!(
        message,
        Message { events: 3, dropped: 0, chunk: Some("id==".into()), size: Some(3) }
    );
}

#[test]
fn packed_forward_mode_as_binary_and_as_string() {
    let (message, seen) =
        decode_all(&Value::Array(vec![text("app"), Value::Binary(packed())])).unwrap();
    assert_eq!(message.events, 3);
    assert_eq!(seen, all_three());
    let (message, _) = decode_all(&Value::Array(vec![text("app"), text("")])).unwrap();
    assert_eq!(message.events, 0);
    // The encoder writes no string that is not UTF-8, though senders do: built by hand.
    let mut bytes = b"\x92\xa3app\xd9".to_vec();
    bytes.push(packed().len() as u8);
    bytes.extend(packed());
    assert_eq!(decode(&bytes, &mut |_| {}).unwrap().events, 3);
}

#[test]
fn packed_forward_mode_with_one_gzip_member_and_with_several() {
    let options = || map_of(&[("compressed", text("gzip")), ("chunk", text("c"))]);
    let members: Vec<u8> = events().iter().flat_map(|event| gzip(&encode(event))).collect();
    for body in [gzip(&packed()), members] {
        let message = Value::Array(vec![text("app"), Value::Binary(body), options()]);
        let (message, seen) = decode_all(&message).unwrap();
        assert_eq!(message.chunk.as_deref(), Some("c"));
        assert_eq!(seen, all_three());
    }
    let mut cut = gzip(&packed());
    cut.truncate(cut.len() - 9);
    assert!(refused(vec![text("app"), Value::Binary(cut), options()]).starts_with("gzip: "));
}

#[test]
fn message_mode() {
    let record = map_of(&[("n", Value::from(1))]);
    let options = map_of(&[("chunk", text("c"))]);
    for time in [event_time(1_700_000_000, 0), Value::from(1_700_000_000)] {
        let plain = Value::Array(vec![text("app"), time.clone(), record.clone()]);
        let (message, seen) = decode_all(&plain).unwrap();
        assert_eq!(message, Message { events: 1, ..Message::default() });
        assert_eq!(seen, ["app 1700000000.000000000 {\"n\": 1}"]);

        let with_options = Value::Array(vec![text("app"), time, record.clone(), options.clone()]);
        assert_eq!(decode_all(&with_options).unwrap().0.chunk.as_deref(), Some("c"));
    }
}

#[test]
fn metrics_and_traces_are_maps() {
    let maps: Vec<u8> =
        [1, 2].iter().flat_map(|n| encode(&map_of(&[("n", Value::from(*n))]))).collect();
    for signal in [1, 2] {
        let options = map_of(&[("fluent_signal", Value::from(signal))]);
        let message = Value::Array(vec![text("app"), Value::Binary(maps.clone()), options.clone()]);
        let mut seen = Vec::new();
        let taken = decode(&encode(&message), &mut |event| {
            seen.push((event.signal, event.record.to_string()))
        });
        assert_eq!(taken.unwrap().events, 2);
        assert_eq!(seen, [(signal, "{\"n\": 1}".to_owned()), (signal, "{\"n\": 2}".to_owned())]);
        assert!(
            refused(vec![text("app"), Value::Array(events()), options])
                .contains("has to be packed")
        );
    }
    let other = map_of(&[("fluent_signal", Value::from(9))]);
    assert!(
        refused(vec![text("app"), Value::Binary(maps.clone()), other])
            .contains("none of 0, 1 and 2")
    );
    assert!(refused(vec![text("app"), Value::Binary(maps)]).contains("[time, record]"));
}

#[test]
fn a_heartbeat_is_a_message_of_no_events() {
    assert_eq!(decode_all(&Value::Nil).unwrap().0, Message::default());
}

#[test]
fn what_is_no_message_is_refused_with_its_reason() {
    let record = map_of(&[]);
    let body = || Value::Array(events());
    assert_eq!(refused(vec![]), "an empty array instead of a message");
    assert_eq!(refused(vec![text("app")]), "nothing after the tag");
    assert_eq!(refused(vec![Value::from(1), body()]), "the tag has to be a string, not an integer");
    assert_eq!(
        refused(vec![text("PING"), text("host"), text("salt"), text("digest"), text(""), text("")]),
        "no mode has 6 elements with a string after the tag"
    );
    assert_eq!(
        refused(vec![text("app"), body(), text("x")]),
        "options have to be a map, not a string"
    );
    assert_eq!(
        refused(vec![text("app"), body(), map_of(&[("compressed", text("zstd"))])]),
        "options.compressed has to be \"gzip\" or \"text\""
    );
    assert_eq!(
        refused(vec![text("app"), body(), map_of(&[("chunk", Value::from(1))])]),
        "options.chunk is an integer, not UTF-8 text"
    );
    assert_eq!(
        refused(vec![text("app"), Value::Ext(0, vec![0; 7]), record.clone()]),
        "an EventTime is ext type 0 of 8 bytes, not type 0 of 7"
    );
    assert_eq!(
        refused(vec![text("app"), Value::Array(vec![Value::Array(vec![Value::from(1)])])]),
        "an event has to be [time, record], not an array of 1"
    );
    assert_eq!(
        refused(vec![text("app"), Value::from(1), Value::from(2)]),
        "a record or its metadata has to be a map, not an integer"
    );
    assert_eq!(
        decode(b"\x16\x03\x01", &mut |_| {}).unwrap_err().0,
        "a TLS handshake on a plain port; start the receiver with --tls"
    );
}

#[test]
fn packed_events_cut_at_any_byte_are_refused_unless_cut_between_events() {
    let whole = packed();
    let ends: Vec<usize> = events()
        .iter()
        .scan(0, |end, event| {
            *end += encode(event).len();
            Some(*end)
        })
        .collect();
    for cut in 1..=whole.len() {
        let result =
            decode_all(&Value::Array(vec![text("app"), Value::Binary(whole[..cut].to_vec())]));
        match ends.iter().position(|end| *end == cut) {
            Some(index) => assert_eq!(result.unwrap().0.events, index as u64 + 1),
            None => assert_eq!(result.unwrap_err().0, "packed events that end inside an event"),
        }
    }
}

#[test]
fn a_record_nested_too_deep_is_refused_not_overflowed() {
    let mut bytes = b"\x93\xa3app\x01\x81\xa1n".to_vec();
    bytes.extend([0x91; 100_000]);
    bytes.push(0xc0);
    assert!(decode(&bytes, &mut |_| {}).unwrap_err().0.starts_with("MessagePack: "));
}

#[test]
fn acks_name_the_chunk() {
    assert_eq!(ack("abc"), b"\x81\xa3ack\xa3abc");
}
