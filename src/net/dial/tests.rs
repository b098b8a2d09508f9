//! Dials against loopback listeners: who gets an outcome, and what is left of a dial given up.

use std::net::TcpListener;
use std::sync::mpsc;

use nix::poll::{PollFd, PollFlags, poll};

use super::*;
use crate::net::race::tests::net;

const LONG: Duration = Duration::from_secs(60);

fn dialer() -> (Arc<Cancel>, Dialer) {
    let cancel = Arc::new(Cancel::new().unwrap());
    (Arc::clone(&cancel), Dialer::new(cancel).unwrap())
}

fn target(port: u16) -> Arc<Target> {
    let (name, host) = ("n".into(), "127.0.0.1".to_owned());
    Arc::new(Target { name, address: format!("{host}:{port}").into(), host, port, net: net(), tls: None })
}

fn listener() -> (TcpListener, Arc<Target>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, target(port))
}

/// A listener that takes no connection: its queue is full, so that a dial to it stays under way.
fn silent() -> (Vec<socket2::Socket>, Arc<Target>) {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&address); // queued, or under way for ever
        held.push(filler);
    }
    let port = address.as_socket().unwrap().port();
    (held, target(port))
}

fn far() -> Instant {
    Instant::now() + LONG
}

#[test]
fn an_outcome_is_told_once_and_by_the_descriptor() {
    let (_listener, target) = listener();
    let (_, dialer) = dialer();
    let mut pending = dialer.start(&target, far(), true, None).unwrap();
    let descriptor = pending.descriptor().unwrap();
    assert_eq!(poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], 60_000_u16), Ok(1));
    assert!(pending.poll().unwrap().is_ok());
    assert!(pending.poll().is_none());
    assert!(pending.wait(far()).is_none());
    dialer.stop();
}

#[test]
fn a_wait_may_end_before_the_dial() {
    let (_held, target) = silent();
    let (_, dialer) = dialer();
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    assert!(pending.descriptor().is_none());
    assert!(pending.poll().is_none());
    assert!(pending.wait(Instant::now() + Duration::from_millis(5)).is_none());
    dialer.stop();
    assert_eq!(pending.wait(far()).unwrap().err().unwrap().status, Status::Cancelled);
}

#[test]
fn what_nobody_waits_for_is_ended() {
    let (_held, target) = silent();
    let (_, dialer) = dialer();
    let pending: Vec<_> = (0..8).map(|_| dialer.start(&target, far(), true, None).unwrap()).collect();
    drop(pending);
    let until = far();
    while dialer.work.lock().gauge() != 0 {
        assert!(Instant::now() < until, "the dials that were given up are still there");
        std::thread::yield_now();
    }
    dialer.stop();
}

#[test]
fn an_orphan_gets_what_the_caller_did_not_stay_for() {
    let (_listener, target) = listener();
    let (_, dialer) = dialer();
    let (tell, told) = mpsc::channel();
    for round in 0..99 {
        let tell = tell.clone();
        let orphan = Box::new(move |outcome: Result<Channel>| tell.send((round, outcome.is_ok())).unwrap());
        let mut pending = dialer.start(&target, far(), false, Some(orphan)).unwrap();
        // Given up before, beside and after the outcome.
        let taken = match round % 3 {
            0 => pending.poll().is_some(),
            1 => pending.wait(Instant::now() + Duration::from_micros(round)).is_some(),
            _ => {
                assert!(pending.wait(far()).unwrap().is_ok());
                true
            }
        };
        drop(pending);
        if taken {
            continue;
        }
        assert_eq!(told.recv_timeout(LONG).unwrap(), (round, true));
    }
    assert!(told.try_recv().is_err(), "an outcome came twice");
    dialer.stop();
}

#[test]
fn an_outcome_left_lying_goes_to_the_orphan_even_after_the_end() {
    let (_listener, target) = listener();
    let (_, dialer) = dialer();
    let (tell, told) = mpsc::channel();
    let orphan = Box::new(move |outcome: Result<Channel>| tell.send(outcome.is_ok()).unwrap());
    let pending = dialer.start(&target, far(), true, Some(orphan)).unwrap();
    let ready = [PollFd::new(pending.descriptor().unwrap(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut { ready }, 60_000_u16), Ok(1));
    dialer.stop();
    drop(pending);
    assert!(told.recv_timeout(LONG).unwrap());
}

#[test]
fn cancelling_ends_every_dial_and_refuses_new_ones() {
    let (_held, target) = silent();
    let (cancel, dialer) = dialer();
    let dials: Vec<_> = (0..4).map(|_| dialer.start(&target, far(), false, None).unwrap()).collect();
    cancel.set();
    dialer.cancel();
    for mut pending in dials {
        assert_eq!(pending.wait(far()).unwrap().err().unwrap().status, Status::Cancelled);
    }
    let refused = dialer.dial(&target, far()).err().unwrap();
    assert_eq!((refused.status, refused.node()), (Status::Cancelled, Some("n")));
    dialer.stop();
}

#[test]
fn a_defect_fails_the_dials_at_hand_and_the_thread_goes_on() {
    let (_held, silent) = silent();
    let (_listener, open) = listener();
    let (_, dialer) = dialer();
    let mut at_hand = dialer.start(&silent, far(), false, None).unwrap();
    let mut pending =
        dialer.start(&open, far(), true, Some(Box::new(|_| panic!("a defect of an orphan")))).unwrap();
    poll(&mut [PollFd::new(pending.descriptor().unwrap(), PollFlags::POLLIN)], 60_000_u16).unwrap();
    assert!(pending.wait(Instant::now()).unwrap().is_ok());
    drop(pending);
    pending = dialer.start(&open, far(), true, Some(Box::new(|_| panic!("a defect of an orphan")))).unwrap();
    poll(&mut [PollFd::new(pending.descriptor().unwrap(), PollFlags::POLLIN)], 60_000_u16).unwrap();
    drop(pending);
    assert_eq!(at_hand.wait(far()).unwrap().err().unwrap().status, Status::Panic);
    assert!(dialer.dial(&open, far()).is_ok());
    dialer.stop();
}
