//! The committed C header is what cbindgen makes of `src/ffi/`. `UPSTREAM_BLESS=1` rewrites it.

use std::path::Path;

#[test]
fn the_header_is_what_the_sources_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    config.header = Some(include_str!("../src/ffi/header.txt").trim_end().to_owned());
    config.after_includes = Some(version_macros());
    config.trailer = Some(include_str!("../src/ffi/trailer.txt").trim_end().to_owned());
    let mut builder = cbindgen::Builder::new().with_config(config);
    // One file per C object, in reading order.
    for object in [
        "status",
        "error",
        "options",
        "node",
        "set",
        "connection",
        "nonblocking",
        "deliver",
        "attempt",
        "stats",
    ] {
        builder = builder.with_src(root.join(format!("src/ffi/{object}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().expect("cbindgen reads src/ffi").write(&mut made);
    let made = String::from_utf8(made).expect("a header is text");

    let header = root.join("include/upstream/upstream.h");
    if std::env::var_os("UPSTREAM_BLESS").is_some() {
        std::fs::write(&header, &made).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&header).unwrap_or_default();
    assert!(
        committed == made,
        "include/upstream/upstream.h is not what src/ffi says; run UPSTREAM_BLESS=1 cargo test --test header"
    );
}

fn version_macros() -> String {
    let part = |name: &str, value: &str| format!("#define UPSTREAM_VERSION_{name} {value}\n");
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    let comment = "/* The version of this header; upstream_version() gives that of the library in use. */\n";
    let number = "/* 10000 * major + 100 * minor + patch, to compare with. */\n";
    [
        "\n",
        comment,
        &part("MAJOR", major),
        &part("MINOR", minor),
        &part("PATCH", patch),
        &part("STRING", &format!("\"{}\"", env!("CARGO_PKG_VERSION"))),
        number,
        &part(
            "NUMBER",
            "(UPSTREAM_VERSION_MAJOR * 10000 + UPSTREAM_VERSION_MINOR * 100 + UPSTREAM_VERSION_PATCH)",
        ),
    ]
    .concat()
}
