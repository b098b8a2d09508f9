//! Deliveries to loopback servers that do one thing each.

use super::*;
use crate::balance::roster::NodeState;
use crate::config::Options;
use crate::set::node::Node;
use crate::set::upstream::{Hooks, Source};
use std::io::{IoSlice, Read};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;

fn upstream(text: &str) -> Arc<Upstream> {
    let source =
        Source::Text(format!("[UPSTREAM]\nname u\n{text}").into_bytes().into(), "t".to_owned());
    Upstream::load(source, Options::default(), Hooks::default()).unwrap()
}

fn node(name: &str, listener: &TcpListener, more: &str) -> String {
    let port = listener.local_addr().unwrap().port();
    format!("[NODE]\nname {name}\nhost 127.0.0.1\nport {port}\n{more}\n")
}

/// The kernel accepts its connections, and nobody ever answers on them.
fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Reads all that comes.
fn reader() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in accepting.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(
                move || while stream.read(&mut [0; 4096]).is_ok_and(|got| got > 0) {},
            );
        }
    });
    listener
}

fn write(conn: &mut Conn) -> Status {
    conn.write(&[IoSlice::new(b"record")])
}

fn deliver(
    up: &Upstream,
    timeout: Duration,
    send: impl FnMut(&mut Conn) -> Status,
) -> Result<Status, Error> {
    match up.deliver(Delivery { timeout, id: None }, send)? {
        Done::Delivered => Ok(Status::Ok),
        Done::Stopped(error) => Ok(error.status),
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn failed_connects(node: &Node) -> u64 {
    node.counters.connects_failed.load(Relaxed)
}

#[test]
fn each_trial_that_runs_out_of_time_makes_the_next_wait_longer() {
    let (dead, good) = (silent(), reader());
    let up = upstream(&format!(
        "health.backoff 5ms\n{}{}",
        node("dead", &dead, "tls on\ntls.verify off\nnet.connect_timeout 50ms"),
        node("good", &good, ""),
    ));
    // The first attempt goes to the dead one, which is ejected.
    assert_eq!(deliver(&up, Duration::ZERO, write).unwrap(), Status::Ok);
    let over = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let (up, over) = (Arc::clone(&up), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Relaxed) {
                    assert_eq!(deliver(&up, Duration::ZERO, write).unwrap(), Status::Ok);
                }
            })
        })
        .collect();
    let dead = &up.nodes()[0];
    until(|| failed_connects(dead) >= 8);
    over.store(true, Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    until(|| dead.state() == NodeState::Ejected);
    assert_eq!(
        up.runtime().roster.ejections(0),
        failed_connects(dead),
        "each counts, however closely callers follow"
    );
    up.close();
}

#[test]
fn a_trial_has_the_nodes_own_time_however_short_its_callers() {
    let (slow, good) = (silent(), reader());
    let up = upstream(&format!(
        "net.connect_timeout 60s\nhealth.backoff 1ms\n{}{}",
        node("slow", &slow, "tls on\ntls.verify off"),
        node("good", &good, ""),
    ));
    let slow = &up.nodes()[0];
    slow.told(Status::Connect);
    until(|| {
        assert_eq!(deliver(&up, Duration::from_millis(200), write).unwrap(), Status::Ok);
        slow.state() == NodeState::OnTrial
    });
    // If the other node is out too, there is no node to go on to, and the caller waits as long as
    // it can.
    let good = &up.nodes()[1];
    good.told(Status::Connect);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((slow.state(), failed_connects(slow)), (NodeState::OnTrial, 0), "the dial goes on");
    up.close();
}

#[test]
fn a_caller_that_leaves_a_trial_is_told_how_long_it_waited() {
    let slow = silent();
    let up =
        upstream(&format!("health.backoff 1ms\n{}", node("slow", &slow, "tls on\ntls.verify off")));
    let slow = &up.nodes()[0];
    slow.told(Status::Connect);
    std::thread::sleep(Duration::from_millis(10));
    let begun = Instant::now();
    let error = deliver(&up, Duration::from_millis(100), write).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!((error.status, slow.state()), (Status::Timeout, NodeState::OnTrial));
    assert!(
        error.cause.contains("the node is on trial and did not connect within"),
        "{}",
        error.cause
    );
    up.close();
}

/// Answers so many records with a byte each, then closes without an answer: at once if it owes a
/// greeting.
fn answering(answers: usize, greeting: bool) -> TcpListener {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut left = answers;
        for stream in accepting.incoming() {
            let mut stream = stream.unwrap();
            match (greeting, left) {
                (true, 0) => continue,
                (true, _) => stream.write_all(b"!").unwrap(),
                (false, _) => {}
            }
            while left > 0 && stream.read_exact(&mut [0; 6]).is_ok() {
                left -= 1;
                stream.write_all(b"+").unwrap();
            }
            let _ = stream.read(&mut [0; 6]);
        }
    });
    listener
}

/// Sends a record and waits for its answer.
fn converse(conn: &mut Conn) -> Status {
    match write(conn) {
        Status::Ok => conn.read_exact(&mut [0]),
        failed => failed,
    }
}

