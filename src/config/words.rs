//! The words that the value of a key may be. Each such key has an enum, made from its list of
//! words. The code that acts on the key must match every word of the enum, so the library cannot
//! accept a word and then ignore it.

/// The words of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The words that this version acts on.
    pub known: &'static [&'static str],
    /// The words reserved for a later version: the error says so.
    pub later: &'static [&'static str],
}

/// The enum of a key's words.
pub trait Word: Copy + 'static {
    /// The words.
    const WORDS: Words;
    /// The values of the known words, in the same order.
    const ALL: &'static [Self];
}

macro_rules! words {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$word_doc:meta])* $word:ident $text:literal,)* }
        later { $($later:literal),* }
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
        /// At the first node of the file.
        First "first",
        /// At a random node.
        Random "random",
    } later {}

    /// `health.check`: how the library itself checks an ejected node.
    Check {
        /// Not at all.
        Off "off",
        /// By a TCP connection.
        Tcp "tcp",
        /// By a TCP connection and, if the node has TLS, a handshake.
        Tls "tls",
    } later {}
}
