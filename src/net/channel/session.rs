//! The TLS of one channel: records in, records out, as far as the socket goes without waiting.
//!
//! rustls is driven by read_tls, process_new_packets and write_tls, never by its Stream; everything
//! that is sent goes through [`Wire`].

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, ProtocolVersion};

use super::failure::{Ending, Failure, Look, broken};
use super::inbox::Inbox;
use super::unsent::{Offer, Progress, Unsent};
use crate::base::error::Status;
use crate::net::local::is_local;
use crate::net::socket::{Socket, Wire};
use crate::net::tls::{self, Asked, TlsClient};

/// How much plaintext rustls may hold encrypted before it is sent: four records, so that a large
/// write goes out in few system calls and memory stays bounded.
const TLS_SEND_BUFFER: usize = 64 * 1024;

/// Records of one key in TLS 1.2. rustls stops at 2^24 with AES-GCM (RFC 8446 section 5.5 gives the
/// reason) and then drops what it is handed without a word; well before that a write fails here,
/// and long before that no connection is kept.
const TLS12_RECORDS: u64 = (1 << 24) - (1 << 16);

/// How often one look at an idle connection reads from it, 4 KiB at a time: who floods it with
/// tickets is not to hold up the look.
const LOOK_READS: usize = 16;

/// How often a connection that is closed is read from for its tickets, 4 KiB at a time.
const FAREWELL_READS: usize = 4;

/// A TLS session of a client.
pub(super) struct Session {
    tls: ClientConnection,
    client: Arc<TlsClient>,
    /// Whether the server asked for a client certificate. With TLS 1.3 its refusal comes only after
    /// the handshake.
    asked: Asked,
    /// Records sent, at most: what TLS 1.2 allows under one key is counted in them.
    records: u64,
}

impl Session {
    pub(super) fn new(client: &Arc<TlsClient>) -> Result<Session, rustls::Error> {
        let mut tls = ClientConnection::new(client.config(), client.name.clone())?;
        tls.set_buffer_limit(Some(TLS_SEND_BUFFER));
        Ok(Session { tls, client: Arc::clone(client), asked: Asked::No, records: 0 })
    }

