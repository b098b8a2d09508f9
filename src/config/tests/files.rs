//! Files: the main one, those it includes, and those its `tls.*` keys name.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A directory of files, and its path as text.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let path = directory.path().display().to_string();
    (directory, path)
}

fn load_text(path: &str) -> Result<Definition> {
    load(Path::new(path), &Options::default())
}

fn options(key: &str, value: &str) -> Options {
    let mut options = Options::default();
    options.set(key, value).unwrap();
    options
}

fn names(definition: &Definition) -> Vec<&str> {
    definition.nodes.iter().map(|node| node.name.as_str()).collect()
}

const UPSTREAM: &str = "[UPSTREAM]\nname u\n";

fn one(name: &str) -> String {
    format!("[NODE]\nname {name}\nhost h\nport 1\n")
}

#[test]
fn a_main_file_that_cannot_be_read_is_an_io_error_and_never_waited_for() {
    let (directory, root) = directory(&[("f/x", "")]);
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let large = fs::File::create(directory.path().join("large")).unwrap();
    large.set_len((32 << 20) + 1).unwrap();
    symlink("loop", directory.path().join("loop")).unwrap();
    let working = std::env::current_dir().unwrap();
    for (path, errno, expected) in [
        (format!("{root}/none"), libc::ENOENT, format!("{root}/none: there is no such file")),
        (format!("{root}/f"), 0, format!("{root}/f: is a directory; name a file in it")),
        (format!("{root}/fifo"), 0, format!("{root}/fifo: is a FIFO; name a regular file")),
        (
            format!("{root}/large"),
            0,
            format!(
                "{root}/large: the upstream file with its includes is over 32 MiB; make it smaller"
            ),
        ),
        (
            format!("{root}/loop"),
            libc::ELOOP,
            format!("{root}/loop: Too many levels of symbolic links (os error 40)"),
        ),
        (
            "nowhere.conf".into(),
            libc::ENOENT,
            format!(
                "nowhere.conf: there is no such file; looked in the working directory {}; give an \
                 absolute path, or set the option config.dir",
                working.display()
            ),
        ),
    ] {
        let error = load_text(&path).unwrap_err();
        assert_eq!((error.status, error.errno, error.line()), (Status::Io, errno, 0), "{path}");
        assert_eq!(error.to_string(), expected);
    }
    let error = load(Path::new("nowhere.conf"), &options("config.dir", &root)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "nowhere.conf: there is no such file; looked in the working directory {}, then in \
             {root} (config.dir)",
            working.display()
        )
    );
}

#[test]
fn a_relative_main_file_is_found_under_config_dir() {
    let (_directory, root) = directory(&[("sub/up.conf", &node(""))]);
    let definition = load(Path::new("sub/up.conf"), &options("config.dir", &root)).unwrap();
    assert_eq!(*properties_of(&definition, 0)[0].position.file, *format!("{root}/sub/up.conf"));
}

#[test]
fn includes_are_read_in_their_place() {
    let (_directory, root) = directory(&[
        (
            "main.conf",
            "@SET P=7\n@INCLUDE sub/up.conf\n[NODE]\nname a\nhost h\n @include sub/n*.conf\nport \
             ${Q}\n",
        ),
        ("sub/up.conf", "[UPSTREAM]\nname u\n@INCLUDE nested.conf"),
        ("sub/nested.conf", "@SET Q=9\n"),
        ("sub/n2.conf", "[NODE]\nname c\nhost h\nport ${P}"),
        ("sub/n1.conf", "[NODE]\nname b\nhost h\nport 1\nk ${Q}"),
    ]);
    let definition = load_text(&format!("{root}/main.conf")).unwrap();
    // The section goes on behind the @INCLUDE within it.
    assert_eq!(names(&definition), ["a", "b", "c"]);
    assert_eq!(definition.nodes.iter().map(|node| node.port).collect::<Vec<_>>(), [9, 1, 7]);
    assert_eq!(property(&definition, 1, "k").as_deref(), Some("9"));
    let position = &properties_of(&definition, 1)[0].position;
    assert_eq!(position.to_string(), format!("{root}/sub/n1.conf:2:1"));
}

