//! The breaker of one node: when the node is ejected, when it is tried, and when it is restored.
//! Pure: the caller passes in time and chance. Times are nanoseconds on a clock that never goes
//! back; if it does go back, no node stays out longer because of it.
//!
//! Invariants: work that began before the node was last ejected or restored changes nothing. A
//! success of any trial since the ejection restores the node, however late it comes. A node that
//! was restored by less than a delivered payload is ejected again by its first failure of the same
//! kind.

use std::time::Duration;

/// The `health.*` settings of a node that the breaker needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// How many consecutive failures eject the node.
    pub max_fails: u32,
    /// How long the first ejection lasts.
    pub backoff: Duration,
    /// How long an ejection lasts at most.
    pub backoff_max: Duration,
    /// How long one caller has the trial; after that another caller may get one.
    pub trial_time: Duration,
}

impl BreakerSettings {
    /// The longest wait for the next trial: of an ejected node, or of one that is on trial.
    pub fn longest_wait(&self, on_trial: bool) -> u64 {
        let time = if on_trial {
            self.trial_time
        } else {
            self.backoff_max.max(self.backoff).max(PUT_OFF)
        };
        nanoseconds(time)
    }
}

/// A trial without a result is put off for at most this long (`visits::PATIENCE`).
const PUT_OFF: Duration = Duration::from_millis(250);

/// Each ejection is 8/5 = 1.6 times as long as the last one (gRPC connection backoff: 1.6).
const GROWTH: (u64, u64) = (8, 5);
/// Each ejection is made shorter or longer at random, by up to this part (gRPC connection backoff:
/// 0.2).
pub const JITTER: f64 = 0.2;
/// Each such time that a node stays up takes one step of growth back (gRPC A50: its interval of 10
/// s). So the ejections of a node that keeps failing stay long.
const HEALTHY_INTERVAL: u64 = 10_000_000_000;

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the rotation.
    Up,
    /// Out of the rotation until then; a trial may begin after that.
    Ejected {
        /// Nanoseconds.
        until: u64,
    },
    /// One caller has the trial; after that time another caller may get one.
    OnTrial {
        /// Nanoseconds.
        until: u64,
    },
}

/// How badly an exchange failed, and in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Counts towards `health.max_fails`.
    Soft(Way),
    /// Ejects at once: refused, unreachable, TLS, certificate, no such name.
    Hard(Way),
}

/// The way in which a node failed. A node that failed in one way is expected to fail in that way
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// No connection: name, address or TLS.
    Connect,
    /// It accepted the connection and did not answer in time.
    Silence,
    /// It accepted the connection and did not read in time.
    Stalled,
    /// It ended or reset the connection.
    Broken,
    /// As `Broken`, but seen only after the payload had been counted as delivered: the connection
    /// ended without any answer.
    Unanswered,
    /// Its answer was wrong, or the plugin gave no reason.
    Answer,
}

impl Way {
    /// Whether the node accepted a connection and then did nothing in time, as a stopped process
    /// does.
    pub fn is_silence(self) -> bool {
        matches!(self, Way::Silence | Way::Stalled)
    }

    /// Whether the two count as the same kind of failure.
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
    /// A payload was written, and no answer is expected.
    Written,
    /// A connection that carried payloads without an answer is still open some time later.
    Stood,
    /// The node answered that it is busy.
    Busy,
    /// The node answered, or the plugin says that the payload arrived.
    Answered,
}

/// The breaker of a node.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    generation: u32,
    /// The generation that began with the last ejection; 0 before the first one.
    ejected: u32,
    fails: u32,
    /// How the node failed when it was ejected; `None` once it has shown that it is well again.
    fell_by: Option<Way>,
    /// One of the counted failures was seen only after its payload had been counted as delivered. A
    /// payload that is merely written proves nothing against that.
    unanswered: bool,
    /// One of them was a write that stalled. The operating system of a stopped process accepts new
    /// connections, keeps them up, and takes as many bytes as its buffers hold. So only an answer
    /// proves that the node is well.
    silent: bool,
    /// How many steps of growth the next ejection has.
    steps: u32,
    /// Since when the node is up.
    since: u64,
}

impl Breaker {
    /// The breaker of a node that is up.
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

    /// The state of the node.
    pub fn state(&self) -> State {
        self.state
    }

    /// The generation that work which begins now belongs to.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Consecutive failures so far.
    #[cfg(test)]
    fn fails(&self) -> u32 {
        self.fails
    }

    /// How the node failed when it was ejected; `None` once it has shown that it is well again.
    pub fn fell_by(&self) -> Option<Way> {
        self.fell_by
    }

    /// Whether a success would change nothing.
    pub fn is_clean(&self) -> bool {
        self.state == State::Up && self.fails == 0 && self.fell_by.is_none()
    }

    /// Whether work of `generation` began after the node was last ejected or restored.
    fn is_of_now(&self, generation: u32) -> bool {
        // The numbers wrap around, so their differences are compared.
        match self.state {
            State::Up => generation == self.generation,
            State::Ejected { .. } | State::OnTrial { .. } => {
                generation.wrapping_sub(self.ejected) <= self.generation.wrapping_sub(self.ejected)
            }
        }
    }

    /// The work of `generation` went well. Returns whether this restores the node.
    pub fn succeeded(&mut self, generation: u32, proof: Proof, now: u64) -> bool {
        if !self.is_of_now(generation) {
            return false;
        }
        if self.state == State::Up {
            self.cleared_by(proof);
            return false;
        }
        let enough = match proof {
            // The listener of a stopped process still accepts connections.
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

    /// The work of `generation` failed; `chance` is in 0..1. Returns the length of the ejection, if
    /// this ejects the node.
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
            // A caller asked it only because no other node was left, and learned nothing new.
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

    /// The length of the next ejection before jitter, and whether the one after it grows.
    fn backoff(&self) -> (Duration, bool) {
        let most = nanoseconds(self.settings.backoff_max);
        let mut backoff = nanoseconds(self.settings.backoff).min(most);
        for _ in 0..self.steps {
            backoff = (backoff.saturating_mul(GROWTH.0) / GROWTH.1).min(most);
        }
        (Duration::from_nanos(backoff), backoff < most)
    }

    /// When the next trial may begin; `None` if the node is up.
    pub fn next_trial(&self) -> Option<u64> {
        match self.state {
            State::Up => None,
            State::Ejected { until } | State::OnTrial { until } => Some(until),
        }
    }

    /// Begins a trial, for one caller, if the time for one has come. Returns its generation.
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

    /// Takes a trial back that had no result; the next one may begin at `at`.
    pub fn give_back(&mut self, generation: u32, at: u64) -> bool {
        let given = generation == self.generation && matches!(self.state, State::OnTrial { .. });
        if given {
            self.enter(State::Ejected { until: at });
        }
        given
    }

    /// The longest wait that is possible in this state. If a wait seems longer, the clock went
    /// back.
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
mod tests;
