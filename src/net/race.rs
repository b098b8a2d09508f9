//! The race of a dial over the addresses of one name (RFC 8305). IPv4 and IPv6 take turns; a new
//! attempt starts every 250 ms, or as soon as one fails; earlier attempts go on. The first whose
//! connection is ready, TLS handshake included, wins: an address whose handshake fails or hangs is
//! passed over as one that does not connect. Through a proxy the addresses are the proxy's.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::address::Address;
use super::channel::{Channel, Failure, Handshake, HandshakeStep};
use super::local::{self, Step};
use super::socket::{Ready, Socket};
use super::target::Target;
use super::tunnel::{Blocked, Passage, Tunnel};
use crate::base::error::Status;

/// RFC 8305 section 5, "Connection Attempt Delay": the recommended 250 ms. If there is little time,
/// a quarter of it, or less if there are more addresses, so that each has its attempt.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// RFC 8305 section 5: the least that this delay may be.
const ATTEMPT_DELAY_LEAST: Duration = Duration::from_millis(10);

/// How long an address that took the connection has for its handshake, or a proxy for its answer,
/// before the next address starts. Longer than the delay above: servers that are only busy with
/// handshakes must not get twice as many.
const HANDSHAKE_DELAY: Duration = Duration::from_secs(1);

/// How many addresses one dial tries; the next dial starts at the next address. A name server may
/// give thousands, and each attempt under way holds a descriptor.
pub(super) const MOST: usize = 16;

/// A running race. Call [`Race::advance`] when one of its sockets is ready, and no later than
/// [`Race::alarm`].
pub(super) struct Race {
    waiting: VecDeque<Address>,
    running: Vec<Runner>,
    next_start: Instant,
    attempt_delay: Duration,
    handshake_delay: Duration,
    /// How many addresses it was given.
    entered: usize,
    failures: Vec<Failed>,
    /// Sockets of attempts that are over. Take them out of epoll before they are closed.
    over: Vec<Socket>,
}

/// An attempt under way.
struct Runner {
    address: Address,
    way: Way,
    /// What its socket is watched for.
    watched: Option<Ready>,
}

enum Way {
    /// A socket of this machine whose server has as many waiting as it takes: again at this moment.
    Queueing(Instant),
    Connecting(Socket),
    Tunnelling(Tunnel),
    Handshaking(Handshake),
}

impl Runner {
    fn socket(&self) -> Option<&Socket> {
        match &self.way {
            Way::Queueing(_) => None,
            Way::Connecting(socket) => Some(socket),
            Way::Tunnelling(tunnel) => Some(tunnel.socket()),
            Way::Handshaking(handshake) => Some(handshake.socket()),
        }
    }

    fn into_socket(self) -> Option<Socket> {
        match self.way {
            Way::Queueing(_) => None,
            Way::Connecting(socket) => Some(socket),
            Way::Tunnelling(tunnel) => Some(tunnel.into_socket()),
            Way::Handshaking(handshake) => Some(handshake.into_socket()),
        }
    }

    /// Whether the address took the connection.
    fn is_connected(&self) -> bool {
        matches!(self.way, Way::Tunnelling(_) | Way::Handshaking(_))
    }

    fn verdict_by(&self) -> Option<Instant> {
        match &self.way {
            Way::Handshaking(handshake) => handshake.verdict_by(),
            _ => None,
        }
    }

    fn alarm(&self) -> Option<Instant> {
        match &self.way {
            Way::Queueing(again) => Some(*again),
            _ => self.verdict_by(),
        }
    }
}

/// An address that failed.
pub(super) struct Failed {
    pub(super) address: Address,
    pub(super) why: Why,
}

/// Why an address failed.
pub(super) enum Why {
    /// No connection, and at which step.
    Connect(Step, io::Error),
    /// The proxy will not, with the fix.
    Proxy(String),
    /// The TLS handshake.
    Tls(Failure),
}

