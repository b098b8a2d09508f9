//! What a read heard of the server, if it was nothing that the plugin can have.

/// What one step of a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// So many bytes for the plugin; 0 is the proper end of the stream.
    Bytes(usize),
    /// Nothing for it, and nothing more is there.
    Nothing(Heard),
    /// Nothing for it, and more may be there: its [`Portion`](crate::net::portion::Portion) is used
    /// up.
    Unfinished(Heard),
}

/// What came although nothing of it was for the plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whole records of TLS itself, such as session tickets.
    pub messages: bool,
    /// A part of a record, whose rest is on its way.
    pub part: bool,
}

impl Heard {
    /// Nothing at all.
    pub const NOTHING: Heard = Heard { messages: false, part: false };

    /// This, and what came after it. Messages do not count any more once a record is on its way: it
    /// may hold data.
    pub fn and(self, next: Heard) -> Heard {
        match next {
            Heard::NOTHING => self,
            part if part.is_progress() => part,
            next => Heard { messages: self.messages || next.messages, part: next.part },
        }
    }

    /// Whether this is progress. If a record turned out to be of TLS itself, the part of the next
    /// one does not count yet: a server must not keep a read waiting for ever with such records.
    pub fn is_progress(self) -> bool {
        self.part && !self.messages
    }

    /// What the server sent, as a message says it after "the server sent". `is_silence`: and then
    /// it was silent until the time was over.
    pub fn words(self, is_silence: bool) -> &'static str {
        match (self, is_silence) {
            (Heard { messages: true, .. }, _) => {
                "only messages of TLS itself, such as session tickets, and no data"
            }
            (Heard { part: true, .. }, true) => "a part of a TLS record and then nothing",
            (Heard { part: true, .. }, false) => "only a part of a TLS record",
            (Heard::NOTHING, _) => "nothing",
        }
    }
}
