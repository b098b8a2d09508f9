//! The handshake that makes a TLS channel of a connected socket. Never waits: it says what it waits for.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use super::session::Session;
use super::{Channel, Failure, broken};
use crate::error::Status;
use crate::net::local::is_local;
use crate::net::socket::{Ready, Socket};
use crate::net::tls::TlsClient;

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
    pub fn new(socket: Socket, peer: SocketAddr, client: &Arc<TlsClient>) -> Result<Handshake, String> {
        let session = Session::new(client).map_err(|error| error.to_string())?;
        Ok(Handshake { socket, peer, session: Box::new(session) })
    }

    /// The socket to watch.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket alone, where nothing becomes of the handshake.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Goes on as far as it can without waiting.
    pub fn advance(&mut self) -> Result<HandshakeStep, Failure> {
        let Handshake { session, socket, .. } = self;
        let mut asked = false;
        loop {
            if session.holds_unsent() {
                match session.send(socket) {
                    Ok(_) => {
                        asked = true;
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(HandshakeStep::Wait(Ready::Write));
                    }
                    Err(error) => {
                        return Err(session.last_alert(socket).unwrap_or_else(|| broken_off(&error)));
                    }
                }
            }
            if !session.is_handshaking() {
                return Ok(HandshakeStep::Done);
            }
            // What was sent is yet to be answered: asking for it at once is a system call in vain.
            if asked {
                return Ok(HandshakeStep::Wait(Ready::Read));
            }
            match session.receive(socket) {
                Ok(0) => {
                    let text = "the server closed the connection during the handshake; does it speak TLS on this port?";
                    return Err((Status::Tls, 0, text.to_owned()));
                }
                Ok(_) => {
                    if let Err(failure) = session.process_handshake() {
                        // Tells the server why, in its log too.
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
    }

    /// The stream, once [`HandshakeStep::Done`].
    pub fn into_channel(self) -> Channel {
        Channel::new(self.socket, Some(self.session), self.peer)
    }
}

/// A socket failure during the handshake is a failure of TLS: the TCP connection stood. The server's, unless it is this machine's.
fn broken_off(error: &io::Error) -> Failure {
    let (_, errno, mut text) = broken(error);
    if !is_local(error) {
        text = format!("the server broke off the handshake: {text}; does it speak TLS on this port?");
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
        assert!(!text.contains("server") && text.contains("this machine has no memory left"), "{text}");
    }
}
