//! Panics end here: caught, kept from stderr, told as a status.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::error::{Error, Poison, Status};
use parking_lot::Mutex;

/// What the last panic of any thread said. Only for the words of an error: a library thread may
/// panic, and the caller's thread reports it.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics off the host's stderr. The hook belongs to this library's own copy of the runtime,
/// not to the host.
pub(crate) fn silence() {
    // Not a Once: forked while another thread is in there, a child would wait for that thread for ever. Twice does no harm.
    static DONE: AtomicBool = AtomicBool::new(false);
    // The Rust tests link the library as a crate and want their own messages.
    if cfg!(not(test)) && !DONE.load(Relaxed) {
        std::panic::set_hook(Box::new(|info| {
            // Never waits, for the same reason.
            if let Some(mut last) = LAST_PANIC.try_lock() {
                *last = Some(info.to_string());
            }
        }));
        DONE.store(true, Relaxed);
    }
}

/// What the last caught panic said, as an error.
pub(crate) fn report() -> Error {
    let text = LAST_PANIC
        .try_lock()
        .and_then(|mut last| last.take())
        .unwrap_or_else(|| "no message".to_owned())
        .replace('\n', ": ");
    Error::new(
        Status::Panic,
        format!(
            "a defect of libupstream was caught ({text}); the handle is of no more use, destroy it and report this"
        ),
    )
}

/// The value of `work`. If it panics, sets `poison` and gives `fallback`.
#[inline(always)]
pub(crate) fn guard<T>(poison: Option<&Poison>, fallback: impl FnOnce() -> T, work: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(payload) => {
            if let Some(poison) = poison {
                poison.set();
            }
            // A payload whose drop panics would get past the catch; it is not worth its memory.
            std::mem::forget(payload);
            fallback()
        }
    }
}

/// errno as it was, once dropped.
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

/// Wraps the body of an export: errno is kept, a panic becomes `fallback` and poisons the handle.
///
/// `boundary!(handle_pointer, fallback => body)`; the handle is checked for NULL and poison first.
macro_rules! boundary {
    ($handle:expr, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::panic::pure!($handle, $fallback => $body)
    }};
}

/// As [`boundary!`], for calls that make no system call and so leave errno alone by nature.
macro_rules! pure {
    ($handle:expr, $fallback:expr => $body:expr) => {{
        match $crate::ffi::handle::borrow($handle) {
            None => $fallback($crate::base::error::Status::InvalidArg),
            Some(handle) => match $crate::ffi::handle::Handle::poison(handle) {
                Some(poison) if poison.is_set() => $fallback($crate::base::error::Status::Panic),
                poison => $crate::ffi::panic::guard(
                    poison,
                    || $fallback($crate::base::error::Status::Panic),
                    || ($body)(handle),
                ),
            },
        }
    }};
}

pub(crate) use {boundary, pure};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;
    use crate::ffi::connection::upstream_connect;
    use crate::ffi::set::{upstream_name, upstream_next_node, upstream_node_count};
    use crate::ffi::status::UPSTREAM_ERR_PANIC;
    use crate::set::upstream::{Hooks, Source, Upstream};
    use std::sync::Arc;

    #[test]
    fn a_panic_becomes_the_fallback_and_poisons() {
        let poison = Poison::default();
        assert_eq!(guard(Some(&poison), || -3, || 7), 7);
        assert!(!poison.is_set());
        assert_eq!(guard(Some(&poison), || -3, || panic!("a defect")), -3);
        assert!(poison.is_set());
    }

    #[test]
    fn a_poisoned_handle_answers_but_does_nothing() {
        let text = b"[UPSTREAM]\nname u\n[NODE]\nname n\nhost h\nport 1\n";
        let source = Source::Text(text.to_vec(), "t".to_owned());
        let up = Upstream::load(source, Options::default(), Hooks::default()).unwrap();
        let handle = Arc::as_ptr(&up).cast_mut().cast();
        // SAFETY: `up` lives to the end of the test.
        unsafe {
            assert!(!upstream_next_node(handle).is_null());
            up.poison.set();
            assert!(upstream_next_node(handle).is_null());
            assert!(upstream_name(handle).is_null());
            assert_eq!(upstream_node_count(handle), 0);
            assert_eq!(
                upstream_connect(handle, &mut std::ptr::null_mut(), std::ptr::null_mut()),
                UPSTREAM_ERR_PANIC
            );
        }
        up.close();
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