#[test]
fn includes_of_a_text_are_looked_for_in_config_dir() {
    let (_directory, root) = directory(&[("n.conf", &one("a"))]);
    let text = format!("{UPSTREAM}@INCLUDE n.conf");
    let definition = parse(text.as_bytes(), "text", &options("config.dir", &root)).unwrap();
    assert_eq!(names(&definition), ["a"]);
    assert_eq!(
        parse(text.as_bytes(), "text", &Options::default()).unwrap_err().to_string(),
        "text:3:10: @INCLUDE n.conf: there is no such file; looked for n.conf"
    );
}

#[test]
fn refused_includes() {
    let deep: Vec<(String, String)> =
        (0..40).map(|i| (format!("d{i}"), format!("@INCLUDE d{}", i + 1))).collect();
    let mut files: Vec<(&str, &str)> = deep.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let large = "#".repeat(20 << 20);
    files.extend([
        ("missing", "\n  @INCLUDE  nowhere/x.conf"),
        ("none", "@INCLUDE nowhere/*.conf"),
        ("self", "@INCLUDE self"),
        ("ring1", "@INCLUDE ring2"),
        ("ring2", "\n@INCLUDE ./ring1"),
        ("directory", "@INCLUDE sub"),
        ("sub/x", ""),
        ("yaml", "@INCLUDE a.yaml"),
        ("a.yaml", ""),
        ("orphan", "[UPSTREAM]\n@INCLUDE line"),
        ("line", " name u"),
        ("second", "[UPSTREAM]\nname u\n@INCLUDE up"),
        ("up", "\n[UPSTREAM]\nname v"),
        ("twice", "[UPSTREAM]\nname u\n@INCLUDE node\n@INCLUDE node"),
        ("node", "[NODE]\nname n\nhost h\nport 1"),
        ("bad", "@INCLUDE badly"),
        ("badly", "# \0"),
        ("sum", "@INCLUDE large\n@INCLUDE large"),
        ("large", &large),
    ]);
    let (_directory, root) = directory(&files);
    let include = |file: &str| format!("@INCLUDE {root}/{file}");
    for (file, expected) in [
        (
            "missing",
            format!(
                "missing:2:13: @INCLUDE nowhere/x.conf: there is no such file; looked for \
                 {root}/nowhere/x.conf"
            ),
        ),
        (
            "none",
            format!(
                "none:1:10: @INCLUDE nowhere/*.conf: no file matches; looked for \
                 {root}/nowhere/*.conf"
            ),
        ),
        (
            "self",
            format!(
                "self:1:10: {}: the file includes itself, directly or through others; remove this \
                 line",
                include("self")
            ),
        ),
        (
            "ring1",
            format!(
                "ring2:2:10: {}: the file includes itself, directly or through others; remove this \
                 line",
                include("./ring1")
            ),
        ),
        (
            "directory",
            format!("directory:1:10: {}: is a directory; name a file in it", include("sub")),
        ),
        (
            "yaml",
            format!(
                "yaml:1:10: {}: this version does not read the YAML form; write the file in the \
                 classic form",
                include("a.yaml")
            ),
        ),
        (
            "orphan",
            "line:1:2: \"name\" comes before the first section; put [UPSTREAM] or [NODE] above it"
                .into(),
        ),
        (
            "second",
            format!(
                "up:2:1: this is a second [UPSTREAM], the first one is on {root}/second:1; a file \
                 may have only one, so make two files"
            ),
        ),
        (
            "twice",
            "node:2:6: two nodes have the name \"n\", the first one on line 2; rename one".into(),
        ),
        ("bad", "badly:1:3: there is a NUL byte here; save the file as text in UTF-8".into()),
        (
            "sum",
            format!(
                "sum:2:10: {}: the upstream file with its includes is over 32 MiB; make it smaller",
                include("large")
            ),
        ),
        (
            "d0",
            format!(
                "d32:1:10: {}: includes are nested more than 32 deep; nest fewer",
                include("d33")
            ),
        ),
    ] {
        let error = load_text(&format!("{root}/{file}")).unwrap_err();
        assert_eq!(error.status, Status::Config);
        assert_eq!(error.to_string(), format!("{root}/{expected}"));
    }
}

