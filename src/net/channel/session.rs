//! The TLS of one channel: receives and sends records as far as the socket can without waiting.
//!
//! It calls rustls only through read_tls, process_new_packets and write_tls, never through its
//! Stream. Everything it sends goes through [`Wire`].

use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, ProtocolVersion};

use super::failure::{Ending, Failure, Look, broken};
use super::heard::{Came, Heard};
use super::inbox::Inbox;
use super::records::Records;
use super::unsent::{Offer, Offered, Progress, Unsent};
use crate::base::error::Status;
use crate::net::local::is_local;
use crate::net::portion::Portion;
use crate::net::socket::{Socket, Wire};
use crate::net::tls::{self, Asked, TlsClient};

/// How much encrypted data rustls may hold before it is sent: four records, so that a large write
/// needs few system calls and memory stays limited.
const TLS_SEND_BUFFER: usize = 64 * 1024;

/// How many records one key may protect in TLS 1.2. At 2^24 with AES-GCM (RFC 8446 section 5.5
/// gives the reason) rustls silently drops what it is given. So a write fails here 2^16 records
/// earlier, and a connection is no longer reused after half of this number.
const TLS12_RECORDS: u64 = (1 << 24) - (1 << 16);

/// How many slices rustls gets at a time. It goes over all of them for each record that it makes,
/// so more would cost time, and fewer would make short records of very short slices.
const SLICES: usize = 4096;

/// How often closing a connection reads to get its tickets, 4 KiB at a time.
const FAREWELL_READS: usize = 4;

/// A TLS session of a client.
pub(super) struct Session {
    tls: ClientConnection,
    client: Arc<TlsClient>,
    /// Whether the server asked for a client certificate. A TLS 1.3 server refuses the certificate
    /// only after the handshake.
    asked: Asked,
    /// The protocol agreed on by ALPN.
    alpn: Option<Box<CStr>>,
    /// An upper bound of the records sent; see [`TLS12_RECORDS`].
    records: u64,
    received: Records,
    /// How many records the last read brought.
    fresh: usize,
    /// How many session tickets have been counted.
    tickets: u32,
    /// A look found more to receive than it may: closing must not read on.
    is_flooded: bool,
}

/// The socket, as rustls reads it; follows the records.
struct Followed<'a> {
    wire: Wire<'a>,
    records: &'a mut Records,
}

impl Read for Followed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.wire.read(buffer)?;
        self.records.follow(&buffer[..got]);
        Ok(got)
    }
}

impl Session {
    pub(super) fn new(client: &Arc<TlsClient>) -> Result<Session, rustls::Error> {
        let mut tls = ClientConnection::new(client.config(), client.name.clone())?;
        tls.set_buffer_limit(Some(TLS_SEND_BUFFER));
        Ok(Session {
            tls,
            client: Arc::clone(client),
            asked: Asked::No,
            alpn: None,
            records: 0,
            received: Records::default(),
            fresh: 0,
            tickets: 0,
            is_flooded: false,
        })
    }

