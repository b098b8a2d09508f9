//! The keys of a document, each spelling stored once. Most sections repeat each other, so one
//! comparison with the key that came next last time usually recognizes a line. Knows which
//! spellings are the same key, but not what the key means.

use std::collections::HashMap;

use super::keys::{self, Entry};
use crate::base::wiped::{self, Wiped, Zeroize};

/// Every spelling that was seen.
#[derive(Clone, Debug)]
pub(super) struct Spellings {
    /// The spellings, with a NUL byte after each.
    text: Wiped<String>,
    list: Vec<Spelling>,
    by_text: HashMap<Box<str>, u32>,
    names: Vec<Name>,
    by_name: HashMap<Box<str>, u32>,
    /// The spelling seen last.
    last: u32,
}

#[derive(Clone, Debug)]
struct Spelling {
    start: u32,
    length: u32,
    /// In characters.
    width: u32,
    name: u32,
    /// The spelling that came after it the last time.
    next: u32,
}

/// A key, the same for all its spellings.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// The text for comparisons: in small letters, and the first name if the key has several.
    pub text: Box<str>,
    /// Its row in the table, if it is the library's.
    pub entry: Option<&'static Entry>,
}

/// Not a key: what comes before the first key of a section.
const BEGINNING: u32 = 0;

impl Default for Spellings {
    fn default() -> Self {
        let mut spellings = Spellings {
            text: Wiped::default(),
            list: Vec::new(),
            by_text: HashMap::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            last: BEGINNING,
        };
        spellings.of("");
        spellings
    }
}

impl Spellings {
    /// Begins a section.
    pub fn begin(&mut self) {
        self.last = BEGINNING;
    }

    /// The spelling at the start of `content`, if it is the expected one and a blank follows it.
    pub fn expected(&mut self, content: &str) -> Option<u32> {
        let next = self.list[self.last as usize].next;
        let key = self.get(next);
        let (opening, rest) = content.as_bytes().split_at_checked(key.len())?;
        if next == BEGINNING || opening != key.as_bytes() || !matches!(rest, [b' ' | b'\t', ..]) {
            return None;
        }
        self.last = next;
        Some(next)
    }

    /// The spelling `key`, which is the next in its section.
    pub fn follow(&mut self, key: &str) -> u32 {
        let found = self.of(key);
        self.list[self.last as usize].next = found;
        self.last = found;
        found
    }

    /// The spelling `key`.
    pub fn of(&mut self, key: &str) -> u32 {
        if let Some(found) = self.by_text.get(key) {
            return *found;
        }
        let id = self.list.len() as u32;
        let name = self.name_of_new(key);
        self.list.push(Spelling {
            start: self.text.len() as u32,
            length: key.len() as u32,
            width: key.chars().count() as u32,
            name,
            next: BEGINNING,
        });
        wiped::push_with_nul(&mut self.text, key);
        self.by_text.insert(key.into(), id);
        id
    }

    fn name_of_new(&mut self, key: &str) -> u32 {
        let lower = Wiped::new(key.to_ascii_lowercase());
        let entry = keys::find(&lower);
        let text = entry.map_or(lower.as_str(), |entry| entry.name);
        if let Some(found) = self.by_name.get(text) {
            return *found;
        }
        let id = self.names.len() as u32;
        self.names.push(Name { text: text.into(), entry });
        self.by_name.insert(text.into(), id);
        id
    }

    /// Whether this spelling was seen before.
    pub fn knows(&self, key: &str) -> bool {
        self.by_text.contains_key(key)
    }

    /// A spelling's text.
    pub fn get(&self, spelling: u32) -> &str {
        let Spelling { start, length, .. } = self.list[spelling as usize];
        &self.text[start as usize..(start + length) as usize]
    }

    /// Where a spelling begins in [`Spellings::text`].
    pub fn start(&self, spelling: u32) -> u32 {
        self.list[spelling as usize].start
    }

    /// A spelling's length in characters.
    pub fn width(&self, spelling: u32) -> usize {
        self.list[spelling as usize].width as usize
    }

    /// The number of the key that a spelling means.
    pub fn name_of(&self, spelling: u32) -> u32 {
        self.list[spelling as usize].name
    }

    /// The key with this number.
    pub fn name(&self, name: u32) -> &Name {
        &self.names[name as usize]
    }

    /// How many spellings were seen.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many keys were seen.
    pub fn count_of_names(&self) -> usize {
        self.names.len()
    }

    /// All spellings, with a NUL byte after each.
    pub fn text(&self) -> &str {
        &self.text
    }
}

// A secret that stands in the place of a key was stored like one.
impl Drop for Spellings {
    fn drop(&mut self) {
        let texts = self.by_text.drain().map(|(text, _)| text);
        let names = self.by_name.drain().map(|(name, _)| name);
        let keys = self.names.drain(..).map(|name| name.text);
        texts.chain(names).chain(keys).for_each(|mut text| text.zeroize());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_key_share_its_name() {
        let mut spellings = Spellings::default();
        let ids =
            ["Host", "host", "Tag", "net.max_worker_connections", "NET.max_connections", "Tag"];
        let ids = ids.map(|key| spellings.of(key));
        assert_eq!(ids[2], ids[5]);
        let names = ids.map(|id| spellings.name_of(id));
        assert_eq!((names[0], names[3]), (names[1], names[4]));
        assert_eq!(&*spellings.name(names[3]).text, "net.max_connections");
        assert_eq!(&*spellings.name(names[2]).text, "tag");
        assert_eq!((spellings.get(ids[2]), spellings.knows("TAG")), ("Tag", false));
    }

    #[test]
    fn what_came_last_time_is_expected_with_a_blank_behind_it() {
        let mut spellings = Spellings::default();
        assert_eq!(spellings.expected("name x"), None);
        let (name, host) = (spellings.follow("name"), spellings.follow("host"));
        spellings.begin();
        for content in ["", "nam", "name", "names x", "Name x"] {
            assert_eq!(spellings.expected(content), None, "{content}");
        }
        assert_eq!(spellings.expected("name\tx"), Some(name));
        assert_eq!(spellings.expected("host x"), Some(host));
        assert_eq!(spellings.expected("host x"), None);
    }
}
