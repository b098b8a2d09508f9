//! The faults that this server can be told to show to clients, and what it has counted so far. All
//! connections share them. Each use reads them again, so a command holds from the next message on.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

#[derive(Default)]
pub struct Switch(AtomicBool);

impl Switch {
    pub fn is_on(&self) -> bool {
        self.0.load(SeqCst)
    }

    pub fn set(&self, on: bool) {
        self.0.store(on, SeqCst);
    }
}

/// The control commands of the same names switch them.
#[derive(Default)]
pub struct Faults {
    pub drop_acks: Switch,
    pub split_acks: Switch,
    pub late_acks: Switch,
    pub wrong_acks: Switch,
    pub no_pong: Switch,
    pub wrong_pong_digest: Switch,
    pub wrong_helo: Switch,
    /// The number of bytes after which a new connection is reset, plus 1; 0 is off.
    reset_after: AtomicU64,
}

impl Faults {
    pub fn reset_after(&self) -> Option<u64> {
        self.reset_after.load(SeqCst).checked_sub(1)
    }

    pub fn set_reset_after(&self, bytes: Option<u64>) {
        self.reset_after.store(bytes.map_or(0, |bytes| bytes.saturating_add(1)), SeqCst);
    }

    pub fn switch(&self, name: &str) -> Option<&Switch> {
        Some(match name {
            "drop-acks" => &self.drop_acks,
            "split-acks" => &self.split_acks,
            "late-acks" => &self.late_acks,
            "wrong-acks" => &self.wrong_acks,
            "no-pong" => &self.no_pong,
            "wrong-pong-digest" => &self.wrong_pong_digest,
            "wrong-helo" => &self.wrong_helo,
            _ => return None,
        })
    }
}

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, SeqCst);
    }

    pub fn take_back(&self, less: u64) {
        self.0.fetch_sub(less, SeqCst);
    }

    pub fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

#[derive(Default)]
pub struct Counts {
    /// Records of messages that were decoded completely, and written out if `--out` is set.
    pub records: Count,
    /// Connections accepted since the start.
    pub connections: Count,
    /// Those of them that completed a TLS handshake.
    pub tls: Count,
    /// Bytes read from sockets; with TLS, encrypted bytes.
    pub bytes: Count,
    /// Correct acks, sent completely.
    pub acks: Count,
    /// Connections that this server ended because of what came over them.
    pub errors: Count,
    /// Events that a fluentd would have dropped, and acknowledged.
    pub dropped: Count,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { records, connections, tls, bytes, acks, errors, dropped } = self;
        let [records, connections, tls, bytes, acks, errors, dropped] =
            [records, connections, tls, bytes, acks, errors, dropped].map(Count::get);
        write!(
            f,
            "records={records} connections={connections} tls={tls} bytes={bytes} acks={acks} \
             errors={errors} dropped={dropped}"
        )
    }
}
