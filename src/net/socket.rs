//! The socket calls. Every send has MSG_NOSIGNAL, and no call waits.
//!
//! std's own writers send without that flag, and SIGPIPE would kill a C host: do not use them here.
//!
//! The functions that send and peek are inlined up to the C boundary. After a system call the
//! processor no longer predicts returns, and each return costs as much as the rest of the function.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, TcpKeepalive, Type};

use super::address::Address;
use super::local::Step;
use super::portion::Portion;
use crate::config::NetSettings;

/// In how many reads a portion is dropped: the buffer must be small, because it is on the stack.
const DRAIN_READS: usize = 32;

/// A non-blocking stream socket, close-on-exec.
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

/// What to wait for, or what is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes, or the end of the stream.
    pub read: bool,
    /// Room to send.
    pub write: bool,
}

impl Interest {
    /// Only reading.
    pub const READ: Interest = Interest { read: true, write: false };
    /// Only writing.
    #[cfg(test)]
    pub const WRITE: Interest = Interest { read: false, write: true };
    /// Either.
    #[cfg(test)]
    pub const BOTH: Interest = Interest { read: true, write: true };
}

/// The state of a drained connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The peer may send more.
    Open,
    /// The peer has closed it.
    Ended,
    /// It broke: the peer has reset it, probably with unread bytes.
    Broken,
}

impl Socket {
    /// Starts a connection to `address` and returns at once; see [`Socket::finish_connect`]. An
    /// error comes with the step at which it happened.
    pub fn start_connect(
        address: &Address,
        net: &NetSettings,
    ) -> Result<Socket, (Step, io::Error)> {
        match address {
            Address::Ip(address) => Socket::start_tcp(*address, net),
            Address::Unix(path) => {
                let at = |step| move |error| (step, error);
                let kind = Type::STREAM.nonblocking();
                let socket = RawSocket::new(Domain::UNIX, kind, None).map_err(at(Step::Socket))?;
                let to = SockAddr::unix(&**path).map_err(at(Step::Socket))?;
                // The server of the path is there or not: nothing else on this machine is to blame.
                socket.connect(&to).map_err(at(Step::Later))?;
                Ok(Socket(socket))
            }
        }
    }

    fn start_tcp(address: SocketAddr, net: &NetSettings) -> Result<Socket, (Step, io::Error)> {
        let at = |step| move |error| (step, error);
        let socket = Socket::prepare(address, net).map_err(at(Step::Socket))?;
        if let Some(source) = net.source_address {
            // The kernel chooses the port at connect(), so that one port can serve one connection
            // to each peer, not only one connection. An old kernel without this option is no error.
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
        // A plugin sends whole messages. Waiting to fill a segment would only delay their last
        // part.
        socket.set_tcp_nodelay(true)?;
        if net.tcp_keepalive {
            set_keepalive(&socket, net)?;
        }
        Ok(socket)
    }

    /// Whether the connection that was started is made; `WouldBlock` while it is not decided.
    pub fn finish_connect(&self) -> io::Result<()> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        match self.0.peer_addr() {
            // If nobody listens on a port of the ephemeral range, a connection to it may get the
            // same port as its own and so connect to itself.
            Ok(peer)
                if peer.as_socket().is_some()
                    && self.0.local_addr()?.as_socket() == peer.as_socket() =>
            {
                Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
            }
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                Err(ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Lets the kernel end the connection if sent data is not acknowledged for `limit`
    /// (TCP_USER_TIMEOUT, as in gRPC's proposal A18): keepalive sends no probes while data is
    /// unacknowledged. Call it only on a connection that is made, or it limits connecting too.
    pub fn bound_silence(&self, limit: Duration) {
        // Zero would mean no limit, so 1 ms is the shortest. An old kernel without this option is
        // no error.
        let _ = self.0.set_tcp_user_timeout(Some(limit.max(Duration::from_millis(1))));
    }

    /// Sends what the system takes at once.
    #[inline(always)]
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| self.0.send_with_flags(bytes, libc::MSG_NOSIGNAL))
    }

    /// Sends what the system takes at once, from the first 1,024 slices (IOV_MAX).
    #[inline(always)]
    pub fn send_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [one] = slices {
            // Saves the kernel a message header and a vector to copy and check.
            return self.send(one);
        }
        let slices = &slices[..slices.len().min(libc::UIO_MAXIOV as usize)];
        retry_interrupted(|| self.0.send_vectored_with_flags(slices, libc::MSG_NOSIGNAL))
    }

    /// Receives what is there; 0 is the end of the stream. One call takes no more than a
    /// [`Portion`], because the kernel goes on while a fast peer sends more.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(Portion::BYTES);
        let buffer = &mut buffer[..most];
        retry_interrupted(|| (&self.0).read(buffer))
    }

    /// Looks with one system call at what an idle connection has received: EAGAIN if nothing came,
    /// 0 at the end of the stream. The system reports an error of the connection only once.
    #[inline(always)]
    pub fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        retry_interrupted(|| self.0.peek(&mut byte))
    }

    /// Ends the sending side: the peer can read all that was sent, and then the end.
    pub fn end_sending(&self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }

    /// Reads what has come and drops it, but not more than a [`Portion`]: a peer may send for ever.
    pub fn drain(&self) -> Drained {
        let mut waste = [0; Portion::BYTES / DRAIN_READS];
        for _ in 0..DRAIN_READS {
            match self.receive(&mut waste) {
                Ok(0) => return Drained::Ended,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Drained::Open,
                Err(_) => return Drained::Broken,
            }
        }
        Drained::Open
    }

    /// Forgets the descriptor without closing it. Another part of the process has closed it, and
    /// its number may belong to another file by now.
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

/// The socket in the form that rustls needs.
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

/// A duration for poll and epoll: milliseconds, rounded up so that a wait does not spin at its end.
pub fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// Whether the descriptor was closed.
pub fn is_closed(polled: &PollFd<'_>) -> bool {
    polled.revents().is_some_and(|found| found.contains(PollFlags::POLLNVAL))
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
