//! Measures how fast and how evenly other load balancers pick one of n ready nodes. It prints one
//! JSON object per line on stdout, each with the floor (one shared `fetch_add`) measured in the
//! same rounds. It uses no network, and it does not judge the results.
//!
//! If `UPSTREAM_PREFIX` names the prefix of an installed libupstream, that library is measured in
//! the same way.

mod lock;
mod measure;
mod models;
mod peers;
mod report;

use measure::{Pick, spread, time};
use models::{Bare, List, Shared, Smooth};
use peers::{pingora, tower, upstream};
use report::Row;

/// Set sizes: from a usual set up to sizes at which a pick that is not O(1) shows.
const NODES: [usize; 5] = [3, 16, 64, 256, 1000];
/// The sizes for smooth weighted round-robin, whose pick walks every node.
const NODES_SMOOTH: [usize; 3] = [3, 64, 256];
const THREADS: [usize; 3] = [1, 2, 4];

fn main() -> Result<(), String> {
    let library = match std::env::var_os("UPSTREAM_PREFIX") {
        Some(prefix) => Some(upstream::Library::open(prefix.as_ref())?),
        None => {
            eprintln!(
                "peers: UPSTREAM_PREFIX is not set: the rows of the installed libupstream are left \
                 out"
            );
            None
        }
    };
    for threads in THREADS {
        control(threads);
    }
    for nodes in NODES {
        for threads in THREADS {
            if let Some(library) = &library {
                let set = library.set(nodes)?;
                measure(
                    library.who(),
                    "C ABI through dlopen",
                    nodes,
                    handles(threads, || set.handle()),
                );
            }
            measure_pingora(nodes, threads);
            measure_tower(nodes, threads);
            measure_models(nodes, threads);
        }
    }
    Ok(())
}

fn measure_pingora(nodes: usize, threads: usize) {
    let balancer = pingora::balancer(nodes);
    measure(
        &report::crate_version("pingora-load-balancing"),
        "RoundRobin; select hands out a clone of the Backend",
        nodes,
        handles(threads, || pingora::Handle(&balancer)),
    );
}

fn measure_tower(nodes: usize, threads: usize) {
    let who = report::crate_version("tower");
    if threads == 1 {
        measure(
            &who,
            "p2c Balance, constant load, no mutex",
            nodes,
            vec![tower::Alone(tower::balance(nodes))],
        );
    } else {
        let shared = tower::shared(nodes);
        let handles = handles(threads, || tower::Handle(&shared));
        measure(&who, "p2c Balance, constant load, in a std mutex", nodes, handles);
    }
}

fn measure_models(nodes: usize, threads: usize) {
    if threads == 1 {
        measure(
            "model: list, no lock",
            "next of the last used",
            nodes,
            vec![Bare(List::new(nodes))],
        );
    }
    let list = lock::Locked::new(List::new(nodes));
    let note = "next of the last used, in a pthread mutex";
    measure("model: list in a mutex", note, nodes, handles(threads, || Shared(&list)));
    if NODES_SMOOTH.contains(&nodes) {
        let smooth = lock::Locked::new(Smooth::new(nodes));
        let note = "nginx's kind, equal weights, in a pthread mutex";
        let handles = handles(threads, || Shared(&smooth));
        measure("model: smooth weighted round-robin", note, nodes, handles);
    }
}

fn handles<P>(threads: usize, handle: impl Fn() -> P) -> Vec<P> {
    (0..threads).map(|_| handle()).collect()
}

/// Measures one picker at as many threads as it has handles, and prints its row.
fn measure<P: Pick>(who: &str, note: &str, nodes: usize, mut handles: Vec<P>) {
    let timing = time(&mut handles);
    let spread = spread(&mut handles, nodes, timing.value);
    let note = format!("{note}; evenness over {} picks a thread", spread.picks_per_thread);
    let row = Row { nodes, threads: handles.len(), who, timing, spread, note: &note };
    println!("{row}");
}

/// Measures the floor against itself: how much of a ratio is noise of this machine.
fn control(threads: usize) {
    let counter = measure::Floor::default();
    let timing = time(&mut handles(threads, || &counter));
    eprintln!(
        "peers: control, {threads} threads: floor {:.2} ns, ratio of the floor to itself {:.2}",
        timing.floor, timing.ratio
    );
}
