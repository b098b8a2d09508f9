//! Panics end here: they are caught, kept from stderr, and reported as a status.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::error::{Error, Status};
use parking_lot::Mutex;

/// The message of the last panic of any thread, only for the text of an error: a library thread may
/// panic, and the caller's thread reports it.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics off the host's stderr. The hook belongs to this library's own copy of the runtime,
/// not to the host.
pub(crate) fn silence() {
    // Not a Once: if the process forks while another thread is in there, the child would wait for
    // that thread for ever. To do it twice does no harm.
    static DONE: AtomicBool = AtomicBool::new(false);
    // The Rust tests link the library as a crate and want their own messages.
    if cfg!(not(test)) && !DONE.load(Relaxed) {
        std::panic::set_hook(Box::new(|info| {
            // Must not wait, for the same reason.
            if let Some(mut last) = LAST_PANIC.try_lock() {
                *last = Some(without_quotes(&info.to_string()));
            }
        }));
        DONE.store(true, Relaxed);
    }
}

/// The text of a panic without what it quotes: that may be a value of the file, and a secret.
fn without_quotes(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part } else { "..." }).collect()
}

/// The error for the last caught panic.
pub(crate) fn report() -> Error {
    let text = LAST_PANIC
        .try_lock()
        .and_then(|mut last| last.take())
        .unwrap_or_else(|| "no message".to_owned())
        .replace('\n', ": ");
    Error::new(
        Status::Panic,
        format!(
            "a defect of libupstream was caught ({text}); destroy the handle, which cannot be used \
             any more, and report this text"
        ),
    )
}

/// A panic was caught.
pub(crate) struct Panicked;

/// The value of `work`, unless it panics.
#[inline(always)]
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        // If the drop of the payload panicked, that panic would get out. The memory is not worth
        // that risk.
        std::mem::forget(payload);
        Panicked
    })
}

/// Sets errno back to its old value when it is dropped.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    pub(crate) fn new() -> Self {
        // SAFETY: the C library's errno of this thread is always there to read.
        KeepErrno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: as above, and no reference to it is held anywhere.
        unsafe { *libc::__errno_location() = self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_quotes_is_left_out() {
        let text = "byte index 3 is not a char boundary; it is inside `x` of `hunter2`";
        let expected = "byte index 3 is not a char boundary; it is inside ... of ...";
        assert_eq!(without_quotes(text), expected);
        assert_eq!(without_quotes("plain"), "plain");
    }

    #[test]
    fn errno_is_kept() {
        // SAFETY: this thread's errno.
        unsafe { *libc::__errno_location() = libc::EDOM };
        {
            let _kept = KeepErrno::new();
            let _ = std::fs::File::open("/no/such/file");
        }
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, libc::EDOM);
    }
}
