//! A byte stream to one node, plaintext or TLS.
//!
//! Each step goes as far as it can without waiting; the blocking calls are the same steps with a
//! wait between them. A write that waits also receives, so there is no deadlock if both directions
//! are full.

mod failure;
mod handshake;
mod inbox;
mod session;
mod unsent;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use failure::broken;
pub use failure::{Ending, Failure, Look, cancelled};
pub use handshake::{Handshake, HandshakeStep};
use inbox::Inbox;
use session::Session;
use unsent::Offer;
pub use unsent::{Progress, Unsent};

use super::patience::{Patience, Woken};
use super::socket::{Drained, Interest, Socket};
use super::tls::Asked;
use crate::base::error::Status;

/// A connected stream.
pub struct Channel {
    socket: Socket,
    session: Option<Box<Session>>,
    peer: SocketAddr,
    inbox: Inbox,
    /// A write met the end of what the peer sends: there is nothing more to receive.
    ended: bool,
    /// The plugin has read bytes.
    answered: bool,
}

impl Channel {
    /// A plaintext stream.
    pub fn plain(socket: Socket, peer: SocketAddr) -> Channel {
        Channel::new(socket, None, peer)
    }

    fn new(socket: Socket, session: Option<Box<Session>>, peer: SocketAddr) -> Channel {
        Channel { socket, session, peer, inbox: Inbox::default(), ended: false, answered: false }
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
        self.session.as_ref()?.version()
    }

    /// The protocol agreed on by ALPN, if there is one.
    pub fn alpn(&self) -> Option<&std::ffi::CStr> {
        self.session.as_ref()?.alpn()
    }

    /// The IANA name of the cipher suite; `None` on plaintext.
    pub fn tls_cipher(&self) -> Option<String> {
        self.session.as_ref()?.cipher()
    }

