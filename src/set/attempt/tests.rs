//! What an attempt reports of its nodes: each outcome once, in the counters and to the breakers.

use super::*;
use crate::balance::roster::NodeState;
use crate::base::clock::Clock;
use crate::base::stats::Snapshot;
use crate::config::Options;
use crate::set::told_once::Words;
use crate::set::upstream::{Hooks, Source};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

struct Bench {
    up: Arc<Upstream>,
    now: Arc<AtomicU64>,
}

impl Bench {
    fn new(nodes: usize) -> Bench {
        let mut text = "[UPSTREAM]\nname u\n".to_owned();
        (0..nodes).for_each(|n| text += &format!("[NODE]\nname n{n}\nhost 127.0.0.1\nport 1\n"));
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let hooks = Hooks { clock: Clock::host(move || clock.load(Relaxed)), ..Hooks::default() };
        let source = Source::Text(text.into_bytes().into(), "t".to_owned());
        Bench { up: Upstream::load(source, Options::default(), hooks).unwrap(), now }
    }

    fn attempt(&self) -> Attempt {
        Attempt::new(Arc::clone(&self.up))
    }

    fn node(&self, place: usize) -> Snapshot {
        self.up.nodes()[place].snapshot()
    }

    fn state(&self, place: usize) -> NodeState {
        self.up.nodes()[place].state()
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_nanos() as u64, Relaxed);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.up.close();
    }
}

#[test]
fn what_the_plugin_reported_before_it_asked_again_counts_once() {
    let bench = Bench::new(2);
    for payload in 1..=2 {
        let mut attempt = bench.attempt();
        let first = Arc::clone(attempt.next_node().unwrap());
        first.told(Status::Timeout);
        assert!(attempt.next_node().is_some());
        attempt.end(Status::Ok);
        assert_eq!((first.place, first.snapshot().deliveries_failed), (0, payload));
    }
    assert_eq!(bench.state(0), NodeState::Up, "two failures are not three");
    let one = Bench::new(1);
    for _ in 0..2 {
        let mut attempt = one.attempt();
        attempt.next_node().unwrap().told(Status::Timeout);
        assert!(attempt.next_node().is_none());
        attempt.end(Status::Timeout);
    }
    assert_eq!(one.node(0).deliveries_failed, 2);
    assert_eq!(one.state(0), NodeState::Up, "two failures are not three");
    one.attempt().next_node().unwrap().told(Status::Timeout);
    assert_eq!(one.state(0), NodeState::Ejected);
}

#[test]
fn the_counters_of_attempts_add_up_as_those_of_deliveries_do() {
    let bench = Bench::new(2);
    let mut taken = bench.attempt();
    assert!(taken.next_node().is_some() && taken.next_node().is_some());
    taken.end(Status::Ok);
    let mut refused = bench.attempt();
    assert!(refused.next_node().is_some());
    refused.end(Status::Stop);
    let mut lost = bench.attempt();
    while lost.next_node().is_some() {}
    lost.end(Status::Network);
    bench.attempt().end(Status::Network); // it asked no node
    let set = bench.up.snapshot();
    assert_eq!((set.picks, set.deliveries, set.redeliveries, set.deliveries_failed), (5, 1, 2, 2));
    let of_nodes = bench.node(0).deliveries_failed + bench.node(1).deliveries_failed;
    assert_eq!(of_nodes, 4, "each pick ended well or failed");
}

#[test]
fn an_end_that_says_nothing_of_a_node_on_trial_gives_the_trial_back() {
    for (outcome, state) in [
        (Status::Stop, NodeState::Up),
        (Status::Ok, NodeState::Up),
        (Status::Network, NodeState::Ejected),
        (Status::Cancelled, NodeState::Ejected),
        (Status::NoMemory, NodeState::Ejected),
    ] {
        let bench = Bench::new(2);
        bench.up.nodes()[0].told(Status::Connect);
        bench.pass(Duration::from_secs(2));
        let mut attempt = bench.attempt();
        assert_eq!(attempt.next_node().unwrap().place, 0);
        assert_eq!(bench.state(0), NodeState::OnTrial);
        attempt.end(outcome);
        assert_eq!(bench.state(0), state, "{outcome:?}");
        if outcome == Status::Cancelled {
            bench.pass(Duration::from_millis(250));
            assert_eq!(bench.attempt().next_node().unwrap().place, 0, "another may have it soon");
        }
    }
}

#[test]
fn each_of_several_attempts_at_one_node_is_reported() {
    let bench = Bench::new(1);
    let mut attempts: Vec<Attempt> = (0..3).map(|_| bench.attempt()).collect();
    attempts.iter_mut().for_each(|attempt| assert!(attempt.next_node().is_some()));
    attempts.into_iter().for_each(|mut attempt| attempt.end(Status::Protocol));
    assert_eq!(bench.state(0), NodeState::Ejected);
    assert_eq!(bench.node(0).deliveries_failed, 3);
}

#[test]
fn a_report_on_the_node_replaces_one_other_at_most() {
    let words = Words::default();
    assert!(!words.claim(0));
    words.add();
    let since = words.count();
    assert!(!words.claim(since), "it was said before");
    words.add();
    words.add();
    assert!(words.claim(since) && words.claim(since) && !words.claim(since));
    assert!(!words.claim(0), "too old for anyone");
}

#[test]
fn what_an_attempt_reports_twice_counts_once() {
    let bench = Bench::new(1);
    for _ in 0..2 {
        let mut attempt = bench.attempt();
        attempt.next_node().unwrap().told(Status::Protocol);
        attempt.report(Status::Protocol);
        attempt.end(Status::Protocol);
    }
    assert_eq!((bench.state(0), bench.node(0).deliveries_failed), (NodeState::Up, 2));
}

#[test]
fn a_node_that_got_nothing_is_no_witness_against_the_nodes_that_a_payload_broke() {
    let bench = Bench::new(3);
    for _ in 0..5 {
        let mut attempt = bench.attempt();
        while let Some(node) = attempt.next_node() {
            let outcome = if node.place == 0 { Status::Connect } else { Status::Protocol };
            attempt.report(outcome);
        }
        attempt.end(Status::Protocol);
        bench.pass(Duration::from_secs(3600));
    }
    assert_eq!((bench.state(0), bench.state(1)), (NodeState::Ejected, NodeState::Up));
    assert_eq!(bench.state(2), NodeState::Up);
}

#[test]
fn a_node_that_is_busy_costs_no_retry() {
    let bench = Bench::new(2);
    for _ in 0..100 {
        let mut attempt = bench.attempt();
        let busy = Arc::clone(attempt.next_node().unwrap());
        attempt.report(Status::Busy);
        assert!(attempt.next_node().is_some_and(|other| other.place != busy.place));
        attempt.end(Status::Ok);
        bench.pass(Duration::from_secs(2)); // its pause is over
    }
    assert_eq!(bench.up.budget.wait(bench.now.load(Relaxed)), Duration::ZERO);
    let at = bench.now.load(Relaxed);
    assert_eq!(
        (0..100).take_while(|_| bench.up.budget.retry(at).is_ok()).count(),
        20,
        "all are left"
    );
}
