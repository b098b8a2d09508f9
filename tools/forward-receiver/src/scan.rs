//! Finds the end of one MessagePack value in bytes that arrive piece by piece. It looks at each
//! byte once, however small the pieces are. It must never read past what has arrived, and never
//! trust a length above `LIMIT`.

use std::fmt;

/// The largest message accepted. A larger length field means a broken sender, not a big batch.
pub const LIMIT: usize = 256 << 20;

/// Why a message cannot be accepted. Its connection must be closed.
#[derive(Debug, PartialEq, Eq)]
pub struct DecodeError(pub String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub fn err<T>(text: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError(text.into()))
}

/// Progress through one value. Each value inside an array or map is one more to read. So a count of
/// the values still to come is enough, without a stack, and deep nesting cannot use up memory.
struct Scan {
    /// Offset of the next header; past the end of the buffer while a payload is still arriving.
    next: usize,
    /// Values still to be read, including the outer one.
    pending: u64,
}

impl Scan {
    const START: Scan = Scan { next: 0, pending: 1 };

    /// The length of the value at the start of `bytes`; `None` until its end has arrived.
    fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        while self.pending > 0 {
            let Some(rest) = bytes.get(self.next..) else { return Ok(None) };
            let Some(head) = head(rest)? else { return Ok(None) };
            self.pending = self.pending - 1 + head.children;
            self.next += head.length;
            if self.next > LIMIT {
                return err(format!("a message of more than {LIMIT} bytes"));
            }
        }
        Ok((self.next <= bytes.len()).then_some(self.next))
    }
}

struct Head {
    /// Header and payload together, in bytes.
    length: usize,
    /// Values that follow as elements (twice the entries of a map).
    children: u64,
}

/// Reads one header (MessagePack specification, "Formats"); `None` if it has not arrived
/// completely.
fn head(bytes: &[u8]) -> Result<Option<Head>, DecodeError> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    let number = |width: usize| {
        let digits = bytes.get(1..1 + width)?;
        Some(digits.iter().fold(0u64, |sum, &digit| sum << 8 | u64::from(digit)))
    };
    let fixed = |payload: usize| Some(Head { length: 1 + payload, children: 0 });
    let sized = |width: usize, more: usize| {
        number(width).map(|size| Head { length: 1 + width + more + size as usize, children: 0 })
    };
    let nested = |width: usize, each: u64| {
        number(width).map(|size| Head { length: 1 + width, children: size * each })
    };
    Ok(match kind {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => fixed(0),
        0x80..=0x8f => Some(Head { length: 1, children: 2 * u64::from(kind & 0x0f) }),
        0x90..=0x9f => Some(Head { length: 1, children: u64::from(kind & 0x0f) }),
        0xa0..=0xbf => fixed(usize::from(kind & 0x1f)),
        0xc1 => return err("byte 0xc1, which MessagePack never uses"),
        0xc4 | 0xd9 => sized(1, 0),
        0xc5 | 0xda => sized(2, 0),
        0xc6 | 0xdb => sized(4, 0),
        0xc7 => sized(1, 1),
        0xc8 => sized(2, 1),
        0xc9 => sized(4, 1),
        0xcc | 0xd0 => fixed(1),
        0xcd | 0xd1 => fixed(2),
        0xca | 0xce | 0xd2 => fixed(4),
        0xcb | 0xcf | 0xd3 => fixed(8),
        0xd4..=0xd8 => fixed(1 + (1 << (kind - 0xd4))),
        0xdc => nested(2, 1),
        0xdd => nested(4, 1),
        0xde => nested(2, 2),
        0xdf => nested(4, 2),
    })
}

/// The length of the first value in `bytes`; `None` if it is not complete.
pub fn value_length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    Scan { ..Scan::START }.advance(bytes)
}

/// Collects what a connection delivers and returns it one whole value at a time.
pub struct Splitter {
    buffer: Vec<u8>,
    start: usize,
    scan: Scan,
}

impl Splitter {
    pub fn new() -> Self {
        Splitter { buffer: Vec::new(), start: 0, scan: Scan::START }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole value, or `None` until more is fed.
    pub fn next(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        let Some(length) = self.scan.advance(&self.buffer[self.start..])? else { return Ok(None) };
        let begin = self.start;
        self.start += length;
        self.scan = Scan::START;
        Ok(Some(&self.buffer[begin..self.start]))
    }

    /// Bytes of a value whose end has not arrived.
    pub fn unfinished(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmpv::Value;

    fn encode(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        bytes
    }

    /// One value of every format the encoder knows, at the sizes where the format changes.
    fn values() -> Vec<Value> {
        let mut all = vec![Value::Nil, Value::from(true), Value::from(1.5f32), Value::from(1.5f64)];
        for shift in [0, 6, 7, 8, 15, 16, 31, 32, 62] {
            all.extend([Value::from(1u64 << shift), Value::from(-(1i64 << shift))]);
        }
        for size in [0, 1, 31, 32, 255, 256, 65535, 65536] {
            all.push(Value::from("x".repeat(size)));
            all.push(Value::from(vec![0xc1u8; size]));
        }
        for size in [0, 1, 2, 4, 8, 16, 17, 255, 256, 65536] {
            all.push(Value::Ext(0, vec![0xc1; size]));
        }
        for size in [0, 15, 16, 65535, 65536] {
            all.push(Value::Array(vec![Value::from(7); size]));
            all.push(Value::Map(vec![(Value::from(7), Value::Array(vec![Value::Nil])); size]));
        }
        all
    }

    #[test]
    fn every_format_ends_where_the_encoder_ended_it() {
        for value in values() {
            let mut bytes = encode(&value);
            let length = bytes.len();
            assert_eq!(value_length(&bytes[..length - 1]), Ok(None));
            bytes.extend([0x93, 0xc0]);
            assert_eq!(value_length(&bytes), Ok(Some(length)));
        }
    }

    #[test]
    fn a_stream_cut_at_any_byte_gives_the_same_values() {
        let small: Vec<Vec<u8>> =
            values().iter().map(encode).filter(|bytes| bytes.len() < 300).collect();
        let stream = small.concat();
        for cut in 0..=stream.len() {
            let mut splitter = Splitter::new();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                splitter.feed(part);
                while let Some(value) = splitter.next().unwrap() {
                    seen.push(value.to_vec());
                }
            }
            assert_eq!(seen, small, "cut at {cut}");
            assert_eq!(splitter.unfinished(), 0);
        }
    }

    #[test]
    fn a_stream_of_single_bytes_gives_the_same_values() {
        let all: Vec<Vec<u8>> = values().iter().map(encode).collect();
        let mut splitter = Splitter::new();
        let mut seen = Vec::new();
        for byte in all.concat() {
            splitter.feed(&[byte]);
            while let Some(value) = splitter.next().unwrap() {
                seen.push(value.to_vec());
            }
        }
        assert!(seen == all);
    }

    #[test]
    fn nesting_of_any_depth_is_measured() {
        let mut bytes = vec![0x91; 1_000_000];
        bytes.push(0xc0);
        assert_eq!(value_length(&bytes), Ok(Some(1_000_001)));
    }

    #[test]
    fn what_cannot_be_a_message_is_refused() {
        assert!(value_length(&[0x92, 0xc1]).is_err());
        assert!(value_length(&[0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
