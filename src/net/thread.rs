//! Library threads: named, with every signal blocked, so that the host's handlers run on its own
//! threads.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Starts a thread that no signal is delivered to. `name` has at most 15 bytes (Linux).
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // The mask is inherited, so blocking before the start leaves no moment in which the thread can
    // be hit.
    let callers = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let thread = Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(body);
    callers.thread_set_mask()?;
    thread
}
