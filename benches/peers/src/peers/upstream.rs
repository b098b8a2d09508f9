//! The installed libupstream.so through its C ABI, as a plugin in C calls it. The functions are
//! declared by hand, so that only the installed library is measured and nothing of its source. Do
//! not link it: without the library the other rows must still print.

use crate::measure::Pick;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

type Create = unsafe extern "C" fn(
    text: *const c_char,
    len: usize,
    source_name: *const c_char,
    options: *const c_void,
    out: *mut *mut c_void,
    err: *mut *mut c_void,
) -> i32;
type NextNode = unsafe extern "C" fn(up: *mut c_void) -> *mut c_void;
type NodeAt = unsafe extern "C" fn(up: *const c_void, index: usize) -> *mut c_void;
type Destroy = unsafe extern "C" fn(up: *mut c_void);
type Message = unsafe extern "C" fn(err: *const c_void) -> *const c_char;
type Version = unsafe extern "C" fn() -> *const c_char;

pub struct Library {
    who: String,
    create: Create,
    next_node: NextNode,
    node_at: NodeAt,
    destroy: Destroy,
    message: Message,
}

impl Library {
    /// Opens the library under an install prefix. It stays open until the program ends.
    pub fn open(prefix: &Path) -> Result<Self, String> {
        let file = find(prefix)?;
        let path = CString::new(file.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: a path that ends in NUL; libupstream's start-up code needs nothing of the caller.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            // SAFETY: dlopen just failed in this thread, and there is no other thread yet.
            let why = unsafe { CStr::from_ptr(libc::dlerror()) };
            return Err(why.to_string_lossy().into_owned());
        }
        let symbol = |name: &CStr| {
            // SAFETY: an open library and a name that ends in NUL.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            let missing = || {
                format!(
                    "{}: no {}: install the library again",
                    file.display(),
                    name.to_string_lossy()
                )
            };
            if symbol.is_null() { Err(missing()) } else { Ok(symbol) }
        };
        // SAFETY: each type is the declaration of that function in upstream.h.
        unsafe {
            let version: Version =
                std::mem::transmute::<*mut c_void, Version>(symbol(c"upstream_version")?);
            Ok(Library {
                who: format!("upstream {}", CStr::from_ptr(version()).to_string_lossy()),
                create: std::mem::transmute::<*mut c_void, Create>(symbol(
                    c"upstream_create_from_text",
                )?),
                next_node: std::mem::transmute::<*mut c_void, NextNode>(symbol(
                    c"upstream_next_node",
                )?),
                node_at: std::mem::transmute::<*mut c_void, NodeAt>(symbol(c"upstream_node_at")?),
                destroy: std::mem::transmute::<*mut c_void, Destroy>(symbol(c"upstream_destroy")?),
                message: std::mem::transmute::<*mut c_void, Message>(symbol(
                    c"upstream_error_message",
                )?),
            })
        }
    }

    pub fn who(&self) -> &str {
        &self.who
    }

    pub fn set(&self, nodes: usize) -> Result<Set<'_>, String> {
        let mut text = String::from("[UPSTREAM]\n    name peers\n");
        for index in 0..nodes {
            let port = 10_000 + index;
            write!(text, "[NODE]\n    name node-{index}\n    host 127.0.0.1\n    port {port}\n")
                .expect("a string grows");
        }
        let (mut up, mut err) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a text of that length, a name that ends in NUL, no options, two places for what
        // comes back.
        unsafe {
            let source = c"peers".as_ptr();
            let status = (self.create)(
                text.as_ptr().cast(),
                text.len(),
                source,
                ptr::null(),
                &mut up,
                &mut err,
            );
            if status != 0 {
                let why = (self.message)(err);
                let why = if why.is_null() { c"no message" } else { CStr::from_ptr(why) };
                return Err(format!("{}: status {status}: {}", self.who, why.to_string_lossy()));
            }
            let places =
                (0..nodes).map(|index| ((self.node_at)(up, index) as usize, index)).collect();
            Ok(Set { library: self, up, places })
        }
    }
}

/// In `lib`, `lib64`, or the directory in `lib` that Debian names after the machine.
fn find(prefix: &Path) -> Result<PathBuf, String> {
    let lib = prefix.join("lib");
    let below = std::fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files = [lib.clone(), prefix.join("lib64")]
        .into_iter()
        .chain(below)
        .map(|dir| dir.join("libupstream.so"));
    files.find(|file| file.exists()).ok_or_else(|| {
        format!(
            "no libupstream.so under {}: set UPSTREAM_PREFIX to the prefix it was installed to",
            lib.display()
        )
    })
}

/// A set of nodes in the library.
pub struct Set<'a> {
    library: &'a Library,
    up: *mut c_void,
    places: HashMap<usize, usize>,
}

impl Set<'_> {
    pub fn handle(&self) -> Handle<'_> {
        Handle { next_node: self.library.next_node, up: self.up, places: &self.places }
    }
}

impl Drop for Set<'_> {
    fn drop(&mut self) {
        // SAFETY: created by the same library; the handles borrow the set and are gone.
        unsafe { (self.library.destroy)(self.up) };
    }
}

pub struct Handle<'a> {
    next_node: NextNode,
    up: *mut c_void,
    places: &'a HashMap<usize, usize>,
}

// SAFETY: every call on a set may be made from any number of threads at once, says the header.
unsafe impl Send for Handle<'_> {}

impl Pick for Handle<'_> {
    type Node = *mut c_void;

    #[inline]
    fn pick(&mut self) -> *mut c_void {
        // SAFETY: the set lives as long as this borrows from it.
        unsafe { (self.next_node)(self.up) }
    }

    fn index(&self, node: &*mut c_void) -> usize {
        self.places[&(*node as usize)]
    }
}
