//! C pointers and the Rust types behind them. Each opaque C type stands for one Rust type and one
//! kind of ownership, so that nothing is freed as the wrong type.

use crate::base::error::{Poison, Report};
use crate::set::attempt::Attempt;
use crate::set::conn::Conn;
use crate::set::node::Node;
use crate::set::upstream::Upstream;

/// A Rust type that C holds pointers to.
pub(crate) trait Handle {
    /// The mark that a defect was caught, if the type has one.
    fn poison(&self) -> Option<&Poison>;
}

impl Handle for Upstream {
    fn poison(&self) -> Option<&Poison> {
        Some(&self.poison)
    }
}

impl Handle for Node {
    fn poison(&self) -> Option<&Poison> {
        Some(&self.poison)
    }
}

impl Handle for Conn {
    fn poison(&self) -> Option<&Poison> {
        Some(&self.poison)
    }
}

impl Handle for Attempt {
    fn poison(&self) -> Option<&Poison> {
        Some(&self.poison)
    }
}

impl Handle for Report {
    fn poison(&self) -> Option<&Poison> {
        None // plain data
    }
}

/// An opaque C type and what its pointers point to.
pub(crate) trait Opaque {
    /// The Rust type behind the pointer.
    type Inner: Handle;
}

/// A reference to the value behind a C pointer; `None` for NULL.
#[inline(always)]
pub(crate) fn borrow<'a, C: Opaque>(pointer: *const C) -> Option<&'a C::Inner> {
    // SAFETY: by the API's rules a handle that is not NULL came from this library as a pointer to
    // `C::Inner`, and it lives until the call that ends it. That call may not run at the same time.
    unsafe { pointer.cast::<C::Inner>().as_ref() }
}

/// A mutable reference to the value behind a C pointer; `None` for NULL.
#[inline(always)]
pub(crate) fn borrow_mut<'a, C: Opaque>(pointer: *mut C) -> Option<&'a mut C::Inner> {
    // SAFETY: as in `borrow`; the types that it is used for (connections, options) take one call at
    // a time.
    unsafe { pointer.cast::<C::Inner>().as_mut() }
}

/// Gives a boxed value to C.
pub(crate) fn give<C: Opaque>(value: C::Inner) -> *mut C {
    Box::into_raw(Box::new(value)).cast()
}

/// Takes a boxed value back from C; `None` for NULL.
pub(crate) fn take<C: Opaque>(pointer: *mut C) -> Option<Box<C::Inner>> {
    // SAFETY: a pointer that is not NULL came from `give` and is handed back once.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer.cast::<C::Inner>()) })
}

/// Stores `value` where C asked for it. The caller has checked `out` for NULL.
pub(crate) fn store<T>(out: *mut T, value: T) {
    // SAFETY: not NULL, and by the API's rules room for a `T`.
    unsafe { out.write(value) }
}
