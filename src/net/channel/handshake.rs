//! The handshake that turns a connected socket into a TLS channel. It never waits: it returns what
//! it needs.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Channel;
use super::failure::{Failure, broken};
use super::session::Session;
use crate::base::error::Status;
use crate::net::address::Address;
use crate::net::local::is_local;
use crate::net::portion::Portion;
use crate::net::socket::{Ready, Socket};
use crate::net::tls::TlsClient;

/// A TLS handshake under way on a connected socket.
pub struct Handshake {
    socket: Socket,
    peer: Address,
    session: Box<Session>,
    /// When the ClientHello was sent.
    hello: Option<Instant>,
    /// The time from the ClientHello to the first bytes of the server.
    round_trip: Duration,
    /// Until when to wait for the server's verdict on the client certificate.
    verdict_by: Option<Instant>,
}

/// How many round trips of the handshake to wait for a TLS 1.3 server's verdict on the client
/// certificate: one for the answer, and three for the time that the server needs.
const VERDICT_ROUND_TRIPS: u32 = 4;

/// The shortest such wait: a busy server checks a certificate late.
const VERDICT_LEAST: Duration = Duration::from_millis(100);

/// The longest such wait: a server that sends no tickets says nothing if it accepts the
/// certificate, so each new connection waits for the full time.
const VERDICT_MOST: Duration = Duration::from_millis(250);

/// What a handshake needs next.
pub enum HandshakeStep {
    /// The socket must become ready.
    Wait(Ready),
    /// The handshake is done, but the server may still refuse the client certificate: wait until
    /// the socket is readable, or until [`Handshake::verdict_by`].
    Verdict,
    /// Nothing: the handshake is done, and everything is sent.
    Done,
}

impl Handshake {
    /// Prepares a handshake. [`Handshake::advance`] sends the first bytes. An error gives the
    /// socket back.
    pub fn new(
        socket: Socket,
        peer: Address,
        client: &Arc<TlsClient>,
    ) -> Result<Handshake, (Socket, String)> {
        let session = match Session::new(client) {
            Ok(session) => Box::new(session),
            Err(error) => return Err((socket, error.to_string())),
        };
        Ok(Handshake {
            socket,
            peer,
            session,
            hello: None,
            round_trip: Duration::ZERO,
            verdict_by: None,
        })
    }

    /// The socket to watch.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Only the socket, if the handshake is given up.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Until when it waits for the server's verdict on the client certificate; `None` before the
    /// handshake is done.
    pub fn verdict_by(&self) -> Option<Instant> {
        self.verdict_by
    }

    fn await_verdict(&mut self) -> Result<HandshakeStep, Failure> {
        let now = Instant::now();
        let wait = (self.round_trip * VERDICT_ROUND_TRIPS).clamp(VERDICT_LEAST, VERDICT_MOST);
        let by = *self.verdict_by.get_or_insert(now + wait);
        match self.session.has_verdict(&self.socket)? {
            false if now < by => Ok(HandshakeStep::Verdict),
            _ => Ok(HandshakeStep::Done),
        }
    }

    /// Goes as far as it can without waiting, but not further than a [`Portion`]: then the socket
    /// is still ready for what this returns.
    pub fn advance(&mut self) -> Result<HandshakeStep, Failure> {
        if self.verdict_by.is_some() {
            return self.await_verdict();
        }
        let Handshake { session, socket, hello, round_trip, .. } = self;
        let (mut asked, mut portion) = (false, Portion::new());
        loop {
            if session.holds_unsent() {
                match session.send(socket) {
                    Ok(sent) => {
                        portion.take(sent, 0);
                        hello.get_or_insert_with(Instant::now);
                        asked = true;
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(HandshakeStep::Wait(Ready::Write));
                    }
                    Err(error) => {
                        return Err(session
                            .last_alert(socket)
                            .unwrap_or_else(|| broken_off(&error)));
                    }
                }
            }
            if !session.is_handshaking() {
                break;
            }
            // The answer to what was just sent cannot be here yet: save the system call.
            if asked || portion.is_used_up() {
                return Ok(HandshakeStep::Wait(Ready::Read));
            }
            match session.receive(socket, &mut portion) {
                Ok(0) => {
                    let text = "the server closed the connection during the handshake; does it \
                                speak TLS on this port?";
                    return Err((Status::Tls, 0, text.to_owned()));
                }
                Ok(_) => {
                    if round_trip.is_zero() {
                        *round_trip = hello.map_or(Duration::ZERO, |hello| hello.elapsed());
                    }
                    if let Err(failure) = session.process_handshake() {
                        // Sends the alert, so that the server's log has the reason too.
                        let _ = session.send(socket);
                        return Err(failure);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(HandshakeStep::Wait(Ready::Read));
                }
                Err(error) => return Err(broken_off(&error)),
            }
        }
        match session.awaits_verdict() {
            true => self.await_verdict(),
            false => Ok(HandshakeStep::Done),
        }
    }

    /// The stream; call it after [`HandshakeStep::Done`].
    pub fn into_channel(mut self) -> Channel {
        self.session.keep_alpn();
        Channel::new(self.socket, Some(self.session), self.peer)
    }
}

/// A socket failure during the handshake counts as a failure of TLS, because the TCP connection was
/// made. It is the server's, unless errno means this machine.
fn broken_off(error: &io::Error) -> Failure {
    let (_, errno, mut text) = broken(error);
    if !is_local(error) {
        text =
            format!("the server broke off the handshake: {text}; does it speak TLS on this port?");
    }
    (Status::Tls, errno, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_accused_of_what_it_did_alone() {
        let words = |errno| broken_off(&io::Error::from_raw_os_error(errno));
        let (status, errno, text) = words(libc::ECONNRESET);
        assert_eq!((status, errno), (Status::Tls, libc::ECONNRESET));
        assert!(text.contains("the server broke off"));
        let (status, errno, text) = words(libc::ENOBUFS);
        assert_eq!((status, errno), (Status::Tls, libc::ENOBUFS));
        assert!(
            !text.contains("server") && text.contains("this machine has no memory left"),
            "{text}"
        );
    }
}