#[test]
fn an_include_that_doubles_itself_is_bounded() {
    let files: Vec<(String, String)> = (0..30)
        .map(|i| (format!("d{i}"), format!("@INCLUDE d{0}\n@INCLUDE d{0}", i + 1)))
        .collect();
    let mut files: Vec<(&str, &str)> =
        files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    files.push(("d30", ""));
    let (_directory, root) = directory(&files);
    let message = load_text(&format!("{root}/d0")).unwrap_err().to_string();
    assert!(message.ends_with(": more than 10000 files are included; include fewer"), "{message}");
}

#[test]
fn tls_files_are_found_beside_the_file_that_names_them() {
    let (_directory, root) = directory(&[
        ("main.conf", "[UPSTREAM]\nname u\n@INCLUDE sub/n.conf\n"),
        (
            "sub/n.conf",
            "[NODE]\nname n\nhost h\nport 1\ntls on\n tls.ca_file tls/ca.pem\ntls.ca_path \
             tls\ntls.crt_file tls/c.pem\ntls.key_file tls/c.key\ntls.key_passwd p w",
        ),
        ("sub/tls/ca.pem", "x"),
        ("sub/tls/c.pem", "x"),
        ("sub/tls/c.key", "x"),
    ]);
    let definition = load_text(&format!("{root}/main.conf")).unwrap();
    let tls = definition.nodes[0].settings.tls.as_ref().unwrap();
    let shown = |file: &Option<TlsFile>| {
        let file = file.as_ref().unwrap();
        format!("{} {}", file.position, file.path.display()).replace(&root, "")
    };
    let files = [&tls.ca_file, &tls.ca_path, &tls.crt_file, &tls.key_file].map(shown);
    assert_eq!(
        files,
        [
            "/sub/n.conf:6:2 /sub/tls/ca.pem",
            "/sub/n.conf:7:1 /sub/tls",
            "/sub/n.conf:8:1 /sub/tls/c.pem",
            "/sub/n.conf:9:1 /sub/tls/c.key",
        ]
    );
    assert_eq!(tls.key_passwd.as_deref(), Some("p w"));
}

#[test]
fn config_dir_goes_before_the_directory_of_the_file_and_behind_the_working_directory() {
    let text = format!(
        "{UPSTREAM}tls on\ntls.ca_file ca.pem\n{}tls.key_file k\ntls.crt_file k\n",
        one("a")
    );
    let (_directory, root) = directory(&[
        ("main.conf", &text),
        ("ca.pem", "x"),
        ("k", "x"),
        ("dir/ca.pem", "x"),
        ("dir/Cargo.toml", "x"),
    ]);
    let options = options("config.dir", &format!("{root}/dir"));
    let definition = load(Path::new(&format!("{root}/main.conf")), &options).unwrap();
    let tls = definition.nodes[0].settings.tls.clone().unwrap();
    assert_eq!(tls.ca_file.as_ref().unwrap().path, Path::new(&format!("{root}/dir/ca.pem")));
    assert_eq!(tls.key_file.as_ref().unwrap().path, Path::new(&format!("{root}/k")));

    let definition =
        parse(node("tls on\ntls.ca_file Cargo.toml").as_bytes(), "f", &options).unwrap();
    let tls = definition.nodes[0].settings.tls.clone().unwrap();
    assert_eq!(tls.ca_file.as_ref().unwrap().path, Path::new("Cargo.toml"));
}

