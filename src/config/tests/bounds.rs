//! What a file may ask for, and the error that names the bound. Each of these files once took
//! minutes, gigabytes or the stack, or could have.

use std::fs;

use super::*;
use crate::config::limits::*;

fn nodes(count: usize, lines: impl Fn(usize) -> String) -> String {
    let node = |i: usize| format!("[NODE]\nname n{i}\nhost h\nport 1\n{}", lines(i));
    (0..count).map(node).collect()
}

#[test]
fn variables_that_double_each_other_stop_at_the_longest_value() {
    let doubling: String =
        (1..40).map(|i| format!("@SET A{i}=${{A{0}}}${{A{0}}}\n", i - 1)).collect();
    let message = refusal(format!("@SET A0=lol\n{doubling}{}", node(" k ${A39}")));
    // 3 * 2^19 is over a MiB.
    assert_eq!(message, "f:20:16: with its variables the value is over 1048576 bytes; shorten it");
}

#[test]
fn what_is_trimmed_from_a_variable_counts_too() {
    let lines: String = (0..40).map(|i| format!(" k{i} ${{BLANKS}}\n")).collect();
    let blanks = |name: &str| (name == "BLANKS").then(|| " ".repeat(MAX_VALUE).into());
    let message = parse_in(node(&lines).as_bytes(), "f", &Options::default(), &blanks);
    assert_eq!(
        message.unwrap_err().to_string(),
        "f:39:6: the variables make the file more than 32 MiB longer; shorten them"
    );
}

#[test]
fn variables_and_their_uses() {
    let sets: String = (0..=MAX_VARIABLES).map(|i| format!("@SET A{i}=x\n")).collect();
    assert_eq!(refusal(sets), "f:10001:1: more than 10000 variables are set; set fewer");
    let uses = format!("{}x", "${X:-}".repeat(1000));
    let lines: String = (0..=1000).map(|i| format!("k{i} {uses}\n")).collect();
    assert_eq!(
        refusal(node(&lines)),
        "f:1007:7: variables are used more than 1000000 times; use fewer"
    );
}

#[test]
fn sections_lines_and_keys() {
    let sections = format!("[UPSTREAM]\nname u\n{}", "[NODE]\n".repeat(MAX_NODES + 1));
    assert_eq!(
        refusal(sections),
        "f:200003:1: the file has more than 200000 sections; make it smaller"
    );
    let lines = format!("[UPSTREAM]\n{}", "a b\n".repeat(MAX_LINES + 1));
    assert_eq!(
        refusal(lines),
        "f:2000002:1: there are more than 2000000 lines with a key; use fewer"
    );
    let keys: String = (0..=MAX_KEYS).map(|i| format!("k{i} v\n")).collect();
    assert_eq!(
        refusal(format!("[UPSTREAM]\n{keys}")),
        "f:200002:1: the file has more than 200000 different keys; use fewer"
    );
}

/// A table of all keys for each of them would be terabytes.
#[test]
fn nodes_with_different_keys_that_inherit_many() {
    let upstream: String = (0..2000).map(|i| format!("u{i} v\n")).collect();
    let head = format!("[UPSTREAM]\nname u\n{upstream}");
    let text = format!("{head}{}", nodes(600, |i| format!("k{i} v\n")));
    assert_eq!(
        refusal(text),
        "f:4503:1: nodes with different keys inherit more than 1000000 keys together; give fewer \
         keys in [UPSTREAM], or the same keys in the same order in each [NODE]"
    );
    assert!(check(format!("{head}{}", nodes(600, |_| "k v\n".into()))).is_ok());
}

#[test]
fn a_hundred_thousand_warnings_are_few_lines() {
    let text = node(&"[x]\n".repeat(100_000)) + &nodes(100_000, |_| "wieght 1\n".into());
    let warnings = check(text).unwrap().warnings;
    assert_eq!(warnings.len(), 52);
    assert_eq!(
        warnings[50..],
        [
            "99975 more warnings about unknown sections are left out",
            "99975 more warnings about unknown keys are left out"
        ]
    );
}

#[test]
fn an_include_that_looks_at_too_much() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..400 {
        fs::create_dir(root.path().join(number.to_string())).unwrap();
    }
    let main = root.path().join("main.conf");
    let load_with = |include: &str| {
        fs::write(&main, format!("{}@INCLUDE {include}\n", node(""))).unwrap();
        load(&main, &Options::default()).unwrap_err().to_string()
    };
    let place = format!("{}:7:10: @INCLUDE", main.display());
    assert_eq!(
        load_with("*/../*/../*/x"),
        format!(
            "{place} */../*/../*/x: more than 100000 directory entries would have to be looked at; \
             name the files, or a smaller directory"
        )
    );
    // A part of the path for each call of the function would take the stack.
    let deep = load_with(&format!("/*/{}", "./".repeat(2040)));
    assert!(deep.starts_with(&place), "{deep:.200}");
    let message = load_with(&"./".repeat(500_000));
    assert_eq!(
        message,
        format!(
            "{}:7:10: the path of this @INCLUDE has 1000000 bytes; at most 4095 are allowed",
            main.display()
        )
    );
}
