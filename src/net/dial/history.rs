//! Which address of a node its next dial tries first. Pure: the caller passes the time in.
//!
//! Invariants: each dial of a node starts at the next address of its name, so that one name with
//! three addresses is used evenly; an address that another one overtook, or that failed while
//! another one did not, comes last for ten minutes, so that a dead address costs its 250 ms once
//! and not for each connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long an address that was passed over comes last: then it gets another chance. RFC 6555
/// section 4.2 recommends about ten minutes.
const MEMORY: Duration = Duration::from_secs(600);

/// The addresses of a set's nodes, by the node's name.
#[derive(Default)]
pub(super) struct History {
    nodes: HashMap<Box<str>, OfNode>,
}

#[derive(Default)]
struct OfNode {
    /// How many dials chose among several addresses.
    turns: usize,
    passed_over: Vec<(SocketAddr, Instant)>,
}

impl History {
    /// Arranges the addresses of each family for a dial. Those that were passed over come last in
    /// their family; returns how many addresses of each family are in good standing.
    pub(super) fn arrange(
        &mut self,
        node: &str,
        families: [&mut [SocketAddr]; 2],
        now: Instant,
    ) -> [usize; 2] {
        if families.iter().map(|addresses| addresses.len()).sum::<usize>() < 2 {
            return families.map(|addresses| addresses.len());
        }
        let OfNode { turns, passed_over } = self.nodes.entry(node.into()).or_default();
        let is_known =
            |address: &SocketAddr| families.iter().any(|family| family.contains(address));
        passed_over.retain(|(address, since)| {
            is_known(address) && now.saturating_duration_since(*since) < MEMORY
        });
        let turn = *turns;
        *turns = turns.wrapping_add(1);
        families.map(|addresses| {
            let is_passed_over =
                |address: &SocketAddr| passed_over.iter().any(|(passed, _)| passed == address);
            addresses.sort_by_key(is_passed_over); // stable
            let good = addresses.iter().take_while(|address| !is_passed_over(address)).count();
            let (good, passed) = addresses.split_at_mut(good);
            for part in [&mut *good, passed] {
                part.rotate_left(turn.checked_rem(part.len()).unwrap_or(0));
            }
            good.len()
        })
    }

    /// `winner` won a race in which these other addresses had begun before.
    pub(super) fn won(
        &mut self,
        node: &str,
        winner: SocketAddr,
        losers: impl Iterator<Item = SocketAddr>,
        now: Instant,
    ) {
        let Some(OfNode { passed_over, .. }) = self.nodes.get_mut(node) else { return };
        let losers: Vec<_> = losers.map(|loser| (loser, now)).collect();
        let is_new = |address| losers.iter().all(|(loser, _)| *loser != address);
        passed_over.retain(|(passed, _)| *passed != winner && is_new(*passed));
        passed_over.extend(losers);
    }

    /// No connection to the node could be made: every address gets its chance again.
    pub(super) fn forget(&mut self, node: &str) {
        if let Some(of_node) = self.nodes.get_mut(node) {
            of_node.passed_over.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 9))
    }

    /// The order of a dial to these addresses, and how many are in good standing.
    fn order(history: &mut History, answer: &[u8], now: Instant) -> (Vec<u8>, usize) {
        let mut addresses: Vec<SocketAddr> = answer.iter().map(|last| address(*last)).collect();
        let [_, good] = history.arrange("n", [&mut [], &mut addresses], now);
        let last = |address: &SocketAddr| match address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => unreachable!(),
        };
        (addresses.iter().map(last).collect(), good)
    }

    #[test]
    fn each_dial_starts_at_the_next_address() {
        let (mut history, now) = (History::default(), Instant::now());
        for expected in [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]] {
            assert_eq!(order(&mut history, &[1, 2, 3], now), (expected.to_vec(), 3));
        }
        assert_eq!(order(&mut history, &[], now), (vec![], 0));
        assert_eq!(order(&mut history, &[7], now), (vec![7], 1));
    }

    #[test]
    fn an_address_that_was_passed_over_comes_last_for_its_time() {
        let (mut history, now) = (History::default(), Instant::now());
        order(&mut history, &[1, 2, 3], now);
        history.won("n", address(2), [address(1)].into_iter(), now);
        history.won("another", address(1), [address(2)].into_iter(), now);
        for expected in [[3, 2, 1], [2, 3, 1], [3, 2, 1]] {
            assert_eq!(order(&mut history, &[1, 2, 3], now), (expected.to_vec(), 2));
        }
        let before = now + MEMORY - Duration::from_secs(1);
        assert_eq!(order(&mut history, &[1, 2, 3], before).1, 2);
        assert_eq!(order(&mut history, &[1, 2, 3], now + MEMORY).1, 3);
    }

    #[test]
    fn who_wins_or_has_left_the_answer_is_as_good_as_new() {
        let (mut history, now) = (History::default(), Instant::now());
        order(&mut history, &[1, 2], now);
        history.won("n", address(2), [address(1)].into_iter(), now);
        history.won("n", address(1), [address(2)].into_iter(), now);
        assert_eq!(order(&mut history, &[1, 2], now), (vec![1, 2], 1));
        assert_eq!(order(&mut history, &[1, 3], now).1, 2);
        assert_eq!(order(&mut history, &[1, 2], now).1, 2, "forgotten");
        history.won("n", address(2), [address(1)].into_iter(), now);
        history.forget("n");
        assert_eq!(order(&mut history, &[1, 2], now).1, 2);
    }
}
