//! A connection as the pool keeps it: the stream and its history.

use std::any::Any;

use crate::base::moment::Moment;
use crate::net::channel::{Channel, Ending, Look};

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

    /// Whether it may be used again. If it has ended, [`Link::found`] says how.
    #[inline(always)]
    pub fn is_quiet(&mut self) -> bool {
        match self.channel.look() {
            Look::Quiet => true,
            Look::Ended(ending) => {
                self.found = Some(Box::new(ending));
                false
            }
        }
    }
}
