//! How long one call may wait, and the wait itself. With only `net.io_timeout`, the clock is read
//! only if a call must wait. Every wait has an end.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::socket::{Interest, poll_timeout};
use crate::base::random::random;

/// The limits of one read or write.
#[derive(Debug)]
pub struct Patience<'a> {
    limit: Limit,
    until: Option<Instant>,
    bound: Option<Bound>,
    interrupt: Option<BorrowedFd<'a>>,
}

/// What a time limit applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The time in which no byte moves (`net.io_timeout`).
    Silence(Duration),
    /// The whole call (a timeout that the caller set).
    Call(Duration),
}

impl Limit {
    /// How long it is.
    pub fn time(self) -> Duration {
        let (Limit::Silence(time) | Limit::Call(time)) = self;
        time
    }

    /// The limit that was too short, for a message, with the fix.
    pub fn struck(self) -> String {
        let millis = self.time().as_millis();
        match self {
            Limit::Silence(_) => {
                format!("within the {millis} ms of net.io_timeout; raise it if that is too short")
            }
            Limit::Call(_) => format!("within the {millis} ms of upstream_conn_set_timeout_ms()"),
        }
    }
}

/// A moment at which a call must end, whatever its own limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The moment.
    pub at: Instant,
    /// What ends then.
    pub of: Whole,
}

/// What a call is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// The part of a delivery's time that one node may use while other nodes could take the
    /// payload.
    Share(Duration),
    /// A delivery or an attempt.
    Delivery,
}

impl Bound {
    /// As [`Limit::struck`].
    pub fn struck(self) -> String {
        match self.of {
            Whole::Share(time) => format!(
                "within {} ms, half of the time that the delivery had left while other nodes could \
                 take the payload; raise deliver.timeout if that is too short",
                time.as_millis()
            ),
            Whole::Delivery => {
                let text = "before the delivery's time was up; raise deliver.timeout, or the time \
                            that the call was given";
                text.to_owned()
            }
        }
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor is ready for this. An error or hang-up counts as ready for what was wanted:
    /// the next call reports it.
    Ready(Interest),
    /// The time is up.
    TimedOut,
    /// The interrupt's descriptor is readable.
    Interrupted,
}

impl<'a> Patience<'a> {
    /// For a call with this `limit`, which ends at `bound` in any case, and as soon as `interrupt`
    /// is readable.
    pub fn new(
        limit: Limit,
        bound: Option<Bound>,
        interrupt: Option<BorrowedFd<'a>>,
    ) -> Patience<'a> {
        let until = match limit {
            Limit::Call(limit) => Some(after(Instant::now(), limit)),
            Limit::Silence(_) => None,
        };
        Patience { limit, until, bound, interrupt }
    }

    /// Bytes have moved.
    pub fn progress(&mut self) {
        if let Limit::Silence(_) = self.limit {
            self.until = None;
        }
    }

    /// When a wait that begins now must end.
    pub fn deadline(&mut self) -> Instant {
        let time = self.limit.time();
        let until = *self.until.get_or_insert_with(|| after(Instant::now(), time));
        self.bound.map_or(until, |bound| bound.at.min(until))
    }

    /// Since when it waits for a byte; with a limit for the whole call, since the start of the
    /// call.
    pub fn waits_since(&self) -> Option<Instant> {
        self.until.and_then(|until| until.checked_sub(self.limit.time()))
    }

    /// The limit that ended the wait, as [`Limit::struck`].
    pub fn struck(&self) -> String {
        match (self.bound, self.until) {
            (Some(bound), Some(until)) if bound.at <= until => bound.struck(),
            _ => self.limit.struck(),
        }
    }

    /// Waits until `descriptor` is ready for what is wanted.
    pub fn wait(&mut self, descriptor: BorrowedFd<'_>, wanted: Interest) -> io::Result<Woken> {
        let deadline = self.deadline();
        wait_until(descriptor, wanted, deadline, self.interrupt)
    }
}

