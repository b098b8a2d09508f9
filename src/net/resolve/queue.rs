//! Whose lookup is next. Pure: the caller has the threads.
//!
//! Invariants: of one family at most [`THREADS`] lookups run; at most [`IN_VAIN`] of them are of
//! names whose last lookup got no answer, so that a dead part of the name space leaves threads to
//! the rest; every lookup has its turn, the oldest of its kind first.

use std::collections::VecDeque;

use super::family::Family;

/// How many lookups of one family run at once. A lookup that nobody answers takes 10 s and more, a
/// thread and a descriptor.
pub(super) const THREADS: usize = 8;

/// How many of them may be of names whose last lookup got no answer.
const IN_VAIN: usize = THREADS / 2;

/// What a running thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has just been started.
    Fresh,
    /// A name of which nothing bad is known.
    Usual,
    /// A name whose last lookup got no answer.
    InVain,
}

/// The lookups that wait, and how many run.
pub(super) struct Queue<L> {
    families: [Line<L>; 2],
}

struct Line<L> {
    usual: VecDeque<L>,
    in_vain: VecDeque<L>,
    running: usize,
    running_in_vain: usize,
}

impl<L> Default for Line<L> {
    fn default() -> Line<L> {
        let (usual, in_vain) = (VecDeque::new(), VecDeque::new());
        Line { usual, in_vain, running: 0, running_in_vain: 0 }
    }
}

impl<L> Default for Queue<L> {
    fn default() -> Queue<L> {
        Queue { families: Default::default() }
    }
}

impl<L> Line<L> {
    fn leave(&mut self, turn: Turn) {
        self.running_in_vain -= usize::from(turn == Turn::InVain);
    }
}

impl<L> Queue<L> {
    fn line(&mut self, family: Family) -> &mut Line<L> {
        &mut self.families[family as usize]
    }

    /// Adds a lookup. Returns a turn if the caller must start a thread with it.
    pub(super) fn add(&mut self, family: Family, in_vain: bool, lookup: L) -> Option<Turn> {
        let line = self.line(family);
        match in_vain {
            true => line.in_vain.push_back(lookup),
            false => line.usual.push_back(lookup),
        }
        let may_run = match in_vain {
            true => line.running < THREADS && line.running_in_vain < IN_VAIN,
            false => line.running < THREADS,
        };
        may_run.then(|| {
            line.running += 1;
            Turn::Fresh
        })
    }

    /// The next lookup of a thread that was at `turn`. `None`: the thread must end.
    pub(super) fn next(&mut self, family: Family, turn: Turn) -> Option<(L, Turn)> {
        let line = self.line(family);
        line.leave(turn);
        if let Some(lookup) = line.usual.pop_front() {
            return Some((lookup, Turn::Usual));
        }
        if line.running_in_vain < IN_VAIN
            && let Some(lookup) = line.in_vain.pop_front()
        {
            line.running_in_vain += 1;
            return Some((lookup, Turn::InVain));
        }
        line.running -= 1;
        None
    }

    /// The thread of `turn` could not be started. Returns the youngest lookup if nobody will take
    /// it.
    pub(super) fn withdraw(&mut self, family: Family, turn: Turn) -> Option<L> {
        let line = self.line(family);
        line.leave(turn);
        line.running -= 1;
        match line.running {
            0 => line.usual.pop_back().or_else(|| line.in_vain.pop_back()),
            _ => None,
        }
    }

    /// Whether a thread runs.
    pub(super) fn is_running(&self) -> bool {
        self.families.iter().any(|line| line.running > 0)
    }

    /// Takes out every lookup that waits. Drop them without the lock.
    pub(super) fn close(&mut self) -> Vec<L> {
        let lines = self.families.iter_mut();
        lines.flat_map(|line| line.usual.drain(..).chain(line.in_vain.drain(..))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug)]
    enum Event {
        Add {
            in_vain: bool,
        },
        /// One of the running threads is done with its lookup.
        Done(usize),
        /// The next thread cannot be started.
        NoThread,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => any::<bool>().prop_map(|in_vain| Event::Add { in_vain }),
            2 => any::<usize>().prop_map(Event::Done),
            1 => Just(Event::NoThread),
        ]
    }

    proptest! {
        #[test]
        fn every_lookup_runs_once_and_never_too_many_at_once(
            events in proptest::collection::vec(event(), 0..300),
        ) {
            let mut queue = Queue::<usize>::default();
            let family = Family::V6;
            let mut threads: Vec<(Option<usize>, Turn)> = Vec::new();
            let mut waiting: HashMap<usize, bool> = HashMap::new();
            let mut refused = false;
            let (mut added, mut drained) = (0, 0);
            let mut step = |threads: &mut Vec<(Option<usize>, Turn)>,
                            waiting: &mut HashMap<usize, bool>,
                            queue: &mut Queue<usize>,
                            at: usize| {
                let (_, turn) = threads.swap_remove(at);
                if let Some((lookup, turn)) = queue.next(family, turn) {
                    let in_vain = waiting.remove(&lookup).expect("it was taken twice");
                    assert_eq!(turn == Turn::InVain, in_vain);
                    threads.push((Some(lookup), turn));
                }
                drained += 1;
            };
            for event in events {
                match event {
                    Event::Add { in_vain } => {
                        waiting.insert(added, in_vain);
                        if let Some(turn) = queue.add(family, in_vain, added) {
                            if std::mem::take(&mut refused) {
                                if let Some(lookup) = queue.withdraw(family, turn) {
                                    prop_assert_eq!(lookup, added);
                                    waiting.remove(&lookup);
                                }
                            } else {
                                threads.push((None, turn));
                                let at = threads.len() - 1;
                                step(&mut threads, &mut waiting, &mut queue, at);
                            }
                        }
                        added += 1;
                    }
                    Event::Done(_) if threads.is_empty() => {}
                    Event::Done(which) => {
                        let at = which % threads.len();
                        step(&mut threads, &mut waiting, &mut queue, at);
                    }
                    Event::NoThread => refused = true,
                }
                prop_assert!(threads.len() <= THREADS);
                let in_vain = threads.iter().filter(|(_, turn)| *turn == Turn::InVain).count();
                prop_assert!(in_vain <= IN_VAIN);
                prop_assert!(waiting.is_empty() || !threads.is_empty(), "nobody takes it");
                prop_assert_eq!(queue.is_running(), !threads.is_empty());
            }
            while !threads.is_empty() {
                step(&mut threads, &mut waiting, &mut queue, 0);
            }
            prop_assert!(waiting.is_empty());
        }
    }
}
