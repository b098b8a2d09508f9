//! The properties of all nodes of a set, as C reads them. All texts are in one piece and never
//! change; letter case in keys does not matter. Nodes whose sections have the same keys share one
//! table of keys, so a node itself needs only two numbers.

use std::sync::Arc;

use super::lines::Lines;
use crate::base::random::random;
use crate::base::wiped::Wiped;

/// The properties of the nodes of a set.
#[derive(Clone, Debug)]
pub struct Properties {
    /// Every value, with a NUL byte after each.
    values: Arc<Wiped<String>>,
    /// Where the value of each line begins, and where the last one ends.
    starts: Box<[u32]>,
    /// Every key, with a NUL byte after each.
    keys: Wiped<Box<str>>,
    shapes: Box<[Shape]>,
}

/// Which properties belong to a node.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The number of its [`Shape`].
    pub(super) shape: u32,
    /// Its first own line.
    pub(super) first: u32,
}

/// The keys of a section, its own and inherited.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Where each key is in the text of all keys: first its own in the order of its lines, then the
    /// inherited ones.
    keys: Box<[u32]>,
    /// The lines of the inherited keys.
    inherited: Box<[u32]>,
    cells: Box<[Cell]>,
    seed: Seed,
}

/// A cell of the open-addressing table.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// The key's length; 0 in a free cell, because no key is empty.
    length: u32,
    /// The number of the property.
    index: u32,
    ends: [u64; 2],
}

const FREE: Cell = Cell { length: 0, index: 0, ends: [0; 2] };

impl Shape {
    /// The shape of a section whose lines have the keys `own`, and which inherits the lines
    /// `inherited`.
    pub fn new(lines: &Lines, own: &[u32], inherited: Vec<u32>) -> Shape {
        let of_others = inherited.iter().map(|line| lines.of(&(*line..*line + 1))[0].key);
        let spellings: Vec<u32> = own.iter().copied().chain(of_others).collect();
        let usual = cells(lines, &spellings, Seed::USUAL);
        let (cells, seed) = match usual.is_crowded {
            false => (usual.cells, Seed::USUAL),
            true => {
                let seed = Seed::new();
                (cells(lines, &spellings, seed).cells, seed)
            }
        };
        let keys = spellings.iter().map(|spelling| lines.spellings.start(*spelling)).collect();
        Shape { keys, inherited: inherited.into(), cells: cells.into(), seed }
    }

    /// The number of a property's line.
    #[inline]
    fn line(&self, first: u32, index: usize) -> usize {
        let own = self.keys.len() - self.inherited.len();
        match index.checked_sub(own) {
            None => first as usize + index,
            Some(at) => self.inherited[at] as usize,
        }
    }
}

/// The table of a shape.
struct Table {
    cells: Vec<Cell>,
    /// Some key is more than [`FURTHEST`] cells from its own.
    is_crowded: bool,
}

/// How far from its own cell a key may be. Further is one key in a million by chance, and else a
/// file whose keys were chosen to meet.
const FURTHEST: usize = 64;

fn cells(lines: &Lines, spellings: &[u32], seed: Seed) -> Table {
    // At most half full, so that most keys that are not there are missed at the first cell.
    let mut cells = vec![FREE; (2 * spellings.len()).next_power_of_two()];
    let mut is_crowded = false;
    for (index, spelling) in spellings.iter().enumerate() {
        let key = lines.spellings.get(*spelling).as_bytes();
        let folded = Folded::of(key, seed);
        let mut at = folded.hash as usize & (cells.len() - 1);
        let mut detour = 0;
        while cells[at].length > 0 {
            at = (at + 1) & (cells.len() - 1);
            detour += 1;
            // The usual seed is given up then, so its table need not be right.
            if detour > FURTHEST && seed == Seed::USUAL {
                return Table { cells, is_crowded: true };
            }
        }
        is_crowded |= detour > FURTHEST;
        cells[at] = Cell { length: key.len() as u32, index: index as u32, ends: folded.ends };
    }
    Table { cells, is_crowded }
}

impl Properties {
    pub(super) fn new(lines: &Lines, shapes: Vec<Shape>) -> Properties {
        Properties {
            values: Arc::clone(lines.values()),
            starts: lines.starts(),
            keys: Wiped::new(lines.spellings.text().into()),
            shapes: shapes.into(),
        }
    }

