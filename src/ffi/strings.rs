//! Strings that come from C.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

/// The bytes of a C string; `None` for NULL.
#[inline(always)]
pub(crate) fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: by the API's rules a string that is not NULL ends in NUL and does not change during
    // the call.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// The text of a C string, bytes that are not UTF-8 replaced; `None` for NULL.
pub(crate) fn text<'a>(text: *const c_char) -> Option<Cow<'a, str>> {
    bytes(text).map(String::from_utf8_lossy)
}

/// A buffer from C; an empty one may be NULL. `None` if it is NULL and not empty, or longer than
/// any memory can be.
pub(crate) fn slice<'a, T>(data: *const T, len: usize) -> Option<&'a [T]> {
    if len == 0 {
        return Some(&[]);
    }
    // SAFETY: by the API's rules there are `len` elements, and they do not change during the call.
    (!data.is_null() && fits::<T>(len)).then(|| unsafe { std::slice::from_raw_parts(data, len) })
}

/// A buffer from C to write to; as [`slice`].
pub(crate) fn slice_mut<'a, T>(data: *mut T, len: usize) -> Option<&'a mut [T]> {
    if len == 0 {
        return Some(&mut []);
    }
    // SAFETY: as in `slice`, and nobody else uses it during the call.
    (!data.is_null() && fits::<T>(len))
        .then(|| unsafe { std::slice::from_raw_parts_mut(data, len) })
}

/// Whether a slice of so many elements is allowed in Rust: at most half of the address space.
pub(crate) fn fits<T>(len: usize) -> bool {
    len.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok())
}
