//! The built receiver over plain TCP: what it counts, answers and writes, and how it fails on
//! command.

use crate::support::*;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn counts_acknowledges_and_writes_every_record() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("records");
    let mut receiver = Receiver::start(&["--out", out.to_str().unwrap()]);
    let mut stream = receiver.connect();

    // Two messages in one write, then one that arrives byte by byte.
    let both = [message(0, 3, Some("first")), message(3, 5, Some("second"))].concat();
    let third = message(5, 6, Some("third"));
    stream.set_nodelay(true).unwrap();
    stream.write_all(&both).unwrap();
    for byte in &third {
        stream.write_all(&[*byte]).unwrap();
    }
    for chunk in ["first", "second", "third"] {
        assert_eq!(read_value(&mut stream), ack(chunk));
    }
    let bytes = both.len() + third.len();
    assert_eq!(
        receiver.command("count"),
        format!("records=6 connections=1 tls=0 bytes={bytes} acks=3 errors=0 dropped=0 open=1")
    );
    let expected: String = (0..6)
        .map(|n| format!("{{\"tag\":\"app\",\"time\":\"9.000000007\",\"record\":{{\"n\":{n}}}}}\n"))
        .collect();
    assert_eq!(fs::read_to_string(out).unwrap(), expected);

    drop(stream);
    receiver.wait_for("open", 0);
}

/// Metadata beside the time is what no released fluentd reads: dropped, and acknowledged.
#[test]
fn as_fluentd_it_drops_what_fluentd_drops_and_acknowledges_it() {
    let mut receiver = Receiver::start(&["--as-fluentd"]);
    let mut stream = receiver.connect();
    let good = message(0, 3, Some("good"));
    // ["app", [[[7, {}], {}]], {"chunk": "odd"}]
    let odd = b"\x93\xa3app\x91\x92\x92\x07\x80\x80\x81\xa5chunk\xa3odd".to_vec();
    stream.write_all(&[good, odd].concat()).unwrap();
    for chunk in ["good", "odd"] {
        assert_eq!(read_value(&mut stream), ack(chunk));
    }
    let counts = receiver.command("count");
    for (name, expected) in [("records", 3), ("dropped", 1), ("acks", 2), ("errors", 0)] {
        assert_eq!(field(&counts, name), Some(expected), "{counts}");
    }
}

#[test]
fn connections_are_counted_apart_and_records_together() {
    let mut receiver = Receiver::start(&[]);
    let mut streams: Vec<TcpStream> = (0..8).map(|_| receiver.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&message(0, 100, Some("c"))).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_value(stream), ack("c"));
    }
    let counts = receiver.command("count");
    for (name, expected) in [("records", 800), ("connections", 8), ("acks", 8), ("open", 8)] {
        assert_eq!(field(&counts, name), Some(expected), "{counts}");
    }
}

#[test]
fn what_cannot_be_decoded_ends_the_connection_and_is_not_counted() {
    let mut receiver = Receiver::start(&[]);
    // The second of two events is no event, so the first does not count either.
    let half_good = b"\x92\xa3app\x92\x92\x01\x80\x07";
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], half_good] {
        let mut stream = receiver.connect();
        stream.write_all(bytes).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    receiver.wait_for("errors", 2);
    assert_eq!(receiver.count("records"), 0);
}