    pub(super) fn version(&self) -> Option<&'static CStr> {
        match self.tls.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some(c"TLSv1.3"),
            ProtocolVersion::TLSv1_2 => Some(c"TLSv1.2"),
            _ => None,
        }
    }

    /// The protocol agreed on by ALPN; call [`Session::keep_alpn`] before.
    pub(super) fn alpn(&self) -> Option<&CStr> {
        self.alpn.as_deref()
    }

    /// Keeps the name of the protocol agreed on as C wants it.
    pub(super) fn keep_alpn(&mut self) {
        let agreed = self.tls.alpn_protocol();
        self.alpn = agreed.and_then(|name| Some(CString::new(name).ok()?.into_boxed_c_str()));
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

    /// Whether it may be used for another payload: see [`TLS12_RECORDS`].
    pub(super) fn has_life_left(&self) -> bool {
        !self.is_used_up(TLS12_RECORDS / 2)
    }

    fn is_used_up(&self, limit: u64) -> bool {
        self.records >= limit && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    pub(super) fn explain(&self, error: &rustls::Error) -> Failure {
        let after = (!self.tls.is_handshaking()).then(|| self.tls.protocol_version()).flatten();
        let (status, text) = tls::explain(error, &self.client, self.asked, after);
        (status, 0, text)
    }

    /// Why TLS takes nothing more to send: it ended before, and rustls says why once more.
    fn refused(&self, error: &io::Error) -> Failure {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        of_tls.map_or_else(|| broken(error), |inner| self.explain(inner))
    }

    /// Sends encrypted bytes with one system call.
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<usize> {
        self.tls.write_tls(&mut Wire(socket))
    }

    /// Receives records with one system call, as a part of `portion`; [`Session::process`] decrypts
    /// them. 0 is the end of the stream.
    pub(super) fn receive(&mut self, socket: &Socket, portion: &mut Portion) -> io::Result<usize> {
        let before = self.received.whole();
        let mut from = Followed { wire: Wire(socket), records: &mut self.received };
        let got = self.tls.read_tls(&mut from)?;
        self.fresh = (self.received.whole() - before) as usize;
        portion.take(got, self.fresh);
        Ok(got)
    }

    /// Takes the tickets that were decrypted from `portion`: one long record may hold hundreds, and
    /// each costs as much time as a record.
    fn count_tickets(&mut self, portion: &mut Portion) {
        let now = self.tls.tls13_tickets_received();
        let new = now.saturating_sub(self.tickets) as usize;
        self.tickets = now;
        if new > self.fresh {
            portion.take(0, new - self.fresh);
        }
    }

    /// How many session tickets of TLS 1.3 have come.
    #[cfg(test)]
    pub(super) fn tickets_received(&self) -> u32 {
        self.tls.tls13_tickets_received()
    }

    /// Decrypts what was received.
    pub(super) fn process(&mut self) -> Result<(), Failure> {
        self.tls.process_new_packets().map(drop).map_err(|error| self.explain(&error))
    }

    /// As [`Session::process`], during the handshake: remembers whether the server asks for a
    /// client certificate.
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

    /// Whether the server's verdict on the client certificate comes only after the handshake (RFC
    /// 8446 section 4.4.2.4).
    pub(super) fn awaits_verdict(&self) -> bool {
        self.asked != Asked::No && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Receives what came since the handshake. Returns whether the server has sent a record: it
    /// sends one only if it accepts the client.
    pub(super) fn has_verdict(&mut self, socket: &Socket) -> Result<bool, Failure> {
        let mut portion = Portion::new();
        while !portion.is_used_up() {
            let state = self.tls.process_new_packets().map_err(|error| self.explain(&error))?;
            if state.peer_has_closed() {
                return Err(self.turned_away());
            }
            if state.plaintext_bytes_to_read() > 0 || self.tls.tls13_tickets_received() > 0 {
                return Ok(true);
            }
            match self.receive(socket, &mut portion) {
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
        let mut portion = Portion::new();
        while !portion.is_used_up() {
            let state = self.tls.process_new_packets().map_err(|error| self.explain(&error))?;
            if state.plaintext_bytes_to_read() > 0 {
                return Ok(true);
            }
            self.count_tickets(&mut portion);
            match self.receive(socket, &mut portion) {
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

    /// The failure if the server closes without an alert, right after it saw the client certificate
    /// or that there is none.
    fn turned_away(&self) -> Failure {
        let text = match self.asked {
            Asked::InVain => {
                "the server asks for a client certificate and closed the connection because there \
                 is none; set tls.crt_file and tls.key_file"
            }
            _ => {
                "the server closed the connection after it saw the client certificate of \
                 tls.crt_file; does it trust the CA that signed it?"
            }
        };
        (Status::Cert, 0, text.to_owned())
    }

    /// Encrypts and sends what it can without waiting, also what rustls held. It takes new bytes
    /// only when rustls holds none, so that records stay large even if the socket takes little at a
    /// time.
    #[inline(never)] // the caller inlines only the plaintext path
    pub(super) fn offer(
        &mut self,
        socket: &Socket,
        unsent: &mut Unsent<'_, '_>,
        progress: &mut Progress,
        portion: &mut Portion,
    ) -> Result<Offered, Failure> {
        loop {
            while self.tls.wants_write() {
                if portion.is_used_up() {
                    return Ok(Offered::Unfinished);
                }
                match self.send(socket) {
                    Ok(sent) => {
                        portion.take(sent, 0);
                        progress.moved = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Offered::Full);
                    }
                    // A server that refuses the client sends an alert and closes. The alert says
                    // more than the error of the socket.
                    Err(error) => {
                        return Err(self.last_alert(socket).unwrap_or_else(|| broken(&error)));
                    }
                }
            }
            if unsent.is_empty() {
                return Ok(Offered::All);
            }
            if portion.is_used_up() {
                return Ok(Offered::Unfinished);
            }
            if self.is_used_up(TLS12_RECORDS) {
                let text = "TLS 1.2 allows no more records under one key; use a new connection";
                return Err((Status::Closed, 0, text.to_owned()));
            }
            let mut writer = self.tls.writer();
            let taken = match unsent.offer(SLICES) {
                // Slices share records, so that a short header does not need its own record.
                Offer::Slices(slices) => writer.write_vectored(slices),
                Offer::Cut(slices, count) => writer.write_vectored(&slices[..count]),
                Offer::Rest(bytes) => writer.write(bytes),
            };
            let taken = taken.map_err(|error| self.refused(&error))?;
            self.records += 1 + taken as u64 / (16 * 1024);
            progress.taken += taken as u64;
            unsent.advance(taken);
        }
    }

    pub(super) fn last_alert(&mut self, socket: &Socket) -> Option<Failure> {
        let mut portion = Portion::new();
        while !portion.is_used_up() {
            match self.receive(socket, &mut portion) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {
                    if let Err(failure) = self.process() {
                        return Some(failure);
                    }
                }
            }
        }
        None
    }

    /// Receives what is there, within `portion`.
    pub(super) fn try_read(
        &mut self,
        socket: &Socket,
        buffer: &mut [u8],
        portion: &mut Portion,
    ) -> Result<Came, Failure> {
        let mut heard = Heard::NOTHING;
        loop {
            // Bytes that a write left, or the answer to a key update. The next write reports a
            // failure.
            if self.tls.wants_write() {
                let _ = self.send(socket);
            }
            match self.tls.reader().read(buffer) {
                Ok(got) => return Ok(Came::Bytes(got)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the server closed the connection without the close_notify of TLS";
                    return Err((Status::Closed, 0, text.to_owned()));
                }
                Err(error) => return Err(broken(&error)),
            }
            // All that was received is decrypted, so the socket shows whether there is more.
            if portion.is_used_up() {
                return Ok(Came::Unfinished(heard));
            }
            let before = self.received.whole();
            match self.receive(socket, portion) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Came::Nothing(heard));
                }
                Err(error) => return Err(broken(&error)),
                Ok(_) => self.process()?,
            }
            self.count_tickets(portion);
            heard = heard.and(Heard {
                messages: self.received.whole() > before,
                part: self.received.is_within(),
            });
        }
    }

    /// Moves what is there to `inbox`. Returns whether nothing more will come. rustls accepts no
    /// records while it holds 16 KiB of unread plaintext, so that is taken out before and after.
    pub(super) fn absorb(&mut self, socket: &Socket, inbox: &mut Inbox) -> Result<bool, Failure> {
        inbox.fill_all(|room| self.tls.reader().read(room));
        match self.receive(socket, &mut Portion::new()) {
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
    pub(super) fn look(&mut self, socket: &Socket, portion: &mut Portion) -> Look {
        let mut unread = false;
        loop {
            match self.tls.process_new_packets() {
                Err(error) => return Look::Ended(Ending::Refused(self.explain(&error))),
                // A ticket or a key update does not concern the plugin; after anything else the
                // connection must not be reused.
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
            self.count_tickets(portion);
            let is_over = portion.is_used_up();
            match self.receive(socket, portion) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && !unread => {
                    return Look::Quiet;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) => return Look::Ended(Ending::Closed),
                Err(error) => return Look::Ended(Ending::Broken(broken(&error))),
                Ok(_) if is_over => {
                    self.is_flooded = true;
                    break;
                }
                Ok(_) => {}
            }
        }
        Look::Ended(Ending::Unread)
    }

    /// Throws unread plaintext away: rustls accepts no records while it holds 16 KiB of it.
    #[inline(never)] // keeps its buffer off the stack of what look() calls
    fn drop_unread(&mut self) {
        let mut waste = [0; 512];
        while matches!(self.tls.reader().read(&mut waste), Ok(1..)) {}
    }

    /// Sends close_notify, without waiting. First it receives what is there: the tickets of TLS 1.3
    /// come after the handshake, and without this a connection that only wrote would leave no
    /// ticket with which the next one could resume.
    pub(super) fn say_goodbye(&mut self, socket: &Socket) {
        let is_tls13 = self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let reads = if is_tls13 && !self.is_flooded { FAREWELL_READS } else { 0 };
        let mut portion = Portion::new();
        for _ in 0..reads {
            if portion.is_used_up() {
                break;
            }
            match self.receive(socket, &mut portion) {
                Ok(1..) if self.process().is_ok() => self.count_tickets(&mut portion),
                _ => break,
            }
        }
        self.tls.send_close_notify();
        // The peer may be gone, and nothing depends on this.
        let _ = self.send(socket);
    }
}