#[test]
fn refused_tls_files() {
    let (directory, root) =
        directory(&[("empty.pem", ""), ("ca.pem", "x"), ("main.conf", ""), ("hollow/sub/x", "")]);
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("nowhere", directory.path().join("dangling")).unwrap();
    let options = options("config.dir", "/nowhere");
    let path = format!("{root}/main.conf");
    for (line, column, expected) in [
        (
            "tls.ca_file  no.pem",
            14,
            format!(
                "tls.ca_file: there is no file \"no.pem\"; looked for no.pem, then \
                 /nowhere/no.pem, then {root}/no.pem"
            ),
        ),
        (
            "tls.ca_file /no.pem",
            13,
            "tls.ca_file: there is no file \"/no.pem\"; looked for /no.pem".into(),
        ),
        (
            "tls.ca_file \"/ca.pem\"",
            13,
            format!(
                "tls.ca_file: there is no file \"\\\"/ca.pem\\\"\"; looked for \"/ca.pem\", then \
                 /nowhere/\"/ca.pem\", then {root}/\"/ca.pem\"; write the value without quotes"
            ),
        ),
        (
            "tls.ca_file empty.pem",
            13,
            format!("tls.ca_file: {root}/empty.pem: the file is empty; put the PEM text in it"),
        ),
        (
            "tls.ca_file hollow",
            13,
            format!("tls.ca_file: {root}/hollow: is a directory; name a file in it"),
        ),
        (
            "tls.ca_file fifo",
            13,
            format!("tls.ca_file: {root}/fifo: is a FIFO; name a regular file"),
        ),
        (
            "tls.ca_file dangling",
            13,
            format!("tls.ca_file: {root}/dangling: there is no such file"),
        ),
        (
            "tls.ca_path hollow",
            13,
            format!(
                "tls.ca_path: {root}/hollow: the directory has no file; put PEM files of trust \
                 roots in it"
            ),
        ),
        (
            "tls.ca_path ca.pem",
            13,
            format!("tls.ca_path: {root}/ca.pem: is not a directory; set tls.ca_file for a file"),
        ),
        (
            "tls.ca_path none",
            13,
            format!(
                "tls.ca_path: there is no directory \"none\"; looked for none, then /nowhere/none, \
                 then {root}/none"
            ),
        ),
    ] {
        fs::write(&path, node(&format!("tls on\n{line}"))).unwrap();
        let error = load(Path::new(&path), &options).unwrap_err();
        assert_eq!(error.status, Status::Config);
        assert_eq!(error.to_string(), format!("{path}:8:{column}: {expected}"));
    }
}

#[test]
fn tls_files_of_the_options_are_checked_with_the_file() {
    let options = options("tls.ca_file", "/nowhere/ca.pem");
    let error = parse(node("tls on").as_bytes(), "f", &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "options: tls.ca_file: there is no file \"/nowhere/ca.pem\"; looked for /nowhere/ca.pem"
    );
    assert!(parse(node("").as_bytes(), "f", &options).is_ok(), "a plaintext node needs no roots");
}

#[test]
fn a_privileged_process_does_not_ask_the_environment() {
    let text = |value: &str| format!("[UPSTREAM]\nname {value}\n[NODE]\nname n\nhost h\nport 1\n");
    let read = |is_privileged, text: &str| {
        with_environment(is_privileged, |environment| {
            parse_in(text.as_bytes(), "f", &Options::default(), environment)
        })
    };
    // PATH is set in each process.
    let open = read(false, &text("${PATH}")).unwrap();
    assert!(open.warnings.is_empty() && open.name == std::env::var("PATH").unwrap());
    let closed = read(true, &text("${PATH:-default}")).unwrap();
    assert_eq!(closed.name, "default");
    assert!(closed.warnings[0].contains("PATH of the environment is not used"));
    let refused = read(true, &text("${PATH}")).unwrap_err().to_string();
    assert!(refused.starts_with("f:2:6: the variable PATH is not set"), "{refused}");
    assert!(refused.contains("AT_SECURE"), "{refused}");
    let set = read(true, &format!("@SET PATH=own\n{}", text("${PATH}"))).unwrap();
    assert!(set.warnings.is_empty() && set.name == "own");
}
