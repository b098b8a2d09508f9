//! Dials against loopback listeners: who gets an outcome, and what is left of a dial given up.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use nix::poll::{PollFd, PollFlags, poll};

use super::*;
use crate::net::address::Address;
use crate::net::race::tests::net;
use crate::net::resolve::{Answer, Family, NoAnswer};

mod lost;
mod tunnel;
mod unix;

const LONG: Duration = Duration::from_secs(60);

fn dialer() -> (Arc<Cancel>, Dialer) {
    let cancel = Arc::new(Cancel::new().unwrap());
    (Arc::clone(&cancel), Dialer::new(cancel).unwrap())
}

fn target(port: u16) -> Arc<Target> {
    named("127.0.0.1", port)
}

fn named(host: &str, port: u16) -> Arc<Target> {
    Arc::new(Target {
        name: "n".into(),
        host: host.into(),
        port,
        net: net().into(),
        tls: None,
        wary: Default::default(),
    })
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
fn a_dial_beside_the_end_and_one_after_it_are_told() {
    let (_held, target) = silent();
    let (_, dialer) = dialer();
    // A thread that has had its last turn.
    *dialer.first.thread.lock() = Thread::Running(std::thread::spawn(|| {}));
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    running::Work::end(&dialer.first.mailbox);
    assert_eq!(pending.poll().unwrap().err().unwrap().status, Status::Cancelled);
    assert_eq!(dialer.start(&target, far(), false, None).err().unwrap().status, Status::Cancelled);
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
    let pending: Vec<_> =
        (0..8).map(|_| dialer.start(&target, far(), true, None).unwrap()).collect();
    drop(pending);
    let until = far();
    while dialer.first.work.lock().gauge() != 0 {
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
        let orphan =
            Box::new(move |outcome: Result<Channel>| tell.send((round, outcome.is_ok())).unwrap());
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
    let dials: Vec<_> =
        (0..4).map(|_| dialer.start(&target, far(), false, None).unwrap()).collect();
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
    let mut pending = dialer
        .start(&open, far(), true, Some(Box::new(|_| panic!("a defect of an orphan"))))
        .unwrap();
    poll(&mut [PollFd::new(pending.descriptor().unwrap(), PollFlags::POLLIN)], 60_000_u16).unwrap();
    assert!(pending.wait(Instant::now()).unwrap().is_ok());
    drop(pending);
    pending = dialer
        .start(&open, far(), true, Some(Box::new(|_| panic!("a defect of an orphan"))))
        .unwrap();
    poll(&mut [PollFd::new(pending.descriptor().unwrap(), PollFlags::POLLIN)], 60_000_u16).unwrap();
    drop(pending);
    assert_eq!(at_hand.wait(far()).unwrap().err().unwrap().status, Status::Panic);
    assert!(dialer.dial(&open, far()).is_ok());
    dialer.stop();
}

const ABSENT: &str = "no-such-host.invalid";

/// Makes the dialer know `addresses` of [`ABSENT`] since ten seconds ago, and suspect them.
fn know_of_old(dialer: &Dialer, addresses: &[[u8; 4]]) -> Arc<str> {
    let (host, past) = (Arc::from(ABSENT), Instant::now() - Duration::from_secs(10));
    let cache = &mut dialer.first.work.lock().cache;
    for family in Family::BOTH {
        assert!(cache.ask(&host, family, LONG, past).1);
    }
    cache.answered(&host, Family::V6, &Err(absent()), past);
    cache.answered(&host, Family::V4, &Ok(sockets(addresses)), past);
    cache.suspect(&host);
    host
}

fn absent() -> NoAnswer {
    NoAnswer { cause: "none of this family".to_owned(), blame: Blame::NoSuchName, errno: 0 }
}

/// A lookup of this family begins that never ends.
fn ask(dialer: &Dialer, host: &Arc<str>, family: Family) -> bool {
    dialer.first.work.lock().cache.ask(host, family, LONG, Instant::now()).1
}

fn answer(dialer: &Dialer, host: &Arc<str>, family: Family, answer: Answer) {
    dialer.first.mailbox.post(|letters| letters.answers.push((Arc::clone(host), family, answer)));
}

fn sockets(addresses: &[[u8; 4]]) -> Arc<[SocketAddr]> {
    addresses.iter().map(|address| SocketAddr::from((*address, 0))).collect()
}

#[test]
fn an_old_answer_serves_where_the_name_does_not_resolve_anew() {
    let (listener, _) = listener();
    let (_, dialer) = dialer();
    know_of_old(&dialer, &[[127, 0, 0, 1]]);
    let target = named(ABSENT, listener.local_addr().unwrap().port());
    for _ in 0..3 {
        assert!(dialer.dial(&target, far()).is_ok());
    }
    dialer.stop();
}

#[test]
fn an_old_answer_serves_where_the_new_one_takes_its_time() {
    let (listener, _) = listener();
    let (_, dialer) = dialer();
    let host = know_of_old(&dialer, &[[127, 0, 0, 1]]);
    // A lookup that never ends.
    assert!(ask(&dialer, &host, Family::V4));
    let _v6 = ask(&dialer, &host, Family::V6);
    let target = named(ABSENT, listener.local_addr().unwrap().port());
    assert!(dialer.dial(&target, far()).is_ok());
    dialer.stop();
}

#[test]
fn a_dial_that_lost_goes_on_with_a_newer_answer() {
    let (listener, _) = listener();
    let (_, dialer) = dialer();
    let host = know_of_old(&dialer, &[[127, 0, 0, 2]]);
    assert!(ask(&dialer, &host, Family::V4));
    let _v6 = ask(&dialer, &host, Family::V6);
    let target = named(ABSENT, listener.local_addr().unwrap().port());
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    // Longer than the wait for the new answer: the old address has refused by now, which is no
    // outcome yet.
    assert!(pending.wait(Instant::now() + Duration::from_millis(400)).is_none());
    answer(&dialer, &host, Family::V4, Ok(sockets(&[[127, 0, 0, 2], [127, 0, 0, 1]])));
    assert!(pending.wait(far()).unwrap().is_ok());
    dialer.stop();
}

#[test]
fn a_dial_that_lost_waits_for_a_hanging_lookup_no_longer_than_its_time() {
    let (_, dialer) = dialer();
    let host = know_of_old(&dialer, &[[127, 0, 0, 2]]);
    assert!(ask(&dialer, &host, Family::V4));
    let _v6 = ask(&dialer, &host, Family::V6);
    // The deadline is nearer than that time, then a minute away.
    for time in [Duration::from_millis(600), LONG] {
        let begun = Instant::now();
        let error = dialer.dial(&named(ABSENT, 9), begun + time).err().unwrap();
        assert!(begun.elapsed() < LONG / 2);
        assert_eq!((error.status, error.errno), (Status::Connect, libc::ECONNREFUSED));
        let text = error.to_string();
        assert!(
            text.contains("127.0.0.2:9: ") && text.contains("did not answer in time"),
            "{text}"
        );
        // Nobody has answered: for those that come after it the lookup is still running.
        assert!(!ask(&dialer, &host, Family::V4));
    }
    dialer.stop();
}

#[test]
fn a_newer_answer_of_the_same_addresses_ends_a_dial_that_lost() {
    let (listener, _) = listener();
    let (_, dialer) = dialer();
    let target = named(ABSENT, listener.local_addr().unwrap().port());
    let host = know_of_old(&dialer, &[[127, 0, 0, 2]]);
    assert!(ask(&dialer, &host, Family::V4));
    let _v6 = ask(&dialer, &host, Family::V6);
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    answer(&dialer, &host, Family::V6, Err(absent()));
    answer(&dialer, &host, Family::V4, Ok(sockets(&[[127, 0, 0, 2]])));
    let error = pending.wait(far()).unwrap().err().unwrap();
    assert_eq!((error.status, error.errno), (Status::Connect, libc::ECONNREFUSED));
    assert!(!error.is_local() && !error.is_no_such_name());
    dialer.stop();
}

#[test]
fn a_failed_lookup_says_whether_the_name_exists() {
    let (_, dialer) = dialer();
    let target = named(ABSENT, 9);
    let host: Arc<str> = ABSENT.into();
    for blame in [Blame::NoSuchName, Blame::Open, Blame::Local] {
        let no = NoAnswer { cause: "the system's words".to_owned(), blame, errno: 0 };
        for family in Family::BOTH {
            dialer.first.work.lock().cache.answered(&host, family, &Err(no.clone()), far());
        }
        let error = dialer.dial(&target, far()).err().unwrap();
        assert_eq!((error.status, error.blame), (Status::Resolve, blame));
        assert_eq!(
            error.to_string(),
            format!("n ({ABSENT}:9): resolve: \"{ABSENT}\": the system's words")
        );
    }
    dialer.stop();
}

/// Only IPv4 addresses are known of [`ABSENT`], and these.
fn know(dialer: &Dialer, addresses: &[[u8; 4]]) {
    let (host, cache) = (Arc::from(ABSENT), &mut dialer.first.work.lock().cache);
    cache.answered(&host, Family::V4, &Ok(sockets(addresses)), far());
    cache.answered(&host, Family::V6, &Err(absent()), far());
}

/// The last byte of the address to which a dial comes.
fn comes_to(dialer: &Dialer, target: &Arc<Target>) -> u8 {
    match dialer.dial(target, far()).map(|channel| channel.peer().clone()) {
        Ok(Address::Ip(SocketAddr::V4(peer))) => peer.ip().octets()[3],
        other => panic!("{other:?}"),
    }
}

/// Listeners at the loopback addresses with these last bytes, all on one port.
fn listeners<const N: usize>(last: [u8; N]) -> ([TcpListener; N], u16) {
    loop {
        let first = TcpListener::bind(SocketAddr::from(([127, 0, 0, last[0]], 0))).unwrap();
        let port = first.local_addr().unwrap().port();
        let mut first = Some(first);
        let all = last.map(|last| match first.take() {
            Some(first) => Ok(first),
            None => TcpListener::bind(SocketAddr::from(([127, 0, 0, last], port))),
        });
        if all.iter().all(|listener| listener.is_ok()) {
            return (all.map(|listener| listener.unwrap()), port);
        }
    }
}

#[test]
fn the_addresses_of_a_name_are_used_evenly() {
    let (_listeners, port) = listeners([1, 2, 3]);
    let (_, dialer) = dialer();
    know(&dialer, &[[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]]);
    let target = named(ABSENT, port);
    let mut came = [0; 4];
    for _ in 0..30 {
        came[usize::from(comes_to(&dialer, &target))] += 1;
    }
    assert_eq!(came, [0, 10, 10, 10]);
    dialer.stop();
}

#[test]
fn an_address_that_fails_is_passed_over_until_another_one_does() {
    use std::io::ErrorKind;
    let ([first, second], port) = listeners([2, 1]);
    let (_, dialer) = dialer();
    let target = named(ABSENT, port);
    know(&dialer, &[[127, 0, 0, 2], [127, 0, 0, 1]]);
    drop(first);
    assert_eq!(comes_to(&dialer, &target), 1, "the first one refuses");
    // Whoever goes to the first address from now on is taken there, and seen.
    let first = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], port))).unwrap();
    first.set_nonblocking(true).unwrap();
    for _ in 0..3 {
        assert_eq!(comes_to(&dialer, &target), 1);
    }
    assert_eq!(first.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // The second one fails: the first one wins, and leads from then on.
    drop(second);
    assert_eq!(comes_to(&dialer, &target), 2);
    let _back = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    for _ in 0..3 {
        assert_eq!(comes_to(&dialer, &target), 2);
    }
    dialer.stop();
}

