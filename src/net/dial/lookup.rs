//! What one dial knows of the addresses of its name, and whether to wait for more. Pure: the caller
//! passes the time in and does the lookups.
//!
//! Invariants: a dial with addresses of the preferred family never waits; with addresses of the
//! other family alone it waits for a moment (RFC 8305 section 3), and with old addresses for a
//! moment more; a family that never answers holds no dial up that has addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::error::Blame;
use crate::config::NetSettings;
use crate::net::resolve::cache::Known;
use crate::net::resolve::{Answer, Family, NoAnswer};

/// RFC 8305 section 3, "Resolution Delay": how long a dial that has addresses of one family waits
/// for those of the preferred one.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// How long after the start of a lookup a dial waits for the answer if it has an old answer. RFC
/// 8767 section 5 suggests 1.8 s for a resolver that serves stale data. Here the old addresses are
/// probably good, and a payload waits.
const REFRESH_WAIT: Duration = Duration::from_millis(250);

/// How long a dial that has nothing else to try waits for a lookup under way: the client response
/// timer that RFC 8767 section 5 suggests.
const ANSWER_WAIT: Duration = Duration::from_millis(1800);

/// What a dial knows of its name.
pub(super) struct Lookup {
    families: [Part; 2],
    preferred: Family,
    /// When to go on with what is there.
    go_at: Option<Instant>,
    /// Until when to wait for answers after every address has failed.
    hope_until: Option<Instant>,
}

/// What is known of one family.
enum Part {
    /// Not asked for: no lookup is needed, or `net.source_address` is of the other family.
    Unasked,
    /// A lookup is running.
    Awaited(Awaited),
    Found(Arc<[SocketAddr]>),
    Missing(NoAnswer),
}

struct Awaited {
    began: Instant,
    /// The addresses of the last good answer.
    old: Option<Arc<[SocketAddr]>>,
    /// The lookup before got no answer.
    in_vain: bool,
}

/// What to do now.
pub(super) enum Next {
    Wait,
    Race,
    Fail(NoAnswer),
}

impl Lookup {
    /// For a node whose host is this numeric address, or a name (`None`).
    pub(super) fn new(numeric: Option<SocketAddr>, net: &NetSettings) -> Lookup {
        let mut lookup = Lookup {
            families: [Part::Unasked, Part::Unasked],
            preferred: if net.prefer_ipv4 && !net.prefer_ipv6 { Family::V4 } else { Family::V6 },
            go_at: None,
            hope_until: None,
        };
        if let Some(address) = numeric {
            lookup.families[Family::of(address.ip()) as usize] = Part::Found([address].into());
        }
        lookup
    }

    /// The families to ask for.
    pub(super) fn wanted(net: &NetSettings) -> impl Iterator<Item = Family> + use<> {
        let only = net.source_address.map(Family::of);
        Family::BOTH.into_iter().filter(move |family| only.is_none_or(|only| only == *family))
    }

    /// Takes what the cache knows of a family, at the start of the dial.
    pub(super) fn know(&mut self, family: Family, known: Known) {
        self.families[family as usize] = match known {
            Known::Good(addresses) => Part::Found(addresses),
            Known::Failed(no) => Part::Missing(no),
            Known::Old(addresses, began) => {
                Part::Awaited(Awaited { began, old: Some(addresses), in_vain: false })
            }
            Known::Nothing { began, in_vain } => {
                Part::Awaited(Awaited { began, old: None, in_vain })
            }
        };
    }

    /// Takes the answer to a lookup.
    pub(super) fn answered(&mut self, family: Family, answer: &Answer) {
        let part = &mut self.families[family as usize];
        let Part::Awaited(Awaited { old, .. }) = part else { return };
        *part = match (answer, old.take()) {
            (Ok(addresses), _) => Part::Found(Arc::clone(addresses)),
            (Err(_), Some(old)) => Part::Found(old),
            (Err(no), None) => Part::Missing(no.clone()),
        };
    }

    /// Whether a lookup is under way that could bring addresses of this family.
    pub(super) fn awaits(&self, family: Family) -> bool {
        matches!(self.families[family as usize], Part::Awaited(_))
    }

