//! How large the parts of a file may be, and how much work it may cause. A file of 32 MiB takes at
//! most some hundred megabytes of memory, and is read in seconds, whatever is in it.

/// The upstream file with everything that it includes, in bytes. Fluent Bit has the same limit for
/// a file.
pub(super) const MAX_FILE: usize = 32 << 20;
/// A key, in bytes.
pub(super) const MAX_KEY: usize = 1 << 10;
/// A value, in bytes, before and after `${}` expansion.
pub(super) const MAX_VALUE: usize = 1 << 20;
/// The path or pattern of an `@INCLUDE`, in bytes. Linux: PATH_MAX, with the NUL byte.
pub(super) const MAX_PATH: usize = 4095;
/// Files that one pattern may name, and that an upstream file may include.
pub(super) const MAX_FILES: usize = 10_000;
/// Directory entries that all patterns of an upstream file may look at.
pub(super) const MAX_ENTRIES: usize = 100_000;
/// Variables that `@SET` may set.
pub(super) const MAX_VARIABLES: usize = 10_000;
/// How often `${}` may be used: each use may search the whole environment.
pub(super) const MAX_EXPANSIONS: usize = 1_000_000;
/// `[NODE]` sections.
pub(super) const MAX_NODES: usize = 200_000;
/// Lines with a key, of all sections together.
pub(super) const MAX_LINES: usize = 2_000_000;
/// Different keys, each spelling counted.
pub(super) const MAX_KEYS: usize = 200_000;
/// Keys that nodes inherit, counted once for all nodes with the same keys.
pub(super) const MAX_INHERITED: usize = 1_000_000;
