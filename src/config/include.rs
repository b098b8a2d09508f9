//! `@INCLUDE`: finds the files that a path or pattern names. A pattern works as in glob(3): the
//! files are sorted by name, a hidden file is found only if the pattern writes its dot, and `**` is
//! `*`. A pattern decides how many directories are read, so the entries are counted, and the
//! search keeps its own list of directories instead of calling itself.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::limits::{MAX_ENTRIES, MAX_FILES, MAX_PATH};
use crate::base::text::{brief, brief_path};

/// Finds files for one upstream file.
pub(super) struct Finder {
    entries_left: usize,
}

impl Finder {
    /// Nothing is found yet.
    pub fn new() -> Self {
        Finder { entries_left: MAX_ENTRIES }
    }

    /// The files that `pattern` names in the first of `directories` that has any.
    pub fn find(&mut self, pattern: &str, directories: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
        if pattern.len() > MAX_PATH {
            return Err(format!(
                "the path of this @INCLUDE has {} bytes; at most {MAX_PATH} are allowed",
                pattern.len()
            ));
        }
        let nowhere = [PathBuf::new()];
        let directories = if Path::new(pattern).is_absolute() { &nowhere } else { directories };
        let wild = is_wild(pattern);
        for directory in directories {
            // If a file has exactly this name, the pattern characters in it are part of the name.
            let path = directory.join(pattern);
            if std::fs::symlink_metadata(&path).is_ok() {
                return Ok(vec![path]);
            }
            if wild {
                let found = self
                    .matches(pattern, directory)
                    .map_err(|cause| format!("@INCLUDE {}: {cause}", brief(pattern)))?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        let looked = directories.iter().map(|directory| brief_path(&directory.join(pattern)));
        let looked: Vec<String> = looked.collect();
        let what = if wild { "no file matches" } else { "there is no such file" };
        Err(format!("@INCLUDE {}: {what}; looked for {}", brief(pattern), looked.join(", then ")))
    }

    /// The files that a pattern names in a directory, sorted part by part.
    fn matches(&mut self, pattern: &str, directory: &Path) -> Result<Vec<PathBuf>, String> {
        let root = if pattern.starts_with('/') { Path::new("/") } else { directory };
        let parts = parts(pattern)?;
        let mut found = Vec::new();
        // The path so far, and the number of the part that comes next. The last one is the first
        // by name.
        let mut open = vec![(root.to_path_buf(), 0)];
        while let Some((path, at)) = open.pop() {
            match parts.get(at) {
                None if found.len() == MAX_FILES => {
                    return Err(format!("names more than {MAX_FILES} files; include fewer"));
                }
                None => found.push(path),
                Some(Part::Name(name)) => {
                    self.count(1)?;
                    let next = path.join(name);
                    // The last part names a file that exists; the others are looked at by what
                    // comes after them.
                    if std::fs::symlink_metadata(&next).is_ok() {
                        open.push((next, at + 1));
                    }
                }
                Some(Part::Wild(wild)) => {
                    let mut names = self.names(&path, wild)?;
                    names.sort_unstable_by(|a, b| b.cmp(a));
                    open.extend(names.into_iter().map(|name| (path.join(name), at + 1)));
                }
            }
        }
        Ok(found)
    }

    /// The names in a directory that match. None if it is no directory.
    fn names(&mut self, path: &Path, wild: &Pattern) -> Result<Vec<std::ffi::OsString>, String> {
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let entries = match std::fs::read_dir(here) {
            Ok(entries) => entries,
            Err(error) => match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    return Ok(Vec::new());
                }
                _ => return Err(format!("{} cannot be read: {error}", brief_path(here))),
            },
        };
        let mut names = Vec::new();
        for entry in entries {
            self.count(1)?;
            let entry =
                entry.map_err(|error| format!("{} cannot be read: {error}", brief_path(here)))?;
            if fits(wild, &entry.file_name()) {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }

    fn count(&mut self, entries: usize) -> Result<(), String> {
        match self.entries_left.checked_sub(entries) {
            Some(left) => self.entries_left = left,
            None => {
                return Err(format!(
                    "more than {MAX_ENTRIES} directory entries would have to be looked at; name \
                     the files, or a smaller directory"
                ));
            }
        }
        Ok(())
    }
}

/// A part of a pattern, between two slashes.
enum Part<'a> {
    Name(&'a str),
    Wild(Pattern),
}

fn parts(pattern: &str) -> Result<Vec<Part<'_>>, String> {
    let parts = pattern.split('/').filter(|part| !matches!(*part, "" | "."));
    parts
        .map(|part| match is_wild(part) {
            false => Ok(Part::Name(part)),
            true => Pattern::new(&one_star(part))
                .map(Part::Wild)
                .map_err(|error| format!("not a valid pattern ({}); fix it", error.msg)),
        })
        .collect()
}

fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Whether a name matches. A name that begins with a dot does only if the pattern writes it. The
/// crate's option for this also hides names whose dot is written.
fn fits(wild: &Pattern, name: &OsStr) -> bool {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let name = name.to_string_lossy();
    (!name.starts_with('.') || wild.as_str().starts_with('.')) && wild.matches_with(&name, options)
}

/// The crate takes `**` for "any directories"; glob(3) takes it for `*`.
fn one_star(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    for sign in pattern.chars() {
        if sign != '*' || !text.ends_with('*') {
            text.push(sign);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first [x]"), root.path().join("second"));
        std::fs::create_dir_all(first.join("sub")).unwrap();
        std::fs::create_dir(&second).unwrap();
        for file in ["b.conf", "a.conf", ".hidden.conf", "sub/c.conf", "odd[1].conf"] {
            std::fs::write(first.join(file), "").unwrap();
        }
        std::fs::write(second.join("only.conf"), "").unwrap();
        let directories = [first.clone(), second.clone()];
        let name = |path: &Path| path.strip_prefix(root.path()).unwrap().display().to_string();
        let named = |pattern: &str| -> Result<Vec<String>, String> {
            Finder::new()
                .find(pattern, &directories)
                .map(|files| files.iter().map(|file| name(file)).collect())
        };
        let absolute = format!("{}/b.conf", first.display());
        for (pattern, expected) in [
            ("a.conf", vec!["first [x]/a.conf"]),
            (absolute.as_str(), vec!["first [x]/b.conf"]),
            ("*.conf", vec!["first [x]/a.conf", "first [x]/b.conf", "first [x]/odd[1].conf"]),
            ("?.conf", vec!["first [x]/a.conf", "first [x]/b.conf"]),
            ("[b-z].conf", vec!["first [x]/b.conf"]),
            ("**/*.conf", vec!["first [x]/sub/c.conf"]),
            ("odd[1].conf", vec!["first [x]/odd[1].conf"]),
            (".h*.conf", vec!["first [x]/.hidden.conf"]),
            ("only*", vec!["second/only.conf"]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(named(pattern), Ok(expected), "{pattern}");
        }
        let (first, second) = (first.display(), second.display());
        for (pattern, expected) in [
            (
                "x.conf",
                format!(
                    "@INCLUDE x.conf: there is no such file; looked for {first}/x.conf, then \
                     {second}/x.conf"
                ),
            ),
            (
                "x*.conf",
                format!(
                    "@INCLUDE x*.conf: no file matches; looked for {first}/x*.conf, then \
                     {second}/x*.conf"
                ),
            ),
            ("/nowhere/*", "@INCLUDE /nowhere/*: no file matches; looked for /nowhere/*".into()),
        ] {
            assert_eq!(named(pattern), Err(expected), "{pattern}");
        }
        assert!(named("[a").unwrap_err().starts_with("@INCLUDE [a: not a valid pattern ("));
    }

    /// Both would have taken minutes, or the stack.
    #[test]
    fn a_search_ends_however_the_pattern_is_written() {
        let root = tempfile::tempdir().unwrap();
        let many = root.path().join("many");
        std::fs::create_dir(&many).unwrap();
        for number in 0..400 {
            std::fs::write(many.join(number.to_string()), "").unwrap();
        }
        std::fs::create_dir(many.join("d")).unwrap();
        std::os::unix::fs::symlink(".", many.join("d/self")).unwrap();
        let find = |pattern: String| {
            let found = Finder::new().find(&pattern, &[root.path().to_path_buf()]);
            found
                .map(|files| files.len())
                .map_err(|cause| cause.replace(&*brief(&pattern), "PATTERN"))
        };
        let entries = "@INCLUDE PATTERN: more than 100000 directory entries would have to be \
                       looked at; name the files, or a smaller directory";
        for (pattern, expected) in [
            (format!("many/{}39*", "./".repeat(2000)), Ok(11)),
            (format!("many/d/{}sel?", "self/".repeat(30)), Ok(1)),
            (format!("many/d{}", "/*".repeat(30)), Ok(1)),
            // Each of the 400 files is looked at as a folder, for each way round.
            (format!("many{}", "/*/../../many".repeat(200) + "/*"), Err(entries.to_owned())),
            ("/sys/*/*/*/*/*/*/*/*/x".to_owned(), Err(entries.to_owned())),
        ] {
            let found = find(pattern.clone());
            // A machine may hide what is in /sys.
            if pattern.starts_with("/sys") && found.as_ref() != Err(&entries.to_owned()) {
                assert!(found.is_err(), "{found:?}");
                continue;
            }
            assert_eq!(found, expected, "{pattern}");
        }
        let long = find("x/".repeat(2048)).unwrap_err();
        assert_eq!(long, "the path of this @INCLUDE has 4096 bytes; at most 4095 are allowed");
        let missing = find("y".repeat(4000)).unwrap_err();
        assert!(missing.len() < 1000 && missing.contains(": there is no such file;"), "{missing}");
    }

    /// What one pattern used up is not there for the next.
    #[test]
    fn the_entries_are_counted_over_all_patterns() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..999 {
            std::fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        let mut finder = Finder::new();
        let mut find = || finder.find("5?5", &[root.path().to_path_buf()]).map(|files| files.len());
        for _ in 0..100 {
            assert_eq!(find(), Ok(10));
        }
        assert!(find().unwrap_err().contains("more than 100000 directory entries"));
    }
}
