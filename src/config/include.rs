//! `@INCLUDE`: finds the files that a path or pattern names. A pattern works as in glob(3): the
//! files are sorted by name, a hidden file is found only if the pattern writes its dot, and `**` is
//! `*`.

use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::base::text::{brief, brief_path};

/// The most files that one pattern may name, and that one upstream file may include.
pub(super) const MAX_FILES: usize = 10_000;

/// The files that `pattern` names in the first of `directories` that has any.
pub(super) fn find(pattern: &str, directories: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let paths: Vec<PathBuf> = match Path::new(pattern).is_absolute() {
        true => vec![PathBuf::from(pattern)],
        false => directories.iter().map(|directory| directory.join(pattern)).collect(),
    };
    let wild = pattern.contains(['*', '?', '[']);
    for (index, path) in paths.iter().enumerate() {
        // If a file has exactly this name, the pattern characters in it are part of the name.
        if std::fs::symlink_metadata(path).is_ok() {
            return Ok(vec![path.clone()]);
        }
        if wild {
            let directory =
                if Path::new(pattern).is_absolute() { None } else { directories.get(index) };
            let found = matches(pattern, directory.map(PathBuf::as_path))?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    let looked: Vec<String> = paths.iter().map(|path| brief_path(path)).collect();
    let pattern = brief(pattern);
    let what = if wild { "no file matches" } else { "there is no such file" };
    Err(format!("@INCLUDE {pattern}: {what}; looked for {}", looked.join(", then ")))
}

fn matches(pattern: &str, directory: Option<&Path>) -> Result<Vec<PathBuf>, String> {
    let whole = match directory {
        None => one_star(pattern),
        Some(directory) if directory.as_os_str().is_empty() => one_star(pattern),
        Some(directory) => {
            format!("{}/{}", Pattern::escape(&directory.to_string_lossy()), one_star(pattern))
        }
    };
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let found = glob::glob_with(&whole, options).map_err(|error| {
        format!("@INCLUDE {}: not a valid pattern ({}); fix it", brief(pattern), error.msg)
    })?;
    let mut files = Vec::new();
    for file in found {
        let file = file.map_err(|error| format!("@INCLUDE {}: {error}", brief(pattern)))?;
        if !is_hidden_from(Path::new(pattern), &file) {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(format!(
                "@INCLUDE {}: names more than {MAX_FILES} files; include fewer",
                brief(pattern)
            ));
        }
    }
    Ok(files)
}

/// Whether a name begins with a dot that the pattern does not write. The crate has an option for
/// this, but it also hides names whose dot is written, and panics at a name that is not UTF-8.
fn is_hidden_from(pattern: &Path, file: &Path) -> bool {
    let starts_with_dot =
        |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    let parts = file.components().rev().zip(pattern.components().rev());
    parts.into_iter().any(|(name, written)| starts_with_dot(name) && !starts_with_dot(written))
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
            find(pattern, &directories).map(|files| files.iter().map(|file| name(file)).collect())
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
}
