//! The one error type of the library, and the status numbers that C sees.
//!
//! An error says where (file:line:column, or node and phase), what went wrong, and how to fix it.

use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::text::{brief, message};

/// How a call ended. The numbers are part of the C API and never change: 0 is success, a positive
/// number asks the caller to wait or to stop, a negative number is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A non-blocking call needs the descriptor to become readable.
    WantRead = 1,
    /// A non-blocking call needs the descriptor to become writable.
    WantWrite = 2,
    /// The peer ended the stream properly.
    Eof = 3,
    /// A deliver callback says: this payload is finished, do not try another node.
    Stop = 4,
    /// NULL or a value that the call cannot take.
    InvalidArg = -1,
    /// The system gave no memory, or no thread.
    NoMemory = -2,
    /// A bug in the library was caught at the C boundary; the handle is poisoned.
    Panic = -3,
    /// The set was made before fork() and this is the child.
    Forked = -4,
    /// A file cannot be read.
    Io = -10,
    /// The content of the upstream file, or an option, is refused.
    Config = -11,
    /// What was asked for does not exist.
    NotFound = -12,
    /// No node could be handed out.
    NoNode = -20,
    /// All connections that `net.max_connections` allows stayed in use through the whole wait.
    Limit = -21,
    /// The name did not resolve.
    Resolve = -30,
    /// No TCP connection could be made.
    Connect = -31,
    /// The TLS handshake or record layer failed.
    Tls = -32,
    /// A certificate was refused, by either side.
    Cert = -33,
    /// The deadline passed.
    Timeout = -34,
    /// The peer closed the connection when more was expected.
    Closed = -35,
    /// The connection broke, for example by a reset.
    Network = -36,
    /// The call was cancelled.
    Cancelled = -37,
    /// The peer broke the protocol; only a plugin reports this.
    Protocol = -38,
    /// The server answered that it cannot take this now; another node may.
    Busy = -39,
}

impl Status {
    /// Every status, for tables and tests.
    pub const ALL: [Status; 24] = [
        Status::Ok,
        Status::WantRead,
        Status::WantWrite,
        Status::Eof,
        Status::Stop,
        Status::InvalidArg,
        Status::NoMemory,
        Status::Panic,
        Status::Forked,
        Status::Io,
        Status::Config,
        Status::NotFound,
        Status::NoNode,
        Status::Limit,
        Status::Resolve,
        Status::Connect,
        Status::Tls,
        Status::Cert,
        Status::Timeout,
        Status::Closed,
        Status::Network,
        Status::Cancelled,
        Status::Protocol,
        Status::Busy,
    ];

    /// The status of a number, if it is one.
    pub fn from_number(number: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as i32 == number)
    }

    /// The name in the C header.
    pub fn c_name(self) -> &'static CStr {
        match self {
            Status::Ok => c"UPSTREAM_OK",
            Status::WantRead => c"UPSTREAM_WANT_READ",
            Status::WantWrite => c"UPSTREAM_WANT_WRITE",
            Status::Eof => c"UPSTREAM_EOF",
            Status::Stop => c"UPSTREAM_STOP",
            Status::InvalidArg => c"UPSTREAM_ERR_INVALID_ARG",
            Status::NoMemory => c"UPSTREAM_ERR_NO_MEMORY",
            Status::Panic => c"UPSTREAM_ERR_PANIC",
            Status::Forked => c"UPSTREAM_ERR_FORKED",
            Status::Io => c"UPSTREAM_ERR_IO",
            Status::Config => c"UPSTREAM_ERR_CONFIG",
            Status::NotFound => c"UPSTREAM_ERR_NOT_FOUND",
            Status::NoNode => c"UPSTREAM_ERR_NO_NODE",
            Status::Limit => c"UPSTREAM_ERR_LIMIT",
            Status::Resolve => c"UPSTREAM_ERR_RESOLVE",
            Status::Connect => c"UPSTREAM_ERR_CONNECT",
            Status::Tls => c"UPSTREAM_ERR_TLS",
            Status::Cert => c"UPSTREAM_ERR_CERT",
            Status::Timeout => c"UPSTREAM_ERR_TIMEOUT",
            Status::Closed => c"UPSTREAM_ERR_CLOSED",
            Status::Network => c"UPSTREAM_ERR_NETWORK",
            Status::Cancelled => c"UPSTREAM_ERR_CANCELLED",
            Status::Protocol => c"UPSTREAM_ERR_PROTOCOL",
            Status::Busy => c"UPSTREAM_ERR_BUSY",
        }
    }

    /// The name in the C header.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default() // all are ASCII
    }
}

/// A position in a configuration file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file's path as it was given, or the source name of a text.
    pub file: Arc<str>,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// Column, from 1; 0 if the whole line is meant.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = brief(&self.file);
        match (self.line, self.column) {
            (0, _) => write!(f, "{file}"),
            (line, 0) => write!(f, "{file}:{line}"),
            (line, column) => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// What a connection was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting until `net.max_connections` allows one more connection.
    Wait,
    /// Name resolution.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending.
    Write,
    /// Receiving.
    Read,
    /// The plugin's callback reported the failure.
    Callback,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Wait => "connection cap",
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "TLS",
            Phase::Write => "write",
            Phase::Read => "read",
            Phase::Callback => "plugin",
        })
    }
}

