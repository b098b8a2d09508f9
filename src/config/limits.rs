//! How large the parts of a file may be.

/// The upstream file with everything that it includes, in bytes. Fluent Bit has the same limit for
/// a file.
pub(super) const MAX_FILE: usize = 32 << 20;
/// A key, in bytes.
pub(super) const MAX_KEY: usize = 1 << 10;
/// A value, in bytes, before and after `${}` expansion.
pub(super) const MAX_VALUE: usize = 1 << 20;
