//! A byte stream to one node, plaintext or TLS.
//!
//! Each step goes as far as it can without waiting; the blocking calls are the same steps with a
//! wait between them. A write that waits also receives, so there is no deadlock if both directions
//! are full.

mod failure;
mod handshake;
mod heard;
mod inbox;
mod records;
mod session;
mod unsent;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use failure::broken;
pub use failure::{Ending, Failure, Look, cancelled};
pub use handshake::{Handshake, HandshakeStep};
pub use heard::{Came, Heard};
use inbox::Inbox;
use session::Session;
use unsent::Offer;
pub use unsent::{Offered, Progress, Unsent};

use super::address::Address;
use super::patience::{Patience, Woken};
use super::portion::Portion;
use super::socket::{Drained, Interest, Socket};
use super::tls::Asked;
use crate::base::error::Status;

/// How many slices one system call sends (IOV_MAX).
const SLICES: usize = libc::UIO_MAXIOV as usize;

/// A connected stream.
pub struct Channel {
    socket: Socket,
    session: Option<Box<Session>>,
    peer: Address,
    inbox: Inbox,
    /// A write met the end of what the peer sends: there is nothing more to receive.
    ended: bool,
    /// The plugin has read bytes.
    answered: bool,
}

impl Channel {
    /// A plaintext stream.
    pub fn plain(socket: Socket, peer: Address) -> Channel {
        Channel::new(socket, None, peer)
    }

    fn new(socket: Socket, session: Option<Box<Session>>, peer: Address) -> Channel {
        Channel { socket, session, peer, inbox: Inbox::default(), ended: false, answered: false }
    }

    /// The address of the other end.
    pub fn peer(&self) -> &Address {
        &self.peer
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

    /// Sends what it can without waiting, within `portion`. It has sent everything if also what TLS
    /// still held is sent. If `unsent` is empty, it only sends what TLS holds.
    #[inline(always)]
    pub fn offer(
        &mut self,
        unsent: &mut Unsent<'_, '_>,
        progress: &mut Progress,
        portion: &mut Portion,
    ) -> Result<Offered, Failure> {
        match &mut self.session {
            None => offer_plain(&self.socket, unsent, progress, portion),
            Some(session) => session.offer(&self.socket, unsent, progress, portion),
        }
    }

    /// Receives what is there, within `portion`.
    pub fn try_read(&mut self, buffer: &mut [u8], portion: &mut Portion) -> Result<Came, Failure> {
        if !self.inbox.is_empty() {
            self.answered = true;
            return Ok(Came::Bytes(self.inbox.read(buffer)));
        }
        let outcome = match &mut self.session {
            None => match self.socket.receive(buffer) {
                Ok(got) => {
                    portion.take(got, 1);
                    Ok(Came::Bytes(got))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    Ok(Came::Nothing(Heard::NOTHING))
                }
                Err(error) => Err(broken(&error)),
            },
            Some(session) => session.try_read(&self.socket, buffer, portion),
        };
        self.answered |= matches!(outcome, Ok(Came::Bytes(1..)));
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
        let offered = self.offer(unsent, progress, &mut patience.portion)?;
        self.write_rest(offered, unsent, patience, progress)
    }

    /// As [`Channel::write_all`], after a first [`Channel::offer`] that got as far as `offered`.
    pub fn write_rest(
        &mut self,
        mut offered: Offered,
        unsent: &mut Unsent<'_, '_>,
        patience: &mut Patience<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        while offered != Offered::All {
            if std::mem::take(&mut progress.moved) {
                patience.progress();
            }
            match offered {
                Offered::Full => self.wait_for_room(patience, progress)?,
                _ => patience
                    .go_on()
                    .map_err(|end| ended(end, patience, |patience| took(progress, patience)))?,
            }
            offered = self.offer(unsent, progress, &mut patience.portion)?;
        }
        Ok(())
    }

    /// Receives at least one byte; 0 is the proper end of the stream. Earlier reads of this call
    /// have brought `before` bytes.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        patience: &mut Patience<'_>,
        before: usize,
    ) -> Result<usize, Failure> {
        let mut heard = Heard::NOTHING;
        loop {
            if patience.portion.is_used_up() {
                let words = |patience: &Patience<'_>| sent(heard, before, patience);
                patience.go_on().map_err(|end| ended(end, patience, words))?;
            }
            let (now, wait_now) = match self.try_read(buffer, &mut patience.portion)? {
                Came::Bytes(got) => return Ok(got),
                Came::Nothing(now) => (now, true),
                Came::Unfinished(now) => (now, false),
            };
            heard = heard.and(now);
            match now {
                Heard::NOTHING => {}
                now if now.is_progress() => patience.stir(),
                _ => patience.unstir(),
            }
            if wait_now {
                // The server may wait for the end of a request that TLS still holds, so reading
                // sends too.
                let wanted = Interest { read: true, write: self.holds_unsent() };
                let words = |patience: &Patience<'_>| sent(heard, before, patience);
                wait(&self.socket, wanted, patience, words)?;
            } else {
                patience.deadline(); // the silence begins
            }
        }
    }