impl Why {
    /// The system's error; number 0 if there is none.
    pub(super) fn error(&self) -> io::Error {
        let errno = match self {
            Why::Connect(_, error) => error.raw_os_error(),
            Why::Proxy(_) => None,
            Why::Tls((_, errno, _)) => Some(*errno),
        };
        io::Error::from_raw_os_error(errno.unwrap_or(0))
    }

    /// Whether the reason is on this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Why::Connect(step, error) => local::is_local_at(error, *step),
            Why::Proxy(_) | Why::Tls(_) => local::is_local(&self.error()),
        }
    }
}

/// The state of a race.
pub(super) enum Standing {
    /// Not decided. Watch these sockets.
    Running { watch: Vec<Watch> },
    /// This stream is ready; the other attempts are over.
    Won(Channel),
    /// Every address failed.
    Lost,
}

/// What to watch a socket for.
pub(super) struct Watch {
    pub(super) fd: RawFd,
    pub(super) ready: Ready,
    /// It is not watched yet.
    pub(super) is_new: bool,
}

/// How far a runner came.
enum Came {
    /// It waits for this, or for a moment.
    Waits(Option<Ready>),
    Through(Channel),
    Down(Why, Option<Socket>),
}

impl Race {
    /// A race over `addresses`, already in the order of [`order`], for which there is `time`.
    pub(super) fn new(addresses: Vec<Address>, time: Duration, now: Instant) -> Race {
        let share = time / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX).max(4);
        Race {
            entered: addresses.len(),
            waiting: addresses.into(),
            running: Vec::new(),
            next_start: now,
            attempt_delay: share.clamp(ATTEMPT_DELAY_LEAST, ATTEMPT_DELAY),
            handshake_delay: share.clamp(ATTEMPT_DELAY_LEAST, HANDSHAKE_DELAY),
            failures: Vec::new(),
            over: Vec::new(),
        }
    }

    /// Adds the addresses of a newer answer, in the order of [`order`], after those that wait
    /// already. Returns whether any is new.
    pub(super) fn add(&mut self, addresses: Vec<Address>) -> bool {
        let before = self.waiting.len();
        for address in addresses {
            let tried = self.failures.iter().map(|failed| &failed.address);
            let running = self.running.iter().map(|runner| &runner.address);
            let is_known =
                self.waiting.iter().chain(tried).chain(running).any(|known| *known == address);
            if !is_known && self.entered < MOST {
                self.waiting.push_back(address);
                self.entered += 1;
            }
        }
        self.waiting.len() > before
    }

    /// When to call [`Race::advance`] even if no socket is ready.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let next_start = (!self.waiting.is_empty()).then_some(self.next_start);
        self.running.iter().filter_map(Runner::alarm).chain(next_start).min()
    }

    /// Whether every address has failed.
    pub(super) fn is_lost(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Whether it is, or was, about one address only.
    pub(super) fn is_of_one(&self) -> bool {
        self.entered == 1
    }

    /// The addresses that failed, each with its reason.
    pub(super) fn failures(&self) -> &[Failed] {
        &self.failures
    }

    /// The addresses whose connection is not made yet.
    pub(super) fn connecting(&self) -> impl Iterator<Item = &Address> {
        self.at(|way| !matches!(way, Way::Handshaking(_)))
    }

    /// The addresses whose TLS handshake is not done yet.
    pub(super) fn handshaking(&self) -> impl Iterator<Item = &Address> {
        self.at(|way| matches!(way, Way::Handshaking(_)))
    }

    fn at(&self, is_there: fn(&Way) -> bool) -> impl Iterator<Item = &Address> {
        let there = self.running.iter().filter(move |runner| is_there(&runner.way));
        there.map(|runner| &runner.address)
    }

    /// Every address that was begun with, whatever became of it.
    pub(super) fn begun(&self) -> impl Iterator<Item = &Address> {
        let failed = self.failures.iter().map(|failed| &failed.address);
        failed.chain(self.running.iter().map(|runner| &runner.address))
    }

    /// Looks at the running attempts and starts the next ones that are due. After
    /// [`Standing::Won`], [`Race::begun`] are the losers, until [`Race::abort`].
    pub(super) fn advance(&mut self, target: &Target, now: Instant) -> Standing {
        let mut watch = Vec::new();
        let mut at = 0;
        while at < self.running.len() {
            let was_connected = self.running[at].is_connected();
            let Runner { address, way, watched } = self.running.remove(at);
            match step(way, &address, target, now) {
                (Came::Waits(ready), Some(way)) => {
                    let runner = Runner { address, way, watched: ready };
                    if !was_connected && runner.is_connected() {
                        self.next_start = self.next_start.max(now + self.handshake_delay);
                    }
                    if let (Some(socket), Some(ready)) = (runner.socket(), ready)
                        && watched != Some(ready)
                    {
                        watch.push(Watch { fd: socket.fd(), ready, is_new: watched.is_none() });
                    }
                    self.running.insert(at, runner);
                    at += 1;
                }
                (Came::Through(channel), _) => return Standing::Won(channel),
                (Came::Down(why, socket), _) => {
                    self.over.extend(socket);
                    self.failures.push(Failed { address, why });
                    self.next_start = now;
                }
                (Came::Waits(_), None) => {}
            }
        }
        self.start_due(target, now, &mut watch);
        match self.is_lost() {
            true => Standing::Lost,
            false => Standing::Running { watch },
        }
    }

    fn start_due(&mut self, target: &Target, now: Instant, watch: &mut Vec<Watch>) {
        while self.next_start <= now
            && let Some(address) = self.waiting.pop_front()
        {
            self.next_start = now + self.attempt_delay;
            match start(&address, target, now) {
                Ok(way) => {
                    let mut runner = Runner { address, way, watched: None };
                    if let Some(fd) = runner.socket().map(Socket::fd) {
                        watch.push(Watch { fd, ready: Ready::Write, is_new: true });
                        runner.watched = Some(Ready::Write);
                    }
                    self.running.push(runner);
                }
                Err(why) => {
                    self.failures.push(Failed { address, why });
                    self.next_start = now;
                }
            }
        }
    }

    /// Whether there is a stream that only waits for that verdict: [`Race::take_unjudged`].
    pub(super) fn is_through(&self) -> bool {
        self.running.iter().any(|runner| runner.verdict_by().is_some())
    }

    /// A stream that only waits for the server's verdict on the client certificate, if there is
    /// one: there is no time to wait longer.
    pub(super) fn take_unjudged(&mut self) -> Option<Channel> {
        let at = self.running.iter().position(|runner| runner.verdict_by().is_some())?;
        match self.running.remove(at).way {
            Way::Handshaking(handshake) => Some(handshake.into_channel()),
            _ => None,
        }
    }

    /// The sockets of attempts that are over since the last call.
    pub(super) fn take_over(&mut self) -> Vec<Socket> {
        std::mem::take(&mut self.over)
    }

    /// Ends every attempt; [`Race::take_over`] returns their sockets.
    pub(super) fn abort(&mut self) {
        self.over.extend(self.running.drain(..).filter_map(Runner::into_socket));
    }

    /// The running socket with this descriptor.
    pub(super) fn socket(&self, fd: RawFd) -> Option<&Socket> {
        self.running.iter().filter_map(Runner::socket).find(|socket| socket.fd() == fd)
    }
}

