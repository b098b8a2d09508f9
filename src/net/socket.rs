//! The socket calls: every send carries MSG_NOSIGNAL, none waits.
//!
//! std's own writers send without that flag and kill a C host by SIGPIPE; nothing here uses them.
//!
//! What sends and peeks is inlined up to the boundary: the processor has lost its return addresses
//! after a system call, and each return on the way out of one costs as much as the rest of the
//! function.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::time::Duration;

use nix::poll::PollTimeout;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};

use super::local::Step;
use crate::config::NetSettings;

/// A non-blocking TCP socket, close-on-exec.
#[derive(Debug)]
pub struct Socket(RawSocket);

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Bytes, or the end of the stream.
    Read,
    /// Room to send.
    Write,
}

/// What to wait for, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes, or the end of the stream.
    pub read: bool,
    /// Room to send.
    pub write: bool,
}

impl Interest {
    /// Reading alone.
    pub const READ: Interest = Interest { read: true, write: false };
    /// Writing alone.
    #[cfg(test)]
    pub const WRITE: Interest = Interest { read: false, write: true };
    /// Either.
    #[cfg(test)]
    pub const BOTH: Interest = Interest { read: true, write: true };
}

/// How a drained connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The peer may send more.
    Open,
    /// The peer has closed it.
    Ended,
    /// It broke: the peer has reset it, most likely with bytes unread.
    Broken,
}

impl Socket {
    /// Starts a connection to `address` and returns at once; see [`Socket::finish_connect`]. A
    /// failure is told with the step that it came at.
    pub fn start_connect(
        address: SocketAddr,
        net: &NetSettings,
    ) -> Result<Socket, (Step, io::Error)> {
        let at = |step| move |error| (step, error);
        let socket = Socket::prepare(address, net).map_err(at(Step::Socket))?;
        if let Some(source) = net.source_address {
            // A port is chosen with the peer known: else each would serve one connection, not one
            // to each peer. A kernel that knows no such option is no reason to fail.
            let _ = setsockopt(&socket, sockopt::IpBindAddressNoPort, &true);
            socket.bind(&SocketAddr::new(source, 0).into()).map_err(at(Step::Bind))?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => Ok(Socket(socket)),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(Socket(socket)),
            Err(error) => Err((Step::Connect, error)),
        }
    }

    fn prepare(address: SocketAddr, net: &NetSettings) -> io::Result<RawSocket> {
        // socket2 sets close-on-exec in the same call.
        let kind = Type::STREAM.nonblocking();
        let socket = RawSocket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        // A plugin sends whole messages; waiting to fill a segment only delays their last part.
        socket.set_tcp_nodelay(true)?;
        if net.tcp_keepalive {
            set_keepalive(&socket, net)?;
        }
        Ok(socket)
    }

    /// Whether the connection that was started stands; `WouldBlock` while it is under way.
    pub fn finish_connect(&self) -> io::Result<()> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
            // With nobody listening on a port of the ephemeral range, a connection from there to
            // there meets itself.
            Ok(peer) if self.0.local_addr()?.as_socket() == peer.as_socket() => {
                Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
            }
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                Err(ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Has the kernel give the connection up where what was sent is not acknowledged for so long
    /// (TCP_USER_TIMEOUT, as in gRPC's proposal A18): keepalive probes nothing while data is
    /// unacknowledged. Only on one that stands, or it would end the connecting too.
    pub fn bound_silence(&self, limit: Duration) {
        // The shortest there is, not zero, which is no limit. A kernel that knows no such option is
        // no reason to fail.
        let _ = self.0.set_tcp_user_timeout(Some(limit.max(Duration::from_millis(1))));
    }

    /// Sends what the system takes at once.
    #[inline(always)]
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| self.0.send_with_flags(bytes, libc::MSG_NOSIGNAL))
    }

    /// Sends what the system takes at once of the first 1,024 slices (IOV_MAX).
    #[inline(always)]
    pub fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [one] = slices {
            return self.send(one); // the kernel has no message header and no vector to copy and check
        }
        let slices = &slices[..slices.len().min(libc::UIO_MAXIOV as usize)];
        retry_interrupted(|| self.0.send_vectored_with_flags(slices, libc::MSG_NOSIGNAL))
    }

    /// Receives what is there; 0 is the end of the stream.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry_interrupted(|| (&self.0).read(buffer))
    }

    /// Looks, in one system call, at what an idle connection has received: EAGAIN where nothing has
    /// come, 0 at the end of the stream. An error of the connection is told once and never again.
    #[inline(always)]
    pub fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        retry_interrupted(|| self.0.peek(&mut byte))
    }

    /// Ends the sending side: the peer reads to the end of what was sent.
    pub fn end_sending(&self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }

    /// Reads and drops what has come.
    pub fn drain(&self) -> Drained {
        let mut waste = [0; 2048];
        for _ in 0..256 {
            match self.receive(&mut waste) {
                Ok(0) => return Drained::Ended,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Drained::Open,
                Err(_) => return Drained::Broken,
            }
        }
        Drained::Open
    }

    /// Forgets the descriptor, which another part of the process has closed: its number may be
    /// another's by now.
    pub fn disown(self) {
        let _ = self.0.into_raw_fd();
    }

    /// The descriptor, for registering with epoll.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The socket as rustls wants to see it.
pub struct Wire<'a>(pub &'a Socket);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.receive(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A duration as poll and epoll take it: milliseconds, rounded up so that a wait never spins at its
/// end.
pub fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

fn set_keepalive(socket: &RawSocket, net: &NetSettings) -> io::Result<()> {
    let mut keepalive = TcpKeepalive::new();
    if let Some(time) = net.tcp_keepalive_time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = net.tcp_keepalive_interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = net.tcp_keepalive_probes {
        keepalive = keepalive.with_retries(probes);
    }
    socket.set_tcp_keepalive(&keepalive)
}

#[inline(always)]
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::patience::{Woken, wait_until};
    use std::time::Instant;

    fn wait_for_bytes(socket: &Socket) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let woken = wait_until(socket.as_fd(), Interest::READ, deadline, None).unwrap();
        assert_eq!(woken, Woken::Ready(Interest::READ));
    }

    #[test]
    fn a_connection_to_itself_is_refused() {
        let raw = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        raw.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        // Nobody listens there, and yet it connects: the port is its own.
        raw.connect(&raw.local_addr().unwrap()).unwrap();
        let error = Socket(raw).finish_connect().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    }

    #[test]
    fn silence_is_bounded_to_the_millisecond_and_never_unbounded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        raw.connect(&listener.local_addr().unwrap().into()).unwrap();
        let socket = Socket(raw);
        for (limit, set) in [(0, 1), (1500, 1500), (86_400_000, 86_400_000)] {
            socket.bound_silence(Duration::from_millis(limit));
            assert_eq!(socket.0.tcp_user_timeout().unwrap(), Some(Duration::from_millis(set)));
        }
    }

    #[test]
    fn draining_tells_an_open_peer_from_one_that_has_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        raw.connect(&listener.local_addr().unwrap().into()).unwrap();
        raw.set_nonblocking(true).unwrap();
        let socket = Socket(raw);
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(&[7; 5000]).unwrap();
        wait_for_bytes(&socket);
        assert_eq!(socket.drain(), Drained::Open);
        socket.end_sending().unwrap();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        drop(peer);
        wait_for_bytes(&socket);
        assert_eq!(socket.drain(), Drained::Ended);
    }
}
