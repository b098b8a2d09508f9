//! Writes a measured row as one line of JSON. The versions in it come from the lock file with which
//! the program was built; they are never typed by hand.

use crate::measure::{Spread, Timing};
use std::fmt;

const LOCK_FILE: &str = include_str!("../Cargo.lock");

pub struct Row<'a> {
    pub nodes: usize,
    pub threads: usize,
    pub who: &'a str,
    pub timing: Timing,
    pub spread: Spread,
    pub note: &'a str,
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { nodes, threads, timing, spread, .. } = self;
        let (who, note) = (escaped(self.who), escaped(self.note));
        write!(
            f,
            concat!(
                r#"{{"suite":"pick","case":"{} nodes","threads":{},"who":"{}","unit":"ns/pick","#,
                r#""value":{:.2},"#,
                r#""floor":{:.2},"ratio":{:.2},"deviation":{},"longest_run":{},"note":"{}"}}"#
            ),
            nodes,
            threads,
            who,
            timing.value,
            timing.floor,
            timing.ratio,
            spread.deviation,
            spread.longest_run,
            note
        )
    }
}

/// "name version" of a dependency, as the lock file pins it.
pub fn crate_version(name: &str) -> String {
    let named = format!("name = \"{name}\"");
    let mut lines = LOCK_FILE.lines().skip_while(|line| *line != named).skip(1);
    let version =
        lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    format!("{name} {}", version.expect("Cargo.lock names the version after the crate"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
