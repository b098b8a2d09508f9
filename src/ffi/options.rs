//! `upstream_options_t`: values for keys that the file leaves out, the plugin's own keys, the log
//! and the clock.

use std::borrow::Cow;
use std::ffi::{CString, c_char, c_void};

use crate::base::clock::Clock;
use crate::base::error::{Error, Poison, Status, c_string};
use crate::base::log::{Level, Logger};
use crate::base::wiped::Zeroize;
use crate::config::{KeyType, Options};
use crate::ffi::boundary::{mutable, shared};
use crate::ffi::error::{null_argument, number, refuse, tell, upstream_error_t};
use crate::ffi::handle::{self, Handle, Opaque};
use crate::ffi::panic;
use crate::ffi::status::{UPSTREAM_OK, upstream_status_t};
use crate::ffi::strings;
use crate::set::upstream::Hooks;

/// What upstream_create() is told in addition to the file: values for keys that the file does not
/// set, the plugin's own keys, the log and the clock.
///
/// Ownership: upstream_create() copies it. Use it for any number of sets, and destroy it whenever
/// you like.
///
/// Threads: one call at a time.
pub struct upstream_options_t {
    _private: [u8; 0],
}

/// A payload that no node took, or a connect that timed out.
pub const UPSTREAM_LOG_ERROR: i32 = 1;
/// A node ejected, a connect that failed, a payload that was dropped or may be lost, a doubtful
/// line of the file.
pub const UPSTREAM_LOG_WARN: i32 = 2;
/// A node back in the rotation, or paused.
pub const UPSTREAM_LOG_INFO: i32 = 3;
/// Each connection made, and each call on a connection that failed.
pub const UPSTREAM_LOG_DEBUG: i32 = 4;
/// The same as UPSTREAM_LOG_DEBUG: no line has this level yet.
pub const UPSTREAM_LOG_TRACE: i32 = 5;

/// Receives one line of the log.
///
/// `message` is one line of at most 2,000 bytes, without control characters. It is borrowed during
/// the call.
///
/// It must not block. A connect or a delivery from within it may wait for the very thread that is
/// calling, until its time limit is over.
///
/// Threads: called from any thread, also the library's own, and from several at the same time.
pub type upstream_log_fn =
    Option<unsafe extern "C" fn(level: i32, message: *const c_char, ctx: *mut c_void)>;

/// The value behind `upstream_options_t`.
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

/// Creates empty options.
///
/// Returns:
/// - UPSTREAM_OK: `*out` is yours. End it with upstream_options_destroy().
/// - UPSTREAM_ERR_INVALID_ARG: `out` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_create(
    out: *mut *mut upstream_options_t,
) -> upstream_status_t {
    if out.is_null() {
        return number(Status::InvalidArg);
    }
    panic::silence();
    shared!(none, number => || {
        handle::store(out, handle::give(OptionsHandle::default()));
        UPSTREAM_OK
    })
}

/// Sets the value that `key` has if the file does not set it.
///
/// `key` is any key of the upstream file but `host`, `port` and `name`, in any letter case; a key
/// of the plugin's own; `config.dir`, a folder in which relative paths are looked for after the
/// working directory; or `upstream.name`. If you set a key again, the new value replaces the old
/// one.
///
/// Blanks around the value are dropped. `${VAR}` in it is not replaced.
///
/// Returns:
/// - UPSTREAM_OK: the value is set.
/// - UPSTREAM_ERR_CONFIG: the key cannot be an option, is misspelt (all that begin with `tls.`,
///   `net.`, `health.` or `deliver.` are the library's), or cannot have this value; or it asks for
///   TLS in other words (`transport tls`) and is not declared. `*err` says what is right.
/// - UPSTREAM_ERR_INVALID_ARG: `o`, `key` or `value` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
///
/// ```c
/// upstream_error_t *err = NULL;
/// if (upstream_options_set(o, "deliver.timeout", "10s", &err) != UPSTREAM_OK) {
///     fprintf(stderr, "%s\n", upstream_error_message(err));
///     upstream_error_free(err);
/// }
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_set(
    o: *mut upstream_options_t,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut upstream_error_t,
) -> upstream_status_t {
    let call = "upstream_options_set";
    let (Some(key), Some(value)) = (strings::text(key), strings::text(value)) else {
        return tell(err, null_argument(call));
    };
    let status = mutable!(o, |status| refuse(err, call, status) => |handle: &mut OptionsHandle| {
        match handle.options.set(&key, &value) {
            Ok(()) => UPSTREAM_OK,
            Err(error) => tell(err, error),
        }
    });
    if let Cow::Owned(mut copy) = value {
        copy.zeroize();
    }
    status
}