/// As [`converse`], but waits for a greeting first on each new connection.
fn greet_and_converse(conn: &mut Conn) -> Status {
    match if conn.is_reused() { Status::Ok } else { conn.read_exact(&mut [0]) } {
        Status::Ok => converse(conn),
        failed => failed,
    }
}

/// A set whose clock stands still, so that the budget gets no retries with time.
fn timeless(text: &str) -> Arc<Upstream> {
    let hooks = Hooks { clock: crate::base::clock::Clock::host(|| 1), ..Hooks::default() };
    let source =
        Source::Text(format!("[UPSTREAM]\nname u\n{text}").into_bytes().into(), "t".to_owned());
    Upstream::load(source, Options::default(), hooks).unwrap()
}

fn retries_left(up: &Upstream) -> usize {
    (0..100).take_while(|_| up.budget.retry(1).is_ok()).count()
}

#[test]
fn a_payload_sent_on_a_dead_kept_connection_costs_a_retry_at_the_next_node() {
    let (dying, good) = (answering(1, true), answering(1000, true));
    let up = timeless(&format!("{}{}", node("dying", &dying, ""), node("good", &good, "")));
    for _ in 0..2 {
        assert_eq!(deliver(&up, Duration::ZERO, greet_and_converse).unwrap(), Status::Ok);
    }
    // The record goes out on the kept connection; nothing goes out on the new one; then it goes to
    // the other node.
    assert_eq!(deliver(&up, Duration::ZERO, greet_and_converse).unwrap(), Status::Ok);
    assert_eq!(up.nodes()[1].counters.redeliveries.load(Relaxed), 1);
    assert_eq!(retries_left(&up), 19);
    up.close();
}

#[test]
fn a_delivery_that_the_retry_budget_held_up_says_so() {
    let (one, two) = (answering(0, false), answering(0, false));
    let up = timeless(&format!("{}{}", node("one", &one, ""), node("two", &two, "")));
    retries_left(&up);
    let error = deliver(&up, Duration::from_millis(300), converse).unwrap_err();
    assert_eq!(error.status, Status::Timeout);
    assert!(error.cause.contains("retry budget"), "{}", error.cause);
    up.close();
}

#[test]
fn what_was_delivered_on_a_connection_that_is_not_kept_arrives() {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (send, answered) = std::sync::mpsc::channel();
    let up = upstream(&node("n", &listener, ""));
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"an answer that nobody reads").unwrap();
        send.send(()).unwrap();
        let mut came = Vec::new();
        stream.read_to_end(&mut came).map(|_| came)
    });
    let status = deliver(&up, Duration::ZERO, |conn| {
        answered.recv().unwrap();
        conn.distrust();
        write(conn)
    });
    assert_eq!(status.unwrap(), Status::Ok);
    assert_eq!(
        server.join().unwrap().unwrap(),
        b"record",
        "a reset would discard what is still on its way"
    );
    up.close();
}

/// Answers each record with a byte, on any number of connections.
fn answering_all() -> TcpListener {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in accepting.incoming() {
            let mut stream = stream.unwrap();
            let answer = move || {
                while stream.read_exact(&mut [0; 6]).and_then(|()| stream.write_all(b"+")).is_ok() {
                }
            };
            std::thread::spawn(answer);
        }
    });
    listener
}

/// One exchange begins and ends inside the other.
#[test]
fn each_of_two_exchanges_at_once_is_reported() {
    let server = answering_all();
    for inner_says in [Status::Io, Status::Ok] {
        let up = upstream(&format!(
            "health.max_fails 2\nhealth.backoff 1h\nhealth.backoff_max 1h\n{}",
            node("n", &server, "")
        ));
        let fail =
            |conn: &mut Conn| if converse(conn) == Status::Ok { Status::Io } else { Status::Stop };
        let outer = deliver(&up, Duration::ZERO, |conn| {
            let inner = deliver(&up, Duration::ZERO, |conn| match converse(conn) {
                Status::Ok => inner_says,
                failed => failed,
            });
            assert_eq!(inner.is_ok(), inner_says == Status::Ok);
            fail(conn)
        });
        assert_eq!(outer.unwrap_err().status, Status::Io);
        if inner_says == Status::Ok {
            assert_eq!(up.nodes()[0].state(), NodeState::Up);
            assert!(deliver(&up, Duration::ZERO, fail).is_err());
        }
        assert_eq!(up.nodes()[0].state(), NodeState::Ejected, "after an inner {inner_says:?}");
        up.close();
    }
}

#[test]
fn a_delivery_that_waits_for_a_node_ends_with_the_cancel() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = node("n", &nobody, "");
    drop(nobody);
    let up =
        upstream(&format!("deliver.wait on\nhealth.backoff 1h\nhealth.backoff_max 1h\n{text}"));
    let other = Arc::clone(&up);
    let sender = std::thread::spawn(move || deliver(&other, Duration::from_secs(50), write));
    until(|| up.nodes()[0].state() == NodeState::Ejected);
    std::thread::sleep(Duration::from_millis(20)); // by then it most likely waits
    up.cancel();
    assert_eq!(sender.join().unwrap().unwrap_err().status, Status::Cancelled);
    up.close();
}