    /// Waits until the peer takes more, and receives what it sends meanwhile. That does not count
    /// as progress: a peer that only sends must not keep a write waiting for ever.
    fn wait_for_room(
        &mut self,
        patience: &mut Patience<'_>,
        progress: &Progress,
    ) -> Result<(), Failure> {
        loop {
            let wanted = Interest { read: !self.ended && !self.inbox.is_full(), write: true };
            let words = |patience: &Patience<'_>| took(progress, patience);
            let ready = wait(&self.socket, wanted, patience, words)?;
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
    /// once. A stream that has more to receive than `portion` may not: it is flooded.
    #[inline(always)]
    pub fn look(&mut self, portion: &mut Portion) -> Look {
        if self.holds_unread() {
            return Look::Ended(self.behind_unread(portion));
        }
        match &mut self.session {
            None => match self.socket.peek() {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Look::Quiet,
                shown => Look::Ended(self.shown(shown, portion)),
            },
            Some(session) => session.look(&self.socket, portion),
        }
    }

    #[cold]
    fn shown(&mut self, shown: io::Result<usize>, portion: &mut Portion) -> Ending {
        match shown {
            Ok(0) => Ending::Closed,
            Ok(_) => self.behind_unread(portion),
            Err(error) => Ending::Broken(broken(&error)),
        }
    }

    /// Unread bytes do not matter themselves; what matters is whether the stream ended after them.
    #[cold]
    fn behind_unread(&mut self, portion: &mut Portion) -> Ending {
        if let Some(session) = &mut self.session {
            return match session.look(&self.socket, portion) {
                Look::Ended(ending) => ending,
                Look::Quiet => Ending::Unread,
            };
        }
        portion.take(Portion::BYTES, 0);
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
    words: impl FnOnce(&Patience<'_>) -> String,
) -> Result<Interest, Failure> {
    match patience.wait(socket.as_fd(), wanted) {
        Ok(Woken::Ready(ready)) => Ok(ready),
        Ok(end) => Err(ended(end, patience, words)),
        Err(error) => Err(broken(&error)),
    }
}

/// The failure of a call that was cancelled, or whose time is over: then `words` say how far the
/// server came.
#[cold]
fn ended(
    end: Woken,
    patience: &Patience<'_>,
    words: impl FnOnce(&Patience<'_>) -> String,
) -> Failure {
    match end {
        Woken::Interrupted => cancelled(),
        Woken::TimedOut | Woken::Ready(_) => {
            let text = format!("{} {}", words(patience), patience.struck());
            (Status::Timeout, 0, text)
        }
    }
}

/// What the server has taken, if that was not everything in time.
fn took(progress: &Progress, patience: &Patience<'_>) -> String {
    match progress.taken {
        1.. if !patience.is_silence() => "the server took only a part of the data".to_owned(),
        _ => "the server took no more data".to_owned(),
    }
}

/// What the server has sent, if that was not enough in time: `before` bytes, and what was `heard`
/// after them.
fn sent(heard: Heard, before: usize, patience: &Patience<'_>) -> String {
    let is_silence = patience.is_silence();
    let after = match heard {
        Heard::NOTHING if patience.had_bytes && before == 0 => "nothing more",
        heard => heard.words(is_silence),
    };
    match before {
        0 => format!("the server sent {after}"),
        1.. if is_silence => format!("the server sent {before} bytes, then {after}"),
        1.. => format!("the server sent only {before} bytes"),
    }
}

#[inline(always)]
fn offer_plain(
    socket: &Socket,
    unsent: &mut Unsent<'_, '_>,
    progress: &mut Progress,
    portion: &mut Portion,
) -> Result<Offered, Failure> {
    while !unsent.is_empty() {
        if portion.is_used_up() {
            return Ok(Offered::Unfinished);
        }
        let offered = match unsent.offer(SLICES) {
            Offer::Slices(slices) => socket.send_vectored(slices),
            Offer::Cut(slices, count) => socket.send_vectored(&slices[..count]),
            Offer::Rest(bytes) => socket.send(bytes),
        };
        match offered {
            Ok(taken) => {
                portion.take(taken, 0);
                progress.taken += taken as u64;
                progress.moved = true;
                unsent.advance(taken);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Offered::Full),
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(Offered::All)
}

#[cfg(test)]
mod tests;
