//! Finds nodes by name: an open-addressing table of their numbers. The nodes hold the names.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// The numbers of named things.
#[derive(Clone, Debug)]
pub struct NameIndex {
    /// The upper bits are a part of the name's hash, so that a wrong name is hardly ever compared.
    /// The lower bits are the number, counted from 1. 0 is a free cell.
    cells: Box<[u32]>,
    hasher: RandomState,
}

impl NameIndex {
    /// Room for `count` names; more must not be inserted.
    pub(super) fn for_names(count: usize) -> NameIndex {
        assert!(count < NUMBER as usize, "a file of 32 MiB holds a tenth of that");
        // At most half full, so that chains stay short.
        NameIndex {
            cells: vec![0; (2 * count).next_power_of_two()].into(),
            hasher: RandomState::new(),
        }
    }

    /// Adds a number under a name. If the name is there already, returns its number.
    pub(super) fn insert<'n>(
        &mut self,
        name: &str,
        number: usize,
        name_of: impl Fn(usize) -> &'n str,
    ) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        match self.look_up(name, hash, name_of) {
            Ok(found) => Some(found),
            Err(free) => {
                self.cells[free] = part(hash) | (number as u32 + 1);
                None
            }
        }
    }

    /// The number of a name.
    pub fn find<'n>(&self, name: &str, name_of: impl Fn(usize) -> &'n str) -> Option<usize> {
        self.look_up(name, self.hasher.hash_one(name), name_of).ok()
    }

    fn look_up<'n>(
        &self,
        name: &str,
        hash: u64,
        name_of: impl Fn(usize) -> &'n str,
    ) -> Result<usize, usize> {
        let last = self.cells.len() - 1;
        let mut at = hash as usize & last;
        loop {
            let cell = self.cells[at];
            if cell == 0 {
                return Err(at);
            }
            let number = (cell & NUMBER) as usize - 1;
            if cell & !NUMBER == part(hash) && name_of(number) == name {
                return Ok(number);
            }
            at = (at + 1) & last;
        }
    }
}

/// The bits of a cell that hold the number.
const NUMBER: u32 = (1 << 24) - 1;

/// The bits of a cell that hold a part of the hash. Not its lowest bits: they choose the cell.
fn part(hash: u64) -> u32 {
    (hash >> 32) as u32 & !NUMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_number() {
        let names: Vec<String> = (0..1000).map(|number| format!("n{number}")).collect();
        let mut index = NameIndex::for_names(names.len());
        let name_of = |number: usize| names[number].as_str();
        for (number, name) in names.iter().enumerate() {
            assert_eq!(index.insert(name, number, name_of), None);
            assert_eq!(index.insert(name, 7777, name_of), Some(number));
        }
        for (number, name) in names.iter().enumerate() {
            assert_eq!(index.find(name, name_of), Some(number));
        }
        assert_eq!(index.find("n1000", name_of), None);
        assert_eq!(NameIndex::for_names(0).find("", name_of), None);
    }
}
