//! The words that a key's value may be. Each such key has an enum, made from its list of words, and
//! what acts on it matches all of them: a word cannot be accepted here and then ignored there.

/// The words of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Those that this version acts on.
    pub known: &'static [&'static str],
    /// Those set aside for a later version: an error that says so.
    pub later: &'static [&'static str],
}

/// The enum of a key's words.
pub trait Word: Copy + 'static {
    /// The words.
    const WORDS: Words;
    /// What each of the known ones stands for, in their order.
    const ALL: &'static [Self];
}

macro_rules! words {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$word_doc:meta])* $word:ident $text:literal,)* } later { $($later:literal),* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$word_doc])* $word,)* }

        impl Word for $name {
            const WORDS: Words = Words { known: &[$($text),*], later: &[$($later),*] };
            const ALL: &'static [$name] = &[$($name::$word),*];
        }
    )*};
}

words! {
    /// `balance`: how the next node is chosen.
    Balance {
        /// Each node in turn.
        RoundRobin "round-robin",
    } later { "least-connections", "first", "hash" }

    /// `start`: where the rotation starts.
    Start {
        /// With the first node of the file.
        First "first",
        /// With any node.
        Random "random",
    } later {}

    /// `health.check`: the active check of a node that is ejected.
    Check {
        /// None.
        Off "off",
        /// A TCP connection.
        Tcp "tcp",
        /// A TCP connection and, where the node has TLS, a handshake.
        Tls "tls",
    } later {}
}
