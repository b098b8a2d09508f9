//! A plugin's own pointer on a node or connection; the plugin's own function frees it.

use std::ffi::c_void;

use crate::set::link::UserData;

/// Frees the attached data.
type FreeFn = Option<unsafe extern "C" fn(*mut c_void)>;

struct Attached {
    data: *mut c_void,
    free: FreeFn,
}

// SAFETY: the header asks that attached data may be used and freed on any thread.
unsafe impl Send for Attached {}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the plugin gave this function for this pointer, and it is called once.
            unsafe { free(self.data) }
        }
    }
}

/// `data` as a value that frees it; `None` for NULL.
pub(crate) fn attach(data: *mut c_void, free: FreeFn) -> Option<UserData> {
    (!data.is_null()).then(|| Box::new(Attached { data, free }) as UserData)
}

/// The pointer that was attached.
pub(crate) fn pointer(data: Option<&UserData>) -> *mut c_void {
    data.and_then(|data| data.downcast_ref::<Attached>())
        .map_or(std::ptr::null_mut(), |attached| attached.data)
}
