//! Models of the code that threads share. loom runs each model under every order of the threads'
//! steps, up to a limit on how often a thread is interrupted, and lets a load see each value that
//! its memory ordering allows. The code is the library's own; only the locks and atomics of
//! `base::sync` are loom's. Run them with `make test-model`. docs/testing.md lists which defects
//! they were seen to catch.
//!
//! Each model asserts at the end of each run. A waiter that nobody wakes ends the run as a
//! deadlock. Time stands still: a deadline is over, or it never comes.

mod budget;
mod pool;
mod retries;
mod room;
mod rotation;
mod set;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::thread::JoinHandle;

/// How often a thread may be interrupted in one run, unless LOOM_MAX_PREEMPTIONS is set. Most
/// defects of this kind need two (M. Musuvathi, S. Qadeer, "Iterative context bounding", 2007).
const PREEMPTIONS: usize = 3;

/// Runs `body` under every order of its threads' steps.
pub(crate) fn check(body: impl Fn() + Send + Sync + 'static) {
    check_within(PREEMPTIONS, body);
}

/// As [`check`], with a limit of its own, for a model with many steps.
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