    /// Whether the server asked for a client certificate and there is none.
    pub fn is_certificate_missed(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.asked() == Asked::InVain)
    }

    /// Whether the peer has sent bytes for the plugin; leaves them unread. An error if the peer has
    /// ended the connection.
    pub fn has_spoken(&mut self) -> Result<bool, Failure> {
        let closed = || (Status::Closed, 0, "the server closed the connection".to_owned());
        match &mut self.session {
            Some(session) => session.has_spoken(&self.socket),
            None => match self.socket.peek() {
                Ok(0) => Err(closed()),
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(broken(&error)),
            },
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Only the socket, if the stream is given up.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends what it can without waiting. Returns whether everything is sent, also what TLS still
    /// held. If `unsent` is empty, it only sends what TLS holds.
    #[inline(always)]
    pub fn offer(
        &mut self,
        unsent: &mut Unsent<'_, '_>,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        match &mut self.session {
            None => offer_plain(&self.socket, unsent, progress),
            Some(session) => session.offer(&self.socket, unsent, progress),
        }
    }

    /// Receives what is there. 0 is the proper end of the stream; `None`: nothing is there yet.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        if !self.inbox.is_empty() {
            self.answered = true;
            return Ok(Some(self.inbox.read(buffer)));
        }
        let outcome = match &mut self.session {
            None => match self.socket.receive(buffer) {
                Ok(got) => Ok(Some(got)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(broken(&error)),
            },
            Some(session) => session.try_read(&self.socket, buffer),
        };
        self.answered |= matches!(outcome, Ok(Some(1..)));
        outcome
    }

    /// Whether the plugin ever read bytes of the peer.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Puts back bytes that were read too far. The next read gets them first.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.inbox.put_back(bytes);
    }

    /// Sends all that is unsent.
    pub fn write_all(
        &mut self,
        unsent: &mut Unsent<'_, '_>,
        patience: &mut Patience<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        match self.offer(unsent, progress)? {
            true => Ok(()),
            false => self.write_rest(unsent, patience, progress),
        }
    }

    /// As [`Channel::write_all`], after a first [`Channel::offer`].
    pub fn write_rest(
        &mut self,
        unsent: &mut Unsent<'_, '_>,
        patience: &mut Patience<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        loop {
            if std::mem::take(&mut progress.moved) {
                patience.progress();
            }
            self.wait_for_room(patience)?;
            if self.offer(unsent, progress)? {
                return Ok(());
            }
        }
    }

    /// Receives at least one byte; 0 is the proper end of the stream.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        patience: &mut Patience<'_>,
    ) -> Result<usize, Failure> {
        loop {
            if let Some(got) = self.try_read(buffer)? {
                return Ok(got);
            }
            // The server may wait for the end of a request that TLS still holds, so reading sends
            // too.
            let wanted = Interest { read: true, write: self.holds_unsent() };
            wait(&self.socket, wanted, patience, "the server sent nothing")?;
        }
    }

    /// Waits until the peer takes more, and receives what it sends meanwhile. That does not count
    /// as progress: a peer that only sends must not keep a write waiting for ever.
    fn wait_for_room(&mut self, patience: &mut Patience<'_>) -> Result<(), Failure> {
        loop {
            let wanted = Interest { read: !self.ended && !self.inbox.is_full(), write: true };
            let ready = wait(&self.socket, wanted, patience, "the server took no more data")?;
            if ready.write {
                return Ok(());
            }
            self.absorb()?;
        }
    }

    fn absorb(&mut self) -> Result<(), Failure> {
        self.ended = match &mut self.session {
            Some(session) => session.absorb(&self.socket, &mut self.inbox)?,
            None => match self.inbox.fill(|room| self.socket.receive(room)) {
                Ok(got) => got == 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => return Err(broken(&error)),
            },
        };
        Ok(())
    }

    /// Whether TLS holds bytes that the socket has not taken.
    pub fn holds_unsent(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.holds_unsent())
    }

    /// Whether bytes were received that nobody has read.
    pub fn holds_unread(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether it may be used for another payload: TLS 1.2 limits what one key may protect.
    pub fn has_life_left(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.has_life_left())
    }

    /// Whether an idle stream may be used again, and if not, why. A socket error is reported only
    /// once.
    #[inline(always)]
    pub fn look(&mut self) -> Look {
        if self.holds_unread() {
            return Look::Ended(self.behind_unread());
        }
        match &mut self.session {
            None => match self.socket.peek() {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Look::Quiet,
                shown => Look::Ended(self.shown(shown)),
            },
            Some(session) => session.look(&self.socket),
        }
    }

    #[cold]
    fn shown(&mut self, shown: io::Result<usize>) -> Ending {
        match shown {
            Ok(0) => Ending::Closed,
            Ok(_) => self.behind_unread(),
            Err(error) => Ending::Broken(broken(&error)),
        }
    }

    /// Unread bytes do not matter themselves; what matters is whether the stream ended after them.
    #[cold]
    fn behind_unread(&mut self) -> Ending {
        if let Some(session) = &mut self.session {
            return match session.look(&self.socket) {
                Look::Ended(ending) => ending,
                Look::Quiet => Ending::Unread,
            };
        }
        match self.socket.drain() {
            Drained::Open => Ending::Unread,
            Drained::Ended => Ending::Closed,
            Drained::Broken => {
                Ending::Broken(broken(&io::Error::from_raw_os_error(libc::ECONNRESET)))
            }
        }
    }

    /// Ends the stream as well as it can without waiting. The caller keeps the socket that this
    /// returns until the peer closes too; `None` if the peer has closed already.
    pub fn close(mut self) -> Option<Socket> {
        if let Some(session) = &mut self.session {
            session.say_goodbye(&self.socket);
        }
        let told = self.socket.end_sending().is_ok();
        (told && self.socket.drain() == Drained::Open).then_some(self.socket)
    }
}

fn wait(
    socket: &Socket,
    wanted: Interest,
    patience: &mut Patience<'_>,
    silence: &str,
) -> Result<Interest, Failure> {
    match patience.wait(socket.as_fd(), wanted) {
        Ok(Woken::Ready(ready)) => Ok(ready),
        Ok(Woken::TimedOut) => {
            Err((Status::Timeout, 0, format!("{silence} {}", patience.struck())))
        }
        Ok(Woken::Interrupted) => Err(cancelled()),
        Err(error) => Err(broken(&error)),
    }
}

#[inline(always)]
fn offer_plain(
    socket: &Socket,
    unsent: &mut Unsent<'_, '_>,
    progress: &mut Progress,
) -> Result<bool, Failure> {
    while !unsent.is_empty() {
        let offered = match unsent.offer() {
            Offer::Slices(slices) => socket.send_vectored(slices),
            Offer::Rest(bytes) => socket.send(bytes),
        };
        match offered {
            Ok(taken) => {
                progress.taken += taken as u64;
                progress.moved = true;
                unsent.advance(taken);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(true)
}
