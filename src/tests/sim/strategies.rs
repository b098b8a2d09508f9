//! The histories that are drawn. Times are chosen so that events that interact often coincide:
//! pauses near connection times, outages near backoffs.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::history::{CONNECT_TIMEOUT, Client, Errand, History, Manner, Server};
use super::{MILLI, SECOND};
use crate::balance::breaker::BreakerSettings;
use crate::balance::roster::Member;

fn member(weights: std::ops::Range<u32>) -> impl Strategy<Value = Member> {
    let breaker = (1u32..5, 50u64..2000, 0u64..10_000).prop_map(|(max_fails, backoff, more)| {
        BreakerSettings {
            max_fails,
            backoff: Duration::from_millis(backoff),
            backoff_max: Duration::from_millis(backoff + more),
            trial_time: CONNECT_TIMEOUT,
        }
    });
    let weight = prop_oneof![3 => Just(1), 2 => weights];
    let priority = prop_oneof![3 => Just(0), 1 => 0u32..3];
    (weight, priority, breaker).prop_map(|(weight, priority, breaker)| Member {
        weight,
        priority,
        breaker,
    })
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        4 => Just(Manner::Serves),
        1 => (1u64..12_000).prop_map(|millis| Manner::Slow(millis * MILLI)),
        2 => Just(Manner::Refuses),
        1 => Just(Manner::Silent),
        2 => any::<bool>().prop_map(|unsent| Manner::Breaks { unsent }),
        1 => Just(Manner::LosesAck),
        1 => Just(Manner::Full),
    ]
}

fn phases() -> impl Strategy<Value = Vec<(u64, Manner)>> {
    vec((1u64..4000, manner()), 1..6).prop_map(|drawn| {
        let mut at = 0;
        let follow = |(lasts, manner)| {
            let since = at;
            at += lasts * MILLI;
            (since, manner)
        };
        drawn.into_iter().map(follow).collect()
    })
}

fn servers(weights: std::ops::Range<u32>, most: usize) -> impl Strategy<Value = Vec<Server>> {
    vec(
        (member(weights), phases()).prop_map(|(member, phases)| Server { member, phases }),
        1..=most,
    )
}

fn client(errand: Errand, timeout: std::ops::Range<u64>) -> impl Strategy<Value = Client> {
    (0u64..3000, 0u64..500, 1u32..30, timeout).prop_map(
        move |(begins, pause, payloads, timeout)| Client {
            errand,
            begins: begins * MILLI,
            pause: pause * MILLI,
            payloads,
            timeout: Duration::from_millis(timeout),
        },
    )
}

fn errand() -> impl Strategy<Value = Errand> {
    let late = (0usize..6, 0u32..4, any::<bool>());
    prop_oneof![
        6 => Just(Errand::Deliver),
        2 => Just(Errand::Attempt),
        1 => Just(Errand::Forget),
        1 => Just(Errand::Pick),
        1 => Just(Errand::Report),
        1 => (0usize..6).prop_map(Errand::Check),
        1 => late.prop_map(|(place, age, good)| Errand::Late { place, age, good }),
    ]
}

/// Brings the places that errands name within the set.
fn aim(mut history: History) -> History {
    let places = history.servers.len();
    for client in &mut history.clients {
        if let Errand::Check(place) | Errand::Late { place, .. } = &mut client.errand {
            *place %= places;
        }
    }
    history.start %= places;
    history
}

fn clients(most: usize) -> impl Strategy<Value = Vec<Client>> {
    vec(errand().prop_flat_map(|errand| client(errand, 1..30_000)), 1..=most)
}

/// Anything that may happen while the clock goes forward.
pub fn any_history() -> impl Strategy<Value = History> {
    let morning = prop_oneof![Just(0), Just(1_000_000 * SECOND)];
    let rest = (any::<u64>(), morning, 0usize..6, prop_oneof![3 => Just(0usize), 1 => 1usize..4]);
    (rest, servers(0..6, 6), clients(6)).prop_map(
        |((seed, morning, start, attempts), servers, clients)| {
            aim(History { seed, morning, start, attempts, servers, clients, jumps: Vec::new() })
        },
    )
}

