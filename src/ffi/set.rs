//! `upstream_t`: the set of nodes.

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::balance::roster::Rest;
use crate::base::error::{Error, Status};
use crate::base::process;
use crate::ffi::error::{null_argument, tell, upstream_error_t};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::options::{self, upstream_options_t};
use crate::ffi::panic::{self, KeepErrno, guard, pure};
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::time::milliseconds;
use crate::set::upstream::{Source, Upstream};

/// A set of nodes, made from one upstream file. Every call on it may be made from any number of threads at
/// once, but for upstream_destroy(), which must be the last.
pub struct upstream_t {
    _private: [u8; 0],
}

impl Opaque for upstream_t {
    type Inner = Upstream;
}

/// The set behind a reference that came from C, with a share of its own.
pub(crate) fn share(up: &Upstream) -> Arc<Upstream> {
    let pointer: *const Upstream = up;
    // SAFETY: C's set pointers all come from `create`, as the raw form of an Arc that lives until upstream_destroy().
    unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    }
}

/// Reads the upstream file at `path` and all it names (includes, certificates) and checks it in full. No
/// connection is made. `o` may be NULL. `*out` is the caller's, to end with upstream_destroy().
/// UPSTREAM_ERR_IO where the file cannot be read, UPSTREAM_ERR_CONFIG where its content is refused, with
/// file:line:column and the mend in `*err` (the caller's; `err` may be NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_create(
    path: *const c_char,
    o: *const upstream_options_t,
    out: *mut *mut upstream_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let Some(path) = strings::bytes(path).filter(|_| !out.is_null()) else {
        return tell(err, null_argument("upstream_create"));
    };
    create(Source::File(OsStr::from_bytes(path).into()), o, out, err)
}

/// As upstream_create(), from `len` bytes of text; errors call it `source_name` ("text" for NULL). The text is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_create_from_text(
    text: *const c_char,
    len: usize,
    source_name: *const c_char,
    o: *const upstream_options_t,
    out: *mut *mut upstream_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    if text.is_null() || out.is_null() {
        return tell(err, null_argument("upstream_create_from_text"));
    }
    let Some(text) = strings::slice(text.cast::<u8>(), len) else {
        let cause =
            format!("upstream_create_from_text was handed a length of {len} bytes, which no text has");
        return tell(err, Error::new(Status::InvalidArg, cause));
    };
    let name = strings::text(source_name).unwrap_or("text".into()).into_owned();
    create(Source::Text(text.to_vec(), name), o, out, err)
}

fn create(
    source: Source,
    o: *const upstream_options_t,
    out: *mut *mut upstream_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let _errno = KeepErrno::new();
    panic::silence();
    watch_forks();
    guard(
        None,
        || tell(err, panic::report()),
        || {
            let made = options::copy(o)
                .map_err(|status| Error::new(status, "these options are of no more use; make new ones"))
                .and_then(|(options, hooks)| Upstream::load(source, options, hooks));
            match made {
                Ok(upstream) => {
                    handle::store(out, Arc::into_raw(upstream).cast_mut().cast());
                    UPSTREAM_OK
                }
                Err(error) => tell(err, error),
            }
        },
    )
}

/// Tells the library of each fork, so that a child never touches its parent's connections.
fn watch_forks() {
    extern "C" fn in_child() {
        process::forked();
    }
    // Not a Once: see `panic::silence`. A handler that is there twice counts each fork twice, which is as good.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.load(Relaxed) {
        // SAFETY: the handler is async-signal-safe (one atomic increment) and stays mapped: the library is
        // linked -z nodelete. A failure for want of memory leaves fork unwatched, as it is for any
        // program that does not ask.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        DONE.store(true, Relaxed);
    }
}

/// Ends every call in flight on the set, its nodes and connections: each returns UPSTREAM_ERR_CANCELLED soon, and so does,
/// at once, each one begun later that would connect, wait, read or write. Not to be undone; picking and the getters go on, and
/// upstream_destroy() is due as ever. For an agent that shuts down. From any thread, beside any call but
/// upstream_destroy(); not from a signal handler. Takes NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_cancel(up: *mut upstream_t) {
    let _errno = KeepErrno::new();
    // A poisoned set too may have calls in flight.
    if let Some(up) = handle::borrow(up.cast_const()) {
        guard(Some(&up.poison), || (), || up.cancel());
    }
}

/// Ends a set: library threads are joined, idle connections closed. No other call on the set or its nodes may run
/// beside it or come after it. Connections in use stay good and are to be released or discarded as ever, before or
/// after. Node handles and their strings end with the set; that of a connection in use with the connection. May take up to a
/// second where a peer has not yet read what was sent, and up to another where a look-up of the system's hangs. Takes NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_destroy(up: *mut upstream_t) {
    if up.is_null() {
        return;
    }
    let _errno = KeepErrno::new();
    // SAFETY: not NULL, so it came from `create` as the raw form of an Arc, and is handed back once.
    let upstream = unsafe { Arc::from_raw(up.cast::<Upstream>().cast_const()) };
    guard(
        None,
        || (),
        || {
            upstream.close();
            drop(upstream);
        },
    );
}

/// The set's name. Borrowed until upstream_destroy(). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_name(up: *const upstream_t) -> *const c_char {
    pure!(up, |_| null() => |up: &Upstream| up.name().as_ptr())
}

/// The number of nodes. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_count(up: *const upstream_t) -> usize {
    pure!(up, |_| 0 => |up: &Upstream| up.nodes().len())
}

/// The node at `index`, from 0 in file order. Borrowed until upstream_destroy(). NULL past the end, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_at(up: *const upstream_t, index: usize) -> *mut upstream_node_t {
    pure!(up, |_| null_mut() => |up: &Upstream| up.nodes().get(index).map_or(null_mut(), node::lend))
}

/// The node called `name`, letter case counting. Borrowed until upstream_destroy(). NULL where none is, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_by_name(
    up: *const upstream_t,
    name: *const c_char,
) -> *mut upstream_node_t {
    let Some(name) = strings::text(name) else {
        return null_mut();
    };
    pure!(up, |_| null_mut() => |up: &Upstream| up.node_by_name(&name).map_or(null_mut(), node::lend))
}

/// The node whose turn it is among those in the rotation: strict round-robin in file order (by `weight` where weights differ, of the
/// tier of the lowest `priority` that has one), one order for all threads. A node whose ejection is over is handed to one
/// caller on trial. With every node ejected, the one whose time is up first. No system call, no lock, no allocation. Borrowed
/// until upstream_destroy(). NULL where every node has weight 0, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_next_node(up: *mut upstream_t) -> *mut upstream_node_t {
    // Only what cannot panic and needs no register saved: see Rotation::try_next().
    match handle::borrow(up).filter(|up| !up.poison.is_set()).map(Upstream::try_next_node) {
        Some(Ok(node)) => node.cast_mut().cast(),
        Some(Err(rest)) => finish_next_node(up, rest),
        None => null_mut(),
    }
}

#[cold]
#[inline(never)]
fn finish_next_node(up: *const upstream_t, rest: Rest) -> *mut upstream_node_t {
    pure!(up, |_| null_mut() => |up: &Upstream| up.finish_next_node(rest).map_or(null_mut(), node::lend))
}

/// When to come again, in milliseconds: 0 if a node is in the rotation or may be tried now, and the retry budget is not
/// spent; else until the first node may be back, or until the next retry. -1 if no node ever will be (every weight is
/// 0), and for NULL. No system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_retry_after_ms(up: *const upstream_t) -> i64 {
    pure!(up, |_| -1 => |up: &Upstream| up.retry_after().map_or(-1, milliseconds))
}