/// How long an attempt at a socket of this machine waits if the server's queue is full. The system
/// does not say when there is room.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// Begins an attempt.
fn start(address: &Address, target: &Target, now: Instant) -> Result<Way, Why> {
    match Socket::start_connect(address, &target.net) {
        Ok(socket) => Ok(Way::Connecting(socket)),
        Err((_, error))
            if matches!(address, Address::Unix(_)) && error.kind() == ErrorKind::WouldBlock =>
        {
            Ok(Way::Queueing(now + QUEUE_PAUSE))
        }
        Err((step, error)) => Err(Why::Connect(step, error)),
    }
}

/// Takes an attempt as far as it goes without waiting. Returns its way if it waits.
fn step(way: Way, address: &Address, target: &Target, now: Instant) -> (Came, Option<Way>) {
    match way {
        Way::Queueing(again) if now < again => (Came::Waits(None), Some(way)),
        Way::Queueing(_) => match start(address, target, now) {
            Ok(way @ Way::Queueing(_)) => (Came::Waits(None), Some(way)),
            Ok(way) => (Came::Waits(Some(Ready::Write)), Some(way)),
            Err(why) => (Came::Down(why, None), None),
        },
        Way::Connecting(socket) => match socket.finish_connect() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                (Came::Waits(Some(Ready::Write)), Some(Way::Connecting(socket)))
            }
            Err(error) => (Came::Down(Why::Connect(Step::Later, error), Some(socket)), None),
            Ok(()) => {
                socket.bound_silence(target.net.io_timeout);
                match target.proxy() {
                    Some(proxy) => {
                        let tunnel = Tunnel::new(socket, &target.address(), proxy);
                        dig(tunnel, address, target)
                    }
                    None => arrive(socket, Vec::new(), address, target),
                }
            }
        },
        Way::Tunnelling(tunnel) => dig(tunnel, address, target),
        Way::Handshaking(handshake) => shake(handshake),
    }
}