/// The same, and the clock jumps back and forth.
pub fn with_jumps() -> impl Strategy<Value = History> {
    let by = prop_oneof![-900_000i64..900_000, -3000i64..3000];
    let jump = (0u64..8000, by).prop_map(|(at, by)| (at * MILLI, by * MILLI as i64));
    (any_history(), vec(jump, 1..4)).prop_map(|(history, jumps)| {
        // Far enough from 0, at which the clock would stop.
        History { jumps, morning: 10_000 * SECOND, ..history }
    })
}

/// One node of some tier always serves, and the deliveries have enough time for all the others.
pub fn with_a_good_node() -> impl Strategy<Value = (History, usize)> {
    let deliver = vec(client(Errand::Deliver, 60_000..90_000), 1..=4);
    (any_history(), deliver, 0usize..6).prop_map(|(mut history, deliver, good)| {
        let good = good % history.servers.len();
        let server = &mut history.servers[good];
        server.member.weight = server.member.weight.max(1);
        server.phases = vec![(0, Manner::Serves)];
        history.attempts = 0;
        history
            .clients
            .retain(|client| !matches!(client.errand, Errand::Deliver | Errand::Late { .. }));
        history.clients.extend(deliver);
        (history, good)
    })
}

/// In the end all nodes serve, and a client asks for nodes every 20 ms for so long that each node
/// must have been tried.
pub fn healing(history: History) -> (History, u64) {
    let mut history = history;
    let mut end = 0;
    let mut wait = 0;
    for server in &mut history.servers {
        let (since, _) = *server.phases.last().expect("each has a phase");
        let healed = since + SECOND;
        server.phases.push((healed, Manner::Serves));
        end = end.max(healed);
        wait = wait.max(server.member.breaker.backoff_max.mul_f64(1.2).as_nanos() as u64);
    }
    // A client that never reports holds a trial for its whole time, again and again. Late reports
    // could eject a node for good.
    history.clients.retain(|client| matches!(client.errand, Errand::Deliver | Errand::Check(_)));
    let last_jump = history.jumps.iter().map(|(at, _)| *at).max().unwrap_or(0);
    let begins = end.max(last_jump) + CONNECT_TIMEOUT.as_nanos() as u64;
    let rounds = 2 * history.servers.len() as u64 + 2;
    let span = wait.max(CONNECT_TIMEOUT.as_nanos() as u64);
    let payloads = (rounds * span / (20 * MILLI)).min(5000) as u32;
    let pause = rounds * span / u64::from(payloads);
    let timeout = Duration::from_secs(30);
    history.clients.push(Client { errand: Errand::Deliver, begins, pause, payloads, timeout });
    (history, begins)
}

/// Nodes of equal or unequal weights that are ejected and restored all the time, a few picks apart.
pub fn restless() -> impl Strategy<Value = History> {
    let comes_and_goes = (0usize..6, 1u64..20, 1u64..20).prop_map(|(place, pause, shift)| {
        let change = move |begins, good| Client {
            errand: Errand::Late { place, age: 0, good },
            begins,
            pause: pause * MILLI,
            payloads: (3000 / pause) as u32,
            timeout: Duration::ZERO,
        };
        [change(0, false), change((shift % pause) * MILLI + MILLI / 2, true)]
    });
    let weights = prop_oneof![vec(1u32..10, 3..6), (3usize..6).prop_map(|places| vec![1; places])];
    (weights, vec(comes_and_goes, 1..3)).prop_map(|(weights, changes)| {
        let breaker = BreakerSettings {
            max_fails: 1,
            backoff: Duration::from_secs(3600),
            backoff_max: Duration::from_secs(3600),
            trial_time: CONNECT_TIMEOUT,
        };
        let server = |weight| Server {
            member: Member { weight, priority: 0, breaker },
            phases: vec![(0, Manner::Serves)],
        };
        let pick = |pause| Client {
            errand: Errand::Pick,
            begins: MILLI / 3,
            pause,
            payloads: (3000 * MILLI / pause) as u32,
            timeout: Duration::ZERO,
        };
        let clients = changes.into_iter().flatten().chain([pick(MILLI), pick(1_700_000)]).collect();
        let servers = weights.into_iter().map(server).collect();
        aim(History {
            seed: 1,
            morning: 0,
            start: 0,
            attempts: 0,
            servers,
            clients,
            jumps: Vec::new(),
        })
    })
}
