//! Remembers which address of a node won a race although it was not the first. The next race starts
//! with it, so that a dead first address costs 250 ms once and not for each connection. Pure: the
//! caller passes the time in.
//!
//! RFC 8305 section 4 allows to sort addresses by history. A winner that was the first address is
//! not remembered, so that the order in which a name server rotates its addresses stays effective.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a winner is remembered: then the preferred family, or the address that was down, gets
/// another chance. RFC 6555 section 4.2 recommends about ten minutes.
const MEMORY: Duration = Duration::from_secs(600);

/// The winners of a set's nodes, by name.
#[derive(Default)]
pub(super) struct Winners {
    of: HashMap<Box<str>, (SocketAddr, Instant)>,
}

impl Winners {
    /// Moves the last winner to the front; forgets it if it is no longer among the addresses.
    pub(super) fn lead(&mut self, node: &str, addresses: &mut [SocketAddr], now: Instant) {
        let Some((winner, since)) = self.of.get(node) else { return };
        match addresses.iter().position(|address| address == winner) {
            Some(at) if now.saturating_duration_since(*since) < MEMORY => {
                addresses[..=at].rotate_right(1)
            }
            _ => self.forget(node),
        }
    }

    /// `winner` won a race in which another address was first.
    pub(super) fn remember(&mut self, node: &str, winner: SocketAddr, now: Instant) {
        self.of.insert(node.into(), (winner, now));
    }

    /// Forgets the winner: a connection to the node failed.
    pub(super) fn forget(&mut self, node: &str) {
        self.of.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 9))
    }

    fn led(winners: &mut Winners, answer: &[u8], now: Instant) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = answer.iter().map(|last| address(*last)).collect();
        winners.lead("n", &mut addresses, now);
        addresses
    }

    #[test]
    fn the_winner_leads_and_the_others_keep_their_order() {
        let (mut winners, now) = (Winners::default(), Instant::now());
        assert_eq!(led(&mut winners, &[1, 2, 3], now), [address(1), address(2), address(3)]);
        winners.remember("n", address(3), now);
        winners.remember("another", address(2), now);
        assert_eq!(
            led(&mut winners, &[1, 2, 3, 4], now),
            [address(3), address(1), address(2), address(4)]
        );
        assert_eq!(led(&mut winners, &[3, 2], now), [address(3), address(2)]);
        winners.forget("n");
        assert_eq!(led(&mut winners, &[1, 2, 3], now), [address(1), address(2), address(3)]);
    }

    #[test]
    fn it_is_forgotten_with_its_answer_and_with_time() {
        let (mut winners, now) = (Winners::default(), Instant::now());
        winners.remember("n", address(3), now);
        assert_eq!(led(&mut winners, &[1, 2], now), [address(1), address(2)]);
        assert_eq!(
            led(&mut winners, &[1, 2, 3], now)[0],
            address(1),
            "it is back, and as good as new"
        );
        winners.remember("n", address(3), now);
        assert_eq!(
            led(&mut winners, &[1, 3], now + MEMORY - Duration::from_secs(1))[0],
            address(3)
        );
        assert_eq!(led(&mut winners, &[1, 3], now + MEMORY)[0], address(1));
    }
}
