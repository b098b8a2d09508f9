//! Large files are read in one pass: the work grows with the text, not with its square.

use super::*;

#[test]
fn a_hundred_thousand_nodes() {
    let mut text = String::from("[UPSTREAM]\nname u\n");
    for i in 0..100_000 {
        text += &format!("[NODE]\nname n{i}\nhost h\nport 1\nshared_key s\n");
    }
    let definition = check(&text).unwrap();
    assert_eq!(definition.nodes.len(), 100_000);
    assert_eq!(definition.nodes[99_999].name, "n99999");
    text += "[NODE]\nhost h\nport 1\nname n0";
    assert_eq!(
        refusal(&text),
        "f:500006:6: a second node of the name \"n0\", the first is on line 4; rename one"
    );
}

#[test]
fn a_hundred_thousand_keys_in_one_node() {
    let lines: String = (0..100_000).map(|i| format!("key{i} v\n")).collect();
    let definition = check(node(&lines)).unwrap();
    assert_eq!(properties_of(&definition, 0).len(), 100_003);
    assert_eq!(definition.warnings, [""; 0]);
}
