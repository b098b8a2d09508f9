//! Dials through an HTTP proxy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;

use super::*;
use crate::base::wiped::Wiped;
use crate::config::Proxy;
use crate::net::channel::Came;
use crate::net::portion::Portion;

/// A proxy that answers one CONNECT as `answer` says; its thread returns the request.
fn proxy(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        answer(&mut stream);
        String::from_utf8(request).unwrap()
    });
    (port, thread)
}

fn through(port: u16, credentials: Option<&str>) -> Arc<Target> {
    let proxy = Proxy {
        host: "127.0.0.1".into(),
        port,
        credentials: credentials.map(|text| Wiped::new(text.to_owned())),
    };
    let net = crate::config::NetSettings { proxy: Some(Arc::new(proxy)), ..net() };
    // Only the proxy looks this name up.
    Arc::new(Target { net: net.into(), ..Arc::into_inner(named(ABSENT, 24224)).unwrap() })
}

fn refused(answer: &'static [u8]) -> Error {
    let (port, thread) = proxy(move |stream| stream.write_all(answer).unwrap());
    let (_, dialer) = dialer();
    let error = dialer.dial(&through(port, None), far()).err().unwrap();
    thread.join().unwrap();
    dialer.stop();
    assert_eq!(error.status, Status::Connect, "{error}");
    assert!(error.to_string().contains(&format!("the proxy 127.0.0.1:{port}: ")), "{error}");
    error
}

#[test]
fn what_the_node_says_first_comes_behind_the_answer() {
    // Byte by byte, as a slow network may bring it.
    let (port, thread) = proxy(|stream| {
        stream.set_nodelay(true).unwrap();
        let interim = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 100 Go on\r\n\r\n";
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\n\r\nHELO";
        for byte in interim.iter().chain(answer) {
            stream.write_all(&[*byte]).unwrap();
        }
    });
    let (_, dialer) = dialer();
    let mut channel = dialer.dial(&through(port, Some("user:secret")), far()).unwrap();
    let mut came = Vec::new();
    while came.len() < 4 {
        let mut buffer = [0; 16];
        if let Came::Bytes(count) = channel.try_read(&mut buffer, &mut Portion::new()).unwrap() {
            came.extend_from_slice(&buffer[..count]);
        }
    }
    assert_eq!(came, b"HELO");
    let request = thread.join().unwrap();
    let authority = format!("{ABSENT}:24224");
    assert!(request.starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains(&format!("\r\nHost: {authority}\r\n")), "{request}");
    // RFC 7617 section 2: base64 of "user:secret".
    let authorization = "\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    assert!(request.contains(authorization), "{request}");
    dialer.stop();
}

#[test]
fn a_proxy_that_will_not_is_told_with_the_fix() {
    for (answer, words) in [
        (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "user:password@"),
        (b"HTTP/1.0 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "it answered CONNECT with 403"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "cannot reach the node"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "not HTTP"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: ", "closed the connection"),
    ] {
        let error = refused(answer);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_proxy_that_says_nothing_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (_, dialer) = dialer();
    let soon = Instant::now() + Duration::from_millis(200);
    let error = dialer.dial(&through(port, None), soon).err().unwrap();
    assert_eq!(error.status, Status::Timeout, "{error}");
    assert!(error.to_string().contains(&format!("no answer from the proxy 127.0.0.1:{port} ")));
    dialer.stop();
}

#[test]
fn an_answer_without_an_end_has_one() {
    let endless: &'static [u8] =
        Box::leak([&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 40_000]].concat().into_boxed_slice());
    let interim: &'static [u8] =
        Box::leak(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2000).into_boxed_slice());
    for answer in [endless, interim] {
        let error = refused(answer);
        assert!(error.to_string().contains("16384 bytes"), "{error}");
    }
}