#[test]
fn a_node_that_fails_gives_each_address_its_chance_again() {
    let ([first, second], port) = listeners([2, 1]);
    let (_, dialer) = dialer();
    let target = named(ABSENT, port);
    know(&dialer, &[[127, 0, 0, 2], [127, 0, 0, 1]]);
    drop(first);
    assert_eq!(comes_to(&dialer, &target), 1);
    let in_good_standing = || {
        let addresses = &mut [2, 1].map(|last| SocketAddr::from(([127, 0, 0, last], port)));
        let history = &mut dialer.first.work.lock().history;
        history.arrange(&target.name, [&mut [], addresses], Instant::now())[1]
    };
    assert_eq!(in_good_standing(), 1);
    drop(second);
    assert!(dialer.dial(&target, far()).is_err());
    assert_eq!(in_good_standing(), 2);
    dialer.stop();
}

#[test]
fn a_family_that_is_never_answered_holds_no_dial_up() {
    let (_listener, target) = listener();
    let (_, dialer) = dialer();
    let (host, target) = (Arc::from(ABSENT), named(ABSENT, target.port));
    for family in Family::BOTH {
        assert!(ask(&dialer, &host, family));
    }
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    answer(&dialer, &host, Family::V4, Ok(sockets(&[[127, 0, 0, 1]])));
    let begun = Instant::now();
    assert!(pending.wait(far()).unwrap().is_ok());
    assert!(dialer.dial(&target, far()).is_ok());
    assert!(begun.elapsed() < LONG / 4, "it waited for the other family");
    dialer.stop();
}