    /// The value of a key in any letter case, with the NUL byte that ends it.
    #[inline]
    pub fn get(&self, owner: Owner, key: &[u8]) -> Option<&[u8]> {
        let shape = &self.shapes[owner.shape as usize];
        let folded = Folded::of(key, shape.seed);
        let mut at = folded.hash as usize;
        loop {
            let cell = &shape.cells[at & (shape.cells.len() - 1)];
            if cell.length == 0 {
                return None;
            }
            let index = cell.index as usize;
            if cell.length as usize == key.len()
                && cell.ends == folded.ends
                && (key.len() <= 16 || self.same_middle(shape.keys[index], key))
            {
                return (!key.is_empty()).then(|| self.value(shape.line(owner.first, index)));
            }
            at += 1;
        }
    }

    /// Whether two keys are equal between their first and last eight bytes, which the caller has
    /// compared.
    #[inline]
    fn same_middle(&self, start: u32, key: &[u8]) -> bool {
        let known = &self.keys.as_bytes()[start as usize..start as usize + key.len()];
        middle(known).eq(middle(key))
    }

    #[inline]
    fn value(&self, line: usize) -> &[u8] {
        &self.values.as_bytes()[self.starts[line] as usize..self.starts[line + 1] as usize]
    }

    /// How many properties the node has.
    pub fn count(&self, owner: Owner) -> usize {
        self.shapes[owner.shape as usize].keys.len()
    }

    /// Key and value of the property with this number, each with the NUL byte that ends it. The
    /// node's own come first, in the order of its lines, then the inherited ones.
    pub fn at(&self, owner: Owner, index: usize) -> Option<(&[u8], &[u8])> {
        let shape = &self.shapes[owner.shape as usize];
        let key = &self.keys.as_bytes()[*shape.keys.get(index)? as usize..];
        let end = key.iter().position(|byte| *byte == 0).unwrap_or_default();
        Some((&key[..=end], self.value(shape.line(owner.first, index))))
    }

    /// The number of a property's line.
    #[cfg(test)]
    pub(super) fn line(&self, owner: Owner, index: usize) -> u32 {
        self.shapes[owner.shape as usize].line(owner.first, index) as u32
    }
}

/// A key in small letters: its first and last eight bytes, and a hash of all of it.
struct Folded {
    ends: [u64; 2],
    hash: u64,
}

impl Folded {
    #[inline]
    fn of(key: &[u8], seed: Seed) -> Folded {
        let ends = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                [lower(u64::from_le_bytes(*first)), lower(u64::from_le_bytes(*last))]
            }
            _ => [lower(short(key)), 0],
        };
        let mut hash = seed.mixed(ends[0] ^ key.len() as u64, ends[1]);
        for word in middle(key) {
            hash = seed.mixed(hash, word);
        }
        Folded { ends, hash }
    }
}

/// The bytes between the first and the last eight, as words. The last word overlaps the last eight
/// bytes.
#[inline]
fn middle(key: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = key.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (word, behind) =
            rest.split_first_chunk::<8>().filter(|(_, behind)| !behind.is_empty())?;
        rest = behind;
        Some(lower(u64::from_le_bytes(*word)))
    })
}

/// A number made of up to seven bytes, each used at least once.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => match *bytes {
            [] => 0,
            [a] => u64::from(a),
            [a, b] => u64::from(a) | u64::from(b) << 8,
            [a, b, c, ..] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        },
    }
}

/// ASCII letters to small letters, eight bytes at once.
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let seven = word & (0x7f * EACH);
    let from_a = seven + (0x80 - b'A' as u64) * EACH;
    let behind_z = seven + (0x7f - b'Z' as u64) * EACH;
    let letter = (from_a ^ behind_z) & !word & (0x80 * EACH);
    word | letter >> 2
}

/// What the hash of a shape's keys depends on. It is the same for all shapes, so that a look-up
/// takes the same time in each process, unless the keys meet under it: somebody may have chosen
/// them so. Then it is one that nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seed([u64; 2]);

impl Seed {
    /// Digits of pi and of the golden ratio.
    const USUAL: Seed = Seed([0x243f_6a88_85a3_08d3, 0x9e37_79b9_7f4a_7c15]);

    fn new() -> Seed {
        Seed([random(), random()])
    }

    /// Multiply and fold, as wyhash does (Wang Yi, 2019), with the seed in place of its constants.
    #[inline]
    fn mixed(self, a: u64, b: u64) -> u64 {
        let product = u128::from(a ^ self.0[0]) * u128::from(b ^ self.0[1]);
        product as u64 ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, parse};
    use proptest::prelude::*;

    fn properties(of_upstream: &[String], of_node: &[String]) -> (Arc<Properties>, Owner) {
        let lines = |keys: &[String]| -> String {
            keys.iter().map(|key| format!("{key} of-{key}\n")).collect()
        };
        let text = format!(
            "[UPSTREAM]\nname u\n{}[NODE]\nname n\nhost h\nport 1\n{}",
            lines(of_upstream),
            lines(of_node)
        );
        let definition = parse(text.as_bytes(), "f", &Options::default()).unwrap();
        let owner = definition.nodes[0].owner;
        (definition.properties, owner)
    }

