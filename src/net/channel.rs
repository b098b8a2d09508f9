//! A byte stream to one node, plaintext or TLS, and the handshake that makes the latter.
//!
//! rustls is driven by read_tls, process_new_packets and write_tls, never by its Stream; everything that is
//! sent goes through [`Wire`].

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::ClientConnection;

use super::patience::Patience;
use super::socket::{Drained, Peek, Ready, Socket, Wire};
use super::tls::{self, TlsClient};
use super::tls_error;
use crate::error::Status;

/// How much plaintext rustls may hold encrypted before it is sent: four records, so that a large write
/// goes out in few system calls and memory stays bounded.
const TLS_SEND_BUFFER: usize = 64 * 1024;

/// A connected stream.
pub struct Channel {
    socket: Socket,
    session: Option<Box<Session>>,
    peer: SocketAddr,
}

struct Session {
    tls: ClientConnection,
    client: TlsClient,
    /// The server asked for a client certificate and there was none. With TLS 1.3 its refusal comes only
    /// with the first read.
    certificate_missed: bool,
    /// Records sent, at most: what TLS 1.2 allows under one key is counted in them.
    records: u64,
}

/// Records of one key in TLS 1.2. rustls stops at 2^24 with AES-GCM (RFC 8446 section 5.5 gives the reason) and then drops what
/// it is handed without a word; well before that a write fails here, and long before that no connection is kept.
const TLS12_RECORDS: u64 = (1 << 24) - (1 << 16);

/// Why a read or write failed: status, errno, text. The caller adds the node.
pub type Failure = (Status, i32, String);

impl Channel {
    /// A plaintext stream.
    pub fn plain(socket: Socket, peer: SocketAddr) -> Channel {
        Channel { socket, session: None, peer }
    }

    /// The address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The descriptor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// `TLSv1.2` or `TLSv1.3`; `None` on plaintext.
    pub fn tls_version(&self) -> Option<&'static std::ffi::CStr> {
        match self.session.as_ref()?.tls.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => Some(c"TLSv1.3"),
            rustls::ProtocolVersion::TLSv1_2 => Some(c"TLSv1.2"),
            _ => None,
        }
    }

    /// The IANA name of the cipher suite; `None` on plaintext.
    pub fn tls_cipher(&self) -> Option<String> {
        Some(tls::iana_name(&self.session.as_ref()?.tls.negotiated_cipher_suite()?))
    }

    /// Sends all of `slices`. `sent` grows by what the system (or the TLS layer) took, failure or not.
    pub fn write_all(
        &mut self,
        slices: &[IoSlice<'_>],
        patience: &mut Patience,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        match &mut self.session {
            None => write_plain(&self.socket, slices, patience, sent),
            Some(session) => session.write_all(&self.socket, slices, patience, sent),
        }
    }

    /// Receives at least one byte; 0 is the end of the stream in good order.
    pub fn read(&mut self, buffer: &mut [u8], patience: &mut Patience) -> Result<usize, Failure> {
        match &mut self.session {
            None => loop {
                match self.socket.receive(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        wait(&self.socket, Ready::Read, patience)?;
                    }
                    Err(error) => return Err(broken(&error)),
                    Ok(got) => return Ok(got),
                }
            },
            Some(session) => session.read(&self.socket, buffer, patience),
        }
    }

    /// Whether it may serve another payload: TLS 1.2 bounds what one key may protect.
    pub fn has_life_left(&self) -> bool {
        self.session.as_ref().is_none_or(|session| !session.is_used_up(TLS12_RECORDS / 2))
    }

    /// Whether an idle stream may be used again: nothing has come but what TLS keeps to itself.
    pub fn is_quiet(&mut self) -> bool {
        match &mut self.session {
            None => self.socket.peek() == Peek::Quiet,
            Some(session) => session.is_quiet(&self.socket),
        }
    }

    /// Says goodbye, as far as that is possible without waiting. What is left is to be held until the peer closes too;
    /// nothing is left where it has.
    pub fn close(mut self) -> Option<Socket> {
        if let Some(session) = &mut self.session {
            session.tls.send_close_notify();
            // Best effort: the peer may be gone, and nothing depends on it.
            let _ = session.tls.write_tls(&mut Wire(&self.socket));
        }
        let told = self.socket.end_sending().is_ok();
        (told && self.socket.drain() == Drained::Open).then_some(self.socket)
    }
}

