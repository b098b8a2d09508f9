//! The names of payloads. A payload has the same name at every node and at every resend, so that a
//! receiver can drop what comes twice.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::error::{Error, Result, Status};
use crate::base::random::{mixed, random};

/// The name of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadId(Arc<CStr>);

/// The longest name that a host may give.
const LONGEST: usize = 64;

impl PayloadId {
    /// A name given by the host: 1 to 64 bytes of printable ASCII.
    pub fn of_host(name: &[u8]) -> Result<PayloadId> {
        let is_plain = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if !is_plain || !(1..=LONGEST).contains(&name.len()) {
            let cause = "payload_id must be 1 to 64 bytes of printable ASCII";
            return Err(Error::new(Status::InvalidArg, cause));
        }
        Ok(PayloadId(CString::new(name).unwrap_or_default().into()))
    }

    /// As a C string.
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }
}

/// Makes names that nobody else makes: 32 hex digits.
#[derive(Debug)]
pub struct PayloadIds {
    first: [u64; 2],
    made: AtomicU64,
}

impl Default for PayloadIds {
    fn default() -> Self {
        PayloadIds { first: [random(), random()], made: AtomicU64::new(0) }
    }
}

impl PayloadIds {
    /// The next one.
    pub fn make(&self) -> PayloadId {
        let count = self.made.fetch_add(1, Relaxed);
        let [high, low] = self.first;
        // Each half takes every value once before one comes again. That consecutive names look
        // alike does no harm.
        let (high, low) = (mixed(high ^ count), mixed(low.wrapping_add(count)));
        let name = format!("{high:016x}{low:016x}");
        PayloadId(CString::new(name).unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn made_names_differ_and_have_32_hex_digits() {
        let (one, other) = (PayloadIds::default(), PayloadIds::default());
        let mut seen = HashSet::new();
        for ids in [&one, &other] {
            for _ in 0..1000 {
                let name = ids.make().as_c_str().to_str().unwrap().to_owned();
                assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
                assert!(seen.insert(name));
            }
        }
    }

    #[test]
    fn a_name_of_the_hosts_is_plain_and_short() {
        for good in ["x", "with blanks ~!", &"x".repeat(64)] {
            assert_eq!(PayloadId::of_host(good.as_bytes()).unwrap().as_c_str().to_str(), Ok(good));
        }
        for bad in [&b""[..], b"new\nline", b"\xc3\xa4", b"nul\0", &[b'x'; 65]] {
            assert_eq!(PayloadId::of_host(bad).unwrap_err().status, Status::InvalidArg, "{bad:?}");
        }
    }
}
