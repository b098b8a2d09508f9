//! Dials to stream sockets of this machine.

use std::io::Read;
use std::os::unix::net::UnixListener;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn at(path: &std::path::Path) -> Arc<Target> {
    named(&format!("unix:{}", path.display()), 0)
}

#[test]
fn a_path_is_connected_to_and_named() {
    let folder = folder();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (_, dialer) = dialer();
    let target = at(&path);
    let channel = dialer.dial(&target, far()).unwrap();
    assert_eq!(channel.peer().to_string(), format!("unix:{}", path.display()));
    drop(channel);
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    dialer.stop();
}

#[test]
fn a_path_without_a_server_says_so() {
    let folder = folder();
    let path = folder.path().join("socket");
    let (_, dialer) = dialer();
    let target = at(&path);
    let error = dialer.dial(&target, far()).err().unwrap();
    assert_eq!((error.status, error.errno), (Status::Connect, libc::ENOENT));
    assert!(!error.is_local());
    let expected = format!("n (unix:{}): connect: No such file", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    drop(UnixListener::bind(&path).unwrap()); // the file stays
    let error = dialer.dial(&target, far()).err().unwrap();
    assert_eq!((error.status, error.errno), (Status::Connect, libc::ECONNREFUSED));
    dialer.stop();
}

/// The system does not say when a full queue has room again.
#[test]
fn a_full_queue_is_waited_for() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let folder = folder();
    let path = folder.path().join("socket");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let filler = || {
        let filler = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        filler.connect(&SockAddr::unix(&path).unwrap()).map(|()| filler)
    };
    let mut held = Vec::new();
    while let Ok(filler) = filler() {
        held.push(filler);
    }
    let (_, dialer) = dialer();
    let target = at(&path);
    let error = dialer.dial(&target, Instant::now() + Duration::from_millis(50)).err().unwrap();
    assert_eq!(error.status, Status::Timeout, "{error}");
    let mut pending = dialer.start(&target, far(), false, None).unwrap();
    assert!(pending.wait(Instant::now() + Duration::from_millis(30)).is_none());
    for _ in 0..=held.len() {
        listener.accept().unwrap();
    }
    assert!(pending.wait(far()).unwrap().is_ok());
    dialer.stop();
}
