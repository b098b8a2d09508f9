//! Nodes whose sections are alike: what was found out about one is used again, and no more than
//! that.

use std::sync::Arc;

use super::*;

/// A file of nodes, each with lines of its own behind the four of its name, host and port.
fn nodes(lines: &[&str]) -> String {
    let node =
        |(index, lines): (usize, &&str)| format!("[NODE]\nname n{index}\nhost h\nport 1\n{lines}");
    format!("[UPSTREAM]\nname u\n{}", lines.iter().enumerate().map(node).collect::<String>())
}

fn seconds(definition: &Definition) -> Vec<(u64, u32)> {
    definition
        .nodes
        .iter()
        .map(|node| (node.settings.net.io_timeout.as_secs(), node.settings.weight))
        .collect()
}

#[test]
fn nodes_that_say_the_same_share_it_and_the_others_do_not() {
    let of = |seconds: u32, weight: u32| format!("net.io_timeout {seconds}s\nweight {weight}\n");
    let lines =
        [of(1, 1), of(1, 2), of(3, 2), of(1, 2), of(1, 9), String::new(), of(1, 9), String::new()];
    let definition = check(nodes(&lines.each_ref().map(String::as_str))).unwrap();
    assert_eq!(
        seconds(&definition),
        [(1, 1), (1, 2), (3, 2), (1, 2), (1, 9), (60, 1), (1, 9), (60, 1)]
    );
    let shares = |a: usize, b: usize| {
        Arc::ptr_eq(&definition.nodes[a].settings.net, &definition.nodes[b].settings.net)
    };
    assert!(shares(0, 1) && shares(3, 4) && shares(4, 6) && shares(5, 7));
    assert!(!shares(1, 2) && !shares(2, 3) && !shares(4, 5));
}

#[test]
fn the_same_keys_in_another_order_or_letter_case_are_told_apart() {
    let lines = [
        "a 1\nnet.io_timeout 1s\n",
        "net.io_timeout 2s\na 3\n",
        "A 4\nNET.io_timeout 3s\n",
        "a 5\n",
    ];
    let definition = check(nodes(&lines)).unwrap();
    assert_eq!(seconds(&definition), [(1, 1), (2, 1), (3, 1), (60, 1)]);
    let of_a: Vec<_> = (0..4).map(|node| property(&definition, node, "a")).collect();
    assert_eq!(of_a, ["1", "3", "4", "5"].map(|value| Some(value.to_owned())));
    assert_eq!(properties_of(&definition, 2)[3].key, "A");
}

#[test]
fn every_node_is_warned_of_on_its_own_line() {
    let lines = "wieght 5\ntls on\ntls.verify off\ntls.verify_hostname on\nhealth.interval \
                 3s\nslow_start 2s\n";
    let warnings = check(nodes(&[lines, lines])).unwrap().warnings;
    let of_node = |line: usize| {
        [
            format!("f:{line}:1: unknown key \"wieght\"; did you mean \"weight\"?"),
            format!(
                "f:{}:1: tls.verify_hostname has no effect while tls.verify is off: if nobody \
                 checks the chain, anyone can make a certificate with that name; set tls.verify on",
                line + 3
            ),
            format!(
                "f:{}:1: health.check is off for this node, so health.interval has no effect; set \
                 health.check tcp or tls",
                line + 4
            ),
        ]
    };
    let mut expected = [of_node(7), of_node(17)].concat();
    expected.insert(1, "f:12:1: slow_start has no effect in this version".into()); // once for all
    assert_eq!(warnings, expected);
}

#[test]
fn an_error_stands_where_the_odd_one_out_does() {
    for (odd, expected) in [
        (
            "net.io_timeout 1x\nweight 1\n",
            "f:19:16: net.io_timeout: \"1x\" is not a duration; write a whole number with ms, s, \
             m, h or d, such as 250ms or 10s",
        ),
        (
            "net.io_timeout 1s\nweight x\n",
            "f:20:8: weight: \"x\" is not a whole number from 0 to 1000",
        ),
        (
            "net.io_timeout 1s\nnet.io_timeout 1s\n",
            "f:20:1: net.io_timeout is set twice in this section, first on line 19; remove one",
        ),
        (
            "net.io_timeout 1s\nweigth\n",
            "f:20:1: the key \"weigth\" has no value; write one after it",
        ),
        ("net.io_timeout 1s\nstart first\n", "f:20:1: start belongs in [UPSTREAM]; move the line"),
    ] {
        let good = "net.io_timeout 1s\nweight 1\n";
        assert_eq!(refusal(nodes(&[good, good, odd])), expected);
    }
}