    /// How many cells a look-up of each key visits before its own, in sum.
    fn detours(shape: &Shape, keys: &str) -> usize {
        let detour = |(at, cell): (usize, &Cell)| {
            let start = shape.keys[cell.index as usize] as usize;
            let key = &keys.as_bytes()[start..start + cell.length as usize];
            at.wrapping_sub(Folded::of(key, shape.seed).hash as usize) & (shape.cells.len() - 1)
        };
        let filled = shape.cells.iter().enumerate().filter(|(_, cell)| cell.length > 0);
        filled.map(detour).sum()
    }

    /// Keys that somebody chose for the usual seed: a look-up of them would visit half of them on
    /// the way, and one of a key that is not there all of them.
    #[test]
    fn keys_that_meet_in_one_cell_get_a_seed_of_their_own() {
        const KEYS: usize = 250;
        for tail in ["", "longer", "a-middle-and-an-end"] {
            let meets = |key: &String| Folded::of(key.as_bytes(), Seed::USUAL).hash & 511 == 7;
            let all = (0..).map(|number| format!("x{number}{tail}"));
            let chosen: Vec<String> = all.filter(meets).take(KEYS).collect();
            let mut seeds = Vec::new();
            for _ in 0..2 {
                let (properties, owner) = properties(&[], &chosen);
                let shape = &properties.shapes[0];
                let found = detours(shape, &properties.keys);
                assert!(found < 4 * KEYS, "{found}");
                assert!(chosen.iter().all(|key| properties.get(owner, key.as_bytes()).is_some()));
                seeds.push(shape.seed);
            }
            assert!(seeds[0] != seeds[1] && !seeds.contains(&Seed::USUAL));

            let few = &chosen[..FURTHEST / 2];
            let (properties, _) = properties(&[], few);
            assert_eq!(properties.shapes[0].seed, Seed::USUAL);
        }
    }

    #[test]
    fn folding_is_ascii_lower_case() {
        for byte in 0..=255u8 {
            for at in 0..8 {
                let word = |byte: u8| {
                    u64::from_le_bytes(std::array::from_fn(|i| if i == at { byte } else { 0xc9 }))
                };
                assert_eq!(lower(word(byte)), word(byte.to_ascii_lowercase()), "{byte} at {at}");
            }
        }
    }

    #[test]
    fn keys_of_every_length_are_found_and_their_neighbours_are_not() {
        let keys: Vec<String> = (1..80).map(|length| "k".repeat(length)).collect();
        let (properties, owner) = properties(&[], &keys);
        for key in &keys {
            let found = properties.get(owner, key.to_ascii_uppercase().as_bytes());
            assert_eq!(found, Some(format!("of-{key}\0").as_bytes()), "{key}");
            for at in 0..key.len() {
                let mut other = key.clone().into_bytes();
                other[at] = b'+'; // no letter, and 0x40 away from one
                assert_eq!(properties.get(owner, &other), None, "{key} at {at}");
            }
        }
        assert_eq!(properties.get(owner, b""), None);
    }

    proptest! {
        #[test]
        fn every_key_is_found_in_any_letter_case_and_no_other(
            // Without the letter of tls and ssl, which no key of a plugin may ask for.
            keys in prop::collection::btree_set("x[a-km-zé._-]{0,24}", 0..40),
            inherited in 0..10usize,
            others in prop::collection::vec("[xa-f]{0,3}", 0..20),
        ) {
            let keys: Vec<String> = keys.into_iter().collect();
            let (of_upstream, of_node) = keys.split_at(inherited.min(keys.len()));
            let (properties, owner) = properties(of_upstream, of_node);
            prop_assert_eq!(properties.count(owner), 3 + keys.len());
            for key in &keys {
                let expected = format!("of-{key}\0");
                prop_assert_eq!(properties.get(owner, key.as_bytes()), Some(expected.as_bytes()));
                prop_assert_eq!(
                    properties.get(owner, key.to_ascii_uppercase().as_bytes()),
                    Some(expected.as_bytes())
                );
            }
            for other in others.iter().filter(|other| !keys.contains(other)) {
                prop_assert_eq!(properties.get(owner, other.as_bytes()), None);
            }
            let listed: Vec<Vec<u8>> =
                (0..properties.count(owner))
                    .map(|at| properties.at(owner, at).unwrap().0.to_vec())
                    .collect();
            let expected = ["name", "host", "port"].into_iter();
            let expected = expected.chain(of_node.iter().chain(of_upstream).map(String::as_str));
            let expected: Vec<Vec<u8>> =
                expected.map(|key| format!("{key}\0").into_bytes()).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
