//! pingora-load-balancing: `LoadBalancer::select` over a fixed list of backends, round-robin, no
//! health check. It is shared as it is; it takes `&self`.

use crate::measure::Pick;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, LoadBalancer};
use std::net::{Ipv4Addr, SocketAddr};

/// Nodes differ by port, so that the port shows a node's place.
const FIRST_PORT: u16 = 10_000;
/// As pingora's own examples call `select`.
const MAX_ITERATIONS: usize = 256;

pub fn balancer(nodes: usize) -> LoadBalancer<RoundRobin> {
    let ports = (FIRST_PORT..).take(nodes);
    LoadBalancer::try_from_iter(ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        .expect("addresses need no lookup")
}

pub struct Handle<'a>(pub &'a LoadBalancer<RoundRobin>);

impl Pick for Handle<'_> {
    type Node = Backend;

    #[inline]
    fn pick(&mut self) -> Backend {
        self.0.select(b"", MAX_ITERATIONS).expect("every backend is ready")
    }

    fn index(&self, backend: &Backend) -> usize {
        let address = backend.addr.as_inet().expect("made from socket addresses");
        usize::from(address.port() - FIRST_PORT)
    }
}
