//! The built receiver under TLS and behind a shared key, against a client written for these tests.

use crate::support::*;
use aws_lc_rs::digest::{SHA512, digest};
use rcgen::{CertificateParams, KeyPair};
use rmpv::Value;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

fn tls_connect(
    receiver: &Receiver,
    trusted: &Path,
    name: &str,
    identity: Option<(&Path, &Path)>,
) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), receiver.connect())
}

/// A self-signed certificate and its key, as PEM files in `folder`.
fn write_identity(folder: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let files = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    fs::write(&files.0, certificate.pem()).unwrap();
    fs::write(&files.1, key.serialize_pem()).unwrap();
    files
}

#[test]
fn tls_with_a_certificate_made_on_the_spot() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made.crt");
    let mut receiver = Receiver::start(&["--tls", "--write-cert", made.to_str().unwrap()]);
    for (round, name) in ["localhost", "127.0.0.1", "::1"].into_iter().enumerate() {
        let mut stream = tls_connect(&receiver, &made, name, None);
        stream.write_all(&message(0, 3, Some("c"))).unwrap();
        assert_eq!(read_value(&mut stream), ack("c"));
        assert_eq!(receiver.count("tls"), round as u64 + 1);
    }
    assert_eq!(receiver.count("records"), 9);

    let mut stranger = tls_connect(&receiver, &made, "elsewhere.example", None);
    assert!(stranger.write_all(b"x").is_err());
    receiver.wait_for("errors", 1);
    assert_eq!(receiver.count("tls"), 3);
}

#[test]
fn large_messages_pass_through_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made.crt");
    let mut receiver = Receiver::start(&[
        "--tls",
        "--cert-name",
        "node.example",
        "--write-cert",
        made.to_str().unwrap(),
    ]);
    let mut stream = tls_connect(&receiver, &made, "node.example", None);
    for chunk in ["a", "b"] {
        stream.write_all(&message(0, 100_000, Some(chunk))).unwrap();
    }
    for chunk in ["a", "b"] {
        assert_eq!(read_value(&mut stream), ack(chunk));
    }
    assert_eq!(receiver.count("records"), 200_000);
    receiver.obey("refuse");
    // The end of TLS, said properly: an end without close_notify would be an error here.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn tls_with_a_given_certificate_and_client_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let server = write_identity(folder.path(), "server.example");
    let client = write_identity(folder.path(), "client.example");
    let other = write_identity(folder.path(), "other.example");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let args = [
        "--tls",
        "--cert",
        &text(&server.0),
        "--key",
        &text(&server.1),
        "--client-ca",
        &text(&client.0),
    ];
    let mut receiver = Receiver::start(&args);

    let mut stream =
        tls_connect(&receiver, &server.0, "server.example", Some((&client.0, &client.1)));
    stream.write_all(&message(0, 3, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));

    for identity in [None, Some((&*other.0, &*other.1))] {
        let mut stream = tls_connect(&receiver, &server.0, "server.example", identity);
        // Under TLS 1.3 the client learns of the refusal when it reads.
        let refused = stream.write_all(b"x").and_then(|()| stream.read(&mut [0])).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData, "{refused}");
    }
    receiver.wait_for("errors", 2);
    assert_eq!(receiver.count("tls"), 1);
}

/// A client's side of the handshake, and whether the server's proof was right.
fn login(stream: &mut TcpStream, key: &str, user: &str, password: &str) -> (Value, bool) {
    let helo = read_value(stream);
    assert_eq!(helo[0], Value::from("HELO"));
    let (nonce, auth_salt) =
        (helo[1]["nonce"].as_slice().unwrap(), helo[1]["auth"].as_slice().unwrap());
    let proof = hex(&[b"salt", b"client", nonce, key.as_bytes()]);
    let password = hex(&[auth_salt, user.as_bytes(), password.as_bytes()]);
    let ping = ["PING", "client", "salt", &proof, user, &password];
    stream
        .write_all(&encode(&Value::Array(ping.iter().map(|field| Value::from(*field)).collect())))
        .unwrap();
    let pong = read_value(stream);
    let hostname = pong[3].as_str().unwrap();
    let proved =
        pong[4].as_str() == Some(&hex(&[b"salt", hostname.as_bytes(), nonce, key.as_bytes()]));
    (pong, proved)
}