fn wait(socket: &Socket, ready: Ready, patience: &mut Patience) -> Result<(), Failure> {
    socket.wait(ready, patience.deadline()).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => {
            let what = match ready {
                Ready::Read => "the server sent nothing within the time given",
                Ready::Write => "the server took no more within the time given",
            };
            (Status::Timeout, 0, what.to_owned())
        }
        _ => broken(&error),
    })
}

/// A failure of the socket itself.
fn broken(error: &io::Error) -> Failure {
    let status = match error.kind() {
        ErrorKind::BrokenPipe => Status::Closed,
        ErrorKind::TimedOut => Status::Timeout, // the kernel gave up on its retransmissions
        _ => Status::Network,
    };
    (status, error.raw_os_error().unwrap_or(0), error.to_string())
}

/// What is left of a caller's slices. They go out as they are, none copied or changed; only the rest of one
/// that was split goes by itself.
struct Unsent<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// Bytes of the first slice that have gone.
    done: usize,
}

impl<'a, 'b> Unsent<'a, 'b> {
    fn new(slices: &'a [IoSlice<'b>]) -> Self {
        let mut unsent = Unsent { slices, done: 0 };
        unsent.advance(0);
        unsent
    }

    fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    fn advance(&mut self, taken: usize) {
        self.done += taken;
        while let Some((first, rest)) = self.slices.split_first()
            && self.done >= first.len()
        {
            self.done -= first.len();
            self.slices = rest;
        }
    }
}

