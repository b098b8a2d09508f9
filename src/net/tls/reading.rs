//! Reads files within bounds, and remembers which state of each file was read, so that a later look
//! can tell in one system call whether it has changed.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::open_regular;

/// The largest file that is read: forty times the usual bundle of all public CAs.
const MAX_BYTES: usize = 8 << 20;

/// How many bytes the files of one directory may have together.
const MAX_BYTES_OF_DIRECTORY: usize = 4 * MAX_BYTES;

/// How many entries a directory may have. The largest in use have about 300.
const MAX_ENTRIES: usize = 10_000;

/// A file that was changed so shortly before it was read may change again without a difference in
/// its times, which the kernel takes from a clock of a few milliseconds.
const SETTLED: Duration = Duration::from_millis(100);

/// What tells one state of a file from the next. A symbolic link is followed, so this also changes
/// when a link on the way leads elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether it is old enough that the next change will differ.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanos) = self.changed.max(self.modified);
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
            return true;
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanos);
        // A file of the future (a clock was set back) must not be read again at each look.
        now.duration_since(changed).map_or(true, |age| age >= SETTLED)
    }
}

/// A file or directory that was read, and its state just before.
#[derive(Clone, Debug)]
struct Entry {
    key: &'static str,
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Reading {
    entries: Vec<Entry>,
    /// A later change might not show in the stamps, or the system refused to read.
    again: bool,
    digest: DefaultHasher,
    /// What was left out; each with its reason.
    pub(super) left_out: Vec<String>,
}

impl Reading {
    pub(super) fn new() -> Reading {
        Reading {
            entries: Vec::new(),
            again: false,
            digest: DefaultHasher::new(),
            left_out: Vec::new(),
        }
    }

    /// Whether every file is as it was read. One system call for each.
    pub(super) fn is_current(&self) -> bool {
        !self.again && self.changed().next().is_none()
    }

    /// Whether the files are in the same state as in `other`.
    pub(super) fn is_same_state(&self, other: &Reading) -> bool {
        let stamps = |reading: &Reading| -> Vec<Option<Stamp>> {
            reading.entries.iter().map(|entry| entry.stamp).collect()
        };
        stamps(self) == stamps(other)
    }