fn hex(parts: &[&[u8]]) -> String {
    digest(&SHA512, &parts.concat()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_shared_key_opens_and_a_wrong_one_does_not() {
    let mut receiver = Receiver::start(&["--shared-key", "secret", "--server-hostname", "node-1"]);
    let mut stream = receiver.connect();
    let (pong, proved) = login(&mut stream, "secret", "", "");
    assert_eq!(
        pong.as_array().unwrap()[..4],
        ["PONG".into(), true.into(), "".into(), "node-1".into()]
    );
    assert!(proved);
    stream.write_all(&message(0, 3, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));

    let mut stream = receiver.connect();
    let (pong, _) = login(&mut stream, "guess", "", "");
    assert_eq!((&pong[1], &pong[2]), (&false.into(), &"shared_key mismatch".into()));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);

    // Records in place of a PING.
    let mut stream = receiver.connect();
    assert_eq!(read_value(&mut stream)[0], Value::from("HELO"));
    stream.write_all(&message(0, 3, Some("c"))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);

    receiver.wait_for("errors", 2);
    assert_eq!(receiver.count("records"), 3);
}

#[test]
fn users_log_in_with_an_empty_key() {
    let receiver = Receiver::start(&["--user", "ann:a", "--user", "bob:b"]);
    let (pong, proved) = login(&mut receiver.connect(), "", "bob", "b");
    assert_eq!((&pong[1], proved), (&true.into(), true));
    let (pong, _) = login(&mut receiver.connect(), "", "bob", "a");
    assert_eq!((&pong[1], &pong[2]), (&false.into(), &"username/password mismatch".into()));
}

#[test]
fn the_handshake_fails_as_told() {
    let mut receiver = Receiver::start(&["--shared-key", "secret"]);
    receiver.obey("wrong-pong-digest on");
    let mut stream = receiver.connect();
    let (pong, proved) = login(&mut stream, "secret", "", "");
    assert_eq!((&pong[1], proved), (&true.into(), false));
    // A client that goes on regardless is found out by the count.
    stream.write_all(&message(0, 1, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));
    receiver.obey("wrong-pong-digest off");

    receiver.obey("wrong-helo on");
    assert_eq!(read_value(&mut receiver.connect())[0], Value::from("OLEH"));
    receiver.obey("wrong-helo off");

    receiver.obey("no-pong on");
    let mut stream = receiver.connect();
    let helo = read_value(&mut stream);
    let proof = hex(&[b"salt", b"client", helo[1]["nonce"].as_slice().unwrap(), b"secret"]);
    let ping = ["PING", "client", "salt", &proof, "", ""].map(Value::from);
    stream.write_all(&encode(&Value::Array(ping.into()))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(receiver.count("errors"), 0);
}

#[test]
fn the_shared_key_works_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made.crt");
    let receiver = Receiver::start(&[
        "--tls",
        "--write-cert",
        made.to_str().unwrap(),
        "--shared-key",
        "secret",
    ]);
    let mut stream = tls_connect(&receiver, &made, "localhost", None);
    let helo = read_value(&mut stream);
    let proof = hex(&[b"salt", b"client", helo[1]["nonce"].as_slice().unwrap(), b"secret"]);
    let ping = ["PING", "client", "salt", &proof, "", ""].map(Value::from);
    stream.write_all(&encode(&Value::Array(ping.into()))).unwrap();
    assert_eq!(read_value(&mut stream)[1], Value::from(true));
    stream.write_all(&message(0, 3, Some("c"))).unwrap();
    assert_eq!(read_value(&mut stream), ack("c"));
}