    pub(super) fn version(&self) -> Option<&'static std::ffi::CStr> {
        match self.tls.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some(c"TLSv1.3"),
            ProtocolVersion::TLSv1_2 => Some(c"TLSv1.2"),
            _ => None,
        }
    }

    pub(super) fn cipher(&self) -> Option<String> {
        Some(tls::iana_name(&self.tls.negotiated_cipher_suite()?))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether encrypted bytes wait for room in the socket.
    pub(super) fn holds_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Whether it may serve another payload: see [`TLS12_RECORDS`].
    pub(super) fn has_life_left(&self) -> bool {
        !self.is_used_up(TLS12_RECORDS / 2)
    }

    fn is_used_up(&self, limit: u64) -> bool {
        self.records >= limit && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    pub(super) fn explain(&self, error: &rustls::Error) -> Failure {
        let (status, text) = tls::error::explain(error, &self.client, self.asked);
        (status, 0, text)
    }

    /// Hands encrypted bytes to the system, once.
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<usize> {
        self.tls.write_tls(&mut Wire(socket))
    }

    /// Takes records from the system, once; they count with [`Session::process`]. 0 is the end of
    /// the stream.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.tls.read_tls(&mut Wire(socket))
    }

    /// Decrypts what was received.
    pub(super) fn process(&mut self) -> Result<(), Failure> {
        self.tls.process_new_packets().map(drop).map_err(|error| self.explain(&error))
    }

    /// As [`Session::process`], during the handshake: notes whether a client certificate was asked
    /// for.
    pub(super) fn process_handshake(&mut self) -> Result<(), Failure> {
        let (outcome, asked) =
            tls::watch_for_certificate_request(|| self.tls.process_new_packets());
        if asked != Asked::No {
            self.asked = asked;
        }
        outcome.map(drop).map_err(|error| self.explain(&error))
    }

    /// Whether the server asked for a client certificate.
    pub(super) fn asked(&self) -> Asked {
        self.asked
    }

    /// Whether the verdict on the client certificate comes only after the handshake (RFC 8446
    /// section 4.4.2.4).
    pub(super) fn awaits_verdict(&self) -> bool {
        self.asked != Asked::No && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Takes in what has come since the handshake: whether the server has sent a record of its own,
    /// which it does only to a client that it takes.
    pub(super) fn has_verdict(&mut self, socket: &Socket) -> Result<bool, Failure> {
        for _ in 0..LOOK_READS {
            let state = self.tls.process_new_packets().map_err(|error| self.explain(&error))?;
            if state.peer_has_closed() {
                return Err(self.turned_away());
            }
            if state.plaintext_bytes_to_read() > 0 || self.tls.tls13_tickets_received() > 0 {
                return Ok(true);
            }
            match self.receive(socket) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if is_local(&error) => return Err(broken(&error)),
                Ok(_) | Err(_) => return Err(self.turned_away()),
            }
        }
        Ok(true)
    }

    /// As [`Channel::has_spoken`](super::Channel::has_spoken).
    pub(super) fn has_spoken(&mut self, socket: &Socket) -> Result<bool, Failure> {
        for _ in 0..LOOK_READS {
            let state = self.tls.process_new_packets().map_err(|error| self.explain(&error))?;
            if state.plaintext_bytes_to_read() > 0 {
                return Ok(true);
            }
            match self.receive(socket) {
                Ok(1..) if !state.peer_has_closed() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !state.peer_has_closed() => {
                    return Ok(false);
                }
                Err(error) if is_local(&error) => return Err(broken(&error)),
                _ => {
                    return Err((Status::Closed, 0, "the server closed the connection".to_owned()));
                }
            }
        }
        Ok(true)
    }

    /// The server closed without an alert, right after it had seen what there is of a client
    /// certificate.
    fn turned_away(&self) -> Failure {
        let text = match self.asked {
            Asked::InVain => {
                "the server asks for a client certificate and closed the connection without one; \
                 set \
                 tls.crt_file and tls.key_file"
            }
            _ => {
                "the server closed the connection once it had seen the client certificate of \
                 tls.crt_file; does it trust the CA that signed it?"
            }
        };
        (Status::Cert, 0, text.to_owned())
    }

    /// Encrypts and sends what goes without waiting; whether nothing is left, held bytes included.
    /// New bytes are taken only when none are held, so that records stay large however little the
    /// socket takes.
    #[inline(never)] // beside the plaintext that the caller inlines
    pub(super) fn offer(
        &mut self,
        socket: &Socket,
        unsent: &mut Unsent<'_, '_>,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        loop {
            while self.tls.wants_write() {
                match self.send(socket) {
                    Ok(_) => progress.moved = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    // A server that refuses us sends an alert and closes; the alert says more than
                    // the closing.
                    Err(error) => {
                        return Err(self.last_alert(socket).unwrap_or_else(|| broken(&error)));
                    }
                }
            }
            if unsent.is_empty() {
                return Ok(true);
            }
            if self.is_used_up(TLS12_RECORDS) {
                let text = "TLS 1.2 allows no more records under one key; take a new connection";
                return Err((Status::Closed, 0, text.to_owned()));
            }
            let mut writer = self.tls.writer();
            let taken = match unsent.offer() {
                // Slices share records, so that a short header costs none of its own.
                Offer::Slices(slices) => writer.write_vectored(slices),
                Offer::Rest(bytes) => writer.write(bytes),
            };
            let taken = taken.map_err(|error| broken(&error))?;
            self.records += 1 + taken as u64 / (16 * 1024);
            progress.taken += taken as u64;
            unsent.advance(taken);
        }
    }

    pub(super) fn last_alert(&mut self, socket: &Socket) -> Option<Failure> {
        loop {
            match self.receive(socket) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {
                    if let Err(failure) = self.process() {
                        return Some(failure);
                    }
                }
            }
        }
    }

    /// Receives what is there; 0 is the end of the stream in good order, `None` that nothing is
    /// there.
    pub(super) fn try_read(
        &mut self,
        socket: &Socket,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Failure> {
        loop {
            // Held bytes of a write, or the answer to a key update. Whether they go is for the next
            // write to tell.
            if self.tls.wants_write() {
                let _ = self.send(socket);
            }
            match self.tls.reader().read(buffer) {
                Ok(got) => return Ok(Some(got)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the server closed the connection without the close_notify of TLS";
                    return Err((Status::Closed, 0, text.to_owned()));
                }
                Err(error) => return Err(broken(&error)),
            }
            match self.receive(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(broken(&error)),
                Ok(_) => self.process()?,
            }
        }
    }

    /// Moves what is there to `inbox`; whether nothing more will come. rustls takes no records
    /// while 16 KiB of what it decrypted lie unread, so they are taken out before and after.
    pub(super) fn absorb(&mut self, socket: &Socket, inbox: &mut Inbox) -> Result<bool, Failure> {
        inbox.fill_all(|room| self.tls.reader().read(room));
        match self.receive(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(broken(&error)),
            Ok(_) => {
                self.process()?;
                Ok(inbox.fill_all(|room| self.tls.reader().read(room)))
            }
        }
    }

    /// As [`Channel::look`](super::Channel::look).
    #[inline(never)]
    pub(super) fn look(&mut self, socket: &Socket) -> Look {
        let mut unread = false;
        for _ in 0..LOOK_READS {
            match self.tls.process_new_packets() {
                Err(error) => return Look::Ended(Ending::Refused(self.explain(&error))),
                // A ticket or key update is no business of the plugin's; anything else ends the
                // reuse.
                Ok(state) => {
                    unread |= state.plaintext_bytes_to_read() > 0;
                    if state.peer_has_closed() {
                        return Look::Ended(Ending::Closed);
                    }
                }
            }
            if unread {
                self.drop_unread();
            }
            match self.receive(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && !unread => {
                    return Look::Quiet;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) => return Look::Ended(Ending::Closed),
                Err(error) => return Look::Ended(Ending::Broken(broken(&error))),
                Ok(_) => {}
            }
        }
        Look::Ended(Ending::Unread)
    }

    /// rustls takes no records while 16 KiB of what it decrypted lie unread.
    #[inline(never)] // its buffer is not to lie under what look() calls
    fn drop_unread(&mut self) {
        let mut waste = [0; 512];
        while matches!(self.tls.reader().read(&mut waste), Ok(1..)) {}
    }

    /// Says goodbye as far as that goes without waiting. The tickets of TLS 1.3 come after the
    /// handshake: what is there is taken in first, or a connection that only ever wrote would leave
    /// nothing to resume the next one by.
    pub(super) fn say_goodbye(&mut self, socket: &Socket) {
        let reads = if self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            FAREWELL_READS
        } else {
            0
        };
        for _ in 0..reads {
            match self.receive(socket) {
                Ok(1..) if self.process().is_ok() => {}
                _ => break,
            }
        }
        self.tls.send_close_notify();
        // Best effort: the peer may be gone, and nothing depends on it.
        let _ = self.send(socket);
    }
}