#[test]
fn an_answer_of_the_other_family_saves_a_dial_that_lost() {
    let (_listener, target) = listener();
    let (_, dialer) = dialer();
    let (host, target) = (Arc::from(ABSENT), named(ABSENT, target.port));
    for family in Family::BOTH {
        assert!(ask(&dialer, &host, family));
    }
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)); // nobody listens there
    answer(&dialer, &host, Family::V6, Ok([v6].into()));
    answer(&dialer, &host, Family::V4, Ok(sockets(&[[127, 0, 0, 1]])));
    assert!(pending.wait(far()).unwrap().is_ok());
    dialer.stop();
}

#[test]
fn a_source_address_is_of_one_family_and_only_that_is_asked_for() {
    let (_, dialer) = dialer();
    let host: Arc<str> = ABSENT.into();
    let bound = crate::config::NetSettings { source_address: Some([127, 0, 0, 1].into()), ..net() };
    let target =
        Arc::new(Target { net: bound.into(), ..Arc::into_inner(named(ABSENT, 9)).unwrap() });
    let error = dialer.dial(&target, far()).err().unwrap();
    assert_eq!(error.status, Status::Resolve, "{error}");
    assert!(ask(&dialer, &host, Family::V6), "it was asked for");
    assert!(!ask(&dialer, &host, Family::V4));
    dialer.stop();
}