    fn changed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| Stamp::of(&entry.path) != entry.stamp)
    }

    /// The files whose state is another one in `before`, for a message.
    pub(super) fn difference(&self, before: &Reading) -> String {
        let is_new = |entry: &&Entry| {
            !before.entries.iter().any(|old| old.path == entry.path && old.stamp == entry.stamp)
        };
        let new: BTreeSet<String> = self
            .entries
            .iter()
            .filter(is_new)
            .map(|entry| format!("{} {}", entry.key, entry.path.display()))
            .take(4)
            .collect();
        new.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Whether anything was read that may change.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what another reading read.
    pub(super) fn add(&mut self, other: &Reading) {
        self.entries.extend_from_slice(&other.entries);
        self.again |= other.again;
        other.digest().hash(&mut self.digest);
    }

    /// A number that differs if what was read differs.
    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn note(&mut self, key: &'static str, path: &Path) -> Option<Stamp> {
        let stamp = Stamp::of(path);
        self.again |= stamp.is_some_and(|stamp| !stamp.is_settled(SystemTime::now()));
        self.entries.push(Entry { key, path: path.to_owned(), stamp });
        stamp
    }

    /// The bytes of the file that `key` names.
    pub(super) fn file(&mut self, key: &'static str, path: &Path) -> Result<Vec<u8>, String> {
        self.note(key, path);
        let bytes = self.read(path)?;
        bytes.hash(&mut self.digest);
        Ok(bytes)
    }

    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let too_large = || {
            format!(
                "has over {} MiB, more than the library reads; name a file that holds only the \
                 PEM text",
                MAX_BYTES >> 20
            )
        };
        let (file, metadata) = open_regular(path).map_err(|unreadable| {
            self.again = true;
            unreadable.reason
        })?;
        if metadata.len() > MAX_BYTES as u64 {
            return Err(too_large());
        }
        // With room for all of it: a buffer that grows would leave copies of a key behind.
        let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| {
            self.again = true;
            error.to_string()
        })?;
        if bytes.len() > MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
    }

    /// The regular files in the directory that `key` names, each once, in the order of their names.
    /// If `watched`, each of them is noted too. One that cannot be read is left out.
    pub(super) fn directory(
        &mut self,
        key: &'static str,
        path: &Path,
        watched: bool,
    ) -> Result<Vec<Vec<u8>>, String> {
        self.note(key, path);
        let again = |error: std::io::Error| error.to_string();
        let entries = std::fs::read_dir(path).map_err(again).inspect_err(|_| self.again = true)?;
        let mut paths: Vec<PathBuf> =
            entries.take(MAX_ENTRIES + 1).filter_map(|entry| Some(entry.ok()?.path())).collect();
        if paths.len() > MAX_ENTRIES {
            return Err(format!(
                "has over {MAX_ENTRIES} entries, more than the library reads; name a directory \
                 that holds only trust roots"
            ));
        }
        paths.sort();
        let (mut files, mut seen, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
        for path in paths {
            let Ok(found) = std::fs::metadata(&path) else { continue };
            // An OpenSSL directory has each certificate twice: as a file, and as a link named by
            // its hash.
            if !found.is_file() || !seen.insert((found.dev(), found.ino())) {
                continue;
            }
            if watched {
                self.note(key, &path);
            }
            match self.read(&path) {
                Ok(file) => {
                    bytes += file.len();
                    file.hash(&mut self.digest);
                    files.push(file);
                }
                Err(cause) => self.left_out.push(format!("{} {cause}", path.display())),
            }
            if bytes > MAX_BYTES_OF_DIRECTORY {
                return Err(format!(
                    "has files of over {} MiB together, more than the library reads; name a \
                     directory that holds only trust roots",
                    MAX_BYTES_OF_DIRECTORY >> 20
                ));
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() {
        std::thread::sleep(SETTLED + Duration::from_millis(20));
    }

    fn read(path: &Path) -> Reading {
        let mut reading = Reading::new();
        let _ = reading.file("k", path);
        reading
    }

    #[test]
    fn each_way_to_change_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        type Change = fn(&Path);
        let changes: [(&str, Change); 5] = [
            ("in place, same size", |path| std::fs::write(path, "2").unwrap()),
            ("another size", |path| std::fs::write(path, "22").unwrap()),
            ("another file renamed over it", |path| {
                let new = path.with_extension("new");
                std::fs::write(&new, "1").unwrap();
                std::fs::rename(new, path).unwrap();
            }),
            ("removed", |path| std::fs::remove_file(path).unwrap()),
            ("a link in its place", |path| {
                let other = path.with_extension("other");
                std::fs::write(&other, "1").unwrap();
                std::fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink(other, path).unwrap();
            }),
        ];
        for (name, change) in changes {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, "1").unwrap();
            settle();
            let reading = read(&path);
            assert!(reading.is_current(), "{name}");
            change(&path);
            assert!(!reading.is_current(), "{name}");
        }
    }

    #[test]
    fn a_link_on_the_way_that_leads_elsewhere_is_seen() {
        // As Kubernetes does it: `..data` is a link to a directory, and is replaced at once.
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("ca.crt"), version).unwrap();
        }
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/ca.crt", at("ca.crt")).unwrap();
        settle();
        let file = read(&at("ca.crt"));
        let mut directory = Reading::new();
        assert_eq!(directory.directory("k", folder.path(), true).unwrap(), [b"v1"]);
        assert!(file.is_current() && directory.is_current());
        std::os::unix::fs::symlink("v2", at("new")).unwrap();
        std::fs::rename(at("new"), at("..data")).unwrap();
        assert!(!file.is_current() && !directory.is_current());
        assert_ne!(read(&at("ca.crt")).digest(), file.digest());
    }

    #[test]
    fn a_file_that_was_just_written_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "1").unwrap();
        let reading = read(&path);
        assert!(!reading.is_current(), "a change in the same tick would not show");
        settle();
        assert!(read(&path).is_current());
        assert_eq!(read(&path).digest(), reading.digest());
    }

    #[test]
    fn what_is_too_much_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, words) in [
            (path.as_path(), "has over 8 MiB"),
            (&fifo, "is a FIFO"),
            (Path::new("/dev/zero"), "is a device"),
            (folder.path(), "is a directory"),
            (&path.join("x"), "Not a directory"),
            (&path.with_extension("none"), "there is no such file"),
        ] {
            let cause = Reading::new().file("k", path).unwrap_err();
            assert!(cause.contains(words), "{cause}");
        }
        // In a directory it is left out, and told.
        let mut reading = Reading::new();
        assert!(reading.directory("k", folder.path(), true).unwrap().is_empty());
        assert!(reading.left_out[0].contains("sparse has over 8 MiB"), "{:?}", reading.left_out);
    }

    #[test]
    fn the_size_of_a_directory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_ENTRIES {
            let link = folder.path().join(number.to_string());
            std::os::unix::fs::symlink("nowhere", link).unwrap();
        }
        let cause = Reading::new().directory("k", folder.path(), true).unwrap_err();
        assert!(cause.contains("has over 10000 entries"), "{cause}");
        std::fs::remove_file(folder.path().join("9")).unwrap();
        for number in 0..5 {
            let link = folder.path().join(number.to_string());
            std::fs::remove_file(&link).unwrap();
            std::fs::File::create(&link).unwrap().set_len(MAX_BYTES as u64).unwrap();
        }
        let cause = Reading::new().directory("k", folder.path(), true).unwrap_err();
        assert!(cause.contains("over 32 MiB together"), "{cause}");
    }
}
