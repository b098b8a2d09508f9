//! Work that may wait for the disk. One library thread does it in order, so that the dialer never
//! waits for a file; the thread ends when there was nothing to do for a while.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::thread;
use crate::base::sync::{Condvar, Mutex};

/// Keys and certificates are read on it, also encrypted keys.
const STACK: usize = 1024 * 1024;

/// How long destroying a set waits for the errand that is being done. A thread that the disk holds
/// longer ends later by itself.
const LINGER: Duration = Duration::from_secs(1);

/// How long the thread waits for the next errand before it ends. Each connect has an errand, and to
/// start a thread costs more than the errand does.
const REST: Duration = Duration::from_secs(10);

/// If an errand takes longer than this, nobody should wait for those behind it.
const SLOW: Duration = Duration::from_secs(1);

type Errand = Box<dyn FnOnce() + Send>;

/// The errands of one set.
#[derive(Default)]
pub(super) struct Errands {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something in the queue, or the end.
    added: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Errand>,
    /// The thread is there, and takes what is in the queue.
    running: bool,
    /// Nothing more will come.
    is_over: bool,
    /// When the errand that is being done began.
    since: Option<Instant>,
}

impl Errands {
    /// Has `errand` done soon.
    pub(super) fn add(&mut self, errand: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        state.queue.push_back(Box::new(errand));
        if state.running {
            drop(state);
            self.shared.added.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        match thread::spawn("upstream-files", STACK, move || shared.work()) {
            Ok(thread) => {
                state.running = true;
                self.thread = Some(thread); // the one before has ended
                Ok(())
            }
            Err(error) => {
                state.queue.pop_back();
                Err(error)
            }
        }
    }

    /// Whether the disk does not answer.
    pub(super) fn is_stuck(&self) -> bool {
        self.shared.state.lock().since.is_some_and(|since| since.elapsed() > SLOW)
    }

    /// Drops what is not begun, and joins the thread if it ends within [`LINGER`].
    pub(super) fn stop(self) {
        let until = Instant::now() + LINGER;
        let mut state = self.shared.state.lock();
        let dropped = std::mem::take(&mut state.queue);
        state.is_over = true;
        self.shared.added.notify_one();
        while state.running {
            let (next, passed) = self.shared.ended.wait_until(state, until);
            state = next;
            if passed && state.running {
                return;
            }
        }
        drop((state, dropped));
        if let Some(thread) = self.thread {
            // A panic there can no longer do harm.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state.lock();
        let mut rest = Instant::now() + REST;
        loop {
            if let Some(errand) = state.queue.pop_front() {
                state.since = Some(Instant::now());
                drop(state);
                if let Err(defect) = catch_unwind(AssertUnwindSafe(errand)) {
                    std::mem::forget(defect); // its drop may panic too
                }
                state = self.state.lock();
                state.since = None;
                rest = Instant::now() + REST;
                continue;
            }
            if state.is_over {
                break;
            }
            let (next, passed) = self.added.wait_until(state, rest);
            state = next;
            if passed && state.queue.is_empty() {
                break;
            }
        }
        state.running = false;
        drop(state);
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn errands_are_done_in_order_on_one_thread_even_if_one_panics() {
        let mut errands = Errands::default();
        let (send, receive) = mpsc::channel();
        for number in 0..5 {
            let send = send.clone();
            errands
                .add(move || {
                    send.send((number, std::thread::current().id())).unwrap();
                    assert_ne!(number, 2, "this defect must not end the others");
                })
                .unwrap();
        }
        let mut done: Vec<_> = (0..5).map(|_| receive.recv().unwrap()).collect();
        // One that comes later is done on the same thread.
        std::thread::sleep(Duration::from_millis(50));
        errands.add(move || send.send((5, std::thread::current().id())).unwrap()).unwrap();
        done.push(receive.recv().unwrap());
        assert!(done.iter().map(|(number, _)| *number).eq(0..6), "{done:?}");
        assert!(done.iter().all(|(_, thread)| *thread == done[0].1), "{done:?}");
        assert!(!errands.is_stuck());
        errands.stop();
    }

    #[test]
    fn an_errand_that_hangs_holds_nobody_up_for_ever() {
        let mut errands = Errands::default();
        let (release, hang) = mpsc::channel::<()>();
        let (send, dropped) = mpsc::channel::<()>();
        errands.add(move || hang.recv().unwrap_or_default()).unwrap();
        errands.add(move || drop(send)).unwrap();
        std::thread::sleep(SLOW + Duration::from_millis(100));
        assert!(errands.is_stuck());
        errands.stop();
        assert!(dropped.recv().is_err(), "what was not begun is dropped");
        drop(release);
    }
}
