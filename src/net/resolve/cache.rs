//! What is known of each name's addresses, by family, and when to look them up again. Pure: the
//! caller passes the time in and does the lookup.
//!
//! Invariants: one family of a name never has two lookups at once; two of its lookups never begin
//! within a second; a good answer is kept until a newer one comes (the idea of RFC 8767, "Serving
//! Stale Data to Improve DNS Resiliency").

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Answer, Family, NoAnswer};
use crate::base::error::Blame;

/// The shortest time between the starts of two lookups of a name.
const RATE: Duration = Duration::from_secs(1);

/// How long dials get the failure of the last lookup without a new one. If the name has addresses
/// of the other family, "no such name" holds as long as those do: most names have only one family.
const NEGATIVE: Duration = Duration::from_secs(1);

/// The names of one set.
#[derive(Default)]
pub(in crate::net) struct Cache {
    names: HashMap<Arc<str>, [OfFamily; 2]>,
}

#[derive(Default)]
struct OfFamily {
    good: Option<(Arc<[SocketAddr]>, Instant)>,
    failed: Option<(NoAnswer, Instant)>,
    /// When the last lookup began.
    asked: Option<Instant>,
    asking: bool,
    /// A connection to its addresses failed since they came.
    suspect: bool,
}

/// What a dial gets.
#[derive(Clone, Debug)]
pub(in crate::net) enum Known {
    /// An answer that is still good, or an old one if it is too early for another lookup.
    Good(Arc<[SocketAddr]>),
    /// An old answer. A lookup began at this moment and is running; a short wait for it is worth
    /// it.
    Old(Arc<[SocketAddr]>, Instant),
    /// No answer. A lookup began at this moment and is running. `in_vain`: the one before got no
    /// answer.
    Nothing { began: Instant, in_vain: bool },
    /// No answer, and the last lookup has just failed.
    Failed(NoAnswer),
}

impl Known {
    /// Whether a lookup is running, and the one before got no answer.
    pub(in crate::net) fn is_in_vain(&self) -> bool {
        matches!(self, Known::Nothing { in_vain: true, .. })
    }
}

impl Cache {
    /// What is known of the addresses of `host`, if answers are good for `ttl`. If the second value
    /// is true, the caller must start a lookup and call [`Cache::answered`] with its result.
    pub(in crate::net) fn ask(
        &mut self,
        host: &Arc<str>,
        family: Family,
        ttl: Duration,
        now: Instant,
    ) -> (Known, bool) {
        let families = self.names.entry(Arc::clone(host)).or_default();
        let has_other = families[family.other() as usize].good.is_some();
        let name = &mut families[family as usize];
        let since = |then: Instant| now.saturating_duration_since(then);
        if let Some((addresses, came)) = &name.good
            && !name.suspect
            && since(*came) < ttl
        {
            return (Known::Good(Arc::clone(addresses)), false);
        }
        let may_ask = !name.asking && name.asked.is_none_or(|asked| since(asked) >= RATE);
        let began = name.asked.filter(|_| name.asking).or(may_ask.then_some(now));
        let is_absent = |no: &NoAnswer| no.blame == Blame::NoSuchName && has_other && !name.suspect;
        let holds = |no: &NoAnswer| if is_absent(no) { ttl.max(NEGATIVE) } else { NEGATIVE };
        let known = match (&name.good, &name.failed, began) {
            (Some((addresses, _)), _, Some(began)) => Known::Old(Arc::clone(addresses), began),
            (Some((addresses, _)), _, None) => Known::Good(Arc::clone(addresses)),
            (None, Some((no, at)), _) if !name.asking && (since(*at) < holds(no) || !may_ask) => {
                Known::Failed(no.clone())
            }
            (None, failed, _) => Known::Nothing {
                began: began.unwrap_or(now),
                in_vain: matches!(failed, Some((no, _)) if no.blame != Blame::NoSuchName),
            },
        };
        let ask = may_ask && matches!(known, Known::Old(..) | Known::Nothing { .. });
        if ask {
            name.asking = true;
            name.asked = Some(now);
        }
        (known, ask)
    }