#[test]
fn a_time_too_short_for_the_usual_delay_is_enough_for_a_dead_first_address() {
    let (held, target) = silent();
    let (_, dialer) = dialer();
    let alive = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], target.port))).unwrap();
    know(&dialer, &[[127, 0, 0, 1], [127, 0, 0, 2]]);
    let target = named(ABSENT, target.port);
    let channel = dialer.dial(&target, Instant::now() + Duration::from_millis(240)).unwrap();
    assert_eq!(*channel.peer(), alive.local_addr().unwrap().into());
    drop(held);
    dialer.stop();
}

#[test]
fn an_orphan_may_ask_for_more_while_the_dialer_stops() {
    let (_held, target) = silent();
    for _ in 0..20 {
        let dialer = Arc::new(dialer().1);
        let (tell, told) = mpsc::channel();
        let asked = Arc::downgrade(&dialer);
        let orphan = Box::new(move |_| {
            let more = asked.upgrade().map(|dialer| dialer.at(far(), Box::new(|| {})));
            tell.send(more.is_some()).unwrap();
        });
        drop(dialer.start(&target, far(), false, Some(orphan)).unwrap());
        let stopping = Arc::clone(&dialer);
        let stopped = std::thread::spawn(move || stopping.stop());
        assert_eq!(told.recv_timeout(LONG), Ok(true));
        stopped.join().unwrap();
    }
}

#[test]
fn a_storm_of_closings_holds_so_many_descriptors_and_no_more() {
    use socket2::{Domain, Type};
    let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1024).unwrap(); // whose peers stay there, and never close
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let (_, dialer) = dialer();
    let _started = dialer.dial(&target(address.port()), far()).ok().unwrap();
    let storm = || {
        for _ in 0..LINGERING + 50 {
            dialer.linger(Socket::start_connect(&address.into(), &net()).unwrap(), None);
        }
        assert!(dialer.first.mailbox.letters.lock().closed.len() <= LINGERING);
    };
    let busy = dialer.first.work.lock(); // the thread does not come to them
    storm();
    assert_eq!(dialer.first.mailbox.letters.lock().closed.len(), LINGERING);
    drop(busy);
    let until = far();
    while !dialer.first.mailbox.letters.lock().closed.is_empty() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    let second = dialer.next_id.load(Relaxed);
    storm();
    while !dialer.first.mailbox.letters.lock().closed.is_empty() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    let work = dialer.first.work.lock();
    assert!(work.lingering.len() <= LINGERING);
    assert!(work.lingering.keys().all(|id| *id >= second), "the oldest go first");
    drop(work);
    dialer.stop();
}

#[test]
fn a_failure_of_this_machine_says_so_with_the_fix() {
    let (_, dialer) = dialer();
    let bound = crate::config::NetSettings { source_address: Some([192, 0, 2, 1].into()), ..net() };
    let target = Arc::new(Target { net: bound.into(), ..Arc::into_inner(target(9)).unwrap() });
    let error = dialer.dial(&target, far()).err().unwrap();
    assert!(error.is_local() && error.errno == libc::EADDRNOTAVAIL);
    assert!(
        error
            .to_string()
            .ends_with("net.source_address 192.0.2.1 must be an address of this machine"),
        "{error}"
    );
    for (errno, fix) in
        [(libc::EMFILE, "ulimit -n"), (libc::ENFILE, "fs.file-max"), (libc::EPERM, "firewall")]
    {
        let error = io::Error::from_raw_os_error(errno);
        let error = super::tests::target(9).system_error(Status::Connect, Phase::Connect, &error);
        assert!(error.is_local() && error.cause.contains(fix), "{error}");
    }
    for (errno, local) in
        [(0, false), (libc::ECONNRESET, false), (libc::ENOBUFS, true), (libc::ENOMEM, true)]
    {
        let error =
            super::tests::target(9).failure(Phase::Tls, (Status::Tls, errno, "why".to_owned()));
        assert_eq!((error.is_local(), error.errno, error.status), (local, errno, Status::Tls));
    }
    dialer.stop();
}
