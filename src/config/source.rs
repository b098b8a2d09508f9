//! Opens, limits and decodes files and texts. Reading never waits, whatever the path names: a FIFO
//! or a device is refused before the first byte.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::limits::MAX_FILE;
use crate::base::wiped::Wiped;

/// Why a file could not be read: the reason with the fix, and the system's errno or 0.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub reason: String,
    pub errno: i32,
}

/// Device and inode: the same for every path to a file.
pub(super) type FileId = (u64, u64);

impl Unreadable {
    fn new(reason: &str) -> Self {
        Unreadable { reason: reason.into(), errno: 0 }
    }

    fn system(error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".into(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; allow the user of this process to read it".into()
            }
            _ => error.to_string(),
        };
        Unreadable { reason, errno: error.raw_os_error().unwrap_or(0) }
    }
}

/// Opens a regular file for reading. Never waits for a writer of a FIFO. Looks before it opens: to
/// open a device may start something, such as a watchdog.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), Unreadable> {
    let system = |error: io::Error| Unreadable::system(&error);
    check_kind(&std::fs::metadata(path).map_err(system)?)?;
    // The path may name another file by now.
    let opened =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(system)?;
    let metadata = file.metadata().map_err(system)?;
    check_kind(&metadata)?;
    Ok((file, metadata))
}

fn check_kind(metadata: &Metadata) -> Result<(), Unreadable> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(Unreadable::new(if kind.is_dir() {
        "is a directory; name a file in it"
    } else if kind.is_fifo() {
        "is a FIFO; name a regular file"
    } else if kind.is_socket() {
        "is a socket; name a regular file"
    } else {
        "is a device; name a regular file"
    }))
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Content {
    pub bytes: Wiped<Vec<u8>>,
    pub id: FileId,
    /// See [`is_open`].
    pub is_open: bool,
}

/// Whether every user of the machine may read the file. Its group may: a service often reads its
/// configuration through it, and libpq and OpenSSH's host keys allow that too.
pub(super) fn is_open(metadata: &Metadata) -> bool {
    metadata.mode() & libc::S_IROTH != 0
}

/// The content of a regular file of at most `limit` bytes.
pub(super) fn read_regular(path: &Path, limit: usize) -> Result<Content, Unreadable> {
    let (file, metadata) = open_regular(path)?;
    // Reading checks the size again: a file in /proc says 0, and a file may grow meanwhile.
    let bytes = match metadata.len() <= limit as u64 {
        true => read_all(file, metadata.len() as usize, limit)
            .map_err(|error| Unreadable::system(&error))?,
        false => None,
    };
    let bytes = bytes.ok_or_else(|| {
        Unreadable::new(&format!(
            "the upstream file with its includes is over {} MiB; make it smaller",
            MAX_FILE >> 20
        ))
    })?;
    let id = (metadata.dev(), metadata.ino());
    Ok(Content { bytes, id, is_open: is_open(&metadata) })
}

/// All bytes of a file that is probably `expected` bytes long; `None` if it is over `limit`. The
/// buffer leaves no copy behind: it is made in the right size, and wiped if it has to grow.
fn read_all(mut file: File, expected: usize, limit: usize) -> io::Result<Option<Wiped<Vec<u8>>>> {
    let mut bytes = Wiped::new(vec![0; expected + 1]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length > limit {
            return Ok(None);
        }
        if length == bytes.len() {
            let mut larger = Wiped::new(vec![0; (2 * length).max(4096)]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// A byte that is not allowed in a configuration text: line and column, both from 1, and what is
/// wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadByte {
    pub line: usize,
    pub column: usize,
    pub cause: &'static str,
}

/// The text of `bytes`, without a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, BadByte> {
    let (valid, broken) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => {
            (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(), true)
        }
    };
    let text = valid.strip_prefix('\u{feff}').unwrap_or(valid);
    let utf_16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let (at, cause) = match text.find('\0') {
        Some(at) => (at, "there is a NUL byte here; save the file as text in UTF-8"),
        None if utf_16 => (0, "the file is in UTF-16; save it in UTF-8"),
        None if broken => (text.len(), "this byte is not valid UTF-8; save the file in UTF-8"),
        None => return Ok(text),
    };
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Err(BadByte {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let bad = |line, column, cause| Err(BadByte { line, column, cause });
        let (nul, broken) = (
            "there is a NUL byte here; save the file as text in UTF-8",
            "this byte is not valid UTF-8; save the file in UTF-8",
        );
        for (bytes, expected) in [
            (&b""[..], Ok("")),
            (b"\xef\xbb\xbfabc", Ok("abc")),
            (b"a\0", bad(1, 2, nul)),
            (b"\xef\xbb\xbfa\n\xc3\xa9\0", bad(2, 2, nul)),
            (b"a\n\nb\xff\0", bad(3, 2, broken)),
            (b"a\0\xff", bad(1, 2, nul)),
            (b"\xff\xfe[\0", bad(1, 1, "the file is in UTF-16; save it in UTF-8")),
            (b"a\xc3", bad(1, 2, broken)),
        ] {
            assert_eq!(decode(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn only_regular_files_are_read_and_none_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(*read_regular(&path, 5).unwrap().bytes, b"12345");
        let of_proc = read_regular(Path::new("/proc/self/status"), MAX_FILE).unwrap();
        assert!(of_proc.bytes.starts_with(b"Name:") && of_proc.is_open);
        let over = "the upstream file with its includes is over 32 MiB; make it smaller";
        assert_eq!(read_regular(&path, 4).unwrap_err().reason, over);
        assert_eq!(read_regular(Path::new("/proc/self/status"), 5).unwrap_err().reason, over);

        let socket = directory.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fifo = directory.path().join("p");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, errno, reason) in [
            (directory.path(), 0, "is a directory; name a file in it"),
            (&fifo, 0, "is a FIFO; name a regular file"),
            (&socket, 0, "is a socket; name a regular file"),
            (Path::new("/dev/zero"), 0, "is a device; name a regular file"),
            (Path::new("/nowhere/f"), libc::ENOENT, "there is no such file"),
            (Path::new(""), libc::ENOENT, "there is no such file"),
            (&path.join("x"), libc::ENOTDIR, "Not a directory (os error 20)"),
        ] {
            let error = open_regular(path).unwrap_err();
            assert_eq!((error.errno, error.reason.as_str()), (errno, reason), "{}", path.display());
        }
    }
}
