//! Picks while the order changes.

use std::sync::Arc;

use super::{check, spawn};
use crate::balance::schedule::SHARED;
use crate::balance::{Ledger, Order, Rotation, Tried};

/// The order of places of equal weight.
fn even(places: &[u32]) -> Order {
    Order { places: places.to_vec(), even: true, ..Order::default() }
}

/// How often each place occurs in the picks.
fn count(places: usize, picks: impl IntoIterator<Item = usize>) -> Vec<u64> {
    let mut counts = vec![0; places];
    picks.into_iter().for_each(|place| counts[place] += 1);
    counts
}

/// How often each place was handed out, by the ledger.
fn booked(rotation: &Rotation, ledger: &Ledger, places: usize) -> Vec<u64> {
    (0..places).map(|place| rotation.picks_of(ledger, place)).collect()
}

fn two_picks(rotation: &Rotation) -> [usize; 2] {
    [(); 2].map(|()| rotation.next().expect("no order here is empty"))
}

#[test]
fn each_slot_is_taken_once_across_threads() {
    check(|| {
        let (rotation, ledger) = Rotation::new(&even(&[0, 1, 2]), 1, 3, 3);
        let rotation = Arc::new(rotation);
        let others = [(); 2].map(|()| spawn(&rotation, two_picks));
        let mut picks = two_picks(&rotation).to_vec();
        others.into_iter().for_each(|other| picks.extend(other.join().unwrap()));
        assert_eq!(count(3, picks), [2, 2, 2]);
        assert_eq!(booked(&rotation, &ledger, 3), [2, 2, 2]);
    });
}

/// The frame of the old order is not overwritten, so no pick takes a second turn: the books are
/// exact.
#[test]
fn a_pick_belongs_to_the_old_order_or_to_the_new_one() {
    check(|| {
        let (rotation, mut ledger) = Rotation::new(&even(&[0, 1]), 0, 3, 5);
        let rotation = Arc::new(rotation);
        let others = [(); 2].map(|()| spawn(&rotation, two_picks));
        rotation.publish(&mut ledger, &even(&[2, 3, 4]), None);
        let picks = others.map(|other| other.join().unwrap());
        for [first, second] in picks {
            assert!(first < 2 || second >= 2, "after the new order the old one came again");
        }
        assert_eq!(count(5, picks.concat()), booked(&rotation, &ledger, 5));
        assert_eq!(rotation.picks(&ledger), 4);
    });
}

/// The second change overwrites the frame of the first order while a reader may still use it. The
/// turn that the reader took there is lost; the place that it gets belongs to an order that
/// existed, and is counted there.
#[test]
fn a_reader_never_sees_half_of_an_order() {
    check(|| {
        let (rotation, mut ledger) = Rotation::new(&even(&[0]), 0, 2, 5);
        let rotation = Arc::new(rotation);
        let reader = spawn(&rotation, |rotation| rotation.next().expect("no order here is empty"));
        rotation.publish(&mut ledger, &even(&[1, 2]), None);
        rotation.publish(&mut ledger, &even(&[3, 4]), None);
        let place = reader.join().unwrap();
        assert!(booked(&rotation, &ledger, 5)[place] > 0, "place {place} had no turn");
        let all = rotation.picks(&ledger);
        assert!((1..=2).contains(&all), "{all} turns for one pick");
    });
}

/// Each order has an untried place, so there is always one to get. If it is the only place of the
/// order, the turn is its own.
#[test]
fn a_retry_gets_an_untried_place_of_one_order_while_orders_change() {
    check(|| {
        let (rotation, mut ledger) = Rotation::new(&even(&[0, 1]), 0, 2, 4);
        let rotation = Arc::new(rotation);
        let reader = spawn(&rotation, |rotation| {
            let mut tried = Tried::new();
            tried.insert(0);
            rotation.next_untried(&tried).map(|untried| untried.place)
        });
        rotation.publish(&mut ledger, &even(&[2]), None);
        rotation.publish(&mut ledger, &even(&[3]), None);
        let place = reader.join().unwrap().expect("an untried place is in every order");
        assert_ne!(place, 0, "it was tried");
        assert!(
            place == 1 || booked(&rotation, &ledger, 4)[place] > 0,
            "place {place} had no turn"
        );
    });
}

#[test]
fn an_order_that_empties_gives_nothing_or_the_old_places() {
    check(|| {
        let (rotation, mut ledger) = Rotation::new(&even(&[0]), 0, 1, 1);
        let rotation = Arc::new(rotation);
        let reader = spawn(&rotation, |rotation| [rotation.next(), rotation.next()]);
        rotation.publish(&mut ledger, &even(&[]), None);
        let picks = reader.join().unwrap();
        assert!(matches!(picks, [_, None] | [Some(0), Some(0)]), "{picks:?}");
        assert_eq!(booked(&rotation, &ledger, 1), count(1, picks.into_iter().flatten()));
    });
}

/// The thread that sees the end of the table starts the next lap.
#[test]
fn the_next_lap_loses_no_turn() {
    check(|| {
        let (rotation, ledger) = Rotation::new(&even(&[0, 1]), 1, 2, 2);
        let rotation = Arc::new(rotation);
        let others = [(); 2].map(|()| spawn(&rotation, two_picks));
        let mut picks = two_picks(&rotation).to_vec();
        others.into_iter().for_each(|other| picks.extend(other.join().unwrap()));
        assert_eq!(count(2, picks), [3, 3]);
        assert_eq!(booked(&rotation, &ledger, 2), [3, 3]);
    });
}

/// A turn that two places share by the number of the cycle.
#[test]
fn a_shared_turn_goes_to_a_place_of_one_order() {
    check(|| {
        let shared = |parts: [u32; 2]| Order {
            places: vec![SHARED],
            parts: vec![(parts[0], 1 << 31), (parts[1], 1 << 32)],
            ..Order::default()
        };
        let (rotation, mut ledger) = Rotation::new(&shared([0, 1]), 0, (1, 2), 6);
        let rotation = Arc::new(rotation);
        let reader = spawn(&rotation, |rotation| rotation.next().expect("no order is empty"));
        rotation.publish(&mut ledger, &shared([2, 3]), None);
        rotation.publish(&mut ledger, &shared([4, 5]), None);
        assert!(reader.join().unwrap() < 6, "a place of one of the orders");
        assert_eq!(booked(&rotation, &ledger, 6), [0; 6], "shared turns are counted elsewhere");
    });
}