/// Any text.
pub const UPSTREAM_KEY_TEXT: i32 = 0;
/// A switch: `on`, `true`, `yes`, or `off`, `false`, `no`, in any letter case.
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
/// Declare all keys before upstream_create(). It then checks them as it checks the library's keys,
/// in each [NODE], in [UPSTREAM] and in these options. A value of another type is
/// UPSTREAM_ERR_CONFIG, with file, line and column, and the fix. So is a key that is nearly a
/// declared one, such as `require_ack_respons`.
///
/// A declared key is never taken for a misspelt one. Keys that you do not declare may stand in the
/// file too, and are not checked.
///
/// You cannot declare a key of the library (all that begin with `tls.`, `net.`, `health.`,
/// `deliver.` or `dns.` are), nor one that no file can carry: empty, over 1 KiB, with "#", "[" or
/// "@" at its start, or with a blank, "=" or ":" in it.
///
/// Read the values with upstream_node_get_prop() and the getters below it: the getter of the key's
/// type can read every value that passed the check.
///
/// Returns:
/// - UPSTREAM_OK: the key is declared, now or before with the same type.
/// - UPSTREAM_ERR_INVALID_ARG: `o` or `key` is NULL; `type` is no type; the key has another type
///   already; or it cannot be declared. `*err` says which.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
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
    let call = "upstream_options_declare_key";
    let Some(key) = strings::text(key) else {
        return tell(err, null_argument(call));
    };
    mutable!(o, |status| refuse(err, call, status) => |handle: &mut OptionsHandle| {
        let declared = match KeyType::ALL.into_iter().find(|known| *known as i32 == r#type) {
            Some(kind) => handle.options.declare(&key, kind),
            None => Err(Error::new(Status::InvalidArg, no_such_type(r#type))),
        };
        match declared {
            Ok(()) => UPSTREAM_OK,
            Err(error) => tell(err, error),
        }
    })
}

/// The numbers are the same in C and in Rust.
const _: () = {
    assert!(UPSTREAM_KEY_TEXT == KeyType::Text as i32);
    assert!(UPSTREAM_KEY_BOOL == KeyType::Bool as i32);
    assert!(UPSTREAM_KEY_INT == KeyType::Int as i32);
    assert!(UPSTREAM_KEY_MS == KeyType::Ms as i32);
    assert!(UPSTREAM_KEY_SIZE == KeyType::Size as i32);
    assert!(UPSTREAM_KEY_SECRET == KeyType::Secret as i32);
    assert!(UPSTREAM_LOG_ERROR == Level::Error as i32);
    assert!(UPSTREAM_LOG_WARN == Level::Warn as i32);
    assert!(UPSTREAM_LOG_INFO == Level::Info as i32);
    assert!(UPSTREAM_LOG_DEBUG == Level::Debug as i32);
    assert!(UPSTREAM_LOG_TRACE == Level::Trace as i32);
};

fn no_such_type(number: i32) -> String {
    format!("{number} is not a key type; use one of UPSTREAM_KEY_TEXT to UPSTREAM_KEY_SECRET")
}

/// Sends log lines up to `max_level` (UPSTREAM_LOG_*) to `fn`, together with `ctx`.
///
/// A NULL `fn` switches the log off, which is the default. Of lines that could come by the
/// thousand, one comes each second and says how many others there were.
///
/// Returns:
/// - UPSTREAM_OK: done.
/// - UPSTREAM_ERR_INVALID_ARG: `o` is NULL, or `max_level` is no level.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
///
/// Ownership: `fn` and `ctx` must stay valid until every set created with these options has ended,
/// and every connection and attempt of those sets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_set_logger(
    o: *mut upstream_options_t,
    max_level: i32,
    r#fn: upstream_log_fn,
    ctx: *mut c_void,
) -> upstream_status_t {
    let Some(max) = Level::ALL.into_iter().find(|level| *level as i32 == max_level) else {
        return number(Status::InvalidArg);
    };
    mutable!(o, number => |handle: &mut OptionsHandle| {
        handle.hooks.logger = match r#fn {
            None => Logger::default(),
            Some(function) => {
                let host = HostLog { function, ctx };
                Logger::new(max, move |level, line| host.log(level, &c_string(line)))
            }
        };
        UPSTREAM_OK
    })
}

/// Returns monotonic nanoseconds, counted from any moment.
///
/// Threads: called from any thread, and from several at the same time.
pub type upstream_clock_fn = Option<unsafe extern "C" fn(ctx: *mut c_void) -> u64>;

/// Uses `fn`, called with `ctx`, as the clock of node health: for tests and simulations.
///
/// Ejections, trials, pauses and the retry budget then go by it. The time limits of connections and
/// deliveries stay with the system's clock. A NULL `fn` takes the system's monotonic clock, which
/// is the default.
///
/// Returns:
/// - UPSTREAM_OK: done.
/// - UPSTREAM_ERR_INVALID_ARG: `o` is NULL.
/// - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
///
/// Time: constant.
///
/// Ownership: `fn` and `ctx` must stay valid until every set created with these options has ended,
/// and every connection and attempt of those sets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_set_clock(
    o: *mut upstream_options_t,
    r#fn: upstream_clock_fn,
    ctx: *mut c_void,
) -> upstream_status_t {
    mutable!(o, number => |handle: &mut OptionsHandle| {
        handle.hooks.clock = match r#fn {
            None => Clock::default(),
            Some(function) => {
                let host = HostClock { function, ctx };
                Clock::host(move || host.now())
            }
        };
        UPSTREAM_OK
    })
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
        // SAFETY: by the header's rules both stay valid as long as a set uses them.
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
        // SAFETY: by the header's rules both stay valid as long as a set uses them.
        unsafe { (self.function)(level as i32, line.as_ptr(), self.ctx) }
    }
}

/// Ends options. Takes NULL. Sets created with them go on as they are.
///
/// Time: constant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn upstream_options_destroy(o: *mut upstream_options_t) {
    mutable!(take o, |_| () => drop)
}

/// A copy of the options behind `o`, or the defaults for NULL; an error if they are poisoned.
pub(crate) fn copy(o: *const upstream_options_t) -> Result<(Options, Hooks), Status> {
    if o.is_null() {
        return Ok((Options::default(), Hooks::default()));
    }
    shared!(o, Err => |handle: &OptionsHandle| Ok((handle.options.clone(), handle.hooks.clone())))
}
