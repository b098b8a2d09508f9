use super::*;
use crate::balance::schedule;
use proptest::prelude::*;

fn even(places: &[u32]) -> Order {
    Order { places: places.to_vec(), even: true, ..Order::default() }
}

fn round_robin(nodes: usize, start: usize) -> (Rotation, Ledger) {
    Rotation::new(&even(&(0..nodes as u32).collect::<Vec<_>>()), start, nodes, nodes)
}

fn take(rotation: &Rotation, picks: usize) -> Vec<usize> {
    (0..picks).map(|_| rotation.next().unwrap()).collect()
}

#[test]
fn the_rotation_goes_on_at_the_successor() {
    let (rotation, mut ledger) = round_robin(4, 0);
    assert_eq!(take(&rotation, 3), [0, 1, 2]);
    rotation.publish(&mut ledger, &even(&[0, 1, 3]), None); // the last one leaves
    assert_eq!(take(&rotation, 2), [3, 0]);
    rotation.publish(&mut ledger, &even(&[0, 1, 2, 3]), None);
    assert_eq!(take(&rotation, 5), [1, 2, 3, 0, 1]);
    rotation.publish(&mut ledger, &even(&[0, 1, 3]), None);
    // No pick in between: nobody is handed out twice in a row.
    rotation.publish(&mut ledger, &even(&[0, 1, 2, 3]), None);
    assert_eq!(take(&rotation, 2), [2, 3]);
    rotation.publish(&mut ledger, &even(&[]), None);
    assert_eq!(rotation.next(), None);
    rotation.publish(&mut ledger, &even(&[0, 1, 2, 3]), None);
    assert_eq!(take(&rotation, 2), [0, 1]);
    assert_eq!(
        (0..4).map(|place| rotation.picks_of(&ledger, place)).collect::<Vec<_>>(),
        [4, 4, 3, 3]
    );
    assert_eq!(rotation.picks(&ledger), 14);
}

#[test]
fn a_start_elsewhere_is_the_first_pick() {
    for start in 0..3 {
        let (rotation, mut ledger) = round_robin(3, start);
        rotation.publish(&mut ledger, &even(&[0, 1, 2]), None);
        assert_eq!(take(&rotation, 3), [start, (start + 1) % 3, (start + 2) % 3]);
    }
}

#[test]
fn with_weights_a_node_late_in_the_cycle_is_not_starved_by_changes() {
    let all = [(0, 5), (1, 1), (2, 1)];
    let with = schedule::order(&[all[0], all[1], all[2], (3, 2)]);
    let without = schedule::order(&all);
    let (rotation, mut ledger) = Rotation::new(&with, 0, 9, 4);
    for _ in 0..100 {
        take(&rotation, 3);
        rotation.publish(&mut ledger, &without, None);
        take(&rotation, 3);
        rotation.publish(&mut ledger, &with, None);
    }
    for place in [1, 2] {
        let picks = rotation.picks_of(&ledger, place);
        // Its share is 300 / 9 + 300 / 7 = 76.
        assert!((70..=82).contains(&picks), "{place}: {picks}");
    }
    assert_eq!(rotation.picks(&ledger), 600);
}

#[test]
fn with_two_nodes_a_retry_never_meets_the_dead_one() {
    // With a plain cursor, one fresh pick between the retries made each retry meet the dead node.
    let (rotation, _) = round_robin(2, 0);
    for _ in 0..20 {
        let mut tried = Tried::new();
        tried.insert(0);
        rotation.next();
        assert_eq!(rotation.next_untried(&tried).map(|untried| untried.place), Some(1));
    }
}

/// Takes 2,000 turns of an order of 7 places that follows orders of 8. `at` gives the position to
/// start from, the beginning of a cycle.
fn check_from(at: impl Fn(&Rotation) -> u64) {
    let (rotation, mut ledger) = round_robin(8, 0);
    rotation.publish(&mut ledger, &even(&[0, 1, 2, 3, 4, 5, 6, 7]), None);
    rotation.publish(&mut ledger, &even(&[0, 1, 2, 3, 4, 5, 6]), None);
    rotation.word.store(word(2, at(&rotation)), Ordering::Relaxed);
    let before = rotation.picks(&ledger);
    assert_eq!(before % 7, 0);
    for taken in 0..2_000 {
        assert_eq!(rotation.next(), Some(taken % 7));
        if rotation.has_many_laps() {
            rotation.take_off_laps(&mut ledger);
        }
        let all = before + taken as u64 + 1;
        assert_eq!(rotation.picks(&ledger), all);
        assert_eq!((0..7).map(|place| rotation.picks_of(&ledger, place)).sum::<u64>(), all);
    }
    assert!(rotation.laps(rotation.word.load(Ordering::Relaxed)) < rotation.most_laps());
    rotation.publish(&mut ledger, &even(&[0, 1, 2, 3, 4, 5, 6]), None);
    assert_eq!(rotation.next(), Some(2_000 % 7));
    assert_eq!(rotation.picks(&ledger), before + 2_001);
    // In the frame of the order that ran through its table.
    rotation.publish(&mut ledger, &even(&[0, 1, 2]), None);
    assert_eq!(rotation.picks(&ledger), before + 2_001);
}

#[test]
fn from_one_lap_to_the_next_no_turn_is_lost() {
    check_from(|_| 0);
}

#[test]
fn when_laps_are_taken_off_no_turn_is_lost() {
    // With number 0 this is the position alone.
    check_from(|rotation| rotation.at(0, rotation.most_laps(), 0));
}

#[test]
fn turns_taken_past_the_end_of_the_table_are_not_lost() {
    check_from(|rotation| u64::from(rotation.frame(2).reach()) + 10_000 * 7);
}

