//! A connection as the pool keeps it: the stream and its history.

use std::any::Any;

use crate::base::moment::Moment;
use crate::net::channel::{Channel, Ending, Look};
use crate::net::portion::Portion;

/// Data that a plugin attaches to a node or a connection; it is dropped with it.
pub type UserData = Box<dyn Any + Send>;

/// A connection that can be kept: the stream and its history.
pub struct Link {
    /// The stream.
    pub channel: Channel,
    /// When it was opened.
    pub opened: Moment,
    /// When it becomes too old to be kept, if `net.keepalive_max_lifetime` is set.
    pub expires: Option<Moment>,
    /// How often it was handed out.
    pub uses: u32,
    /// It was made by a trial whose caller had left, and the node is still out.
    pub of_trial: bool,
    /// The generation of the node when the connection was last handed out.
    pub generation: u32,
    /// Bytes of a payload were sent on it.
    pub carried: bool,
    /// It was still open one second after it was made, and the node was told so.
    pub stood: bool,
    /// How it ended, if it was found to have ended.
    pub found: Option<Box<Ending>>,
    /// The plugin's own data, for example that it has logged in.
    pub data: Option<UserData>,
}

impl Link {
    /// Whether its lifetime is over.
    pub fn is_too_old(&self) -> bool {
        self.expires.is_some_and(|expires| Moment::now() >= expires)
    }

    /// Whether it may be used again. If it has ended, [`Link::found`] says how. The look takes what
    /// it needs from `portion`; see [`Channel::look`].
    #[inline(always)]
    pub fn is_quiet(&mut self, portion: &mut Portion) -> bool {
        match self.channel.look(portion) {
            Look::Quiet => true,
            Look::Ended(ending) => {
                self.found = Some(Box::new(ending));
                false
            }
        }
    }

    /// What looks at several links may take together: a server may have flooded all of them.
    pub const fn shared_portion() -> Portion {
        Portion::of(4)
    }

    /// As [`Link::is_quiet`], with a whole portion, which is taken from what several links `share`.
    #[inline(always)]
    pub fn is_quiet_among(&mut self, share: &mut Portion) -> bool {
        let mut own = Portion::new();
        let is_quiet = self.is_quiet(&mut own);
        share.take_used(own);
        is_quiet
    }
}
