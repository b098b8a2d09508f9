//! A connection as the pool keeps it: the stream and its history.

use std::any::Any;

use crate::base::moment::Moment;
use crate::net::channel::{Channel, Ending, Look};

/// Anything a plugin attaches to a node or a connection; dropped with it.
pub type UserData = Box<dyn Any + Send>;

/// A connection that can be kept: the stream and its history.
pub struct Link {
    /// The stream.
    pub channel: Channel,
    /// When it was opened.
    pub opened: Moment,
    /// When it is too old to be kept, if `net.keepalive_max_lifetime` says so.
    pub expires: Option<Moment>,
    /// How often it was handed out.
    pub uses: u32,
    /// It was made by a trial that its caller had left, of a node that is still out.
    pub of_trial: bool,
    /// The node's generation when it was handed out last.
    pub generation: u32,
    /// Bytes of a payload were sent on it.
    pub carried: bool,
    /// It was still alive a second after it was opened, and the node was told so.
    pub stood: bool,
    /// What it was found ended by.
    pub found: Option<Box<Ending>>,
    /// The plugin's own data ("logged in").
    pub data: Option<UserData>,
}

impl Link {
    /// Whether its lifetime is over.
    pub fn is_too_old(&self) -> bool {
        self.expires.is_some_and(|expires| Moment::now() >= expires)
    }

    /// Whether it may be used again. If it has ended, [`Link::found`] says by what.
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
