//! Warns of lines that have no effect because of other lines, so that nobody relies on them. It is
//! never an error. Options cause no warning, because a program sets them for every file.

use std::ops::Range;

use super::lines::{Given, Lines};
use super::settings::NodeSettings;
use super::warnings::{About, Warnings};
use super::words::Check;
use crate::base::wiped::Wiped;

/// Keys that have no effect under a certain setting.
struct Rule {
    /// Whether the node has that setting.
    holds: fn(&NodeSettings) -> bool,
    /// Whether the rule is about this key, which is in small letters.
    concerns: fn(&str) -> bool,
    /// The sentence before and after the words "this node" or "every node".
    why: (&'static str, &'static str),
    fix: &'static str,
}

const RULES: [Rule; 5] = [
    Rule {
        holds: |node| node.tls.is_none(),
        concerns: |key| key.starts_with("tls."),
        why: ("tls is off for", ", so connections are in plaintext and"),
        fix: "set tls on",
    },
    Rule {
        holds: |node| !node.net.keepalive,
        concerns: |key| key.starts_with("net.keepalive_"),
        why: ("net.keepalive is off for", ", so"),
        fix: "set net.keepalive on",
    },
    Rule {
        holds: |node| !node.net.tcp_keepalive,
        concerns: |key| key.starts_with("net.tcp_keepalive_"),
        why: ("net.tcp_keepalive is off for", ", so"),
        fix: "set net.tcp_keepalive on",
    },
    Rule {
        holds: |node| node.net.prefer_ipv4 && node.net.prefer_ipv6,
        concerns: |key| key == "net.dns.prefer_ipv4",
        why: ("net.dns.prefer_ipv6 is on too for", ", so"),
        fix: "set only one of the two",
    },
    Rule {
        holds: |node| node.health.check == Check::Off,
        concerns: |key| key == "health.interval",
        why: ("health.check is off for", ", so"),
        fix: "set health.check tcp or tls",
    },
];

/// Whether any rule is about this key, which is in small letters.
pub(super) fn may_be_idle(key: &str) -> bool {
    RULES.iter().any(|rule| (rule.concerns)(key))
}

/// Warns of a node's own lines.
pub(super) fn warn_of_node(
    lines: &Lines,
    own: &Range<u32>,
    settings: &NodeSettings,
    warnings: &mut Warnings,
) {
    for rule in RULES.iter().filter(|rule| (rule.holds)(settings)) {
        warn(rule, lines, own, "this node", warnings);
    }
}

/// Warns of a node's own lines that concern TCP, if its host is a socket of this machine.
pub(super) fn warn_of_local(lines: &Lines, own: &Range<u32>, warnings: &mut Warnings) {
    const OF_TCP: Rule = Rule {
        holds: |_| true,
        concerns: |key| {
            ["port", "net.source_address", "net.proxy"].contains(&key)
                || ["net.tcp_keepalive", "net.dns.", "dns."].iter().any(|of| key.starts_with(of))
        },
        why: ("the host is a socket of this machine for", ", so"),
        fix: "remove them, or give a host name or address",
    };
    warn(&OF_TCP, lines, own, "this node", warnings);
}

/// Warns of the lines of `[UPSTREAM]` that have no effect for any node.
pub(super) fn warn_of_set<'a>(
    lines: &Lines,
    own: &Range<u32>,
    nodes: impl Iterator<Item = &'a NodeSettings> + Clone,
    warnings: &mut Warnings,
) {
    let concerns_any = |rule: &&Rule| idle_by(rule, lines, own).next().is_some();
    for rule in RULES.iter().filter(concerns_any).filter(|rule| nodes.clone().all(rule.holds)) {
        warn(rule, lines, own, "every node", warnings);
    }
}

fn warn(rule: &Rule, lines: &Lines, own: &Range<u32>, whose: &str, warnings: &mut Warnings) {
    let mut idle = idle_by(rule, lines, own);
    if let Some(first) = idle.next() {
        let keys: Vec<&str> = std::iter::once(first).chain(idle).map(Given::key).collect();
        let has = if keys.len() == 1 { "has" } else { "have" };
        let ((setting, so), keys, fix) = (rule.why, keys.join(", "), rule.fix);
        let text = format!("{setting} {whose}{so} {keys} {has} no effect; {fix}");
        warnings.add(About::NoEffect, &first.position(), &text);
    }
}

fn idle_by<'a>(rule: &Rule, lines: &'a Lines, own: &Range<u32>) -> impl Iterator<Item = Given<'a>> {
    let own = own.clone().map(|line| lines.line(line));
    // -1 is the agent's way to leave a value to the system; nothing is asked for.
    let own = own.filter(|line| line.value() != "-1");
    own.filter(|line| (rule.concerns)(&Wiped::new(line.key().to_ascii_lowercase())))
}
