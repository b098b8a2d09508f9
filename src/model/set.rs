//! The word to cancel against calls that wait, on a whole set.

use std::sync::Arc;
use std::time::Instant;

use super::{check, never, spawn};
use crate::config::{Definition, Options, parse};
use crate::conn::Conn;
use crate::error::Status;
use crate::net::pool::Place;
use crate::upstream::{Hooks, Upstream};

fn definition() -> Definition {
    let node = |name| format!("[NODE]\n name {name}\n host 127.0.0.1\n port 9\n net.max_connections 1\n");
    let text = format!("[UPSTREAM]\n name u\n{}{}", node("a"), node("b"));
    parse(text.as_bytes(), "model", &Options::default()).unwrap()
}

/// Each of the nodes has its one connection in use.
fn at_the_cap(definition: &Definition) -> Arc<Upstream> {
    let upstream = Upstream::new(definition.clone(), Hooks::default()).unwrap();
    for node in upstream.nodes() {
        assert!(matches!(node.pool.acquire(never(), |_| unreachable!()), Place::New));
    }
    upstream
}

fn connect(upstream: &Upstream, node: usize, deadline: Instant) -> Status {
    Conn::open(&upstream.nodes()[node], deadline).err().expect("there is no place").status
}

#[test]
fn cancelling_a_set_ends_the_waits_at_every_cap() {
    let definition = definition();
    check(move || {
        let upstream = at_the_cap(&definition);
        let waits = [0, 1].map(|node| spawn(&upstream, move |up| connect(up, node, never())));
        upstream.cancel();
        waits.into_iter().for_each(|wait| assert_eq!(wait.join().unwrap(), Status::Cancelled));
        assert_eq!(connect(&upstream, 0, never()), Status::Cancelled);
        assert!(upstream.next_node().is_some(), "picking goes on");
        upstream.close();
    });
}

#[test]
fn a_wait_at_the_cap_that_runs_out_beside_the_cancelling_ends_as_either() {
    let definition = definition();
    check(move || {
        let upstream = at_the_cap(&definition);
        let wait = spawn(&upstream, |up| connect(up, 0, Instant::now()));
        let other = spawn(&upstream, |up| connect(up, 0, never()));
        upstream.cancel();
        let status = wait.join().unwrap();
        assert!(matches!(status, Status::Limit | Status::Cancelled), "{status:?}");
        assert_eq!(other.join().unwrap(), Status::Cancelled);
        upstream.close();
    });
}