#[test]
fn threads_share_one_order_through_changes() {
    let (rotation, mut ledger) = round_robin(5, 0);
    let without: Vec<Order> = (0..5)
        .map(|gone| even(&(0..5).filter(|place| *place != gone).collect::<Vec<_>>()))
        .collect();
    let counts: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut counts = vec![0; 5];
                    for _ in 0..200_000 {
                        counts[rotation.next().unwrap()] += 1;
                    }
                    counts
                })
            })
            .collect();
        for turn in 0..2000 {
            rotation.publish(&mut ledger, &without[turn % 5], None);
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let taken: u64 = counts.iter().flatten().sum();
    let booked: u64 = (0..5).map(|place| rotation.picks_of(&ledger, place)).sum();
    assert_eq!((taken, booked), (800_000, rotation.picks(&ledger)));
    // A reader whose order was overwritten has taken a turn for nothing.
    assert!(booked >= taken);
}

proptest! {
    #[test]
    fn every_window_hits_each_node_once(
        nodes in 1usize..200,
        start in 0usize..200,
        skip in 0usize..500,
    ) {
        let start = start % nodes;
        let (rotation, ledger) = round_robin(nodes, start);
        for turn in 0..skip {
            prop_assert_eq!(rotation.next(), Some((start + turn) % nodes));
        }
        let mut seen = vec![0; nodes];
        for _ in 0..nodes {
            seen[rotation.next().unwrap()] += 1;
        }
        prop_assert!(seen.iter().all(|&n| n == 1));
        let booked: u64 = (0..nodes).map(|place| rotation.picks_of(&ledger, place)).sum();
        prop_assert_eq!(booked, rotation.picks(&ledger));
        prop_assert_eq!(rotation.picks(&ledger), (skip + nodes) as u64);
    }

    #[test]
    fn after_any_changes_any_window_is_exact(
        nodes in 1u32..20,
        changes in proptest::collection::vec((any::<u32>(), 0usize..50), 1..30),
    ) {
        let (rotation, mut ledger) = round_robin(nodes as usize, 0);
        let mut counts = vec![0u64; nodes as usize];
        let mut last = nodes - 1;
        for (set, picks) in changes {
            let mut places: Vec<u32> =
                (0..nodes).filter(|place| set >> place & 1 == 1).collect();
            if places.is_empty() {
                places = (0..nodes).collect();
            }
            rotation.publish(&mut ledger, &even(&places), None);
            for _ in 0..picks {
                let after_last = places.iter().copied().find(|place| *place > last);
                let successor = after_last.unwrap_or(places[0]);
                let place = rotation.next().unwrap() as u32;
                prop_assert_eq!(place, successor);
                counts[place as usize] += 1;
                last = place;
            }
        }
        let booked: Vec<u64> =
            (0..nodes as usize).map(|place| rotation.picks_of(&ledger, place)).collect();
        prop_assert_eq!(booked, counts);
    }

    #[test]
    fn weighted_turns_are_booked_exactly(
        weights in proptest::collection::vec(1u32..9, 2..8),
        changes in proptest::collection::vec((any::<u8>(), 0usize..60), 1..12),
    ) {
        let all: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
        let capacity = weights.iter().sum::<u32>() as usize;
        let (rotation, mut ledger) = Rotation::new(&schedule::order(&all), 0, capacity, all.len());
        let mut counts = vec![0u64; all.len()];
        for (set, picks) in changes {
            let left: Vec<(u32, u32)> =
                all.iter().copied().filter(|(place, _)| set >> place & 1 == 1).collect();
            let eligible = if left.is_empty() { &all } else { &left };
            rotation.publish(&mut ledger, &schedule::order(eligible), None);
            for _ in 0..picks {
                counts[rotation.next().unwrap()] += 1;
            }
        }
        let booked: Vec<u64> =
            (0..all.len()).map(|place| rotation.picks_of(&ledger, place)).collect();
        prop_assert_eq!(booked, counts);
    }

    #[test]
    fn an_attempt_visits_every_node_once(
        nodes in 1usize..300,
        others in proptest::collection::vec(0usize..5, 300),
    ) {
        let (rotation, _) = round_robin(nodes, 0);
        let mut tried = Tried::new();
        for others in others.iter().take(nodes) {
            for _ in 0..*others {
                rotation.next();
            }
            let place = rotation.next_untried(&tried).unwrap().place;
            prop_assert!(!tried.contains(place));
            tried.insert(place);
        }
        prop_assert_eq!(rotation.next_untried(&tried), None);
    }
}

#[test]
fn laps_are_taken_off_while_threads_pick() {
    let (rotation, mut ledger) = round_robin(7, 0);
    let many = rotation.at(0, rotation.most_laps(), 0);
    rotation.word.store(many, Ordering::Relaxed);
    let before = rotation.picks(&ledger);
    std::thread::scope(|scope| {
        let picks = || {
            (0..50_000).for_each(|_| {
                rotation.next();
            })
        };
        let threads = [(); 3].map(|()| scope.spawn(picks));
        while !threads.iter().all(|thread| thread.is_finished()) {
            rotation.take_off_laps(&mut ledger);
            assert!(!rotation.has_many_laps());
            // As often as possible between two laps of the others.
            let laps = rotation.laps(rotation.word.load(Ordering::Relaxed));
            let more = (rotation.most_laps() - laps) * (rotation.frames.mask + 1);
            rotation.word.fetch_add(more, Ordering::Relaxed);
            ledger.renewed -= (rotation.most_laps() - laps) * u64::from(rotation.frame(0).reach());
        }
    });
    assert_eq!(rotation.picks(&ledger), before + 150_000);
}
