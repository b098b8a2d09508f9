//! The race of a dial over the addresses of one name (RFC 8305). IPv4 and IPv6 take turns; a new
//! attempt starts every 250 ms, or as soon as one fails; earlier attempts go on; the first that
//! connects wins.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::local::Step;
use super::socket::Socket;
use crate::config::NetSettings;

/// RFC 8305 section 5, "Connection Attempt Delay": the recommended 250 ms.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A running race. Call [`Race::advance`] when one of its sockets is ready, and no later than
/// [`Race::next_start`].
pub(super) struct Race {
    first: Option<SocketAddr>,
    waiting: VecDeque<SocketAddr>,
    running: Vec<(SocketAddr, Socket)>,
    next_start: Instant,
    failures: Vec<Failed>,
    /// Sockets of attempts that are over. Take them out of epoll before they are closed.
    over: Vec<Socket>,
}

/// An address that failed.
pub(super) struct Failed {
    pub(super) address: SocketAddr,
    pub(super) step: Step,
    pub(super) error: io::Error,
}

/// The state of a race.
pub(super) enum Standing {
    /// Not decided. `started` are the new sockets; watch each for writing.
    Running { started: Vec<i32> },
    /// This address is connected; the other attempts are over.
    Won(SocketAddr, Socket),
    /// Every address failed.
    Lost,
}

impl Race {
    /// A race over `addresses`, already in the order of [`order`].
    pub(super) fn new(addresses: Vec<SocketAddr>, now: Instant) -> Race {
        Race {
            first: addresses.first().copied(),
            waiting: addresses.into(),
            running: Vec::new(),
            next_start: now,
            failures: Vec::new(),
            over: Vec::new(),
        }
    }

    /// Adds the addresses of a newer answer, in the order of [`order`], after those that wait
    /// already. Returns whether any is new.
    pub(super) fn add(&mut self, addresses: Vec<SocketAddr>) -> bool {
        let before = self.waiting.len();
        for address in addresses {
            let tried = self.failures.iter().map(|failed| &failed.address);
            let running = self.running.iter().map(|(address, _)| address);
            if !self.waiting.iter().chain(tried).chain(running).any(|known| *known == address) {
                self.waiting.push_back(address);
            }
        }
        self.waiting.len() > before
    }

