//! A dialer whose descriptors were closed by another part of the process.

use super::*;

/// Does to a dialer what a host does that closes every descriptor: its thread hears of nothing any
/// more.
fn lose(dialer: &Dialer) {
    let mailbox = &dialer.last_desk().mailbox;
    mailbox.epoll.get().delete(mailbox.wake.get()).unwrap();
}

#[test]
fn a_dialer_whose_descriptors_were_closed_is_replaced() {
    let (_listener, open) = listener();
    let (_held, silent) = silent();
    let (cancel, dialer) = dialer();
    let (tell, told) = mpsc::channel();
    for round in 0..3 {
        let mut pending = dialer.start(&silent, far(), false, None).unwrap();
        assert!(pending.wait(Instant::now() + Duration::from_millis(20)).is_none());
        let told_late = tell.clone();
        dialer
            .at(Instant::now() + LONG * 60, Box::new(move || told_late.send(round).unwrap()))
            .unwrap();
        lose(&dialer);
        // The next dial finds the loss. Those under way are told, and what was to be done later is
        // not forgotten.
        assert!(dialer.dial(&open, far()).is_ok());
        let error = pending.wait(far()).unwrap().err().unwrap();
        assert!(error.is_local() && error.errno == libc::EBADF, "{error}");
        assert!(error.to_string().contains("before it creates the upstream"), "{error}");
        assert_eq!(dialer.desks().count(), round + 2);
    }
    assert!(dialer.dial(&open, far()).is_ok());
    assert_eq!(dialer.desks().count(), 4);
    let until = far();
    while dialer.last_desk().work.lock().timers_left() < 3 {
        assert!(Instant::now() < until, "a task was lost");
        std::thread::yield_now();
    }
    assert!(told.try_recv().is_err());
    // Cancelling reaches the dials all the same, and stopping does not wait for a thread that
    // cannot be woken.
    let mut pending = dialer.start(&silent, far(), false, None).unwrap();
    assert!(pending.wait(Instant::now() + Duration::from_millis(20)).is_none());
    lose(&dialer);
    cancel.set();
    dialer.cancel();
    assert!(pending.wait(far()).unwrap().is_err());
    dialer.stop();
    let begun = Instant::now();
    assert_eq!(dialer.dial(&open, far()).err().unwrap().status, Status::Cancelled);
    assert!(begun.elapsed() < LONG);
}
