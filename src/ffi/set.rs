//! `upstream_t`: the set of nodes.

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::balance::roster::Rest;
use crate::base::error::{Error, Status};
use crate::base::process;
use crate::base::wiped::Wiped;
use crate::ffi::boundary::shared;
use crate::ffi::error::{null_argument, tell, upstream_error_t};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::node::{self, upstream_node_t};
use crate::ffi::options::{self, upstream_options_t};
use crate::ffi::panic;
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::ffi::time::milliseconds;
use crate::set::upstream::{Source, Upstream};

/// A set of nodes, made from one upstream file.
///
/// Ownership: yours, until upstream_destroy().
///
/// Threads: any number of threads may use it at the same time. upstream_destroy() must be the last
/// call.
pub struct upstream_t {
    _private: [u8; 0],
}

impl Opaque for upstream_t {
    type Inner = Upstream;
}

/// The set behind a reference that came from C, as an Arc of its own.
pub(crate) fn share(up: &Upstream) -> Arc<Upstream> {
    let pointer: *const Upstream = up;
    // SAFETY: all set pointers of C come from `create`, as the raw form of an Arc that lives until
    // upstream_destroy().
    unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    }
}

/// Reads the upstream file at `path`, checks it in full, and makes a set of nodes of it.
///
/// All that the file names is read and checked too: includes, certificates, keys. No connection is
/// made. `o` may be NULL.
///
/// Returns:
/// - UPSTREAM_OK: `*out` is yours. End it with upstream_destroy().
/// - UPSTREAM_ERR_IO: the file cannot be read: it is missing, is no regular file, is over 32 MiB,
///   or you may not read it.
/// - UPSTREAM_ERR_CONFIG: its content, or a file that it names, is refused. `*err` has the file,
///   line and column, and the fix.
/// - UPSTREAM_ERR_NO_MEMORY: there was no thread or descriptor left.
/// - UPSTREAM_ERR_INVALID_ARG: `path` or `out` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: waits for the disk, never for the network or a FIFO.
///
/// ```c
/// static upstream_t *open_set(const char *path)
/// {
///     upstream_t *up = NULL;
///     upstream_error_t *err = NULL;
///     if (upstream_create(path, NULL, &up, &err) != UPSTREAM_OK) {
///         fprintf(stderr, "%s\n", upstream_error_message(err));
///         upstream_error_free(err);
///     }
///     return up;
/// }
/// ```
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

/// As upstream_create(), from `len` bytes of text instead of a file.
///
/// Errors call the text `source_name`, or "text" if that is NULL.
///
/// Returns: as upstream_create(), but never UPSTREAM_ERR_IO; UPSTREAM_ERR_INVALID_ARG if `text` or
/// `out` is NULL, or `len` is more than memory can hold.
///
/// Time: as upstream_create().
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
            format!("upstream_create_from_text: a length of {len} bytes is more than any text has");
        return tell(err, Error::new(Status::InvalidArg, cause));
    };
    let name = strings::text(source_name).unwrap_or("text".into()).into_owned();
    create(Source::Text(Wiped::new(text.to_vec()), name), o, out, err)
}

fn create(
    source: Source,
    o: *const upstream_options_t,
    out: *mut *mut upstream_t,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    panic::silence();
    watch_forks();
    notice_privileges();
    shared!(none, |_| tell(err, panic::report()) => || {
        let made = options::copy(o)
            .map_err(|status| Error::new(status, "these options are poisoned; make new ones"))
            .and_then(|(options, hooks)| Upstream::load(source, options, hooks));
        match made {
            Ok(upstream) => {
                handle::store(out, Arc::into_raw(upstream).cast_mut().cast());
                UPSTREAM_OK
            }
            Err(error) => tell(err, error),
        }
    })
}

/// Makes the library notice each fork, so that a child never uses the connections of its parent.
fn watch_forks() {
    extern "C" fn in_child() {
        process::forked();
    }
    // Not a Once: see `panic::silence`. A handler that is registered twice counts each fork twice,
    // which does no harm.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.load(Relaxed) {
        // SAFETY: the handler is async-signal-safe (one atomic increment) and stays mapped: the
        // library is linked with -z nodelete. If there is no memory for it, forks are not noticed,
        // as in any program that does not ask for them.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        DONE.store(true, Relaxed);
    }
}

/// Makes the library ignore the environment if it comes from a caller with fewer privileges.
fn notice_privileges() {
    // SAFETY: getauxval only reads what the kernel gave the process at its start.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        process::set_privileged();
    }
}

/// Ends every running call on the set, its nodes and its connections. Use it when the agent shuts
/// down.
///
/// Each of them soon returns UPSTREAM_ERR_CANCELLED. So does, at once, every later call that would
/// connect, wait, read or write. Picks and getters go on. This cannot be undone, and you still have
/// to call upstream_destroy(). Takes NULL.
///
/// Time: does not wait for the calls that it ends.
///
/// Threads: call it from any thread, while any call but upstream_destroy() runs. Do not call it in
/// a signal handler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_cancel(up: *mut upstream_t) {
    // A poisoned set may have calls in flight too.
    shared!(even poisoned up.cast_const(), |_| () => Upstream::cancel)
}

