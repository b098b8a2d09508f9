//! The key table in `docs/configuration.md` is the one in the sources. `UPSTREAM_BLESS=1` rewrites it.

use std::path::Path;

const END: &str = "<!-- /table -->";

#[test]
fn the_reference_holds_the_key_table_of_the_sources() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let committed = std::fs::read_to_string(&path).expect("docs/configuration.md is readable");
    let start = committed.find("<!-- The table is made from").expect("the mark before the table");
    let start = start + committed[start..].find('\n').expect("the mark ends its line") + 1;
    let end = start + committed[start..].find(END).expect("the mark behind the table");
    let table = upstream::config::keys::markdown();
    let made = format!("{}\n{table}\n{}", &committed[..start], &committed[end..]);
    if std::env::var_os("UPSTREAM_BLESS").is_some() {
        std::fs::write(&path, &made).expect("docs/configuration.md can be written");
    } else {
        assert!(
            committed == made,
            "docs/configuration.md is not what the key table says; run UPSTREAM_BLESS=1 cargo test --test \
             configuration_doc"
        );
    }
}
