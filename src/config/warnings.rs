//! Warnings about a configuration, to be logged. A file of 32 MiB may give a million of them, so
//! only the first ones of each kind are kept, and the others are counted.

use std::collections::HashSet;

use crate::base::error::Position;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A section that is not read.
    Section,
    /// A key that is probably misspelled, or another program's.
    Key,
    /// A line that has no effect.
    NoEffect,
    /// A value that does not mean what it says.
    Value,
    /// A secret that others may read.
    Secret,
}

/// Each kind, and its name in the line that counts what was left out.
const KINDS: [(About, &str); 5] = [
    (About::Section, "unknown sections"),
    (About::Key, "unknown keys"),
    (About::NoEffect, "lines without effect"),
    (About::Value, "values"),
    (About::Secret, "files that hold a secret"),
];

/// How many warnings of one kind are kept.
const MOST: usize = 25;

/// Warnings, each only once.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    lines: Vec<String>,
    said: HashSet<String>,
    /// How many of each kind were kept, and how many were not.
    counts: [(usize, usize); KINDS.len()],
    /// How often a warning was added, repeated ones included.
    tries: usize,
}

impl Warnings {
    /// Adds a warning.
    pub fn add(&mut self, about: About, position: &Position, text: &str) {
        self.tries += 1;
        let line = format!("{position}: {text}");
        if self.said.contains(&line) {
            return;
        }
        let (kept, more) = &mut self.counts[about as usize];
        if *kept == MOST {
            *more += 1;
            return;
        }
        *kept += 1;
        self.said.insert(line.clone());
        self.lines.push(line);
    }

    /// Counts a warning of this kind, if no more of them are kept. So nobody has to write its text.
    pub fn only_counts(&mut self, about: About) -> bool {
        let (kept, more) = &mut self.counts[about as usize];
        *more += usize::from(*kept == MOST);
        *kept == MOST
    }

    /// Adds a warning, unless there is one about this `subject` already, for whatever position. The
    /// subject is one of the library's words, so there are few.
    pub fn add_once(&mut self, about: About, subject: &str, position: &Position, text: &str) {
        if self.said.contains(subject) {
            self.tries += 1;
        } else {
            self.said.insert(subject.to_owned());
            self.add(about, position, text);
        }
    }

    /// How often a warning was added so far, repeated ones included.
    pub fn tries(&self) -> usize {
        self.tries
    }

    /// The lines, then a line for each kind of which some were left out.
    pub fn finish(mut self) -> Vec<String> {
        for ((_, name), (_, more)) in KINDS.iter().zip(self.counts) {
            if more > 0 {
                self.lines.push(format!("{more} more warnings about {name} are left out"));
            }
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_place_and_what_is_left_out_is_counted() {
        assert!(KINDS.iter().enumerate().all(|(at, (about, _))| *about as usize == at));
        let at = |line| Position { file: "f".into(), line, column: 1 };
        let mut warnings = Warnings::default();
        for line in 1..=1_000_000 {
            warnings.add(About::Section, &at(line), "x");
        }
        warnings.add(About::Key, &at(1), "y");
        warnings.add(About::Key, &at(1), "y");
        warnings.add_once(About::NoEffect, "z", &at(1), "z");
        warnings.add_once(About::NoEffect, "z", &at(2), "z");
        assert_eq!((warnings.tries(), warnings.said.len()), (1_000_004, MOST + 3));
        let lines = warnings.finish();
        let more = "999975 more warnings about unknown sections are left out";
        assert_eq!(lines[MOST - 1..], ["f:25:1: x", "f:1:1: y", "f:1:1: z", more]);
    }
}
