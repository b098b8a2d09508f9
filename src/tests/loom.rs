//! Models of the rooms that threads share: loom runs each under every order of the threads' steps,
//! within a bound on how often one is interrupted, and lets a load see each value that its ordering
//! allows. The code that runs is the library's own; only the locks and atomics of `sync` are
//! loom's. `make test-model`; what was seen to fail is in docs/testing.md.
//!
//! A model asserts at the end of each run; a waiter that nobody wakes ends it as a deadlock. Time
//! stands still: a deadline is over or never comes.

mod budget;
mod pool;
mod rotation;
mod set;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::thread::JoinHandle;

/// How often a thread may be interrupted in one run, where the environment does not say
/// (LOOM_MAX_PREEMPTIONS). Most defects of this kind need two (M. Musuvathi, S. Qadeer, "Iterative
/// context bounding", 2007).
const PREEMPTIONS: usize = 3;

/// Runs `body` under every order of its threads' steps.
pub(crate) fn check(body: impl Fn() + Send + Sync + 'static) {
    check_within(PREEMPTIONS, body);
}

/// As [`check`], for a model of many steps, with a bound of its own.
pub(crate) fn check_within(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(body);
}

/// Another thread of the model, with a share of `what`.
pub(crate) fn spawn<S, T>(what: &Arc<S>, body: impl FnOnce(&S) -> T + 'static) -> JoinHandle<T>
where
    S: 'static,
    T: 'static,
{
    let what = Arc::clone(what);
    loom::thread::spawn(move || body(&what))
}

/// A deadline that never comes.
pub(crate) fn never() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}