    /// Takes the result of a lookup of `host`.
    pub(in crate::net) fn answered(
        &mut self,
        host: &Arc<str>,
        family: Family,
        answer: &Answer,
        now: Instant,
    ) {
        let families = self.names.entry(Arc::clone(host)).or_default();
        let name = &mut families[family as usize];
        name.asking = false;
        match answer {
            Ok(addresses) => {
                name.good = Some((Arc::clone(addresses), now));
                name.failed = None;
                name.suspect = false;
            }
            Err(cause) => {
                name.failed = Some((cause.clone(), now));
                // It was asked again, and nothing better is known. Old addresses stay suspect.
                name.suspect &= name.good.is_some();
            }
        }
    }

    /// A connection to `host` failed: the next dial asks for a lookup.
    pub(in crate::net) fn suspect(&mut self, host: &str) {
        if let Some(families) = self.names.get_mut(host) {
            families.iter_mut().for_each(|name| name.suspect = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Family::{V4, V6};
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn addresses(last: u8) -> Arc<[SocketAddr]> {
        [SocketAddr::from(([192, 0, 2, last], 0))].into()
    }

    fn no_answer() -> NoAnswer {
        NoAnswer { cause: "no such name".to_owned(), blame: Blame::NoSuchName, errno: 0 }
    }

    fn last(known: &Known) -> Option<u8> {
        match known {
            Known::Good(found) | Known::Old(found, _) => match found[0] {
                SocketAddr::V4(address) => Some(address.ip().octets()[3]),
                SocketAddr::V6(_) => None,
            },
            _ => None,
        }
    }

    #[test]
    fn an_answer_holds_for_its_time_and_is_kept_when_asking_fails() {
        let (mut cache, host, start) = (Cache::default(), Arc::from("h"), Instant::now());
        assert!(matches!(cache.ask(&host, V4, TTL, start), (Known::Nothing { .. }, true)));
        assert!(
            matches!(cache.ask(&host, V4, TTL, start), (Known::Nothing { .. }, false)),
            "the first lookup answers both"
        );
        cache.answered(&host, V4, &Ok(addresses(1)), start);
        assert!(matches!(cache.ask(&host, V4, TTL, start + seconds(29)), (Known::Good(_), false)));
        let began = start + seconds(30);
        assert!(
            matches!(cache.ask(&host, V4, TTL, began), (Known::Old(_, at), true) if at == began)
        );
        let later = cache.ask(&host, V4, TTL, start + seconds(35));
        assert!(matches!(later, (Known::Old(_, since), false) if since == began));
        cache.answered(&host, V4, &Err(no_answer()), start + seconds(35));
        let (known, ask) = cache.ask(&host, V4, TTL, start + seconds(35));
        assert_eq!((last(&known), ask), (Some(1), true));
        cache.answered(&host, V4, &Err(no_answer()), start + seconds(35));
        assert!(
            matches!(cache.ask(&host, V4, TTL, start + seconds(35)), (Known::Good(_), false)),
            "too soon to ask"
        );
    }

    #[test]
    fn a_failure_answers_for_a_second() {
        let (mut cache, host, start) = (Cache::default(), Arc::from("h"), Instant::now());
        cache.ask(&host, V4, TTL, start);
        cache.answered(&host, V4, &Err(no_answer()), start + seconds(5));
        assert!(matches!(
            cache.ask(&host, V4, TTL, start + Duration::from_millis(5999)),
            (Known::Failed(_), false)
        ));
        assert!(matches!(
            cache.ask(&host, V4, TTL, start + seconds(6)),
            (Known::Nothing { .. }, true)
        ));
    }

    #[test]
    fn a_suspect_name_is_asked_for_again_but_not_too_soon() {
        let (mut cache, host, start) = (Cache::default(), Arc::from("h"), Instant::now());
        cache.ask(&host, V4, TTL, start);
        cache.answered(&host, V4, &Ok(addresses(1)), start);
        cache.suspect("h");
        cache.suspect("another");
        assert!(matches!(
            cache.ask(&host, V4, TTL, start + Duration::from_millis(999)),
            (Known::Good(_), false)
        ));
        assert!(matches!(cache.ask(&host, V4, TTL, start + seconds(1)), (Known::Old(..), true)));
        cache.answered(&host, V4, &Ok(addresses(2)), start + seconds(1));
        let (known, ask) = cache.ask(&host, V4, TTL, start + seconds(20));
        assert_eq!((last(&known), ask), (Some(2), false));
    }

    #[test]
    fn a_family_that_the_name_lacks_is_asked_for_as_seldom_as_the_other() {
        let (mut cache, host, start) = (Cache::default(), Arc::from("h"), Instant::now());
        let is_asked =
            |cache: &mut Cache, family, after| cache.ask(&host, family, TTL, start + after).1;
        for family in Family::BOTH {
            assert!(is_asked(&mut cache, family, seconds(0)));
        }
        cache.answered(&host, V6, &Err(no_answer()), start);
        cache.answered(&host, V4, &Ok(addresses(1)), start);
        assert!(!is_asked(&mut cache, V6, seconds(29)));
        assert!(is_asked(&mut cache, V6, seconds(30)));
        cache.answered(&host, V6, &Err(no_answer()), start + seconds(30));
        // No connection can be made: it may have got addresses of that family.
        cache.suspect("h");
        assert!(is_asked(&mut cache, V6, seconds(31)));
        cache.answered(&host, V6, &Err(no_answer()), start + seconds(31));
        assert!(!is_asked(&mut cache, V6, seconds(40)), "it was asked for again");
        assert!(is_asked(&mut cache, V4, seconds(40)));
    }

    #[test]
    fn a_family_that_is_never_answered_is_known_for_it() {
        let (mut cache, host, start) = (Cache::default(), Arc::from("h"), Instant::now());
        let silent = NoAnswer { blame: Blame::Open, ..no_answer() };
        assert!(matches!(
            cache.ask(&host, V6, TTL, start),
            (Known::Nothing { began, in_vain: false }, true) if began == start
        ));
        assert!(matches!(
            cache.ask(&host, V6, TTL, start + seconds(5)),
            (Known::Nothing { began, in_vain: false }, false) if began == start
        ));
        cache.answered(&host, V4, &Ok(addresses(1)), start);
        cache.answered(&host, V6, &Err(silent), start + seconds(10));
        assert!(matches!(
            cache.ask(&host, V6, TTL, start + seconds(11)),
            (Known::Nothing { in_vain: true, .. }, true)
        ));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Ask,
        Answer(Option<u8>),
        Suspect,
    }

    proptest! {
        #[test]
        fn the_invariants_hold_whatever_happens(
            ttl in 0u64..5000,
            events in proptest::collection::vec(
                (
                    0u64..1500,
                    prop_oneof![
                        4 => Just(Event::Ask),
                        2 => proptest::option::of(any::<u8>()).prop_map(Event::Answer),
                        1 => Just(Event::Suspect),
                    ],
                ),
                0..200,
            ),
        ) {
            let (mut cache, host, mut now) = (Cache::default(), Arc::from("h"), Instant::now());
            let ttl = Duration::from_millis(ttl);
            let mut asked: Option<Instant> = None;
            let mut asking = false;
            let mut good: Option<(u8, Instant)> = None;
            let mut failed: Option<Instant> = None;
            let mut suspect = false;
            for (pause, event) in events {
                now += Duration::from_millis(pause);
                match event {
                    Event::Answer(_) if !asking => {}
                    Event::Answer(Some(address)) => {
                        cache.answered(&host, V4, &Ok(addresses(address)), now);
                        (asking, good, suspect) = (false, Some((address, now)), false);
                    }
                    Event::Answer(None) => {
                        cache.answered(&host, V4, &Err(no_answer()), now);
                        (asking, failed) = (false, Some(now));
                    }
                    Event::Suspect => {
                        cache.suspect("h");
                        suspect = true;
                    }
                    Event::Ask => {
                        let (known, ask) = cache.ask(&host, V4, ttl, now);
                        if ask {
                            prop_assert!(!asking);
                            prop_assert!(asked.is_none_or(|asked| now - asked >= RATE));
                            (asking, asked) = (true, Some(now));
                        }
                        match &known {
                            Known::Old(_, since) => prop_assert!(asking && asked == Some(*since)),
                            Known::Nothing { .. } => prop_assert!(asking && good.is_none()),
                            Known::Failed(_) => {
                                prop_assert!(good.is_none() && !asking);
                                prop_assert!(failed.is_some_and(|failed| now - failed < NEGATIVE));
                            }
                            Known::Good(_) => {
                                let is_fresh = good.is_some_and(|(_, came)| now - came < ttl);
                                let is_recent = asked.is_some_and(|asked| now - asked < RATE);
                                prop_assert!(!suspect && is_fresh || !asking && is_recent);
                            }
                        }
                        if let Some((address, _)) = good {
                            prop_assert_eq!(last(&known), Some(address), "the last good answer is \
                                                                          what holds");
                        }
                    }
                }
            }
        }
    }
}