/// Goes on with the proxy.
fn dig(mut tunnel: Tunnel, address: &Address, target: &Target) -> (Came, Option<Way>) {
    let why = match tunnel.advance() {
        Ok(Passage::Waits(ready)) => {
            return (Came::Waits(Some(ready)), Some(Way::Tunnelling(tunnel)));
        }
        Ok(Passage::Open(first)) => return arrive(tunnel.into_socket(), first, address, target),
        Err(Blocked::Broke(error)) => Why::Connect(Step::Later, error),
        Err(Blocked::Refused(cause)) => Why::Proxy(cause),
    };
    (Came::Down(why, Some(tunnel.into_socket())), None)
}

/// The connection to the node is made; `first` came already. The TLS handshake is next.
fn arrive(
    socket: Socket,
    first: Vec<u8>,
    address: &Address,
    target: &Target,
) -> (Came, Option<Way>) {
    let Some(tls) = &target.tls else {
        let mut channel = Channel::plain(socket, address.clone());
        channel.put_back(&first);
        return (Came::Through(channel), None);
    };
    if !first.is_empty() {
        let cause = "it sent more than its answer to CONNECT; is it an HTTP proxy?";
        return (Came::Down(Why::Proxy(cause.to_owned()), Some(socket)), None);
    }
    match Handshake::new(socket, address.clone(), tls) {
        Ok(handshake) => shake(handshake),
        Err((socket, cause)) => (Came::Down(Why::Tls((Status::Tls, 0, cause)), Some(socket)), None),
    }
}

/// Goes on with the handshake.
fn shake(mut handshake: Handshake) -> (Came, Option<Way>) {
    let ready = match handshake.advance() {
        Ok(HandshakeStep::Done) => return (Came::Through(handshake.into_channel()), None),
        Ok(HandshakeStep::Wait(ready)) => ready,
        Ok(HandshakeStep::Verdict) => Ready::Read,
        Err(failure) => {
            return (Came::Down(Why::Tls(failure), Some(handshake.into_socket())), None);
        }
    };
    (Came::Waits(Some(ready)), Some(Way::Handshaking(handshake)))
}

/// The order in which to try addresses that are sorted within their families: one family, then in
/// turns (RFC 8305 section 4). Of each family the first `good` ones are in good standing; the
/// others of both families come last.
pub(super) fn order(
    [first, second]: [&[SocketAddr]; 2],
    [good_first, good_second]: [usize; 2],
) -> Vec<SocketAddr> {
    let (first, first_bad) = first.split_at(good_first);
    let (second, second_bad) = second.split_at(good_second);
    let mut ordered = in_turns(first, second);
    ordered.extend(in_turns(first_bad, second_bad));
    ordered.truncate(MOST);
    ordered
}