    /// When to call [`Race::advance`] even if no socket is ready; `None` if no address waits.
    pub(super) fn next_start(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next_start)
    }

    /// Whether the race started with this address.
    pub(super) fn is_first(&self, address: SocketAddr) -> bool {
        self.first == Some(address)
    }

    /// Whether every address has failed.
    pub(super) fn is_lost(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// The addresses that failed, each with its reason.
    pub(super) fn failures(&self) -> &[Failed] {
        &self.failures
    }

    /// The addresses whose attempts are still running.
    pub(super) fn running(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.running.iter().map(|(address, _)| *address)
    }

    /// Looks at the running attempts and starts the next ones that are due.
    pub(super) fn advance(&mut self, net: &NetSettings, now: Instant) -> Standing {
        let mut at = 0;
        while at < self.running.len() {
            match self.running[at].1.finish_connect() {
                Ok(()) => {
                    let (address, socket) = self.running.swap_remove(at);
                    self.over.extend(self.running.drain(..).map(|(_, socket)| socket));
                    socket.bound_silence(net.io_timeout);
                    return Standing::Won(address, socket);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => at += 1,
                Err(error) => {
                    let (address, socket) = self.running.remove(at);
                    self.over.push(socket);
                    self.failures.push(Failed { address, step: Step::Later, error });
                    self.next_start = now;
                }
            }
        }
        let mut started = Vec::new();
        while self.next_start <= now
            && let Some(address) = self.waiting.pop_front()
        {
            match Socket::start_connect(address, net) {
                Ok(socket) => {
                    started.push(socket.fd());
                    self.running.push((address, socket));
                    self.next_start = now + ATTEMPT_DELAY;
                }
                Err((step, error)) => self.failures.push(Failed { address, step, error }),
            }
        }
        if self.is_lost() {
            return Standing::Lost;
        }
        Standing::Running { started }
    }

    /// The sockets of attempts that are over since the last call.
    pub(super) fn take_over(&mut self) -> Vec<Socket> {
        std::mem::take(&mut self.over)
    }

    /// Ends every attempt; [`Race::take_over`] returns their sockets.
    pub(super) fn abort(&mut self) {
        self.over.extend(self.running.drain(..).map(|(_, socket)| socket));
    }

    /// The running socket with this descriptor.
    pub(super) fn socket(&self, fd: i32) -> Option<&Socket> {
        self.running.iter().map(|(_, socket)| socket).find(|socket| socket.fd() == fd)
    }
}

/// The order in which to try addresses: the preferred family first (without a preference, the
/// family of the system's first address), then in turns (RFC 8305 section 4). Addresses that
/// `net.source_address` cannot reach are left out.
pub(super) fn order(addresses: &[SocketAddr], net: &NetSettings) -> Vec<SocketAddr> {
    let usable = |address: &&SocketAddr| match net.source_address {
        Some(IpAddr::V4(_)) => address.is_ipv4(),
        Some(IpAddr::V6(_)) => address.is_ipv6(),
        None => true,
    };
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().filter(usable).partition(|address| address.is_ipv6());
    let system_prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let v6_first = net.prefer_ipv6 || (system_prefers_v6 && !net.prefer_ipv4);
    let (mut first, mut second) = if v6_first { (v6, v4) } else { (v4, v6) };
    if first.is_empty() {
        std::mem::swap(&mut first, &mut second);
    }
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    let mut second = second.into_iter();
    for address in first {
        ordered.push(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::net) fn net() -> NetSettings {
        crate::config::NetSettings {
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
            source_address: None,
            prefer_ipv4: false,
            prefer_ipv6: false,
            dns_ttl: Duration::from_secs(30),
        }
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 9)).collect()
    }

    #[test]
    fn families_take_turns_in_the_systems_order() {
        let found = addresses(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(
            order(&found, &net()),
            addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"])
        );
    }

    #[test]
    fn a_preferred_family_goes_first_and_neither_is_dropped() {
        let found = addresses(&["::1", "10.0.0.1", "10.0.0.2"]);
        let prefer_v4 = NetSettings { prefer_ipv4: true, ..net() };
        assert_eq!(order(&found, &prefer_v4), addresses(&["10.0.0.1", "::1", "10.0.0.2"]));
        let found = addresses(&["10.0.0.1", "::1"]);
        let prefer_v6 = NetSettings { prefer_ipv6: true, ..net() };
        assert_eq!(order(&found, &prefer_v6), addresses(&["::1", "10.0.0.1"]));
        let only_v4 = addresses(&["10.0.0.1", "10.0.0.2"]);
        assert_eq!(order(&only_v4, &prefer_v6), only_v4);
    }

    #[test]
    fn a_source_address_keeps_to_its_family() {
        let found = addresses(&["::1", "127.0.0.1"]);
        let bound = NetSettings { source_address: Some("127.0.0.1".parse().unwrap()), ..net() };
        assert_eq!(order(&found, &bound), addresses(&["127.0.0.1"]));
    }

    #[test]
    fn a_refused_address_starts_the_next_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let mut race = Race::new(vec![refused, open], Instant::now());
        // The clock stands still: only a failure can start the second address.
        let now = Instant::now();
        loop {
            match race.advance(&net(), now) {
                Standing::Won(address, _) => break assert_eq!(address, open),
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
        let mut race = Race::new(vec![refused], now);
        while !matches!(race.advance(&net(), now), Standing::Lost) {
            std::thread::yield_now();
        }
        assert!(!race.add(vec![refused]));
        assert!(race.add(vec![refused, open, open]));
        loop {
            match race.advance(&net(), now) {
                Standing::Won(address, _) => break assert_eq!(address, open),
                Standing::Lost => panic!("lost"),
                Standing::Running { .. } => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn an_aborted_race_hands_its_sockets_over() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut race = Race::new(vec![listener.local_addr().unwrap()], Instant::now());
        assert!(matches!(race.advance(&net(), Instant::now()), Standing::Running { .. }));
        assert!(race.take_over().is_empty());
        race.abort();
        assert_eq!(race.take_over().len(), 1);
        assert_eq!(race.running().count(), 0);
    }
}