/// Ends a set: closes the kept connections and joins the library's threads. Takes NULL.
///
/// Time: usually at once. Up to a second if a server has not yet read what was sent, and up to
/// another second if a lookup of a name hangs in the system.
///
/// Ownership: nodes and their strings end with the set. A connection in your hands goes on, with
/// its node: release or discard it before or after this call. One that is still connecting fails
/// with UPSTREAM_ERR_CANCELLED.
///
/// Threads: no other call on the set or its nodes may run at the same time, or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_destroy(up: *mut upstream_t) {
    if up.is_null() {
        return;
    }
    shared!(none, |_| () => || {
        // SAFETY: not NULL, so it came from `create` as the raw form of an Arc, and it is given
        // back once.
        let upstream = unsafe { Arc::from_raw(up.cast::<Upstream>().cast_const()) };
        upstream.close();
    })
}

/// The name of the set.
///
/// Returns: the name; NULL if `up` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed until upstream_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_name(up: *const upstream_t) -> *const c_char {
    shared!(pure up, |_| null() => |up: &Upstream| up.name().as_ptr())
}

/// The number of nodes.
///
/// Returns: the number; 0 if `up` is NULL.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_count(up: *const upstream_t) -> usize {
    shared!(pure up, |_| 0 => |up: &Upstream| up.nodes().len())
}

/// The node at `index`, from 0, in the order of the file.
///
/// Returns: the node; NULL if there are not so many, or `up` is NULL.
///
/// Time: constant.
///
/// Ownership: borrowed until upstream_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_at(
    up: *const upstream_t,
    index: usize,
) -> *mut upstream_node_t {
    shared!(pure up, |_| null_mut() => |up: &Upstream| {
        up.nodes().get(index).map_or(null_mut(), node::lend)
    })
}

/// The node called `name`. Letter case counts.
///
/// Returns: the node; NULL if none has that name, or an argument is NULL.
///
/// Time: one lookup in a hash table.
///
/// Ownership: borrowed until upstream_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_node_by_name(
    up: *const upstream_t,
    name: *const c_char,
) -> *mut upstream_node_t {
    let Some(name) = strings::text(name) else {
        return null_mut();
    };
    shared!(pure up, |_| null_mut() => |up: &Upstream| {
        up.node_by_name(&name).map_or(null_mut(), node::lend)
    })
}

/// Picks the next node, for a plugin that does its own I/O and takes one node for each payload.
///
/// The order is strict round-robin over the nodes of the file, and all threads share it. If weights
/// differ, a node gets turns in proportion to its `weight`. Only the lowest `priority` that has a
/// node up is in use.
///
/// An ejected node gets no turns. When its time is up, one caller gets it on trial. If all nodes
/// are ejected, you get the one whose time is up first. A paused node is never picked.
///
/// Report how it went with upstream_node_report(). To go on to another node for the same payload,
/// use an attempt instead: see upstream_attempt_next().
///
/// Returns: the node; NULL if each node is paused or has weight 0, or `up` is NULL.
///
/// Time: constant, whatever the number of nodes. No lock, no system call, no allocation.
///
/// Ownership: borrowed until upstream_destroy().
///
/// ```c
/// int send_to(const char *host, uint16_t port);
///
/// static int send_once(upstream_t *up)
/// {
///     upstream_node_t *node = upstream_next_node(up);
///     int sent;
///     if (node == NULL) {
///         return 0;
///     }
///     sent = send_to(upstream_node_host(node), upstream_node_port(node));
///     upstream_node_report(node, sent ? UPSTREAM_OK : UPSTREAM_ERR_NETWORK);
///     return sent;
/// }
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_next_node(up: *mut upstream_t) -> *mut upstream_node_t {
    // Only code that cannot panic and saves no register: see Rotation::try_next().
    match shared!(quick up.cast_const(), |_| None => |up: &Upstream| Some(up.try_next_node())) {
        Some(Ok(node)) => node.cast_mut().cast(),
        Some(Err(rest)) => finish_next_node(up, rest),
        None => null_mut(),
    }
}

#[cold]
#[inline(never)]
fn finish_next_node(up: *const upstream_t, rest: Rest) -> *mut upstream_node_t {
    shared!(pure up, |_| null_mut() => |up: &Upstream| {
        up.finish_next_node(rest).map_or(null_mut(), node::lend)
    })
}

/// How long to wait before you try again, in milliseconds.
///
/// Returns: 0 if a node is up or may be tried now, and the retry budget allows a retry. Else the
/// time until both are so. -1 if each node has weight 0, or `up` is NULL.
///
/// Time: constant while a node is up, else one step for each node. One lock, held for a moment, and
/// no system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_retry_after_ms(up: *const upstream_t) -> i64 {
    shared!(pure up, |_| -1 => |up: &Upstream| up.retry_after().map_or(-1, milliseconds))
}
