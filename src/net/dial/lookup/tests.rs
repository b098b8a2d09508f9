//! How long a dial waits for what.

use super::*;
use Family::{V4, V6};
use proptest::prelude::*;

const TIME: Duration = Duration::from_secs(10);

fn addresses(family: Family) -> Arc<[SocketAddr]> {
    match family {
        V4 => [SocketAddr::from(([192, 0, 2, 1], 0))].into(),
        V6 => [SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 0))].into(),
    }
}

fn no_answer(blame: Blame) -> NoAnswer {
    NoAnswer { cause: "why".to_owned(), blame, errno: 0 }
}

fn nothing(began: Instant) -> Known {
    Known::Nothing { began, in_vain: false }
}

fn lookup(v4: Known, v6: Known, now: Instant) -> Lookup {
    let mut lookup = Lookup::new(None, &crate::net::race::tests::net());
    lookup.know(V4, v4);
    lookup.know(V6, v6);
    lookup.plan(false, now, now + TIME);
    lookup
}

/// After how long a dial that learns nothing more goes on.
fn waits(lookup: &Lookup, now: Instant) -> Option<Duration> {
    lookup.go_at().map(|go_at| go_at.saturating_duration_since(now))
}

fn answer(lookup: &mut Lookup, family: Family, answer: Answer, now: Instant) {
    lookup.answered(family, &answer);
    lookup.plan(true, now, now + TIME);
}

#[test]
fn the_preferred_family_goes_at_once_and_the_other_after_a_moment() {
    let now = Instant::now();
    for (prefer_ipv4, first, second) in [(false, V6, V4), (true, V4, V6)] {
        let net = NetSettings { prefer_ipv4, ..crate::net::race::tests::net() };
        let start = || {
            let mut lookup = Lookup::new(None, &net);
            Family::BOTH.into_iter().for_each(|family| lookup.know(family, nothing(now)));
            lookup.plan(false, now, now + TIME);
            assert_eq!(waits(&lookup, now), None, "there is nothing yet");
            lookup
        };
        let mut lookup = start();
        answer(&mut lookup, first, Ok(addresses(first)), now);
        assert!(matches!(lookup.next(now), Next::Race));
        let mut lookup = start();
        let later = now + Duration::from_secs(1);
        answer(&mut lookup, second, Ok(addresses(second)), later);
        assert!(matches!(lookup.next(later), Next::Wait));
        assert_eq!(waits(&lookup, later), Some(RESOLUTION_DELAY));
        assert!(matches!(lookup.next(later + RESOLUTION_DELAY), Next::Race));
        answer(&mut lookup, first, Err(no_answer(Blame::NoSuchName)), later);
        assert!(matches!(lookup.next(later), Next::Race), "nothing more can come");
        assert_eq!(lookup.addresses(), [vec![], addresses(second).to_vec()]);
    }
}

#[test]
fn a_lookup_that_is_old_or_often_in_vain_is_not_waited_for() {
    let now = Instant::now();
    let good = || Known::Good(addresses(V4));
    let young = lookup(good(), nothing(now), now);
    assert_eq!(waits(&young, now), Some(RESOLUTION_DELAY));
    let old = lookup(good(), nothing(now - Duration::from_secs(1)), now);
    assert!(matches!(old.next(now), Next::Race));
    let in_vain = lookup(good(), Known::Nothing { began: now, in_vain: true }, now);
    assert!(matches!(in_vain.next(now), Next::Race));
    assert_eq!(in_vain.hope_until(), Some(now + REFRESH_WAIT));
}

#[test]
fn old_addresses_serve_after_a_moment_or_once_nothing_newer_comes() {
    let now = Instant::now();
    let absent = || Known::Failed(no_answer(Blame::NoSuchName));
    let old = || Known::Old(addresses(V4), now);
    let mut one = lookup(old(), absent(), now);
    assert_eq!(waits(&one, now), Some(REFRESH_WAIT));
    assert_eq!(one.hope_until(), Some(now + ANSWER_WAIT));
    answer(&mut one, V4, Err(no_answer(Blame::Open)), now);
    assert!(matches!(one.next(now), Next::Race));
    assert_eq!(one.hope_until(), None);
    // Little time is left: half of it is for the connection.
    let mut short = Lookup::new(None, &crate::net::race::tests::net());
    short.know(V4, old());
    short.know(V6, absent());
    short.plan(false, now, now + Duration::from_millis(100));
    assert_eq!(waits(&short, now), Some(Duration::from_millis(50)));
}

