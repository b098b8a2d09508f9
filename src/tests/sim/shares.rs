//! A second, plain version of the rotation: whose turn it is, and how far the counts may differ
//! from each node's share. A turn belongs to one node even if another node gets the payload,
//! because it has been to the first one.

use crate::balance::Tried;
use crate::balance::roster::{Roster, Turn};

/// What was handed out, and what must come next.
pub struct Shares {
    /// The places in the rotation, with their weights.
    nodes: Vec<(usize, u32)>,
    /// Whose turn was last; `None` if no plain rule says so.
    last: Option<usize>,
    /// The turns since the rotation last changed.
    stretch: Vec<usize>,
    /// The turns of each place since the start.
    booked: Vec<u64>,
    /// The share of each place since the start, in turns.
    pub due: Vec<f64>,
    /// How often each place was handed out, whoever's turn it was.
    handed: Vec<u64>,
}

impl Shares {
    pub fn new(nodes: Vec<(usize, u32)>, start: usize, places: usize) -> Shares {
        let (booked, due, handed) = (vec![0; places], vec![0.0; places], vec![0; places]);
        let at = nodes.partition_point(|(place, _)| *place < start);
        let last = nodes[..at].last().or(nodes.last()).map(|(place, _)| *place);
        let mut shares = Shares { nodes, last, stretch: Vec::new(), booked, due, handed };
        shares.last = shares.last.filter(|_| shares.is_even());
        shares
    }

    pub fn booked(&self) -> &[u64] {
        &self.booked
    }

    /// The rotation consists of `nodes` from now on. A tier that comes into use goes on where it
    /// left off. That is not followed here; the order is checked from its first turn on.
    pub fn follow(&mut self, nodes: Vec<(usize, u32)>, tier_of: impl Fn(usize) -> u32) {
        if nodes != self.nodes {
            let was_even = self.is_even();
            self.nodes = nodes;
            let tier = self.nodes.first().map(|(place, _)| tier_of(*place));
            self.last = self.last.filter(|_| was_even && self.is_even());
            self.last = self.last.filter(|last| tier == Some(tier_of(*last)));
            self.stretch.clear();
        }
    }

    fn is_even(&self) -> bool {
        self.nodes.iter().all(|(_, weight)| *weight == self.nodes[0].1)
    }

    /// Whose turn is next, if weights are equal: the successor of the last one, in the order of the
    /// file.
    fn successor(&self) -> Option<usize> {
        let last = self.last.filter(|_| self.is_even())?;
        let mut places = self.nodes.iter().map(|(place, _)| *place);
        places.clone().find(|place| *place > last).or_else(|| places.next())
    }

    /// Checks a turn of the rotation against the rules. Trials, nodes in reserve and nodes that are
    /// out must take no turn.
    pub fn turn(&mut self, turn: Option<Turn>, tried: &Tried, roster: &Roster) {
        let left = self.nodes.iter().any(|(place, _)| !tried.contains(*place));
        let taken = roster.turns() - self.booked.iter().sum::<u64>();
        if let Some(turn) = turn {
            self.handed[turn.place] += 1;
        }
        let of_rotation = |turn: &Turn| left && !turn.is_trial && !turn.last_resort;
        let Some(Turn { place, .. }) = turn.filter(of_rotation) else {
            assert_eq!(taken, 0, "a turn of the healthy was used up by {turn:?}");
            return;
        };
        assert_eq!(taken, 1, "turns for one pick");
        let booked = |place: usize| roster.turns_of(place);
        let rose = |place: &usize| booked(*place) > self.booked[*place];
        let whose = self
            .successor()
            .or_else(|| (0..self.booked.len()).find(rose))
            .expect("somebody's turn");
        assert!(self.nodes.iter().any(|(other, _)| *other == whose), "{whose} has no turns now");
        if tried.contains(whose) {
            assert!(
                self.nodes.iter().any(|(other, _)| *other == place),
                "{place} is not in the rotation"
            );
            if self.is_even() {
                let mut places: Vec<usize> = self.nodes.iter().map(|(place, _)| *place).collect();
                let at = places.partition_point(|place| *place < whose);
                places.rotate_left(at);
                assert_eq!(places.into_iter().find(|place| !tried.contains(*place)), Some(place));
            }
        } else {
            assert_eq!(place, whose, "handed out, but it was another node's turn");
        }
        self.last = Some(whose);
        self.stretch.push(whose);
        self.booked[whose] += 1;
        let all: f64 = self.nodes.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for (place, weight) in &self.nodes {
            self.due[*place] += f64::from(*weight) / all;
        }
        self.keeps_the_bound();
    }

    /// Checks that every cycle since the last change is exact, and that within a cycle no node
    /// differs from its share by more than Tijdeman's bound allows between any two moments: 2 * (1
    /// - 1/(2n - 2)), or one turn if all weights are equal.
    fn keeps_the_bound(&self) {
        let gcd = self.nodes.iter().fold(0, |gcd, (_, weight)| common(gcd, *weight));
        let cycle = self.nodes.iter().map(|(_, weight)| (weight / gcd) as usize).sum::<usize>();
        let turns = self.stretch.len();
        let n = self.nodes.len() as f64;
        for (place, weight) in &self.nodes {
            let weight = weight / gcd;
            let of = |turns: &[usize]| turns.iter().filter(|other| *other == place).count();
            if turns >= cycle {
                let picks = of(&self.stretch[turns - cycle..]);
                assert_eq!(picks, weight as usize, "of {place} in a cycle of {cycle}");
            }
            // Whole cycles are exact, so any difference is in the last one.
            let rest = turns % cycle;
            let due = f64::from(weight) * rest as f64 / cycle as f64;
            let astray = (of(&self.stretch[turns - rest..]) as f64 - due).abs();
            let most = if self.is_even() { 1.0 } else { 2.0 * (1.0 - 1.0 / (2.0 * n - 2.0)) };
            assert!(astray < most + 1e-9, "{place} is {astray} turns from its share");
        }
    }

    /// Checks that the roster's counts are what was handed out.
    pub fn agrees(&self, roster: &Roster) {
        for (place, turns) in self.booked.iter().enumerate() {
            assert_eq!(roster.turns_of(place), *turns, "turns of {place}");
            assert_eq!(roster.picks_of(place, true), Some(self.handed[place]), "picks of {place}");
        }
        assert_eq!(roster.picks(true), Some(self.handed.iter().sum()));
    }
}

fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}