fn in_turns(first: &[SocketAddr], second: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    let mut second = second.iter();
    for address in first {
        ordered.push(*address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::NetSettings;

    pub(in crate::net) fn net() -> NetSettings {
        NetSettings {
            connect_timeout: Duration::from_secs(10),
            connect_timeout_log_error: true,
            io_timeout: Duration::from_secs(60),
            keepalive: true,
            keepalive_idle_timeout: Duration::from_secs(30),
            keepalive_max_recycle: 2000,
            keepalive_max_lifetime: Duration::ZERO,
            max_connections: 0,
            tcp_keepalive: false,
            tcp_keepalive_time: None,
            tcp_keepalive_interval: None,
            tcp_keepalive_probes: None,
            proxy: None,
            source_address: None,
            prefer_ipv4: false,
            prefer_ipv6: false,
            dns_ttl: Duration::from_secs(30),
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn target() -> Target {
        Target {
            name: "n".into(),
            host: "h".into(),
            port: 9,
            net: net().into(),
            tls: None,
            wary: Default::default(),
        }
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 9)).collect()
    }

    #[test]
    fn families_take_turns_and_those_passed_over_come_last() {
        let v6 = addresses(&["::1", "::2", "::3"]);
        let v4 = addresses(&["10.0.0.1", "10.0.0.2"]);
        assert_eq!(
            order([&v6, &v4], [3, 2]),
            addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"])
        );
        assert_eq!(
            order([&v4, &v6], [1, 1]),
            addresses(&["10.0.0.1", "::1", "10.0.0.2", "::2", "::3"])
        );
        assert_eq!(order([&v6, &v4], [0, 2])[0], v4[0]);
        assert_eq!(order([&[], &v4], [0, 2]), v4);
        let many = vec![v4[0]; 4000];
        assert_eq!(order([&many, &v6], [4000, 3]).len(), MOST);
    }

    /// Each address has its attempt, however little time there is and however many are silent.
    #[test]
    fn every_address_has_its_attempt_in_the_time() {
        for (count, millis) in [(2, 40), (2, 100), (2, 250), (3, 60), (5, 1000), (16, 10_000)] {
            let time = Duration::from_millis(millis);
            let now = Instant::now();
            // The last one answers; the others are black holes (RFC 5737) or refuse at once.
            let race = Race::new(vec![addresses(&["192.0.2.1"])[0].into(); count], time, now);
            let last = race.attempt_delay * u32::try_from(count - 1).unwrap();
            assert!(last * 4 <= time * 3 || count > 4, "{count} in {millis} ms: {last:?}");
            assert!(last < time, "{count} in {millis} ms: {last:?}");
            assert!(race.attempt_delay <= ATTEMPT_DELAY);
        }
    }

    #[test]
    fn a_refused_address_starts_the_next_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let mut race = Race::new(vec![refused.into(), open.into()], LONG, Instant::now());
        // The clock stands still: only a failure can start the second address.
        let now = Instant::now();
        loop {
            match race.advance(&target(), now) {
                Standing::Won(channel) => break assert_eq!(*channel.peer(), open.into()),
                Standing::Lost => panic!("lost"),
                Standing::Running { .. } => std::thread::yield_now(),
            }
        }
        assert_eq!(race.failures().len(), 1);
        assert_eq!(
            race.take_over().len(),
            1,
            "the failed attempt's socket is there to be unwatched"
        );
    }

    #[test]
    fn a_newer_answer_adds_what_is_new() {
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let now = Instant::now();
        let mut race = Race::new(vec![refused.into()], LONG, now);
        while !matches!(race.advance(&target(), now), Standing::Lost) {
            std::thread::yield_now();
        }
        assert!(!race.add(vec![refused.into()]));
        assert!(race.add(vec![refused.into(), open.into(), open.into()]));
        loop {
            match race.advance(&target(), now) {
                Standing::Won(channel) => break assert_eq!(*channel.peer(), open.into()),
                Standing::Lost => panic!("lost"),
                Standing::Running { .. } => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn an_aborted_race_hands_its_sockets_over() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut race = Race::new(vec![listener.local_addr().unwrap().into()], LONG, Instant::now());
        assert!(matches!(race.advance(&target(), Instant::now()), Standing::Running { .. }));
        assert!(race.take_over().is_empty());
        race.abort();
        assert_eq!(race.take_over().len(), 1);
        assert_eq!(race.connecting().count(), 0);
    }
}
