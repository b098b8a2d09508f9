//! When the wait of each node that is out ends. It holds its memory from the start, so that a pick
//! that gets a trial allocates nothing.

/// Times and places, in rising order; a place stands in it once.
pub(super) struct Calendar(Vec<(u64, u32)>);

impl Calendar {
    /// An empty one for so many places.
    pub(super) fn new(places: usize) -> Calendar {
        Calendar(Vec::with_capacity(places))
    }

    pub(super) fn insert(&mut self, entry: (u64, u32)) {
        if let Err(at) = self.0.binary_search(&entry) {
            self.0.insert(at, entry);
        }
    }

    pub(super) fn remove(&mut self, entry: (u64, u32)) {
        if let Ok(at) = self.0.binary_search(&entry) {
            self.0.remove(at);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u64, u32)> + Clone {
        self.0.iter()
    }
}
