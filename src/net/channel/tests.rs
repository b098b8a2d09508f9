//! Channels to peers that send or take without end: how far one step goes, counted.

use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::config::TlsVersion;
use crate::net::cancel::Cancel;
use crate::net::patience::{Limit, wait_until};
use crate::net::race::tests::net;
use crate::net::socket::Ready;
use crate::net::tls::samples;

const LONG: Duration = Duration::from_secs(60);

/// The most tickets that one step receives: a portion of them, and what the last record holds. The
/// server sends them in records of 16 KiB, and each is at least 64 bytes long.
const STEP: u32 = 16 + 16 * 1024 / 64;

/// A connection to a thread that does `work` with the other end.
fn connected(work: impl FnOnce(TcpStream) + Send + 'static) -> (Socket, Address, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Address::from(listener.local_addr().unwrap());
    let socket = Socket::start_connect(&peer, &net()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    wait_for(&socket, Interest::WRITE);
    socket.finish_connect().unwrap();
    (socket, peer, std::thread::spawn(move || work(accepted)))
}

fn wait_for(socket: &Socket, wanted: Interest) {
    let woken = wait_until(socket.as_fd(), wanted, Instant::now() + LONG, None).unwrap();
    assert_eq!(woken, Woken::Ready(wanted));
}

/// A stream over TLS 1.3 to a server that sends so many tickets, does `work`, and then waits until
/// the client ends the connection.
fn over_tls(
    tickets: usize,
    work: impl FnOnce(&mut ServerConnection, &mut TcpStream) + Send + 'static,
) -> (Channel, JoinHandle<()>) {
    let mut config = ServerConfig::clone(&samples::server());
    config.send_tls13_tickets = tickets;
    let (socket, peer, thread) = connected(move |mut stream| {
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        // Fails if the client ends the connection before it has taken everything.
        if server.complete_io(&mut stream).is_ok() {
            work(&mut server, &mut stream);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    let client = Arc::new(samples::client(TlsVersion::V1_3));
    let mut handshake = Handshake::new(socket, peer, &client).unwrap();
    loop {
        match handshake.advance().unwrap() {
            HandshakeStep::Wait(Ready::Read) => wait_for(handshake.socket(), Interest::READ),
            HandshakeStep::Wait(Ready::Write) => wait_for(handshake.socket(), Interest::WRITE),
            HandshakeStep::Done => return (handshake.into_channel(), thread),
            HandshakeStep::Verdict => unreachable!("the server asks for no certificate"),
        }
    }
}

/// With thousands of tickets on their way, and as many as the system holds already there.
fn flooded() -> (Channel, JoinHandle<()>) {
    let (channel, thread) = over_tls(9000, |_, _| {});
    let fd = std::os::fd::AsRawFd::as_raw_fd(&channel.descriptor());
    let mut held = vec![0; 1 << 20];
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = recv(fd, &mut held, MsgFlags::MSG_PEEK).unwrap_or(0);
        if now > 0 && now == before {
            return (channel, thread);
        }
        before = now;
    }
}

fn tickets(channel: &Channel) -> u32 {
    channel.session.as_ref().unwrap().tickets_received()
}

#[test]
fn one_step_takes_a_limited_part_of_a_flood() {
    type Step = fn(&mut Channel);
    let steps: [(&str, u32, Step); 6] = [
        ("a read that does not wait", 1, |channel| {
            let came = channel.try_read(&mut [0; 100], &mut Portion::new()).unwrap();
            assert!(matches!(came, Came::Unfinished(Heard { messages: true, .. })), "{came:?}");
        }),
        ("a read that was cancelled", 1, |channel| {
            let cancel = Cancel::new().unwrap();
            cancel.set();
            let mut patience = Patience::new(Limit::Silence(LONG), None, Some(&cancel));
            let failure = channel.read(&mut [0; 100], &mut patience, 0).unwrap_err();
            assert_eq!(failure, cancelled());
        }),
        ("a read whose time is over", 1, |channel| {
            let mut patience = Patience::new(Limit::Call(Duration::ZERO), None, None);
            let failure = channel.read(&mut [0; 100], &mut patience, 0).unwrap_err();
            assert_eq!(failure.0, Status::Timeout);
            assert!(failure.2.contains("only messages of TLS itself"), "{}", failure.2);
        }),
        ("a look at an idle connection", 1, |channel| {
            let look = channel.look(&mut Portion::new());
            assert!(matches!(look, Look::Ended(Ending::Unread)), "{look:?}");
        }),
        ("a look at a new connection", 1, |channel| {
            assert_eq!(channel.has_spoken(), Ok(true));
        }),
        ("the last words", 0, |channel| {
            channel.session.as_mut().unwrap().say_goodbye(&channel.socket);
        }),
    ];
    for (name, least, step) in steps {
        let (mut channel, thread) = flooded();
        let before = tickets(&channel);
        step(&mut channel);
        let came = tickets(&channel) - before;
        assert!((least..=STEP).contains(&came), "{name}: {came} tickets");
        drop(channel);
        thread.join().unwrap();
    }
}

/// A few tickets are the rule, and say nothing against the connection.
#[test]
fn a_look_after_a_few_tickets_finds_it_quiet() {
    let (mut channel, thread) = over_tls(12, |_, _| {});
    while tickets(&channel) < 12 {
        let look = channel.look(&mut Portion::new());
        assert!(matches!(look, Look::Quiet), "{look:?}");
    }
    drop(channel);
    thread.join().unwrap();
}

/// Bytes without end, to one side or the other.
fn without_end(sends: bool) -> (Channel, JoinHandle<()>) {
    let (socket, peer, thread) = connected(move |mut stream| {
        if sends {
            let bytes = vec![7; 1 << 20];
            while stream.write_all(&bytes).is_ok() {}
        } else {
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    (Channel::plain(socket, peer), thread)
}

#[test]
fn a_call_that_never_waits_ends_when_it_is_cancelled() {
    let cancel = Cancel::new().unwrap();
    cancel.set();
    let (mut channel, thread) = without_end(true);
    let mut patience = Patience::new(Limit::Silence(LONG), None, Some(&cancel));
    let (mut buffer, mut filled) = (vec![0; 1 << 20], 0);
    loop {
        wait_for(channel.socket(), Interest::READ);
        match channel.read(&mut buffer[filled..], &mut patience, filled) {
            Ok(got) => filled += got,
            Err(failure) => break assert_eq!(failure, cancelled()),
        }
        patience.progress();
    }
    assert!((1..=2 * Portion::BYTES).contains(&filled), "{filled}");
    drop(channel);
    thread.join().unwrap();

    let (mut channel, thread) = without_end(false);
    let bytes = vec![7; 1 << 24];
    for slices in [vec![IoSlice::new(&bytes)], vec![IoSlice::new(&bytes[..100]); 5000]] {
        let mut patience = Patience::new(Limit::Silence(LONG), None, Some(&cancel));
        let mut progress = Progress::default();
        let failure =
            channel.write_all(&mut Unsent::new(&slices), &mut patience, &mut progress).unwrap_err();
        assert_eq!(failure, cancelled());
        let most = 2 * Portion::BYTES as u64;
        assert!((1..=most).contains(&progress.taken), "{}", progress.taken);
    }
    drop(channel);
    thread.join().unwrap();
}

#[test]
fn a_time_limit_holds_though_a_call_never_waits_and_says_what_was_done() {
    let over = || Patience::new(Limit::Call(Duration::ZERO), None, None);
    let (mut channel, thread) = without_end(true);
    let (mut patience, mut buffer) = (over(), vec![0; 1 << 20]);
    let mut filled = 0;
    let failure = loop {
        wait_for(channel.socket(), Interest::READ);
        match channel.read(&mut buffer[filled..], &mut patience, filled) {
            Ok(got) => filled += got,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.0, Status::Timeout);
    assert!(failure.2.starts_with(&format!("the server sent only {filled} bytes ")), "{failure:?}");
    drop(channel);
    thread.join().unwrap();

    let (mut channel, thread) = without_end(false);
    let bytes = vec![7; 1 << 24];
    let slices = [IoSlice::new(&bytes)];
    let mut progress = Progress::default();
    let failure =
        channel.write_all(&mut Unsent::new(&slices), &mut over(), &mut progress).unwrap_err();
    assert_eq!(failure.0, Status::Timeout);
    assert!(failure.2.starts_with("the server took only a part of the data "), "{failure:?}");
    drop(channel);
    thread.join().unwrap();
}

/// The server sends an answer of one record up to this byte.
fn cut_answer(at: usize) -> (Channel, JoinHandle<()>) {
    over_tls(0, move |server, stream| {
        server.writer().write_all(&[7; 9000]).unwrap();
        let mut record = Vec::new();
        server.write_tls(&mut record).unwrap();
        stream.write_all(&record[..at]).unwrap();
    })
}

#[test]
fn a_part_of_a_record_is_progress_and_is_not_called_nothing() {
    for at in [1, 4, 5, 6, 5000] {
        let (mut channel, thread) = cut_answer(at);
        wait_for(channel.socket(), Interest::READ);
        let came = channel.try_read(&mut [0; 100], &mut Portion::new()).unwrap();
        let Came::Nothing(heard) = came else { panic!("{came:?}") };
        assert!(heard.is_progress(), "{heard:?}");
        drop(channel);
        thread.join().unwrap();
    }
    type Kind = fn(Duration) -> Limit;
    let kinds: [(Kind, &str); 2] = [
        (
            Limit::Silence,
            "the server sent a part of a TLS record and then nothing within the 50 ms",
        ),
        (Limit::Call, "the server sent only a part of a TLS record within the 50 ms"),
    ];
    for (limit, words) in kinds {
        let (mut channel, thread) = cut_answer(5000);
        wait_for(channel.socket(), Interest::READ);
        let mut patience = Patience::new(limit(Duration::from_millis(50)), None, None);
        let failure = channel.read(&mut [0; 100], &mut patience, 0).unwrap_err();
        assert_eq!(failure.0, Status::Timeout);
        assert!(failure.2.starts_with(words), "{}", failure.2);
        drop(channel);
        thread.join().unwrap();
    }
}

#[test]
fn very_many_slices_over_tls_arrive_in_order() {
    let (mut channel, thread) = over_tls(0, |server, stream| {
        let mut got = vec![0; 3 * 50_000];
        io::Read::read_exact(&mut rustls::Stream::new(server, stream), &mut got).unwrap();
        assert!(got.chunks(3).enumerate().all(|(at, part)| part == &at.to_be_bytes()[5..]));
    });
    let parts: Vec<[u8; 8]> = (0..50_000_usize).map(usize::to_be_bytes).collect();
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(&part[5..])).collect();
    let mut patience = Patience::new(Limit::Call(LONG), None, None);
    let mut progress = Progress::default();
    channel.write_all(&mut Unsent::new(&slices), &mut patience, &mut progress).unwrap();
    assert_eq!(progress.taken, 150_000);
    drop(channel);
    thread.join().unwrap();
}
