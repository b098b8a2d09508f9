//! The two macros that every export goes through: [`shared!`] for a handle that any number of calls
//! may use at once, [`mutable!`] for one that takes one call at a time.
//!
//! Invariants: a handle that is NULL or poisoned is refused. errno is kept. A panic becomes a
//! status and poisons the handle.

use crate::base::error::Status;
use crate::ffi::handle::{Handle, Opaque, borrow, borrow_mut, take};
use crate::ffi::panic::catch;

/// A call on a shared handle: `shared!(handle, fallback => body)`. `fallback` makes the result from
/// a status: [`Status::InvalidArg`] if the handle is NULL, [`Status::Panic`] if it is poisoned or
/// `body` panics.
macro_rules! shared {
    // Without a handle. `body` makes no system call, so errno stays as it is.
    (pure none, $fallback:expr => $body:expr) => {
        $crate::ffi::boundary::on_none($fallback, $body)
    };
    // `body` makes no system call.
    (pure $handle:expr, $fallback:expr => $body:expr) => {
        $crate::ffi::boundary::on_shared($handle, $fallback, $body)
    };
    // `body` cannot panic and makes no system call. Each instruction counts here: this is the pick
    // (docs/performance.md).
    (quick $handle:expr, $fallback:expr => $body:expr) => {
        $crate::ffi::boundary::on_quick($handle, $fallback, $body)
    };
    // Without a handle.
    (none, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::boundary::on_none($fallback, $body)
    }};
    // Poisoned or not.
    (even poisoned $handle:expr, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::boundary::on_any_shared($handle, $fallback, $body)
    }};
    ($handle:expr, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::boundary::on_shared($handle, $fallback, $body)
    }};
}

/// A call on a handle that takes one call at a time; as [`shared!`].
macro_rules! mutable {
    // The last call on the handle, poisoned or not: `body` gets the value itself.
    (take $handle:expr, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::boundary::on_taken($handle, $fallback, $body)
    }};
    // Poisoned or not.
    (even poisoned $handle:expr, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::boundary::on_any_mutable($handle, $fallback, $body)
    }};
    ($handle:expr, $fallback:expr => $body:expr) => {{
        let _errno = $crate::ffi::panic::KeepErrno::new();
        $crate::ffi::boundary::on_mutable($handle, $fallback, $body)
    }};
}

pub(crate) use {mutable, shared};

#[inline(always)]
fn is_poisoned(handle: &impl Handle) -> bool {
    handle.poison().is_some_and(|poison| poison.is_set())
}

fn poison(handle: &impl Handle) {
    if let Some(poison) = handle.poison() {
        poison.set();
    }
}

#[inline(always)]
pub(crate) fn on_none<T>(fallback: impl Fn(Status) -> T, body: impl FnOnce() -> T) -> T {
    catch(body).unwrap_or_else(|_| fallback(Status::Panic))
}

#[inline(always)]
pub(crate) fn on_shared<C: Opaque, T>(
    handle: *const C,
    fallback: impl Fn(Status) -> T,
    body: impl FnOnce(&C::Inner) -> T,
) -> T {
    match borrow(handle) {
        Some(inner) if is_poisoned(inner) => fallback(Status::Panic),
        _ => on_any_shared(handle, fallback, body),
    }
}

#[inline(always)]
pub(crate) fn on_any_shared<C: Opaque, T>(
    handle: *const C,
    fallback: impl Fn(Status) -> T,
    body: impl FnOnce(&C::Inner) -> T,
) -> T {
    let Some(inner) = borrow(handle) else { return fallback(Status::InvalidArg) };
    catch(|| body(inner)).unwrap_or_else(|_| {
        poison(inner);
        fallback(Status::Panic)
    })
}

#[inline(always)]
pub(crate) fn on_quick<C: Opaque, T>(
    handle: *const C,
    fallback: impl Fn(Status) -> T,
    body: impl FnOnce(&C::Inner) -> T,
) -> T {
    match borrow(handle) {
        None => fallback(Status::InvalidArg),
        Some(inner) if is_poisoned(inner) => fallback(Status::Panic),
        Some(inner) => body(inner),
    }
}

