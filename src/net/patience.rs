//! How long one call may wait or work, and the wait itself. With only `net.io_timeout`, the clock
//! is read only if a call must wait, or once for each [`Portion`] of its work. Every wait has an
//! end.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::cancel::Cancel;
use super::portion::Portion;
use super::socket::{Interest, is_closed, poll_timeout};
use crate::base::random::random;

/// The limits of one read or write.
#[derive(Debug)]
pub struct Patience<'a> {
    limit: Limit,
    until: Option<Instant>,
    /// When bytes last came that are a part of something which is not all there yet.
    stirred: Option<Instant>,
    bound: Option<Bound>,
    cancel: Option<&'a Cancel>,
    /// What the call may still do before it looks at its limits.
    pub portion: Portion,
    /// The peer had sent bytes before the call, as an answer to the same message.
    pub had_bytes: bool,
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
    /// For a call with this `limit`, which ends at `bound` in any case, and as soon as `cancel` is
    /// set.
    pub fn new(limit: Limit, bound: Option<Bound>, cancel: Option<&'a Cancel>) -> Patience<'a> {
        let until = match limit {
            Limit::Call(limit) => Some(after(Instant::now(), limit)),
            Limit::Silence(_) => None,
        };
        let portion = Portion::new();
        Patience { limit, until, stirred: None, bound, cancel, portion, had_bytes: false }
    }

    /// Bytes have moved.
    pub fn progress(&mut self) {
        self.stirred = None;
        if let Limit::Silence(_) = self.limit {
            self.until = None;
        }
    }

    /// Bytes came that are a part of something which is not all there yet: the silence begins with
    /// them, until [`Patience::unstir`].
    pub fn stir(&mut self) {
        self.stirred = Some(Instant::now());
    }

    /// What seemed to be on its way was nothing for the caller.
    pub fn unstir(&mut self) {
        self.stirred = None;
    }

    /// When a wait that begins now must end.
    pub fn deadline(&mut self) -> Instant {
        let time = self.limit.time();
        self.until.get_or_insert_with(|| after(Instant::now(), time));
        self.end().unwrap_or_else(Instant::now)
    }

    /// The end of its own limit, if that has begun.
    fn own_end(&self) -> Option<Instant> {
        match (self.limit, self.until, self.stirred) {
            (Limit::Silence(time), Some(until), Some(at)) => Some(until.max(after(at, time))),
            (_, until, _) => until,
        }
    }

    fn end(&self) -> Option<Instant> {
        let bound = self.bound.map(|bound| bound.at);
        [self.own_end(), bound].into_iter().flatten().min()
    }

    /// Since when it waits for a byte; with a limit for the whole call, since the start of the
    /// call.
    pub fn waits_since(&self) -> Option<Instant> {
        self.until.and_then(|until| until.checked_sub(self.limit.time()))
    }

    /// When bytes last came that are a part of something, if they did.
    pub fn stirred(&self) -> Option<Instant> {
        self.stirred
    }

    /// The limit that ended the wait, as [`Limit::struck`].
    pub fn struck(&self) -> String {
        self.struck_bound().map_or_else(|| self.limit.struck(), Bound::struck)
    }

    /// Whether the limit that ended the wait is one of time without a byte.
    pub fn is_silence(&self) -> bool {
        matches!(self.limit, Limit::Silence(_)) && self.struck_bound().is_none()
    }

    fn struck_bound(&self) -> Option<Bound> {
        self.bound.filter(|bound| self.own_end().is_none_or(|end| bound.at <= end))
    }

    /// Begins a new portion of work, if no limit is reached: otherwise what ended the call.
    #[cold]
    pub fn go_on(&mut self) -> Result<(), Woken> {
        self.portion = Portion::new();
        if self.cancel.is_some_and(Cancel::is_set) {
            return Err(Woken::Interrupted);
        }
        match self.end() {
            Some(end) if Instant::now() >= end => Err(Woken::TimedOut),
            _ => Ok(()),
        }
    }

    /// Waits until `descriptor` is ready for what is wanted.
    pub fn wait(&mut self, descriptor: BorrowedFd<'_>, wanted: Interest) -> io::Result<Woken> {
        self.portion = Portion::new();
        let deadline = self.deadline();
        wait_until(descriptor, wanted, deadline, self.cancel.map(Cancel::descriptor))
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
    fn a_part_on_its_way_extends_silence_but_neither_a_call_nor_what_was_before_it() {
        let start = Instant::now();
        let later = start + HOUR / 2;
        let mut silence = Patience::new(Limit::Silence(HOUR), None, None);
        let first = silence.deadline();
        silence.stirred = Some(later);
        assert_eq!(silence.deadline(), later + HOUR);
        silence.unstir();
        assert_eq!(silence.deadline(), first);
        let mut call = Patience::new(Limit::Call(HOUR), None, None);
        let first = call.deadline();
        call.stirred = Some(later);
        assert_eq!(call.deadline(), first);
        let bound = Some(Bound { at: later, of: Whole::Delivery });
        let mut bounded = Patience::new(Limit::Silence(HOUR), bound, None);
        bounded.stirred = Some(later);
        assert_eq!(bounded.deadline(), later);
    }

    #[test]
    fn work_ends_at_a_limit_and_when_cancelled_though_nothing_waits() {
        let cancel = Cancel::new().unwrap();
        let now = Instant::now();
        let go_on = |limit, bound: Option<Instant>| {
            let bound = bound.map(|at| Bound { at, of: Whole::Delivery });
            Patience::new(limit, bound, Some(&cancel)).go_on()
        };
        assert_eq!(go_on(Limit::Silence(Duration::ZERO), None), Ok(()), "nothing has waited yet");
        assert_eq!(go_on(Limit::Silence(HOUR), Some(now)), Err(Woken::TimedOut));
        assert_eq!(go_on(Limit::Call(HOUR), None), Ok(()));
        assert_eq!(go_on(Limit::Call(Duration::ZERO), None), Err(Woken::TimedOut));
        cancel.set();
        assert_eq!(go_on(Limit::Silence(HOUR), None), Err(Woken::Interrupted));
    }

    #[test]
    fn a_wait_tells_what_ended_it() {
        let (mut far, near) = UnixStream::pair().unwrap();
        let cancel = Cancel::new().unwrap();
        let wait = |wanted, limit| {
            Patience::new(Limit::Call(limit), None, Some(&cancel))
                .wait(near.as_fd(), wanted)
                .unwrap()
        };
        assert_eq!(wait(Interest::READ, Duration::from_millis(5)), Woken::TimedOut);
        assert_eq!(wait(Interest::BOTH, HOUR), Woken::Ready(Interest::WRITE));
        far.write_all(b"x").unwrap();
        assert_eq!(wait(Interest::READ, HOUR), Woken::Ready(Interest::READ));
        assert_eq!(wait(Interest::BOTH, HOUR), Woken::Ready(Interest::BOTH));
        cancel.set();
        assert_eq!(wait(Interest::BOTH, HOUR), Woken::Interrupted);
        let passed = Instant::now();
        let wait_in_vain =
            |interrupt| wait_until(near.as_fd(), Interest::BOTH, passed, interrupt).unwrap();
        assert_eq!(wait_in_vain(None), Woken::TimedOut);
        assert_eq!(wait_in_vain(Some(cancel.descriptor())), Woken::Interrupted);
        let deadline = Instant::now() + HOUR;
        assert_eq!(
            wait_until(near.as_fd(), Interest::READ, deadline, None).unwrap(),
            Woken::Ready(Interest::READ)
        );
    }
}
