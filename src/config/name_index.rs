//! Nodes by name: an open-addressing table of their numbers. The names themselves are the nodes'.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// The numbers of named things.
#[derive(Clone, Debug)]
pub struct NameIndex {
    /// Numbers from 1 on; 0 is free.
    slots: Box<[u32]>,
    hasher: RandomState,
}

impl NameIndex {
    /// Room for so many names; there may never be more.
    pub(super) fn for_names(count: usize) -> NameIndex {
        // At most half full, so that chains stay short.
        NameIndex { slots: vec![0; (2 * count).next_power_of_two()].into(), hasher: RandomState::new() }
    }

    /// Adds a number under a name, or tells the number that has it already.
    pub(super) fn insert<'n>(
        &mut self,
        name: &str,
        number: usize,
        name_of: impl Fn(usize) -> &'n str,
    ) -> Option<usize> {
        match self.look_up(name, name_of) {
            Ok(found) => Some(found),
            Err(free) => {
                self.slots[free] = number as u32 + 1;
                None
            }
        }
    }

    /// The number that has a name.
    pub fn find<'n>(&self, name: &str, name_of: impl Fn(usize) -> &'n str) -> Option<usize> {
        self.look_up(name, name_of).ok()
    }

    fn look_up<'n>(&self, name: &str, name_of: impl Fn(usize) -> &'n str) -> Result<usize, usize> {
        let last = self.slots.len() - 1;
        let mut at = self.hasher.hash_one(name) as usize & last;
        loop {
            match self.slots[at] {
                0 => return Err(at),
                number if name_of(number as usize - 1) == name => return Ok(number as usize - 1),
                _ => at = (at + 1) & last,
            }
        }
    }
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