#[inline(always)]
pub(crate) fn on_mutable<C: Opaque, T>(
    handle: *mut C,
    fallback: impl Fn(Status) -> T,
    body: impl FnOnce(&mut C::Inner) -> T,
) -> T {
    match borrow_mut(handle) {
        Some(inner) if is_poisoned(inner) => fallback(Status::Panic),
        _ => on_any_mutable(handle, fallback, body),
    }
}

#[inline(always)]
pub(crate) fn on_any_mutable<C: Opaque, T>(
    handle: *mut C,
    fallback: impl Fn(Status) -> T,
    body: impl FnOnce(&mut C::Inner) -> T,
) -> T {
    let Some(inner) = borrow_mut(handle) else { return fallback(Status::InvalidArg) };
    catch(|| body(inner)).unwrap_or_else(|_| {
        poison(inner);
        fallback(Status::Panic)
    })
}

#[inline(always)]
pub(crate) fn on_taken<C: Opaque, T>(
    handle: *mut C,
    fallback: impl Fn(Status) -> T,
    body: impl FnOnce(Box<C::Inner>) -> T,
) -> T {
    let Some(inner) = take(handle) else { return fallback(Status::InvalidArg) };
    catch(|| body(inner)).unwrap_or_else(|_| fallback(Status::Panic))
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::ptr::{null, null_mut};
    use std::sync::Arc;

    use crate::config::Options;
    use crate::ffi::attempt::{
        upstream_attempt_begin, upstream_attempt_end, upstream_attempt_next, upstream_attempt_t,
    };
    use crate::ffi::connection::upstream_connect;
    use crate::ffi::error::{
        number, upstream_error_free, upstream_error_message, upstream_error_t,
    };
    use crate::ffi::options::{
        OptionsHandle, upstream_options_create, upstream_options_declare_key,
        upstream_options_destroy, upstream_options_set, upstream_options_set_clock,
        upstream_options_set_logger, upstream_options_t,
    };
    use crate::ffi::set::{
        upstream_create_from_text, upstream_name, upstream_next_node, upstream_node_count,
        upstream_t,
    };
    use crate::ffi::status::{UPSTREAM_ERR_PANIC, UPSTREAM_OK};
    use crate::set::attempt::Attempt;
    use crate::set::upstream::{Hooks, Source, Upstream};

    const TEXT: &[u8] = b"[UPSTREAM]\nname u\n[NODE]\nname n\nhost h\nport 1\n";

    fn set() -> Arc<Upstream> {
        let source = Source::Text(TEXT.to_vec().into(), "t".to_owned());
        Upstream::load(source, Options::default(), Hooks::default()).unwrap()
    }

    fn handle_of(up: &Arc<Upstream>) -> *mut upstream_t {
        Arc::as_ptr(up).cast_mut().cast()
    }

    fn options() -> *mut upstream_options_t {
        let mut o = null_mut();
        // SAFETY: there is room for the pointer.
        assert_eq!(unsafe { upstream_options_create(&mut o) }, UPSTREAM_OK);
        o
    }

    fn message(err: *mut upstream_error_t) -> String {
        // SAFETY: an error of this library, freed once.
        unsafe {
            let text = CStr::from_ptr(upstream_error_message(err)).to_string_lossy().into_owned();
            upstream_error_free(err);
            text
        }
    }

    #[test]
    fn a_panic_becomes_the_fallback_and_poisons() {
        let (up, o) = (set(), options());
        let shared_handle = handle_of(&up).cast_const();
        assert_eq!(shared!(shared_handle, number => |_: &Upstream| 7), 7);
        assert_eq!(mutable!(o, number => |_: &mut OptionsHandle| 7), 7);
        assert_eq!(shared!(none, number => || panic!("a defect")), UPSTREAM_ERR_PANIC);
        assert_eq!(
            shared!(shared_handle, number => |_: &Upstream| panic!("a defect")),
            UPSTREAM_ERR_PANIC
        );
        assert_eq!(
            mutable!(o, number => |_: &mut OptionsHandle| panic!("a defect")),
            UPSTREAM_ERR_PANIC
        );
        assert_eq!(shared!(shared_handle, number => |_: &Upstream| 7), UPSTREAM_ERR_PANIC);
        assert_eq!(shared!(even poisoned shared_handle, number => |_: &Upstream| 7), 7);
        assert_eq!(mutable!(o, number => |_: &mut OptionsHandle| 7), UPSTREAM_ERR_PANIC);
        assert_eq!(mutable!(even poisoned o, number => |_: &mut OptionsHandle| 7), 7);
        assert_eq!(
            mutable!(take o, number => |_: Box<OptionsHandle>| panic!("a defect")),
            UPSTREAM_ERR_PANIC
        );
        up.close();
    }

    #[test]
    fn errno_is_kept_by_a_call_that_fails() {
        // SAFETY: this thread's errno.
        unsafe { *libc::__errno_location() = libc::EDOM };
        let read = || std::fs::read("/no/such/file").map_or(-1, |_| 0);
        assert_eq!(shared!(none, number => read), -1);
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, libc::EDOM);
    }

    #[test]
    fn a_poisoned_set_answers_but_does_nothing() {
        let up = set();
        let handle = handle_of(&up);
        // SAFETY: `up` lives to the end of the test.
        unsafe {
            assert!(!upstream_next_node(handle).is_null());
            up.poison.set();
            assert!(upstream_next_node(handle).is_null());
            assert!(upstream_name(handle).is_null());
            assert_eq!(upstream_node_count(handle), 0);
            assert_eq!(upstream_connect(handle, &mut null_mut(), null_mut()), UPSTREAM_ERR_PANIC);
            let mut attempt: *mut upstream_attempt_t = null_mut();
            assert_eq!(upstream_attempt_begin(handle, &mut attempt), UPSTREAM_ERR_PANIC);
        }
        up.close();
    }

    #[test]
    fn a_poisoned_attempt_hands_out_nothing_and_ends() {
        let up = set();
        let mut attempt: *mut upstream_attempt_t = null_mut();
        // SAFETY: `up` lives to the end of the test, and the attempt is ended once.
        unsafe {
            assert_eq!(upstream_attempt_begin(handle_of(&up), &mut attempt), UPSTREAM_OK);
            mutable!(attempt, |_| () => |attempt: &mut Attempt| attempt.poison.set());
            assert!(upstream_attempt_next(attempt).is_null());
            upstream_attempt_end(attempt, UPSTREAM_OK);
        }
        up.close();
    }

    #[test]
    fn poisoned_options_are_refused_by_every_call_with_an_error_if_it_takes_one() {
        let o = options();
        mutable!(o, |_| () => |handle: &mut OptionsHandle| handle.poison.set());
        let mut up = null_mut();
        // SAFETY: strings of this test; each error is freed once, and the options end once.
        unsafe {
            let mut err = null_mut();
            let key = c"tls".as_ptr();
            assert_eq!(upstream_options_set(o, key, c"on".as_ptr(), &mut err), UPSTREAM_ERR_PANIC);
            assert!(message(err).contains("a defect of libupstream"));
            assert_eq!(
                upstream_options_declare_key(o, c"k".as_ptr(), 0, &mut err),
                UPSTREAM_ERR_PANIC
            );
            assert!(message(err).contains("a defect of libupstream"));
            assert_eq!(upstream_options_set_logger(o, 1, None, null_mut()), UPSTREAM_ERR_PANIC);
            assert_eq!(upstream_options_set_clock(o, None, null_mut()), UPSTREAM_ERR_PANIC);
            let (text, len) = (TEXT.as_ptr().cast(), TEXT.len());
            let created = upstream_create_from_text(text, len, null(), o, &mut up, &mut err);
            assert_eq!(created, UPSTREAM_ERR_PANIC);
            assert!(message(err).contains("make new ones"));
            upstream_options_destroy(o);
        }
    }
}