    /// Whether any is.
    pub(super) fn awaits_any(&self) -> bool {
        Family::BOTH.into_iter().any(|family| self.awaits(family))
    }

    /// When to look again even if no answer comes.
    pub(super) fn go_at(&self) -> Option<Instant> {
        self.go_at
    }

    /// Until when to wait for answers after every address has failed.
    pub(super) fn hope_until(&self) -> Option<Instant> {
        self.hope_until.filter(|_| self.awaits_any())
    }

    /// The addresses that are known, old ones included: first those of the preferred family.
    pub(super) fn addresses(&self) -> [Vec<SocketAddr>; 2] {
        [self.preferred, self.preferred.other()].map(|family| {
            match &self.families[family as usize] {
                Part::Found(addresses) | Part::Awaited(Awaited { old: Some(addresses), .. }) => {
                    addresses.to_vec()
                }
                _ => Vec::new(),
            }
        })
    }

    /// Decides when to go on, after something was learned at `now`. `came`: an answer has come.
    pub(super) fn plan(&mut self, came: bool, now: Instant, deadline: Instant) {
        let half = now + deadline.saturating_duration_since(now) / 2;
        let awaited: Vec<&Awaited> = self.awaited().collect();
        let (preferred, other) = (self.part(self.preferred), self.part(self.preferred.other()));
        let go_at = match (preferred, other) {
            _ if awaited.is_empty() => Some(now),
            (Part::Found(_), _) => Some(now),
            (Part::Awaited(Awaited { in_vain: true, .. }), Part::Found(_)) => Some(now),
            (Part::Awaited(Awaited { began, .. }), Part::Found(_)) => {
                Some(if came { now } else { *began } + RESOLUTION_DELAY)
            }
            _ if awaited.iter().any(|awaited| awaited.old.is_some()) => {
                let refreshed = awaited.iter().map(|awaited| awaited.began + REFRESH_WAIT).max();
                refreshed.map(|refreshed| refreshed.min(half))
            }
            // One family does not exist: does the other one, in a moment?
            (Part::Missing(_), _) | (_, Part::Missing(_)) => {
                Some(if came { now } else { awaited[0].began } + ANSWER_WAIT)
            }
            _ => None,
        };
        let hope = |awaited: &&Awaited| {
            awaited.began + if awaited.old.is_some() { ANSWER_WAIT } else { REFRESH_WAIT }
        };
        self.hope_until = awaited.iter().map(hope).max().map(|until| until.min(deadline));
        self.go_at = match (self.go_at, go_at) {
            (Some(before), Some(go_at)) => Some(before.min(go_at)),
            (before, go_at) => before.or(go_at),
        };
    }

    /// What to do at `now`, after [`Lookup::plan`].
    pub(super) fn next(&self, now: Instant) -> Next {
        if self.go_at.is_none_or(|go_at| now < go_at) {
            return Next::Wait;
        }
        if self.addresses().iter().any(|addresses| !addresses.is_empty()) {
            return Next::Race;
        }
        match self.failure() {
            Some(no) => Next::Fail(no),
            None => Next::Wait,
        }
    }

    /// Why there are no addresses: a failure of this machine says most, then that a server did not
    /// answer. Only if no family has addresses is it sure that the name does not exist.
    fn failure(&self) -> Option<NoAnswer> {
        let mut missing: Vec<&NoAnswer> = self.families.iter().filter_map(Part::missing).collect();
        missing.sort_by_key(|no| match no.blame {
            Blame::Local => 0,
            Blame::NoSuchName => 2,
            _ => 1,
        });
        let mut no = (*missing.first()?).clone();
        if self.awaits_any() && no.blame == Blame::NoSuchName {
            no.blame = Blame::Open;
            no.cause.push_str("; the name server did not answer for the other family of addresses");
        }
        Some(no)
    }

    fn part(&self, family: Family) -> &Part {
        &self.families[family as usize]
    }

    fn awaited(&self) -> impl Iterator<Item = &Awaited> {
        self.families.iter().filter_map(|part| match part {
            Part::Awaited(awaited) => Some(awaited),
            _ => None,
        })
    }
}

impl Part {
    fn missing(&self) -> Option<&NoAnswer> {
        match self {
            Part::Missing(no) => Some(no),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
