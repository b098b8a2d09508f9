//! Large files are read in one pass: the work grows with the text, not with its square.

use super::*;
use crate::config::limits::MAX_VALUE;

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
        "f:500006:6: two nodes have the name \"n0\", the first one on line 4; rename one"
    );
}

#[test]
fn a_hundred_thousand_keys_in_one_node() {
    let lines: String = (0..100_000).map(|i| format!("key{i} v\n")).collect();
    let definition = check(node(&lines)).unwrap();
    assert_eq!(properties_of(&definition, 0).len(), 100_003);
    assert_eq!(definition.warnings, [""; 0]);
}

#[test]
fn what_nodes_take_over_is_held_once_for_all_of_them() {
    let large = "x".repeat(MAX_VALUE);
    let nodes: String = (0..1000).map(|i| format!("[NODE]\nname n{i}\nhost h\nport 1\n")).collect();
    let definition = check(format!("[UPSTREAM]\nname u\nlarge {large}\n{nodes}")).unwrap();
    let value =
        |node: usize| definition.properties.get(definition.nodes[node].owner, b"large").unwrap();
    assert_eq!(value(999).len(), large.len() + 1);
    assert_eq!(value(0).as_ptr(), value(999).as_ptr());
}
