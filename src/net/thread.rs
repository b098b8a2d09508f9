//! Starts library threads. They have a name, and all signals are blocked in them, so that the
//! host's signal handlers run on the host's threads.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Starts a thread that gets no signals. `name` has at most 15 bytes (Linux).
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // A thread inherits the mask. Signals are blocked before the start, so that none can reach the
    // new thread.
    let callers = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let thread = Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(body);
    callers.thread_set_mask()?;
    thread
}
