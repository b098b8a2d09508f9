//! `upstream_options_t`: defaults under the file's own words, and the log.

use std::ffi::{CString, c_char, c_void};

use crate::base::clock::Clock;
use crate::base::error::{Error, Poison, Status, c_string};
use crate::base::log::{Level, Logger};
use crate::config::{KeyType, Options};
use crate::ffi::error::{null_argument, number, tell, upstream_error_t};
use crate::ffi::handle::{self, Handle, Opaque};
use crate::ffi::panic::{self, boundary, guard};
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::set::upstream::Hooks;

/// Options for upstream_create(): values for keys that the file does not set, and the log. One call at
/// a time; may be used for any number of sets and destroyed as soon as they are created.
pub struct upstream_options_t {
    _private: [u8; 0],
}

/// Log levels: what is told at each is in `upstream_options_set_logger`.
pub const UPSTREAM_LOG_ERROR: i32 = 1;
/// Something is odd, the work goes on.
pub const UPSTREAM_LOG_WARN: i32 = 2;
/// Rare events of normal running.
pub const UPSTREAM_LOG_INFO: i32 = 3;
/// Each connection made or lost.
pub const UPSTREAM_LOG_DEBUG: i32 = 4;
/// Each step.
pub const UPSTREAM_LOG_TRACE: i32 = 5;

/// Receives one log line, without a newline; `message` is borrowed during the call. May be called from any
/// thread, the library's own among them, and from several at once. Not to wait in: a connect or a delivery from within may
/// wait, up to its deadline, for the very thread that is calling.
pub type upstream_log_fn = Option<unsafe extern "C" fn(level: i32, message: *const c_char, ctx: *mut c_void)>;

/// What `upstream_options_t` stands for.
#[derive(Default)]
pub(crate) struct OptionsHandle {
    pub(crate) poison: Poison,
    pub(crate) options: Options,
    pub(crate) hooks: Hooks,
}

impl Handle for OptionsHandle {
    fn poison(&self) -> Option<&Poison> {
        Some(&self.poison)
    }
}

impl Opaque for upstream_options_t {
    type Inner = OptionsHandle;
}

/// Makes empty options. `*out` is the caller's, to end with upstream_options_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_create(out: *mut *mut upstream_options_t) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    panic::silence();
    guard(
        None,
        || number(Status::Panic),
        || {
            handle::store(out, handle::give(OptionsHandle::default()));
            UPSTREAM_OK
        },
    )
}

/// Sets `key`, in any letter case, for what the file leaves open: any key of the upstream file, `config.dir` (where
/// relative paths are looked for after the working directory) or `upstream.name`. Setting a key again
/// replaces its value. Both strings are copied.
/// UPSTREAM_ERR_CONFIG where the library knows the key and refuses the value, or the key is a misspelt one
/// of its own families.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_set(
    o: *mut upstream_options_t,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let (Some(key), Some(value)) = (strings::text(key), strings::text(value)) else {
        return tell(err, null_argument("upstream_options_set"));
    };
    let _errno = panic::KeepErrno::new();
    let Some(handle) = handle::borrow_mut(o) else {
        return tell(err, null_argument("upstream_options_set"));
    };
    if handle.poison.is_set() {
        return number(Status::Panic);
    }
    let OptionsHandle { poison, options, .. } = handle;
    guard(
        Some(poison),
        || tell(err, panic::report()),
        || match options.set(&key, &value) {
            Ok(()) => UPSTREAM_OK,
            Err(error) => tell(err, error),
        },
    )
}

/// Any text, handed back as it is written. Types for upstream_options_declare_key().
pub const UPSTREAM_KEY_TEXT: i32 = 0;
/// `on`, `true`, `yes`; `off`, `false`, `no`; in any letter case.
pub const UPSTREAM_KEY_BOOL: i32 = 1;
/// A whole number, which may be negative.
pub const UPSTREAM_KEY_INT: i32 = 2;
/// A duration, such as `250ms` or `10s`; without a unit, seconds.
pub const UPSTREAM_KEY_MS: i32 = 3;
/// A number of bytes, such as `512` or `64k`.
pub const UPSTREAM_KEY_SIZE: i32 = 4;
/// Text that no message shows.
pub const UPSTREAM_KEY_SECRET: i32 = 5;