/// Where an error comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// No file and no node: an argument, the process.
    #[default]
    Call,
    /// A configuration file.
    File(Position),
    /// A node, while doing something.
    Node {
        /// The node's name.
        name: Arc<str>,
        /// `host:port` as configured.
        address: Arc<str>,
        /// What was being done.
        phase: Phase,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Call => Ok(()),
            Origin::File(position) => write!(f, "{position}: "),
            Origin::Node { name, address, phase } => {
                write!(f, "{} ({}): {phase}: ", brief(name), brief(address))
            }
        }
    }
}

/// Any failure of the library. Its `Display` says all: where, what, and the fix.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{origin}{cause}")]
pub struct Error {
    /// The status handed to C.
    pub status: Status,
    /// Where it happened.
    pub origin: Origin,
    /// What went wrong and how to fix it, in one line.
    pub cause: String,
    /// The system's errno; 0 if there is none.
    pub errno: i32,
    /// Whose fault it is, if that is known.
    pub blame: Blame,
    /// The payload may have reached a node that did not confirm it.
    pub may_have_arrived: bool,
    /// Do not try another node.
    pub is_final: bool,
}

/// An error without the name of its node, for a line that already names the node.
pub struct WithoutPlace<'a>(&'a Error);

impl fmt::Display for WithoutPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.origin {
            Origin::Node { phase, .. } => write!(f, "{phase}: {}", self.0.cause),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// Whose fault a failure is, beyond what the status says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blame {
    /// Only the status says.
    #[default]
    Open,
    /// The name does not exist or has no address: it does not help to ask again soon.
    NoSuchName,
    /// This machine's: too many open files, no memory, a policy. No server is to blame.
    Local,
    /// The caller's: its own time limit passed before the node had had its full time.
    Caller,
}

/// The library's `Result`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that concerns no file and no node.
    pub fn new(status: Status, cause: impl Into<String>) -> Self {
        let (origin, cause) = (Origin::Call, cause.into());
        Error {
            status,
            origin,
            cause,
            errno: 0,
            blame: Blame::Open,
            may_have_arrived: false,
            is_final: false,
        }
    }

    /// A refusal of configuration content at `position`.
    pub fn config(position: &Position, cause: impl Into<String>) -> Self {
        Error { origin: Origin::File(position.clone()), ..Error::new(Status::Config, cause) }
    }

    /// A failure of the system: `what` was tried, `error` is why it failed.
    pub fn io(status: Status, what: impl fmt::Display, error: &std::io::Error) -> Self {
        Error {
            errno: error.raw_os_error().unwrap_or(0),
            ..Error::new(status, format!("{what}: {error}"))
        }
    }

    /// The error of every call on a set that was cancelled.
    pub fn cancelled() -> Self {
        let cause = "upstream_cancel() was called on this set, so it makes no more connections; \
                     create a new set";
        Error { errno: libc::ECANCELED, ..Error::new(Status::Cancelled, cause) }
    }

    /// The same error, at a position in a file.
    pub fn at(mut self, position: &Position) -> Self {
        self.origin = Origin::File(position.clone());
        self
    }

    /// Whether this machine is the reason, so that the error says nothing about the node.
    pub fn is_local(&self) -> bool {
        self.blame == Blame::Local
    }

    /// Whether the node may be to blame; its status decides then.
    pub fn may_blame_node(&self) -> bool {
        !matches!(self.blame, Blame::Local | Blame::Caller)
    }

    /// The text without the node's name: the phase, and what went wrong.
    pub fn without_node(&self) -> WithoutPlace<'_> {
        WithoutPlace(self)
    }

    /// Whether the node's name does not exist.
    pub fn is_no_such_name(&self) -> bool {
        self.blame == Blame::NoSuchName
    }

    /// The name of the node it concerns.
    pub fn node(&self) -> Option<&str> {
        match &self.origin {
            Origin::Node { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The line of the configuration file it concerns; 0 if there is none.
    pub fn line(&self) -> usize {
        match &self.origin {
            Origin::File(position) => position.line,
            _ => 0,
        }
    }
}

/// An error in the form that C reads: its strings end in NUL and live as long as this value.
#[derive(Debug)]
pub struct Report {
    /// The error.
    pub error: Error,
    /// Where, what, and the fix.
    pub message: CString,
    /// The node's name, if it concerns one.
    pub node: Option<CString>,
}

impl From<Error> for Report {
    fn from(error: Error) -> Self {
        let message = c_string(&message(error.to_string()));
        let node = error.node().map(c_string);
        Report { error, message, node }
    }
}

/// One error made of several: status and node of the last one, the texts of all.
pub fn summary(mut setbacks: Vec<Error>) -> Error {
    let Some(mut last) = setbacks.pop() else {
        return Error::new(Status::NoNode, "every node is drained; give one a weight above 0");
    };
    if !setbacks.is_empty() {
        let earlier: Vec<String> = setbacks.iter().map(Error::to_string).collect();
        last.cause = format!("{}; before that: {}", last.cause, earlier.join("; "));
    }
    last
}

/// A C string of `text`. A NUL byte in it becomes a question mark; the library's texts contain
/// none.
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| CString::new(text.replace('\0', "?")).unwrap_or_default())
}

/// Set when a bug was caught inside a handle: its state is no longer reliable.
#[derive(Debug, Default)]
pub struct Poison(AtomicBool);

impl Poison {
    /// Marks the handle.
    pub fn set(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether the handle is marked.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}