#[test]
fn refuses_and_listens_again_on_the_same_port() {
    let mut receiver = Receiver::start(&[]);
    for round in 1..=3 {
        let mut stream = receiver.connect();
        stream.write_all(&message(0, 1, Some("c"))).unwrap();
        assert_eq!(read_value(&mut stream), ack("c"));

        receiver.obey("refuse");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed, not reset");
        assert_eq!(receiver.count("open"), 0);
        let refused = TcpStream::connect(("127.0.0.1", receiver.port)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        receiver.obey("refuse");

        receiver.obey("listen");
        receiver.obey("listen");
        assert_eq!(receiver.count("connections"), round);
    }
    drop(receiver.connect());
    receiver.wait_for("connections", 4);
}

#[test]
fn resets_all_open_connections() {
    let mut receiver = Receiver::start(&[]);
    let streams = [receiver.connect(), receiver.connect()];
    receiver.wait_for("open", 2);
    receiver.obey("reset");
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(receiver.count("open"), 0);
    drop(receiver.connect());
    receiver.wait_for("connections", 3);
}

#[test]
fn resets_new_connections_after_a_number_of_bytes() {
    let mut receiver = Receiver::start(&[]);
    let mut before = receiver.connect();
    receiver.wait_for("open", 1);
    let first = message(0, 1, Some("c"));
    receiver.obey(&format!("reset-after {}", first.len() + 1));

    let mut stream = receiver.connect();
    stream.write_all(&[&first[..], &first[..]].concat()).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(receiver.count("bytes"), first.len() as u64 + 1);

    receiver.obey("reset-after 0");
    let mut stream = receiver.connect();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    receiver.obey("reset-after off");
    for stream in [&mut before, &mut receiver.connect()] {
        stream.write_all(&[&first[..], &first[..]].concat()).unwrap();
        assert_eq!(read_value(stream), ack("c"));
        assert_eq!(read_value(stream), ack("c"));
    }
    assert_eq!(receiver.count("records"), 5);
}

#[test]
fn stalls_old_and_new_connections_and_resumes_them() {
    let mut receiver = Receiver::start(&[]);
    let old = receiver.connect();
    receiver.wait_for("open", 1);
    receiver.obey("stall");
    let mut streams = [old, receiver.connect()];
    for stream in &mut streams {
        stream.write_all(&message(0, 1, Some("c"))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    let counts = receiver.command("count");
    assert_eq!((field(&counts, "records"), field(&counts, "bytes")), (Some(0), Some(0)));

    receiver.obey("resume");
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_value(stream), ack("c"));
    }
    assert_eq!(receiver.count("records"), 2);
}

#[test]
fn refuses_and_resets_while_it_is_stalled() {
    let mut receiver = Receiver::start(&[]);
    let mut old = receiver.connect();
    receiver.wait_for("open", 1);
    receiver.obey("stall");
    receiver.obey("reset");
    assert_eq!(old.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut waiting = receiver.connect();
    receiver.obey("refuse");
    // Closed if it was accepted already, reset if it was not.
    assert!(
        waiting
            .read(&mut [0])
            .map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |n| n == 0)
    );
    receiver.obey("resume");
    receiver.obey("listen");
    let mut stream = receiver.connect();
    stream.write_all(&message(0, 1, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));
}

#[test]
fn a_client_that_reads_no_acks_does_not_hold_up_refuse() {
    let mut receiver = Receiver::start(&[]);
    let mut stream = receiver.connect();
    stream.set_nonblocking(true).unwrap();
    let chunk = "x".repeat(60_000);
    let batch = message(0, 1, Some(&chunk));
    // The acks fill both sides' buffers, and then nothing is read any more.
    let (mut sent, mut idle) = (0, 0);
    while idle < 100 {
        match stream.write(&batch[sent..]) {
            Ok(count) => (sent, idle) = ((sent + count) % batch.len(), 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(receiver.count("records") > 0);
    assert_eq!(receiver.count("errors"), 0);
    receiver.obey("refuse");
    assert_eq!(receiver.count("open"), 0);
}

#[test]
fn acks_fail_as_told() {
    let mut receiver = Receiver::start(&[]);
    let mut stream = receiver.connect();
    let mut send = |receiver: &mut Receiver, chunk: &str, switches: &[&str]| {
        switches.iter().for_each(|switch| receiver.obey(&format!("{switch} on")));
        let records = receiver.count("records");
        stream.write_all(&message(0, 1, Some(chunk))).unwrap();
        receiver.wait_for("records", records + 1);
        let acks = match switches {
            ["late-acks", ..] => 2,
            ["drop-acks"] => 0,
            _ => 1,
        };
        let acks: Vec<_> = (0..acks).map(|_| read_value(&mut stream)).collect();
        switches.iter().for_each(|switch| receiver.obey(&format!("{switch} off")));
        acks
    };
    assert_eq!(send(&mut receiver, "1", &["split-acks"]), [ack("1")]);
    assert_eq!(send(&mut receiver, "2", &["late-acks"]), [ack("1"), ack("2")]);
    assert_eq!(send(&mut receiver, "3", &["wrong-acks"]), [ack("A")]);
    assert_eq!(send(&mut receiver, "4", &["drop-acks"]), []);
    assert_eq!(send(&mut receiver, "5", &["late-acks", "wrong-acks"]), [ack("4"), ack("A")]);
    assert_eq!(send(&mut receiver, "6", &[]), [ack("6")]);
    assert_eq!(receiver.count("acks"), 3);
}

#[test]
fn split_acks_arrive_in_pieces() {
    let mut receiver = Receiver::start(&[]);
    receiver.obey("split-acks on");
    let mut stream = receiver.connect();
    let whole = encode(&ack("0123456789"));
    // A read returns what is there. One that comes late finds all of it, so several are tried.
    let split = (0..200).any(|_| {
        stream.write_all(&message(0, 1, Some("0123456789"))).unwrap();
        let mut buffer = vec![0; whole.len()];
        let first = stream.read(&mut buffer).unwrap();
        stream.read_exact(&mut buffer[first..]).unwrap();
        assert_eq!(buffer, whole);
        first < whole.len()
    });
    assert!(split);
}

#[test]
fn dies_at_once_with_a_reset() {
    let mut receiver = Receiver::start(&[]);
    let mut stream = receiver.connect();
    stream.write_all(&message(0, 7, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));
    let counts = receiver.command("die");
    assert_eq!(field(&counts, "records"), Some(7), "{counts}");
    assert!(receiver.wait().success());
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn ends_with_its_standard_input() {
    let mut receiver = Receiver::start(&[]);
    let mut stream = receiver.connect();
    stream.write_all(&message(0, 7, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));
    receiver.close_stdin();
    assert_eq!(field(&receiver.line(), "records"), Some(7));
    assert!(receiver.wait().success());
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_control_port_takes_the_same_lines_and_outlives_standard_input() {
    let mut receiver = Receiver::start(&["--control", "0"]);
    receiver.close_stdin();
    let stream = TcpStream::connect(("127.0.0.1", receiver.control.unwrap())).unwrap();
    let mut answers = BufReader::new(&stream).lines().map(Result::unwrap);
    let mut command = |line: &str| {
        writeln!(&stream, "{line}").unwrap();
        answers.next().unwrap()
    };
    let mut client = receiver.connect();
    client.write_all(&message(0, 2, Some("c"))).unwrap();
    assert_eq!(read_value(&mut client), ack("c"));
    assert_eq!(field(&command("count"), "records"), Some(2));
    assert_eq!(command("refuse"), "ok");
    assert!(TcpStream::connect(("127.0.0.1", receiver.port)).is_err());
    assert_eq!(command("dance"), "error: no command \"dance\"; -h lists them");
    assert_eq!(command("drop-acks maybe"), "error: drop-acks takes on or off, not \"maybe\"");
    assert_eq!(field(&command("quit"), "records"), Some(2));
    assert!(receiver.wait().success());
}

#[test]
fn without_standard_input_it_runs_on() {
    let mut receiver = Receiver::start(&["--no-stdin", "--control", "0"]);
    receiver.close_stdin();
    let stream = TcpStream::connect(("127.0.0.1", receiver.control.unwrap())).unwrap();
    writeln!(&stream, "die").unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    assert_eq!(field(answer.trim_end(), "records"), Some(0));
    assert!(receiver.wait().success());
}