/// Declares `key`, in any letter case, as one of the plugin's own, with a value of `type`
/// (UPSTREAM_KEY_*).
///
/// upstream_create() then checks it as it checks the library's keys: a value of another type is
/// UPSTREAM_ERR_CONFIG, with file:line:column and the fix. So is a key that is likely a slip for a
/// declared one (`require_ack_respons`), in a [NODE], in [UPSTREAM], and in these options. A
/// declared key is never a slip, however near it is to another.
///
/// Declare all keys before upstream_create(); whether before or after upstream_options_set() does
/// not matter. Other keys may still stand in the file, and are not checked. Read the values with
/// upstream_node_get_prop() and its kin: the getter of the key's type reads every value that was
/// let through.
///
/// Returns: UPSTREAM_OK, also where the key was declared of the same type before.
/// UPSTREAM_ERR_INVALID_ARG, with the reason in `*err`, for a key of the library's own or of its
/// families (`tls.`, `net.`, `health.`, `deliver.`, `dns.`), a second type, a `type` that is none,
/// and a key that no file can carry: empty, over 1 KiB, with a blank, "=" or ":" in it.
///
/// Ownership: the key is copied.
///
/// ```c
/// upstream_options_declare_key(o, "ack_timeout", UPSTREAM_KEY_MS, NULL);
/// upstream_options_declare_key(o, "shared_key", UPSTREAM_KEY_SECRET, NULL);
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_declare_key(
    o: *mut upstream_options_t,
    key: *const c_char,
    r#type: i32,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let Some(key) = strings::text(key) else {
        return tell(err, null_argument("upstream_options_declare_key"));
    };
    let _errno = panic::KeepErrno::new();
    let Some(handle) = handle::borrow_mut(o) else {
        return tell(err, null_argument("upstream_options_declare_key"));
    };
    if handle.poison.is_set() {
        return number(Status::Panic);
    }
    let OptionsHandle { poison, options, .. } = handle;
    guard(
        Some(poison),
        || tell(err, panic::report()),
        || match KeyType::ALL.into_iter().find(|known| *known as i32 == r#type) {
            Some(kind) => match options.declare(&key, kind) {
                Ok(()) => UPSTREAM_OK,
                Err(error) => tell(err, error),
            },
            None => {
                let cause = format!("{type} is no type of a key; write one of UPSTREAM_KEY_TEXT to UPSTREAM_KEY_SECRET", type = r#type);
                tell(err, Error::new(Status::InvalidArg, cause))
            }
        },
    )
}

/// Sends log lines up to `max_level` (UPSTREAM_LOG_*) to `fn`, with `ctx`; a NULL `fn` switches the log off
/// again. ERROR: a payload no node took, a connect that timed out. WARN: a connect that failed, an odd file. INFO: rare
/// events. DEBUG: each connection. `fn` and `ctx` must stay good until every set created with these
/// options, and every connection and attempt of it, is gone. UPSTREAM_ERR_INVALID_ARG for a level that is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_set_logger(
    o: *mut upstream_options_t,
    max_level: i32,
    r#fn: upstream_log_fn,
    ctx: *mut c_void,
) -> upstream_status_t {
    let Some(handle) = handle::borrow_mut(o) else {
        return number(Status::InvalidArg);
    };
    if handle.poison.is_set() {
        return number(Status::Panic);
    }
    let Some(max) = Level::ALL.into_iter().find(|level| *level as i32 == max_level) else {
        return number(Status::InvalidArg);
    };
    handle.hooks.logger = match r#fn {
        None => Logger::default(),
        Some(function) => {
            let host = HostLog { function, ctx };
            Logger::new(max, move |level, line| host.log(level, &c_string(line)))
        }
    };
    UPSTREAM_OK
}

/// Gives monotonic nanoseconds from any moment on. Called from any thread, from several at once.
pub type upstream_clock_fn = Option<unsafe extern "C" fn(ctx: *mut c_void) -> u64>;

/// Lets health (ejections, backoff, probes) and the retry budget go by `fn`, with `ctx`, instead of the system's monotonic clock: for
/// tests and simulation of a plugin's own. Deadlines of connections and deliveries stay the system's. A NULL `fn` takes the system's
/// again. `fn` and `ctx` must stay good until every set created with these options, and every connection and attempt of it, is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_set_clock(
    o: *mut upstream_options_t,
    r#fn: upstream_clock_fn,
    ctx: *mut c_void,
) -> upstream_status_t {
    let Some(handle) = handle::borrow_mut(o) else {
        return number(Status::InvalidArg);
    };
    if handle.poison.is_set() {
        return number(Status::Panic);
    }
    handle.hooks.clock = match r#fn {
        None => Clock::default(),
        Some(function) => {
            let host = HostClock { function, ctx };
            Clock::host(move || host.now())
        }
    };
    UPSTREAM_OK
}

struct HostClock {
    function: unsafe extern "C" fn(*mut c_void) -> u64,
    ctx: *mut c_void,
}

// SAFETY: the header asks that the function may be called from any thread with its `ctx`.
unsafe impl Send for HostClock {}
// SAFETY: and from several at once.
unsafe impl Sync for HostClock {}

impl HostClock {
    fn now(&self) -> u64 {
        // SAFETY: by the header's words both stay good as long as a set uses them.
        unsafe { (self.function)(self.ctx) }
    }
}

struct HostLog {
    function: unsafe extern "C" fn(i32, *const c_char, *mut c_void),
    ctx: *mut c_void,
}

// SAFETY: the header asks that the function may be called from any thread with its `ctx`.
unsafe impl Send for HostLog {}
// SAFETY: and from several at once.
unsafe impl Sync for HostLog {}

impl HostLog {
    fn log(&self, level: Level, line: &CString) {
        // SAFETY: by the header's words both stay good as long as a set uses them.
        unsafe { (self.function)(level as i32, line.as_ptr(), self.ctx) }
    }
}

/// Ends options. Takes NULL. Sets created with them are not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_destroy(o: *mut upstream_options_t) {
    drop(handle::take(o));
}

/// A copy of the options behind `o`, or the defaults for NULL; an error where they are poisoned.
pub(crate) fn copy(o: *const upstream_options_t) -> Result<(Options, Hooks), Status> {
    if o.is_null() {
        return Ok((Options::default(), Hooks::default()));
    }
    boundary!(o, Err => |handle: &OptionsHandle| Ok((handle.options.clone(), handle.hooks.clone())))
}
