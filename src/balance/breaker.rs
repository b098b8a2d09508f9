//! The breaker of one node: when it leaves the rotation, when it is tried again, when it is back.
//! Pure: time and chance are passed in, nanoseconds on a clock that never goes back (and if one
//! does, no node stays out for it).
//!
//! Invariants: what is told of a time before the last change into the rotation or out of it changes
//! nothing; a success of any trial since the node fell out brings it back, however late it comes; a
//! node that is back by less than a delivered payload falls out again by its first failure of the
//! same kind.

use std::time::Duration;

/// `health.*` of a node, as the breaker needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Consecutive failures that eject.
    pub max_fails: u32,
    /// The first ejection.
    pub backoff: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// How long a trial is its holder's; after that another caller gets one.
    pub trial_time: Duration,
}

impl BreakerSettings {
    /// How long a node is out at most before it may be tried, or while somebody has it on trial.
    pub fn longest_wait(&self, on_trial: bool) -> u64 {
        let time = if on_trial {
            self.trial_time
        } else {
            self.backoff_max.max(self.backoff).max(PUT_OFF)
        };
        nanoseconds(time)
    }
}

/// A trial that told nothing is put off for no longer (`visits::PATIENCE`).
const PUT_OFF: Duration = Duration::from_millis(250);

/// Each ejection is this much longer than the last (gRPC connection backoff: 1.6), in parts of
/// five.
const GROWTH: (u64, u64) = (8, 5);
/// Up to this much shorter or longer, at random (gRPC connection backoff: 0.2).
pub const JITTER: f64 = 0.2;
/// Up for so long takes one step of growth back (gRPC A50: its interval, 10 s), so that a flapping
/// node stays damped.
const HEALTHY_INTERVAL: u64 = 10_000_000_000;

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the rotation.
    Up,
    /// Out of it until then.
    Ejected {
        /// Nanoseconds.
        until: u64,
    },
    /// One caller has it on trial; another may from then on.
    OnTrial {
        /// Nanoseconds.
        until: u64,
    },
}

/// How badly something failed, and in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One of `health.max_fails`.
    Soft(Way),
    /// Refused, unreachable, TLS, certificate, no such name: ejects at once.
    Hard(Way),
}

/// The way in which a node failed: what failed so before is expected to fail so again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// No connection: name, address or TLS.
    Connect,
    /// It took the connection, and did not answer in time.
    Silence,
    /// It took the connection, and did not read in time.
    Stalled,
    /// It ended or reset the connection.
    Broken,
    /// The same, seen only after a payload was booked: the connection ended without any answer.
    Unanswered,
    /// What it answered was wrong, or the plugin gave no reason.
    Answer,
}

impl Way {
    /// Whether the node took a connection and then did nothing in time, as a stopped process does.
    pub fn is_silence(self) -> bool {
        matches!(self, Way::Silence | Way::Stalled)
    }

    /// Whether a failure of this way is what the node fell out by. An end that is seen late is an
    /// end.
    fn is_like(self, other: Way) -> bool {
        let broken = |way| matches!(way, Way::Broken | Way::Unanswered);
        self == other || broken(self) && broken(other) || self.is_silence() && other.is_silence()
    }
}

/// What a success proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A connection stands, TLS included.
    Connected,
    /// A payload was written, and no answer was asked for.
    Written,
    /// A connection that carried payloads without an answer has lived on.
    Stood,
    /// It answered that it cannot take this now.
    Busy,
    /// It answered, or the plugin says that the payload is there.
    Answered,
}

/// The breaker of a node.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    generation: u32,
    /// The generation that began with the last ejection, or with the beginning of all.
    ejected: u32,
    fails: u32,
    /// How it fell out, until it has shown that it is well again.
    fell_by: Option<Way>,
    /// One of the failures that count was seen after its payload had been booked: a payload that is
    /// only written proves nothing against it.
    unanswered: bool,
    /// One of them was a write that stalled. The system of a stopped process takes what its buffers
    /// hold, on each new connection, and keeps the connection up: only an answer makes up for it.
    silent: bool,
    /// Steps of growth that the next ejection has.
    steps: u32,
    /// Since when it is up.
    since: u64,
}