#[test]
fn a_name_without_addresses_fails_with_what_says_most() {
    let now = Instant::now();
    let failed = |blame| Known::Failed(no_answer(blame));
    for (v4, v6, expected) in [
        (Blame::NoSuchName, Blame::NoSuchName, Blame::NoSuchName),
        (Blame::NoSuchName, Blame::Open, Blame::Open),
        (Blame::Open, Blame::NoSuchName, Blame::Open),
        (Blame::Open, Blame::Local, Blame::Local),
    ] {
        match lookup(failed(v4), failed(v6), now).next(now) {
            Next::Fail(no) => assert_eq!(no.blame, expected),
            _ => panic!("it has no addresses"),
        }
    }
    // One family is unknown: the name may still exist.
    let half = lookup(failed(Blame::NoSuchName), nothing(now), now);
    assert!(matches!(half.next(now), Next::Wait));
    match half.next(now + ANSWER_WAIT) {
        Next::Fail(no) => assert!(no.blame == Blame::Open && no.cause.contains("other family")),
        _ => panic!("it has waited long enough"),
    }
}

fn known(kind: u8, family: Family, began: Instant) -> Known {
    match kind {
        0 => Known::Good(addresses(family)),
        1 => Known::Old(addresses(family), began),
        2 => Known::Nothing { began, in_vain: false },
        3 => Known::Nothing { began, in_vain: true },
        4 => Known::Failed(no_answer(Blame::NoSuchName)),
        _ => Known::Failed(no_answer(Blame::Open)),
    }
}

proptest! {
    /// Whatever is known and comes: with addresses a dial waits at most a moment, without any it
    /// fails as soon as nothing more can come, and it never forgets an address.
    #[test]
    fn a_dial_with_addresses_soon_goes_on(
        kinds in (0u8..6, 0u8..6),
        ages in (0u64..3000, 0u64..3000),
        prefer_ipv4 in any::<bool>(),
        answers in proptest::collection::vec((any::<bool>(), any::<bool>(), 0u64..500), 0..3),
    ) {
        let mut now = Instant::now() + Duration::from_secs(10);
        let net = NetSettings { prefer_ipv4, ..crate::net::race::tests::net() };
        let mut lookup = Lookup::new(None, &net);
        let ago = |age| now - Duration::from_millis(age);
        lookup.know(V4, known(kinds.0, V4, ago(ages.0)));
        lookup.know(V6, known(kinds.1, V6, ago(ages.1)));
        lookup.plan(false, now, now + TIME);
        let mut had = 0;
        for (is_v4, is_good, pause) in answers {
            now += Duration::from_millis(pause);
            let family = if is_v4 { V4 } else { V6 };
            let came = match is_good {
                true => Ok(addresses(family)),
                false => Err(no_answer(Blame::Open)),
            };
            if lookup.awaits(family) {
                answer(&mut lookup, family, came, now);
            }
            let has: usize = lookup.addresses().iter().map(Vec::len).sum();
            prop_assert!(has >= had, "an address was forgotten");
            had = has;
        }
        let has = lookup.addresses().iter().any(|addresses| !addresses.is_empty());
        if has {
            let wait = waits(&lookup, now);
            prop_assert!(wait.is_some_and(|wait| wait <= REFRESH_WAIT), "{wait:?}");
            prop_assert!(matches!(lookup.next(now + REFRESH_WAIT), Next::Race));
        } else if !lookup.awaits_any() {
            prop_assert!(matches!(lookup.next(now), Next::Fail(_)));
        } else {
            prop_assert!(!matches!(lookup.next(now + TIME), Next::Race));
        }
    }
}
