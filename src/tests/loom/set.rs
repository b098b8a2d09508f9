//! Cancelling while calls wait, and trials whose callers leave. Each model has a whole set; one of
//! its threads is the dialer thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use super::{check, never, spawn};
use crate::balance::Tried;
use crate::balance::roster::{NodeState, Trials, Turn};
use crate::balance::visits::PATIENCE;
use crate::base::clock::Clock;
use crate::base::error::{Blame, Error, Status};
use crate::config::{Definition, Options, parse};
use crate::net::pool::Permit;
use crate::set::conn::{Choice, Conn, OneNode, Trial};
use crate::set::node::Node;
use crate::set::upstream::{Hooks, Upstream};

/// Its lookup never ends, unless a model ends it.
const HOST: &str = "no-such-host.invalid";
/// A time after any backoff.
const DUE: u64 = 3_600_000_000_000;

fn definition() -> Definition {
    let node =
        |name| format!("[NODE]\n name {name}\n host {HOST}\n port 9\n net.max_connections 1\n");
    let text = format!("[UPSTREAM]\n name u\n{}{}", node("a"), node("b"));
    parse(text.as_bytes(), "model", &Options::default()).unwrap()
}

fn set(definition: &Definition, clock: Clock) -> Arc<Upstream> {
    let hooks = Hooks { clock, ..Hooks::default() };
    let upstream = Upstream::new(definition.clone(), hooks).unwrap();
    upstream.runtime().dialer.prepare(HOST);
    upstream
}

fn run(upstream: &Upstream) {
    upstream.runtime().dialer.run();
}

fn connect(upstream: &Upstream, node: usize, deadline: Instant) -> Status {
    Conn::open(Arc::clone(&upstream.nodes()[node]), || deadline)
        .err()
        .expect("no connection comes here")
        .status
}

/// A set of nodes whose only connection is in use.
fn at_the_cap(definition: &Definition) -> Arc<Upstream> {
    let upstream = set(definition, Clock::default());
    for node in upstream.nodes() {
        assert!(matches!(node.pool.acquire(never, |_| unreachable!()), Permit::New));
    }
    upstream
}

/// The error of a call that tries this one node, on trial.
fn try_alone(choice: Choice) -> Error {
    let mut alone = OneNode::new(Arc::clone(&choice.node));
    Conn::open_along(&mut alone, choice).err().unwrap()
}

#[test]
fn cancelling_a_set_ends_all_waits_for_permits() {
    let definition = definition();
    check(move || {
        let upstream = at_the_cap(&definition);
        let waits = [0, 1].map(|node| spawn(&upstream, move |up| connect(up, node, never())));
        upstream.cancel();
        waits.into_iter().for_each(|wait| assert_eq!(wait.join().unwrap(), Status::Cancelled));
        assert_eq!(connect(&upstream, 0, never()), Status::Cancelled);
        assert!(upstream.try_next_node().is_ok(), "picking goes on");
    });
}

#[test]
fn a_wait_that_runs_out_during_the_cancel_ends_as_either() {
    let definition = definition();
    check(move || {
        let upstream = at_the_cap(&definition);
        let wait = spawn(&upstream, |up| connect(up, 0, Instant::now()));
        let other = spawn(&upstream, |up| connect(up, 0, never()));
        upstream.cancel();
        let status = wait.join().unwrap();
        assert!(matches!(status, Status::Limit | Status::Cancelled), "{status:?}");
        assert_eq!(other.join().unwrap(), Status::Cancelled);
    });
}

/// The cancel comes before, during and after the start of the dial.
#[test]
fn cancelling_a_set_ends_a_connect_and_frees_its_permit() {
    let definition = definition();
    check(move || {
        let upstream = set(&definition, Clock::default());
        let thread = spawn(&upstream, run);
        let canceller = spawn(&upstream, Upstream::cancel);
        assert_eq!(connect(&upstream, 0, never()), Status::Cancelled);
        assert_eq!(upstream.nodes()[0].pool.gauge(), Some((0, 0)));
        canceller.join().unwrap();
        upstream.close();
        thread.join().unwrap();
    });
}

/// A set whose first node is out and due for a trial, and that trial.
fn with_a_trial(definition: &Definition) -> (Arc<Upstream>, Choice) {
    let now = Arc::new(AtomicU64::new(0));
    let hand = Arc::clone(&now);
    let upstream = set(definition, Clock::host(move || hand.load(SeqCst)));
    let node = Arc::clone(&upstream.nodes()[0]);
    assert!(node.failed(0, &Error::new(Status::Connect, "refused")));
    now.store(DUE, SeqCst);
    let turn = trial(&upstream).unwrap();
    let trial = Trial { turn, others: true, patience: PATIENCE };
    (upstream, Choice { node, trial: Some(trial), by: None })
}

fn trial(upstream: &Upstream) -> Option<Turn> {
    upstream.runtime().roster.trial_due(&Tried::new(), Trials::All, || DUE)
}

/// The state of a node, how often it was ejected, and what its pool holds.
fn standing(node: &Node) -> (NodeState, u64, Option<(usize, usize)>) {
    (node.state(), node.runtime.roster.ejections(node.place), node.pool.gauge())
}

/// The caller's time is up at once; the lookup fails at the same time or later. Either the caller
/// or the thread gets the outcome and tells the node: once.
#[test]
fn a_trial_left_by_its_caller_ends_for_the_node_once() {
    let definition = definition();
    check(move || {
        let (upstream, choice) = with_a_trial(&definition);
        let thread = spawn(&upstream, run);
        let resolver = spawn(&upstream, |up| {
            let other = trial(up);
            up.runtime().dialer.answer(HOST, Blame::NoSuchName);
            other
        });
        let choice = Choice { by: Some(Instant::now()), ..choice };
        let error = try_alone(choice);
        assert!(matches!(error.status, Status::Timeout | Status::Resolve), "{error}");
        assert_eq!(resolver.join().unwrap(), None, "there is one trial at a time");
        upstream.runtime().dialer.finish();
        thread.join().unwrap();
        assert_eq!(standing(&upstream.nodes()[0]), (NodeState::Ejected, 2, Some((0, 0))));
    });
}

/// A failure whose cause is this machine says nothing of the node: the trial is given back, once.
#[test]
fn a_trial_without_a_result_is_given_back() {
    let definition = definition();
    check(move || {
        let (upstream, choice) = with_a_trial(&definition);
        let thread = spawn(&upstream, run);
        let resolver = spawn(&upstream, |up| up.runtime().dialer.answer(HOST, Blame::Local));
        let error = try_alone(choice);
        assert!(error.status == Status::Resolve && error.is_local(), "{error}");
        assert_eq!(standing(&upstream.nodes()[0]), (NodeState::Ejected, 1, Some((0, 0))));
        resolver.join().unwrap();
        upstream.runtime().dialer.stop();
        thread.join().unwrap();
    });
}

/// The trial goes on for the node when its caller is cancelled; its permit is given back.
#[test]
fn a_cancelled_trial_frees_its_permit() {
    let definition = definition();
    check(move || {
        let (upstream, choice) = with_a_trial(&definition);
        let thread = spawn(&upstream, run);
        let canceller = spawn(&upstream, Upstream::cancel);
        let error = try_alone(choice);
        assert_eq!(error.status, Status::Cancelled);
        assert_eq!(upstream.nodes()[0].pool.gauge(), Some((0, 0)));
        canceller.join().unwrap();
        upstream.close();
        thread.join().unwrap();
    });
}
