//! Times a picker and the floor in alternate rounds, and counts how evenly the picker picks. Every
//! round lasts the same time, however fast the picker is, so no thread works alone after the others
//! are done. Do not time and count in one pass: counting would cost more than the pick.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(10);
/// How often a thread looks at the stop flag in a round: rare enough to cost nothing, and often
/// enough that no thread runs for long after the end.
const LOOKS: u64 = 1000;
const BATCH_MAX: u64 = 64;
/// The pass that counts: its length for a fast picker, and its time for a slow one.
const SPREAD_PICKS: usize = 400_000;
const SPREAD_NS: f64 = 200e6;

/// One thread's access to a picker.
pub trait Pick: Send {
    /// What the picker hands out.
    type Node;

    fn pick(&mut self) -> Self::Node;

    /// The node's place in the set, from 0; not called while time is measured.
    fn index(&self, node: &Self::Node) -> usize;
}

/// The lowest possible cost of a strict order that all threads share: one `fetch_add` on a word
/// with its own cache line (two lines, because the prefetcher loads them in pairs).
#[derive(Default)]
#[repr(align(128))]
pub struct Floor(AtomicU64);

impl Pick for &Floor {
    type Node = u64;

    #[inline]
    fn pick(&mut self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn index(&self, _: &u64) -> usize {
        0
    }
}

/// Medians over the rounds. The ratio is the median of the rounds' ratios, so it may differ a
/// little from `value / floor`.
pub struct Timing {
    /// Wall nanoseconds per pick over all threads.
    pub value: f64,
    pub floor: f64,
    pub ratio: f64,
}

pub struct Spread {
    /// The largest difference between how often all threads picked a node and how often they
    /// should.
    pub deviation: u64,
    /// The longest run of the same node in one thread's picks.
    pub longest_run: u64,
    pub picks_per_thread: usize,
}

/// What the threads share: what to do in the next round, and when it ends.
struct Course {
    start: Barrier,
    stop: AtomicBool,
    turn: AtomicU8,
    batch: AtomicU64,
}

const FLOOR: u8 = 0;
const PICKER: u8 = 1;
const END: u8 = 2;

/// One thread's part of a round.
struct Lap {
    started: Instant,
    picks: u64,
}

pub fn time<P: Pick>(handles: &mut [P]) -> Timing {
    let threads = handles.len();
    let floor = Floor::default();
    let course = Course {
        start: Barrier::new(threads + 1),
        stop: AtomicBool::new(false),
        turn: AtomicU8::new(END),
        batch: AtomicU64::new(1),
    };
    let (finish, laps) = mpsc::channel();
    thread::scope(|scope| {
        for handle in handles {
            let (course, mut floor, finish) = (&course, &floor, finish.clone());
            scope.spawn(move || {
                loop {
                    course.start.wait();
                    let lap = match course.turn.load(Ordering::Relaxed) {
                        FLOOR => course.run(&mut floor),
                        PICKER => course.run(handle),
                        _ => break,
                    };
                    finish.send(lap).expect("the rounds are waited for");
                }
            });
        }
        // The first round of each only finds how many picks to make between two looks at the stop
        // flag.
        let batches = [FLOOR, PICKER].map(|turn| {
            let ns = course.round(turn, 1, threads, &laps);
            ((ROUND.as_nanos() as f64 / ns) as u64 / threads as u64 / LOOKS).clamp(1, BATCH_MAX)
        });
        let rounds: Vec<[f64; 2]> = (0..ROUNDS)
            .map(|_| {
                [FLOOR, PICKER]
                    .map(|turn| course.round(turn, batches[usize::from(turn)], threads, &laps))
            })
            .collect();
        course.turn.store(END, Ordering::Relaxed);
        course.start.wait();
        Timing {
            value: median(rounds.iter().map(|[_, picker]| *picker)),
            floor: median(rounds.iter().map(|[floor, _]| *floor)),
            ratio: median(rounds.iter().map(|[floor, picker]| picker / floor)),
        }
    })
}

impl Course {
    /// One round of all threads: wall nanoseconds per pick. Repeated if the machine let no thread
    /// run in that time.
    fn round(&self, turn: u8, batch: u64, threads: usize, laps: &mpsc::Receiver<Lap>) -> f64 {
        loop {
            self.stop.store(false, Ordering::Relaxed);
            self.turn.store(turn, Ordering::Relaxed);
            self.batch.store(batch, Ordering::Relaxed);
            self.start.wait();
            thread::sleep(ROUND);
            let stopped = Instant::now();
            self.stop.store(true, Ordering::Relaxed);
            let laps: Vec<Lap> = laps.iter().take(threads).collect();
            let picks: u64 = laps.iter().map(|lap| lap.picks).sum();
            let started = laps.iter().map(|lap| lap.started).min();
            let elapsed = started.map(|started| stopped.saturating_duration_since(started));
            match elapsed {
                Some(elapsed) if picks > 0 && !elapsed.is_zero() => {
                    return elapsed.as_nanos() as f64 / picks as f64;
                }
                _ => {}
            }
        }
    }

    /// One thread's picks until the round's time is up.
    fn run<P: Pick>(&self, picker: &mut P) -> Lap {
        let batch = self.batch.load(Ordering::Relaxed);
        let mut picks = 0;
        let started = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            for _ in 0..batch {
                black_box(picker.pick());
            }
            picks += batch;
        }
        Lap { started, picks }
    }
}

/// Counts in a pass that is not timed. Every thread makes a multiple of the number of nodes of
/// picks, so that every node should get a whole number. `pick_ns` is the measured time of a pick.
pub fn spread<P: Pick>(handles: &mut [P], nodes: usize, pick_ns: f64) -> Spread {
    let threads = handles.len();
    let affordable = (SPREAD_NS / pick_ns) as usize / threads;
    let cycles = (affordable.min(SPREAD_PICKS) / nodes).max(1);
    let start = Barrier::new(threads);
    let counted: Vec<(Vec<u64>, u64)> = thread::scope(|scope| {
        let start = &start;
        let running: Vec<_> = handles
            .iter_mut()
            .map(|handle| {
                scope.spawn(move || {
                    start.wait();
                    count(handle, nodes, cycles * nodes)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("a panic ends the program")).collect()
    });
    let due = (threads * cycles) as u64;
    let totals = (0..nodes).map(|node| counted.iter().map(|(counts, _)| counts[node]).sum::<u64>());
    Spread {
        deviation: totals.map(|total| total.abs_diff(due)).max().unwrap_or(0),
        longest_run: counted.iter().map(|(_, run)| *run).max().unwrap_or(0),
        picks_per_thread: cycles * nodes,
    }
}

/// How often one thread got each node, and its longest run of one node.
fn count<P: Pick>(handle: &mut P, nodes: usize, picks: usize) -> (Vec<u64>, u64) {
    let mut counts = vec![0; nodes];
    let (mut last, mut run, mut longest_run) = (nodes, 0, 0);
    for _ in 0..picks {
        let node = handle.pick();
        let index = handle.index(&node);
        counts[index] += 1;
        run = if index == last { run + 1 } else { 1 };
        last = index;
        longest_run = longest_run.max(run);
    }
    (counts, longest_run)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
