//! The bytes of one connection: plain or with TLS, counted, and cut off if a fault says so. It must
//! never read while the server is stalled, so waiting for bytes and reading them are two steps.

use crate::scan::Splitter;
use crate::server::{Fate, Peer, Server};
use rustls::ServerConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a refused client has to read the reason and close.
const DRAIN: Duration = Duration::from_secs(1);

/// Why a connection ends.
pub enum End {
    /// The client closed it, or this server must close it.
    Closed,
    /// This server must reset it.
    Reset,
    /// The client broke it off.
    Lost,
    /// What came over it cannot be accepted.
    Refused(String),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Lost
    }
}

pub struct Wire<'a> {
    server: &'a Server,
    peer: &'a Peer,
    tls: Option<Box<ServerConnection>>,
    handshake_counted: bool,
    /// Bytes that may still be read before the connection is reset.
    budget: Option<u64>,
    buffer: Vec<u8>,
}

impl<'a> Wire<'a> {
    pub fn new(server: &'a Server, peer: &'a Peer) -> Result<Wire<'a>, End> {
        let tls = match &server.settings.tls {
            Some(config) => Some(Box::new(
                ServerConnection::new(Arc::clone(config))
                    .map_err(|error| End::Refused(format!("TLS: {error}")))?,
            )),
            None => None,
        };
        let budget = peer.budget;
        Ok(Wire { server, peer, tls, handshake_counted: false, budget, buffer: vec![0; 64 * 1024] })
    }

    /// Waits until the socket can be read, without reading.
    pub fn wait(&self) -> Result<(), End> {
        if self.budget == Some(0) {
            return Err(End::Reset);
        }
        loop {
            match self.peer.stream.peek(&mut [0]) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Lost),
            }
        }
    }

    /// Reads once and feeds the bytes to `splitter`. `Closed` at the end of the stream.
    pub fn receive(&mut self, splitter: &mut Splitter) -> Result<(), End> {
        let most = self.budget.map_or(self.buffer.len(), |left| {
            usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len())
        });
        let count = (&self.peer.stream).read(&mut self.buffer[..most])?;
        if count == 0 {
            return Err(End::Closed);
        }
        self.server.counts.bytes.add(count as u64);
        if let Some(left) = &mut self.budget {
            *left -= count as u64;
        }
        match &mut self.tls {
            None => splitter.feed(&self.buffer[..count]),
            Some(tls) => {
                let fed = decrypt(tls, &self.buffer[..count], splitter);
                if !tls.is_handshaking() && !self.handshake_counted {
                    self.handshake_counted = true;
                    self.server.counts.tls.add(1);
                }
                // Also after an error: the alert tells the client.
                let flushed = self.flush();
                fed?;
                flushed?;
            }
        }
        Ok(())
    }

    /// Sends all of `bytes`; with TLS, not before the handshake is done.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match &mut self.tls {
            None => Socket(self.peer).write_all(bytes)?,
            Some(tls) => tls.writer().write_all(bytes)?,
        }
        self.flush()
    }

    /// Ends the connection as `end` says. The socket's last owner closes it.
    pub fn finish(&mut self, end: &End) {
        match end {
            End::Closed => self.close_notify(),
            End::Refused(_) => {
                self.close_notify();
                // Closing with unread bytes would send an RST, which may overtake the last bytes
                // sent.
                let mut stream = &self.peer.stream;
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(DRAIN));
                let deadline = Instant::now() + DRAIN;
                while Instant::now() < deadline
                    && stream.read(&mut self.buffer).is_ok_and(|count| count > 0)
                {}
            }
            End::Reset => crate::server::reset_on_close(&self.peer.stream),
            End::Lost => {}
        }
    }

    fn close_notify(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // The client may be gone; then it does not matter.
            let _ = self.flush();
        }
    }

    fn flush(&mut self) -> Result<(), End> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut Socket(self.peer))?;
            }
        }
        Ok(())
    }
}

fn decrypt(
    tls: &mut ServerConnection,
    mut bytes: &[u8],
    splitter: &mut Splitter,
) -> Result<(), End> {
    let mut plain = Vec::new();
    let mut closed = false;
    while !bytes.is_empty() && !closed {
        tls.read_tls(&mut bytes)?;
        let state =
            tls.process_new_packets().map_err(|error| End::Refused(format!("TLS: {error}")))?;
        closed = state.peer_has_closed();
        let start = plain.len();
        plain.resize(start + state.plaintext_bytes_to_read(), 0);
        tls.reader().read_exact(&mut plain[start..])?;
    }
    splitter.feed(&plain);
    Ok(())
}

/// Writes to a client that may not be reading, and gives up if the connection must end.
struct Socket<'a>(&'a Peer);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match (&self.0.stream).write(bytes) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if self.0.fate() != Fate::Open {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