fn write_plain(
    socket: &Socket,
    slices: &[IoSlice<'_>],
    patience: &mut Patience,
    sent: &mut u64,
) -> Result<(), Failure> {
    let mut unsent = Unsent::new(slices);
    while !unsent.is_empty() {
        let offered = match unsent.done {
            0 => socket.send_vectored(unsent.slices),
            done => socket.send(&unsent.slices[0][done..]),
        };
        match offered {
            Ok(taken) => {
                patience.progress();
                *sent += taken as u64;
                unsent.advance(taken);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, Ready::Write, patience)?,
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(())
}

impl Session {
    fn is_used_up(&self, limit: u64) -> bool {
        self.records >= limit && self.tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2)
    }

    fn explain(&self, error: &rustls::Error) -> Failure {
        let (status, text) = tls_error::explain(error, &self.client, self.certificate_missed);
        (status, 0, text)
    }

    fn write_all(
        &mut self,
        socket: &Socket,
        slices: &[IoSlice<'_>],
        patience: &mut Patience,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        let mut unsent = Unsent::new(slices);
        while !unsent.is_empty() {
            if self.is_used_up(TLS12_RECORDS) {
                let text = "TLS 1.2 allows no more records under one key; take a new connection";
                return Err((Status::Closed, 0, text.to_owned()));
            }
            let writer = &mut self.tls.writer();
            let offered = match unsent.done {
                // Slices share records, so that a short header costs none of its own.
                0 => writer.write_vectored(unsent.slices),
                done => writer.write(&unsent.slices[0][done..]),
            };
            let taken = offered.map_err(|error| broken(&error))?;
            self.records += 1 + taken as u64 / (16 * 1024);
            *sent += taken as u64;
            unsent.advance(taken);
            if !unsent.is_empty() {
                self.send_one(socket, patience)?;
            }
        }
        while self.tls.wants_write() {
            self.send_one(socket, patience)?;
        }
        Ok(())
    }

    /// Hands encrypted bytes to the system once, waiting for room.
    fn send_one(&mut self, socket: &Socket, patience: &mut Patience) -> Result<(), Failure> {
        match self.tls.write_tls(&mut Wire(socket)) {
            Ok(_) => {
                patience.progress();
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, Ready::Write, patience),
            // A server that refuses us sends an alert and closes; the alert says more than the closing.
            Err(error) => Err(self.last_alert(socket).unwrap_or_else(|| broken(&error))),
        }
    }

    fn last_alert(&mut self, socket: &Socket) -> Option<Failure> {
        loop {
            match self.tls.read_tls(&mut Wire(socket)) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {
                    if let Err(error) = self.tls.process_new_packets() {
                        return Some(self.explain(&error));
                    }
                }
            }
        }
    }

    fn read(
        &mut self,
        socket: &Socket,
        buffer: &mut [u8],
        patience: &mut Patience,
    ) -> Result<usize, Failure> {
        loop {
            match self.tls.reader().read(buffer) {
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the server closed the connection without the close_notify of TLS";
                    return Err((Status::Closed, 0, text.to_owned()));
                }
                Err(error) => return Err(broken(&error)),
            }
            match self.tls.read_tls(&mut Wire(socket)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, Ready::Read, patience)?,
                Err(error) => return Err(broken(&error)),
                Ok(_) => {
                    self.tls.process_new_packets().map_err(|error| self.explain(&error))?;
                    // An answer to a key update; it may wait for the next write if there is no room.
                    if self.tls.wants_write() {
                        let _ = self.tls.write_tls(&mut Wire(socket));
                    }
                }
            }
        }
    }

    fn is_quiet(&mut self, socket: &Socket) -> bool {
        loop {
            match self.tls.process_new_packets() {
                // A ticket or key update is no business of the plugin's; anything else ends the reuse.
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                _ => return false,
            }
            match self.tls.read_tls(&mut Wire(socket)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
    }
}

/// A TLS handshake under way on a connected socket.
pub struct Handshake {
    socket: Socket,
    peer: SocketAddr,
    session: Box<Session>,
}

/// What a handshake needs next.
pub enum HandshakeStep {
    /// The socket must become ready.
    Wait(Ready),
    /// Nothing: it is done and all of it is sent.
    Done,
}

impl Handshake {
    /// Starts a handshake; nothing is sent before [`Handshake::advance`].
    pub fn new(socket: Socket, peer: SocketAddr, client: &TlsClient) -> Result<Handshake, String> {
        let mut tls = ClientConnection::new(client.config.clone(), client.name.clone())
            .map_err(|error| error.to_string())?;
        tls.set_buffer_limit(Some(TLS_SEND_BUFFER));
        let session =
            Box::new(Session { tls, client: client.clone(), certificate_missed: false, records: 0 });
        Ok(Handshake { socket, peer, session })
    }

    /// The socket to watch.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Goes on as far as it can without waiting.
    pub fn advance(&mut self) -> Result<HandshakeStep, Failure> {
        let session = &mut self.session;
        loop {
            if session.tls.wants_write() {
                match session.tls.write_tls(&mut Wire(&self.socket)) {
                    Ok(_) => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(HandshakeStep::Wait(Ready::Write));
                    }
                    Err(error) => {
                        return Err(session.last_alert(&self.socket).unwrap_or_else(|| broken_off(&error)));
                    }
                }
            }
            if !session.tls.is_handshaking() {
                return Ok(HandshakeStep::Done);
            }
            match session.tls.read_tls(&mut Wire(&self.socket)) {
                Ok(0) => {
                    let text = "the server closed the connection during the handshake; does it speak TLS on this port?";
                    return Err((Status::Tls, 0, text.to_owned()));
                }
                Ok(_) => {
                    let (outcome, missed) =
                        tls::watch_for_missed_certificate(|| session.tls.process_new_packets());
                    session.certificate_missed |= missed;
                    if let Err(error) = outcome {
                        // Tells the server why, in its log too.
                        let _ = session.tls.write_tls(&mut Wire(&self.socket));
                        return Err(session.explain(&error));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(HandshakeStep::Wait(Ready::Read));
                }
                Err(error) => return Err(broken_off(&error)),
            }
        }
    }

    /// The stream, once [`HandshakeStep::Done`].
    pub fn into_channel(self) -> Channel {
        Channel { socket: self.socket, session: Some(self.session), peer: self.peer }
    }
}

/// A socket failure during the handshake is a failure of TLS: the TCP connection stood.
fn broken_off(error: &io::Error) -> Failure {
    let (_, errno, text) = broken(error);
    (
        Status::Tls,
        errno,
        format!("the server broke off the handshake: {text}; does it speak TLS on this port?"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_goes_once_and_in_order(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 0..8),
            takes in proptest::collection::vec(1usize..6, 64),
        ) {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut unsent = Unsent::new(&slices);
            let mut sent: Vec<u8> = Vec::new();
            for take in takes {
                if unsent.is_empty() {
                    break;
                }
                let left: Vec<u8> = unsent.slices.iter().flat_map(|slice| slice.to_vec()).skip(unsent.done).collect();
                let taken = take.min(left.len());
                sent.extend_from_slice(&left[..taken]);
                unsent.advance(taken);
            }
            prop_assert!(unsent.is_empty());
            prop_assert_eq!(sent, parts.concat());
        }
    }
}
