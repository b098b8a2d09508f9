//! The keys in `docs/configuration.md` and `README.md` are those of the sources.
//! `UPSTREAM_BLESS=1` rewrites them.

use std::path::Path;

use upstream::{overview, reference};

const START: &str = "<!-- The table is made from";
const END: &str = "<!-- /table -->";

#[test]
fn the_documents_hold_the_key_table_of_the_sources() {
    for (name, table) in [("docs/configuration.md", reference()), ("README.md", overview())] {
        assert!(table.lines().all(|line| line.len() <= 100), "{name}: a line is over 100 columns");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let committed = std::fs::read_to_string(&path).expect("the document is readable");
        let start = committed.find(START).expect("the mark before the table");
        let start = start + committed[start..].find('\n').expect("the mark ends its line") + 1;
        let end = start + committed[start..].find(END).expect("the mark behind the table");
        let made = format!("{}\n{table}\n{}", &committed[..start], &committed[end..]);
        if std::env::var_os("UPSTREAM_BLESS").is_some() {
            std::fs::write(&path, &made).expect("the document can be written");
        } else {
            assert!(
                committed == made,
                "{name} is not what the key table says; \
                 run UPSTREAM_BLESS=1 cargo test --test configuration_doc"
            );
        }
    }
}
