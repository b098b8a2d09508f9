//! The breaker of one node: when it leaves the rotation, when it is tried again, when it is back. Pure: time and chance are
//! passed in, nanoseconds on a clock that never goes back (and where one does, no node stays out for it).
//!
//! Invariant: what is told of an earlier generation changes nothing. Every change of state begins a new one.

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
    /// How long a probe is its holder's; after that another caller gets one.
    pub lease: Duration,
}

/// Each ejection is this much longer than the last (gRPC connection backoff: 1.6), in parts of five.
const GROWTH: (u64, u64) = (8, 5);
/// Up to this much shorter or longer, at random (gRPC connection backoff: 0.2).
pub const JITTER: f64 = 0.2;
/// Up for so long takes one step of growth back (gRPC A50: its interval, 10 s), so that a flapping node stays damped.
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
    Probing {
        /// Nanoseconds.
        until: u64,
    },
}

/// How badly something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One of `health.max_fails`.
    Soft,
    /// Refused, unreachable, TLS, certificate, no such name: ejects at once.
    Hard,
}

/// The breaker of a node.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    generation: u32,
    fails: u32,
    /// Steps of growth that the next ejection has.
    steps: u32,
    /// Since when it is up.
    since: u64,
}

impl Breaker {
    /// A node that is up.
    pub fn new(settings: BreakerSettings, now: u64) -> Breaker {
        Breaker { settings, state: State::Up, generation: 0, fails: 0, steps: 0, since: now }
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
    pub fn fails(&self) -> u32 {
        self.fails
    }

    /// The work of `generation` went well. True where the node is back by it.
    pub fn succeeded(&mut self, generation: u32, now: u64) -> bool {
        if generation != self.generation {
            return false;
        }
        self.fails = 0;
        if self.state == State::Up {
            return false;
        }
        self.enter(State::Up);
        self.since = now;
        true
    }

    /// The work of `generation` failed; `chance` is in 0..1. Gives the time the node is ejected for, where it is by this.
    pub fn failed(&mut self, generation: u32, fault: Fault, now: u64, chance: f64) -> Option<Duration> {
        if generation != self.generation {
            return None;
        }
        match self.state {
            // Whoever asked it all the same, because no other was left, tells nothing new.
            State::Ejected { .. } => None,
            State::Probing { .. } => Some(self.eject(now, chance)),
            State::Up => {
                self.fails = self.fails.saturating_add(1);
                if fault == Fault::Soft && self.fails < self.settings.max_fails {
                    return None;
                }
                let healthy = now.saturating_sub(self.since) / HEALTHY_INTERVAL;
                self.steps = self.steps.saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX));
                Some(self.eject(now, chance))
            }
        }
    }

    fn eject(&mut self, now: u64, chance: f64) -> Duration {
        let (backoff, grew) = self.backoff();
        self.steps = if grew { self.steps + 1 } else { self.steps };
        let jittered = backoff.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
        self.fails = 0;
        self.enter(State::Ejected { until: now.saturating_add(nanoseconds(jittered)) });
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

    /// When a probe may be had next; `None` while it is up.
    pub fn probe_due(&self) -> Option<u64> {
        match self.state {
            State::Up => None,
            State::Ejected { until } | State::Probing { until } => Some(until),
        }
    }

    /// Hands the node out on trial, to one caller, where its time is up.
    pub fn lease(&mut self, now: u64) -> Option<u32> {
        let due = self.probe_due()?;
        if now < due && due - now <= self.longest_wait() {
            return None;
        }
        self.enter(State::Probing { until: now.saturating_add(nanoseconds(self.settings.lease)) });
        Some(self.generation)
    }

    /// Takes a probe back that told nothing of the node; the next may be had at `at`.
    pub fn give_back(&mut self, generation: u32, at: u64) -> bool {
        let given = generation == self.generation && matches!(self.state, State::Probing { .. });
        if given {
            self.enter(State::Ejected { until: at });
        }
        given
    }

    /// No wait is longer; one that seems so shows a clock that went back.
    pub fn longest_wait(&self) -> u64 {
        let backoff = self.settings.backoff_max.max(self.settings.backoff).mul_f64(1.0 + JITTER);
        nanoseconds(backoff.max(self.settings.lease))
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
            lease: Duration::from_secs(10),
        }
    }

    fn breaker() -> Breaker {
        Breaker::new(settings(), 0)
    }

    /// Fails the probe that is due at `now`, and gives the ejection that follows in milliseconds.
    fn fail_probe(breaker: &mut Breaker, now: u64) -> u128 {
        let generation = breaker.lease(now).unwrap();
        breaker.failed(generation, Fault::Soft, now, EVEN).unwrap().as_millis()
    }

    #[test]
    fn three_failures_in_a_row_eject_and_a_success_zeroes_them() {
        let mut node = breaker();
        for _ in 0..5 {
            assert_eq!(node.failed(0, Fault::Soft, 0, EVEN), None);
            assert_eq!(node.failed(0, Fault::Soft, 0, EVEN), None);
            assert!(!node.succeeded(0, 0));
        }
        assert_eq!(node.failed(0, Fault::Soft, 0, EVEN), None);
        assert_eq!(node.failed(0, Fault::Soft, 0, EVEN), None);
        assert_eq!(node.failed(0, Fault::Soft, 0, EVEN), Some(Duration::from_secs(1)));
        assert_eq!(node.state(), State::Ejected { until: SECOND });
    }

    #[test]
    fn a_hard_fault_ejects_at_once() {
        let mut node = breaker();
        assert_eq!(node.failed(0, Fault::Hard, 0, EVEN), Some(Duration::from_secs(1)));
    }

    #[test]
    fn backoff_grows_by_1_6_to_its_maximum() {
        let mut node = breaker();
        node.failed(0, Fault::Hard, 0, EVEN);
        let seen: Vec<u128> = (1..=11).map(|turn| fail_probe(&mut node, turn * 100 * SECOND)).collect();
        assert_eq!(seen, [1600, 2560, 4096, 6553, 10485, 16777, 26843, 42949, 60000, 60000, 60000]);
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        for (chance, millis) in [(0.0, 800), (0.5, 1000), (1.0, 1200)] {
            let ejected = breaker().failed(0, Fault::Hard, 0, chance).unwrap();
            assert_eq!(ejected.as_millis(), millis);
        }
    }

    #[test]
    fn growth_is_taken_back_a_step_for_each_healthy_interval() {
        let mut node = breaker();
        node.failed(0, Fault::Hard, 0, EVEN);
        let mut now = 100 * SECOND;
        assert_eq!(fail_probe(&mut node, now), 1600);
        now += 100 * SECOND;
        assert_eq!(fail_probe(&mut node, now), 2560);
        for (healthy, millis) in
            [(9 * SECOND, 4096), (10 * SECOND, 4096), (25 * SECOND, 2560), (3600 * SECOND, 1000)]
        {
            now += 100 * SECOND;
            let generation = node.lease(now).unwrap();
            assert!(node.succeeded(generation, now));
            now += healthy;
            let ejected = node.failed(node.generation(), Fault::Hard, now, EVEN).unwrap();
            assert_eq!(ejected.as_millis(), millis, "{healthy}");
        }
    }

    #[test]
    fn one_caller_gets_the_probe_and_its_lease_runs_out() {
        let mut node = breaker();
        node.failed(0, Fault::Hard, 0, EVEN);
        assert_eq!(node.lease(SECOND - 1), None);
        let first = node.lease(SECOND).unwrap();
        assert_eq!(node.lease(SECOND), None);
        assert_eq!(node.lease(11 * SECOND - 1), None);
        let second = node.lease(11 * SECOND).unwrap();
        // The first caller's word comes too late.
        assert!(!node.succeeded(first, 12 * SECOND));
        assert_eq!(node.failed(first, Fault::Hard, 12 * SECOND, EVEN), None);
        assert!(node.succeeded(second, 12 * SECOND));
        assert_eq!(node.state(), State::Up);
    }

    #[test]
    fn a_probe_given_back_tells_nothing() {
        let mut node = breaker();
        node.failed(0, Fault::Hard, 0, EVEN);
        let generation = node.lease(SECOND).unwrap();
        assert!(node.give_back(generation, 2 * SECOND));
        assert_eq!(node.state(), State::Ejected { until: 2 * SECOND });
        assert!(!node.give_back(generation, 3 * SECOND));
        assert_eq!(fail_probe(&mut node, 2 * SECOND), 1600);
    }

    #[test]
    fn success_on_an_ejected_node_brings_it_back() {
        let mut node = breaker();
        node.failed(0, Fault::Hard, 0, EVEN);
        let generation = node.generation();
        assert_eq!(node.failed(generation, Fault::Hard, 1, EVEN), None);
        assert!(node.succeeded(generation, 2));
    }

    #[test]
    fn a_clock_that_goes_back_keeps_no_node_out() {
        let hours = 10_000 * SECOND;
        let mut node = Breaker::new(settings(), hours);
        node.failed(0, Fault::Hard, hours, EVEN);
        assert!(node.lease(hours).is_none());
        assert!(node.lease(0).is_some());
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
                    0 => drop(node.succeeded(generation, now)),
                    1 => drop(node.failed(generation, Fault::Soft, now, chance)),
                    2 => drop(node.failed(generation, Fault::Hard, now, chance)),
                    3 | 4 => drop(node.lease(now)),
                    _ => drop(node.give_back(generation, now)),
                }
                if age > 0 && !matches!(event, 3 | 4) {
                    prop_assert_eq!((node.state(), node.generation(), node.fails()), before);
                }
                if let Some(due) = node.probe_due() {
                    prop_assert!(due <= now + node.longest_wait());
                }
                prop_assert!(node.fails() < 3);
            }
        }
    }
}
