//! The key tables in `docs/configuration.md` and `README.md` are the one in the sources. `UPSTREAM_BLESS=1` rewrites them.

use std::path::Path;

const END: &str = "<!-- /table -->";

#[test]
fn the_documents_hold_the_key_table_of_the_sources() {
    for name in ["docs/configuration.md", "README.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let committed = std::fs::read_to_string(&path).expect("the document is readable");
        let start = committed.find("<!-- The table is made from").expect("the mark before the table");
        let start = start + committed[start..].find('\n').expect("the mark ends its line") + 1;
        let end = start + committed[start..].find(END).expect("the mark behind the table");
        let table = upstream::config::keys::markdown();
        let made = format!("{}\n{table}\n{}", &committed[..start], &committed[end..]);
        if std::env::var_os("UPSTREAM_BLESS").is_some() {
            std::fs::write(&path, &made).expect("the document can be written");
        } else {
            assert!(
                committed == made,
                "{name} is not what the key table says; run UPSTREAM_BLESS=1 cargo test --test configuration_doc"
            );
        }
    }
}