/// Waits until `descriptor` is ready for what is wanted, `interrupt` is readable, or `deadline` has
/// come. If the deadline has passed before the call, the result is never `Ready`.
pub fn wait_until(
    descriptor: BorrowedFd<'_>,
    wanted: Interest,
    deadline: Instant,
    interrupt: Option<BorrowedFd<'_>>,
) -> io::Result<Woken> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, wanted.read);
    flags.set(PollFlags::POLLOUT, wanted.write);
    let stop = interrupt.unwrap_or(descriptor);
    let mut both = [PollFd::new(descriptor, flags), PollFd::new(stop, PollFlags::POLLIN)];
    let mut asked = 1 + usize::from(interrupt.is_some());
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut both[..asked], poll_timeout(left)) {
            Ok(0) if Instant::now() >= deadline => return Ok(Woken::TimedOut),
            Ok(0) | Err(Errno::EINTR) => {}
            // Another part of the process closed the interrupt: that is not an interruption.
            Ok(_) if asked > 1 && is_closed(&both[1]) => asked = 1,
            Ok(_) if asked > 1 && both[1].any() == Some(true) => return Ok(Woken::Interrupted),
            // A peer that is always ready again must not keep a call going past its end.
            Ok(_) if left.is_zero() => return Ok(Woken::TimedOut),
            Ok(_) => return Ok(Woken::Ready(readiness(&both[0], wanted))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the descriptor was closed.
pub fn is_closed(polled: &PollFd<'_>) -> bool {
    polled.revents().is_some_and(|found| found.contains(PollFlags::POLLNVAL))
}

fn readiness(polled: &PollFd<'_>, wanted: Interest) -> Interest {
    let found = polled.revents().unwrap_or(PollFlags::POLLERR);
    if found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
        return wanted;
    }
    Interest { read: found.contains(PollFlags::POLLIN), write: found.contains(PollFlags::POLLOUT) }
}

/// `now + limit`, but at most a year ahead.
pub fn after(now: Instant, limit: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    now + limit.min(YEAR)
}

/// `time` minus a random part of up to 10%, so that things that begin together do not all end
/// together.
pub fn jittered(time: Duration) -> Duration {
    time - time.mul_f64(0.1 * (random() as f64 / u64::MAX as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn jitter_stays_within_the_last_tenth_and_differs() {
        let time = Duration::from_secs(1000);
        let times: Vec<Duration> = (0..100).map(|_| jittered(time)).collect();
        assert!(times.iter().all(|jittered| *jittered <= time && *jittered >= time / 10 * 9));
        assert!(times.iter().any(|jittered| *jittered != times[0]));
    }

    #[test]
    fn progress_renews_silence_but_not_a_call() {
        let mut silence = Patience::new(Limit::Silence(HOUR), None, None);
        let first = silence.deadline();
        assert_eq!(silence.deadline(), first);
        silence.progress();
        assert!(silence.deadline() > first);

        let mut call = Patience::new(Limit::Call(HOUR), None, None);
        let first = call.deadline();
        call.progress();
        assert_eq!(call.deadline(), first);
    }

    #[test]
    fn the_last_moment_holds_and_no_limit_overflows() {
        let last = Instant::now();
        let bound = Some(Bound { at: last, of: Whole::Delivery });
        let mut patience = Patience::new(Limit::Silence(Duration::MAX), bound, None);
        assert_eq!(patience.deadline(), last);
    }

    #[test]
    fn the_limit_that_struck_is_named() {
        let (_far, near) = UnixStream::pair().unwrap();
        let limit = Duration::from_millis(2);
        let struck = |limit, bound| {
            let mut patience = Patience::new(limit, bound, None);
            assert_eq!(patience.wait(near.as_fd(), Interest::READ).unwrap(), Woken::TimedOut);
            patience.struck()
        };
        let bound = |of, at| Some(Bound { at, of });
        let far = bound(Whole::Share(HOUR), Instant::now() + HOUR);
        assert!(
            struck(Limit::Silence(limit), far).starts_with("within the 2 ms of net.io_timeout")
        );
        assert_eq!(
            struck(Limit::Call(limit), far),
            "within the 2 ms of upstream_conn_set_timeout_ms()"
        );
        for limit in [Limit::Silence(HOUR), Limit::Call(HOUR)] {
            let now = Instant::now();
            let share = struck(limit, bound(Whole::Share(limit.time()), now));
            assert!(
                share.starts_with("within 3600000 ms, half of the time that the delivery had left"),
                "{share}"
            );
            assert!(
                struck(limit, bound(Whole::Delivery, now))
                    .starts_with("before the delivery's time was up")
            );
        }
    }

    #[test]
    fn a_wait_tells_what_ended_it() {
        let (mut far, near) = UnixStream::pair().unwrap();
        let (mut alarm, interrupt) = UnixStream::pair().unwrap();
        let wait = |wanted, limit| {
            Patience::new(Limit::Call(limit), None, Some(interrupt.as_fd()))
                .wait(near.as_fd(), wanted)
                .unwrap()
        };
        assert_eq!(wait(Interest::READ, Duration::from_millis(5)), Woken::TimedOut);
        assert_eq!(wait(Interest::BOTH, HOUR), Woken::Ready(Interest::WRITE));
        far.write_all(b"x").unwrap();
        assert_eq!(wait(Interest::READ, HOUR), Woken::Ready(Interest::READ));
        assert_eq!(wait(Interest::BOTH, HOUR), Woken::Ready(Interest::BOTH));
        alarm.write_all(b"x").unwrap();
        assert_eq!(wait(Interest::BOTH, HOUR), Woken::Interrupted);
        let passed = Instant::now();
        let wait_in_vain =
            |interrupt| wait_until(near.as_fd(), Interest::BOTH, passed, interrupt).unwrap();
        assert_eq!(wait_in_vain(None), Woken::TimedOut);
        assert_eq!(wait_in_vain(Some(interrupt.as_fd())), Woken::Interrupted);
        let deadline = Instant::now() + HOUR;
        assert_eq!(
            wait_until(near.as_fd(), Interest::READ, deadline, None).unwrap(),
            Woken::Ready(Interest::READ)
        );
    }
}