impl Breaker {
    /// A node that is up.
    pub fn new(settings: BreakerSettings, now: u64) -> Breaker {
        Breaker {
            settings,
            state: State::Up,
            generation: 0,
            ejected: 0,
            fails: 0,
            fell_by: None,
            unanswered: false,
            silent: false,
            steps: 0,
            since: now,
        }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What an outcome must carry to count.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Consecutive failures so far.
    #[cfg(test)]
    fn fails(&self) -> u32 {
        self.fails
    }

    /// How it fell out, until it has shown that it is well again.
    pub fn fell_by(&self) -> Option<Way> {
        self.fell_by
    }

    /// Whether a success has anything to change here.
    pub fn is_clean(&self) -> bool {
        self.state == State::Up && self.fails == 0 && self.fell_by.is_none()
    }

    /// Whether work of `generation` began since the node last fell out or came back.
    fn is_of_now(&self, generation: u32) -> bool {
        // A difference of wrapping numbers: none is ever older by half of them all.
        match self.state {
            State::Up => generation == self.generation,
            State::Ejected { .. } | State::OnTrial { .. } => {
                generation.wrapping_sub(self.ejected) <= self.generation.wrapping_sub(self.ejected)
            }
        }
    }

    /// The work of `generation` went well. True if the node is back by it.
    pub fn succeeded(&mut self, generation: u32, proof: Proof, now: u64) -> bool {
        if !self.is_of_now(generation) {
            return false;
        }
        if self.state == State::Up {
            self.cleared_by(proof);
            return false;
        }
        let enough = match proof {
            // A listener whose process is stopped still takes connections.
            Proof::Connected => !self.fell_by.is_some_and(Way::is_silence),
            Proof::Stood => false,
            Proof::Written | Proof::Busy | Proof::Answered => true,
        };
        if enough {
            self.come_back(now);
            self.cleared_by(proof);
        }
        enough
    }

    fn cleared_by(&mut self, proof: Proof) {
        match proof {
            Proof::Connected | Proof::Busy => {}
            Proof::Written if self.unanswered || self.silent => {}
            Proof::Stood if !self.unanswered || self.silent => {}
            Proof::Written | Proof::Stood | Proof::Answered => {
                (self.fails, self.fell_by) = (0, None);
                (self.unanswered, self.silent) = (false, false);
            }
        }
    }

    fn come_back(&mut self, now: u64) {
        self.enter(State::Up);
        self.since = now;
    }

    /// The work of `generation` failed; `chance` is in 0..1. Gives the time the node is ejected
    /// for, if it is by this.
    pub fn failed(
        &mut self,
        generation: u32,
        fault: Fault,
        now: u64,
        chance: f64,
    ) -> Option<Duration> {
        if generation != self.generation {
            return None;
        }
        let (hard, way) = match fault {
            Fault::Soft(way) => (false, way),
            Fault::Hard(way) => (true, way),
        };
        match self.state {
            // Whoever asked it all the same, because no other was left, tells nothing new.
            State::Ejected { .. } => None,
            State::OnTrial { .. } => Some(self.eject(way, now, chance)),
            State::Up => {
                self.fails = self.fails.saturating_add(1);
                self.unanswered |= way == Way::Unanswered;
                self.silent |= way == Way::Stalled;
                let again = self.fell_by.is_some_and(|before| before.is_like(way));
                if !hard && !again && self.fails < self.settings.max_fails {
                    return None;
                }
                let healthy = now.saturating_sub(self.since) / HEALTHY_INTERVAL;
                self.steps = self.steps.saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX));
                Some(self.eject(way, now, chance))
            }
        }
    }

    fn eject(&mut self, way: Way, now: u64, chance: f64) -> Duration {
        let (backoff, grew) = self.backoff();
        self.steps = if grew { self.steps + 1 } else { self.steps };
        let jittered = backoff.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
        let jittered = jittered.min(self.settings.backoff_max.max(self.settings.backoff));
        (self.fails, self.fell_by) = (0, Some(way));
        (self.unanswered, self.silent) = (way == Way::Unanswered, way == Way::Stalled);
        self.enter(State::Ejected { until: now.saturating_add(nanoseconds(jittered)) });
        self.ejected = self.generation;
        jittered
    }

    /// The ejection due now before chance has its say, and whether the next one is to be longer.
    fn backoff(&self) -> (Duration, bool) {
        let most = nanoseconds(self.settings.backoff_max);
        let mut backoff = nanoseconds(self.settings.backoff).min(most);
        for _ in 0..self.steps {
            backoff = (backoff.saturating_mul(GROWTH.0) / GROWTH.1).min(most);
        }
        (Duration::from_nanos(backoff), backoff < most)
    }

    /// When a trial may be had next; `None` while it is up.
    pub fn next_trial(&self) -> Option<u64> {
        match self.state {
            State::Up => None,
            State::Ejected { until } | State::OnTrial { until } => Some(until),
        }
    }

    /// Hands the node out on trial, to one caller, if its time is up.
    pub fn begin_trial(&mut self, now: u64) -> Option<u32> {
        let due = self.next_trial()?;
        if now < due && due - now <= self.longest_wait() {
            return None;
        }
        self.enter(State::OnTrial {
            until: now.saturating_add(nanoseconds(self.settings.trial_time)),
        });
        Some(self.generation)
    }

    /// Takes a trial back that told nothing of the node; the next may be had at `at`.
    pub fn give_back(&mut self, generation: u32, at: u64) -> bool {
        let given = generation == self.generation && matches!(self.state, State::OnTrial { .. });
        if given {
            self.enter(State::Ejected { until: at });
        }
        given
    }

    /// No wait is longer as it stands; one that seems so shows a clock that went back.
    pub fn longest_wait(&self) -> u64 {
        self.settings.longest_wait(matches!(self.state, State::OnTrial { .. }))
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const EVEN: f64 = 0.5; // no jitter

    fn settings() -> BreakerSettings {
        BreakerSettings {
            max_fails: 3,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            trial_time: Duration::from_secs(10),
        }
    }

    fn breaker() -> Breaker {
        Breaker::new(settings(), 0)
    }

    /// Fails the trial that is due at `now`, and gives the ejection that follows in milliseconds.
    fn fail_trial(breaker: &mut Breaker, now: u64) -> u128 {
        let generation = breaker.begin_trial(now).unwrap();
        breaker.failed(generation, Fault::Soft(Way::Answer), now, EVEN).unwrap().as_millis()
    }

    #[test]
    fn three_failures_in_a_row_eject_and_a_success_zeroes_them() {
        let mut node = breaker();
        for _ in 0..5 {
            assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
            assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
            assert!(!node.succeeded(0, Proof::Answered, 0));
        }
        assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
        assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), None);
        assert_eq!(node.failed(0, Fault::Soft(Way::Answer), 0, EVEN), Some(Duration::from_secs(1)));
        assert_eq!(node.state(), State::Ejected { until: SECOND });
    }

    #[test]
    fn a_hard_fault_ejects_at_once() {
        let mut node = breaker();
        assert_eq!(
            node.failed(0, Fault::Hard(Way::Connect), 0, EVEN),
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn backoff_grows_by_1_6_to_its_maximum() {
        let mut node = breaker();
        node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
        let seen: Vec<u128> =
            (1..=11).map(|turn| fail_trial(&mut node, turn * 100 * SECOND)).collect();
        assert_eq!(seen, [1600, 2560, 4096, 6553, 10485, 16777, 26843, 42949, 60000, 60000, 60000]);
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        for (chance, millis) in [(0.0, 800), (0.5, 1000), (1.0, 1200)] {
            let ejected = breaker().failed(0, Fault::Hard(Way::Connect), 0, chance).unwrap();
            assert_eq!(ejected.as_millis(), millis);
        }
    }

    #[test]
    fn growth_is_taken_back_a_step_for_each_healthy_interval() {
        let mut node = breaker();
        node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
        let mut now = 100 * SECOND;
        assert_eq!(fail_trial(&mut node, now), 1600);
        now += 100 * SECOND;
        assert_eq!(fail_trial(&mut node, now), 2560);
        for (healthy, millis) in
            [(9 * SECOND, 4096), (10 * SECOND, 4096), (25 * SECOND, 2560), (3600 * SECOND, 1000)]
        {
            now += 100 * SECOND;
            let generation = node.begin_trial(now).unwrap();
            assert!(node.succeeded(generation, Proof::Answered, now));
            now += healthy;
            let ejected =
                node.failed(node.generation(), Fault::Hard(Way::Connect), now, EVEN).unwrap();
            assert_eq!(ejected.as_millis(), millis, "{healthy}");
        }
    }

    #[test]
    fn one_caller_gets_the_trial_and_its_time_runs_out() {
        let mut node = breaker();
        node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
        assert_eq!(node.begin_trial(SECOND - 1), None);
        let first = node.begin_trial(SECOND).unwrap();
        assert_eq!(node.begin_trial(SECOND), None);
        assert_eq!(node.begin_trial(11 * SECOND - 1), None);
        let second = node.begin_trial(11 * SECOND).unwrap();
        // The first caller's bad news comes too late; good news never does.
        assert_eq!(node.failed(first, Fault::Hard(Way::Connect), 12 * SECOND, EVEN), None);
        let mut by_first = node.clone();
        assert!(by_first.succeeded(first, Proof::Answered, 12 * SECOND));
        assert!(!by_first.succeeded(second, Proof::Answered, 12 * SECOND), "it is back already");
        assert!(node.succeeded(second, Proof::Answered, 12 * SECOND));
        assert_eq!(node.state(), State::Up);
    }

    #[test]
    fn good_news_of_before_the_ejection_changes_nothing() {
        let mut node = breaker();
        let before = node.generation();
        node.failed(before, Fault::Hard(Way::Connect), 0, EVEN);
        let trial = node.begin_trial(SECOND).unwrap();
        assert!(!node.succeeded(before, Proof::Answered, SECOND));
        node.failed(trial, Fault::Hard(Way::Connect), SECOND, EVEN).unwrap();
        assert!(!node.succeeded(trial, Proof::Answered, SECOND), "of before it fell out again");
    }

    #[test]
    fn a_node_that_connects_and_fails_as_before_falls_out_at_once_and_for_longer() {
        for (way, again, at_once) in [
            (Way::Answer, Way::Answer, true),
            (Way::Broken, Way::Unanswered, true),
            (Way::Unanswered, Way::Broken, true),
            (Way::Answer, Way::Broken, false),
            (Way::Connect, Way::Answer, false),
        ] {
            let mut node = breaker();
            (0..3).for_each(|_| _ = node.failed(0, Fault::Soft(way), 0, EVEN));
            let trial = node.begin_trial(SECOND).unwrap();
            assert!(node.succeeded(trial, Proof::Connected, SECOND));
            let ejected = node.failed(node.generation(), Fault::Soft(again), SECOND, EVEN);
            let longer = Duration::from_millis(1600);
            assert_eq!(ejected, at_once.then_some(longer), "{way:?}, then {again:?}");
        }
    }

    #[test]
    fn a_delivered_payload_ends_the_watch_over_a_node_that_is_back() {
        let mut node = breaker();
        (0..3).for_each(|_| _ = node.failed(0, Fault::Soft(Way::Answer), 0, EVEN));
        let trial = node.begin_trial(SECOND).unwrap();
        assert!(node.succeeded(trial, Proof::Connected, SECOND));
        assert!(!node.succeeded(node.generation(), Proof::Written, SECOND));
        assert_eq!(node.failed(node.generation(), Fault::Soft(Way::Answer), SECOND, EVEN), None);
    }

    #[test]
    fn a_node_that_fell_silent_is_back_by_an_answer_and_not_by_a_connection() {
        let mut node = breaker();
        (0..3).for_each(|_| _ = node.failed(0, Fault::Soft(Way::Silence), 0, EVEN));
        let trial = node.begin_trial(SECOND).unwrap();
        for proof in [Proof::Connected, Proof::Stood] {
            assert!(!node.succeeded(trial, proof, SECOND));
        }
        for proof in [Proof::Written, Proof::Busy, Proof::Answered] {
            assert!(node.clone().succeeded(trial, proof, SECOND), "{proof:?}");
        }
    }

    #[test]
    fn an_end_without_an_answer_is_not_made_up_for_by_writing_once_more() {
        let mut node = breaker();
        for _ in 0..2 {
            assert_eq!(node.failed(0, Fault::Soft(Way::Unanswered), 0, EVEN), None);
            assert!(!node.succeeded(0, Proof::Written, 0));
        }
        let mut well = node.clone();
        assert!(node.failed(0, Fault::Soft(Way::Unanswered), 0, EVEN).is_some());
        well.succeeded(0, Proof::Stood, 0);
        assert_eq!((well.fails(), well.is_clean()), (0, true));
    }

    #[test]
    fn a_stalled_write_is_made_up_for_by_an_answer_alone() {
        let mut node = breaker();
        for _ in 0..2 {
            assert_eq!(node.failed(0, Fault::Soft(Way::Stalled), 0, EVEN), None);
            assert!(!node.succeeded(0, Proof::Written, 0));
            assert!(!node.succeeded(0, Proof::Stood, 0));
        }
        let mut well = node.clone();
        assert!(node.failed(0, Fault::Soft(Way::Stalled), 0, EVEN).is_some());
        well.succeeded(0, Proof::Answered, 0);
        assert_eq!((well.fails(), well.is_clean()), (0, true));
        // Tried by a payload that is only written, it is back; silent again, it is out at once.
        let trial = node.begin_trial(SECOND).unwrap();
        assert!(node.succeeded(trial, Proof::Written, SECOND));
        assert!(node.failed(node.generation(), Fault::Soft(Way::Stalled), SECOND, EVEN).is_some());
    }

    #[test]
    fn no_ejection_is_longer_than_the_longest() {
        let mut node = breaker();
        node.failed(0, Fault::Hard(Way::Connect), 0, 1.0);
        for turn in 1..20 {
            let generation = node.begin_trial(turn * 1000 * SECOND).unwrap();
            let ejected =
                node.failed(generation, Fault::Hard(Way::Connect), turn * 1000 * SECOND, 1.0);
            assert!(ejected.unwrap() <= settings().backoff_max);
        }
    }

    #[test]
    fn a_trial_given_back_tells_nothing() {
        let mut node = breaker();
        node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
        let generation = node.begin_trial(SECOND).unwrap();
        assert!(node.give_back(generation, 2 * SECOND));
        assert_eq!(node.state(), State::Ejected { until: 2 * SECOND });
        assert!(!node.give_back(generation, 3 * SECOND));
        assert_eq!(fail_trial(&mut node, 2 * SECOND), 1600);
    }

    #[test]
    fn success_on_an_ejected_node_brings_it_back() {
        let mut node = breaker();
        node.failed(0, Fault::Hard(Way::Connect), 0, EVEN);
        let generation = node.generation();
        assert_eq!(node.failed(generation, Fault::Hard(Way::Connect), 1, EVEN), None);
        assert!(node.succeeded(generation, Proof::Answered, 2));
    }

    #[test]
    fn a_clock_that_goes_back_keeps_no_node_out() {
        let hours = 10_000 * SECOND;
        let mut node = Breaker::new(settings(), hours);
        node.failed(0, Fault::Hard(Way::Connect), hours, EVEN);
        assert!(node.begin_trial(hours).is_none());
        assert!(node.begin_trial(0).is_some());
    }

    #[test]
    fn a_small_step_back_holds_no_node_for_as_long_as_a_trial_may_take() {
        let short = BreakerSettings { backoff_max: Duration::from_secs(2), ..settings() };
        let mut node = Breaker::new(short, 100 * SECOND);
        node.failed(0, Fault::Hard(Way::Connect), 100 * SECOND, EVEN);
        assert!(node.begin_trial(95 * SECOND).is_some(), "6 s away, of 2 s at most");
        assert!(node.begin_trial(95 * SECOND).is_none(), "a trial is ten");
    }

    proptest! {
        #[test]
        fn whatever_happens_a_node_waits_no_longer_than_it_may(
            events in proptest::collection::vec((0u8..6, 0u64..30 * SECOND, 0u32..3, 0.0f64..1.0), 1..200),
        ) {
            let mut node = breaker();
            let mut now = 0;
            for (event, later, age, chance) in events {
                now += later;
                let generation = node.generation().wrapping_sub(age);
                let before = (node.state(), node.generation(), node.fails());
                match event {
                    0 => drop(node.succeeded(generation, Proof::Answered, now)),
                    1 => drop(node.failed(generation, Fault::Soft(Way::Answer), now, chance)),
                    2 => drop(node.failed(generation, Fault::Hard(Way::Connect), now, chance)),
                    3 | 4 => drop(node.begin_trial(now)),
                    _ => drop(node.give_back(generation, now)),
                }
                // Good news of a trial counts as long as its ejection does.
                let late_trial = event == 0 && before.0 != State::Up;
                if age > 0 && !matches!(event, 3 | 4) && !late_trial {
                    prop_assert_eq!((node.state(), node.generation(), node.fails()), before);
                }
                if let Some(due) = node.next_trial() {
                    prop_assert!(due <= now + node.longest_wait());
                }
                prop_assert!(node.fails() < 3);
            }
        }
    }
}
