use super::*;
use proptest::prelude::*;

/// A hit so many milliseconds after the mail was sent.
fn hit(kind: HitKind, after: i64, known_machine: bool) -> Hit {
    let sent_at: Timestamp = "2026-11-01T10:00:00Z".parse().unwrap();
    Hit { kind, at: sent_at + SignedDuration::from_millis(after), known_machine, sent_at }
}

fn open(after: i64) -> Hit {
    hit(HitKind::Open, after, false)
}

fn click(link: u32, after: i64) -> Hit {
    hit(HitKind::Click(link), after, false)
}

fn of(hits: &[Hit]) -> (By, By) {
    let known = ReaderHits::default().with(hits);
    (known.opened(), known.clicked())
}

#[test]
fn people_and_machines_are_told_apart() {
    use By::{Machines, Nobody, People};
    let minute = 60_000;
    let cases: [(&[Hit], (By, By)); 12] = [
        (&[], (Nobody, Nobody)),
        (&[open(minute)], (People, Nobody)),
        (&[hit(HitKind::Open, minute, true)], (Machines, Nobody)),
        (&[open(9_999)], (Machines, Nobody)),
        (&[open(10_000)], (People, Nobody)),
        (&[open(9_999), open(minute)], (People, Nobody)),
        (&[click(1, minute)], (People, People)),
        (&[click(1, 9_999)], (Nobody, Machines)),
        (&[click(1, minute), click(2, minute + 3_000)], (Nobody, Machines)),
        (&[click(1, minute), click(2, minute + 3_001)], (People, People)),
        (&[click(1, minute), click(1, minute + 1)], (People, People)),
        (&[click(1, minute), hit(HitKind::Click(2), minute + 500, true)], (Nobody, Machines)),
    ];
    for (hits, expected) in cases {
        assert_eq!(of(hits), expected, "{hits:?}");
    }
}

#[test]
fn a_burst_that_is_learned_later_takes_a_person_back_and_a_later_click_makes_one_again() {
    let known = ReaderHits::default().with(&[click(1, 60_000)]);
    assert_eq!(known.counts(), HitCounts { opened_people: 1, clicked_people: 1, ..HitCounts::default() });
    let known = known.with(&[click(2, 59_000)]);
    assert_eq!(known.counts(), HitCounts { clicked_machines: 1, ..HitCounts::default() });
    let known = known.with(&[click(2, 3_600_000)]);
    assert_eq!(known.counts(), HitCounts { opened_people: 1, clicked_people: 1, ..HitCounts::default() });
}

#[test]
fn of_many_clicks_the_first_and_the_last_are_kept() {
    let scan: Vec<Hit> = (0..200).map(|i| click(i, 20_000 + i64::from(i))).collect();
    let known = ReaderHits::default().with(&scan);
    assert_eq!(known.clicked(), By::Machines);
    assert_eq!(known.clicks.len(), MAX_CLICKS);
    assert_eq!(known.with(&[click(7, 3_600_000)]).clicked(), By::People, "the reader comes after the scanner");
    let written = serde_json::to_string(&known).unwrap();
    assert!(written.len() < 600, "{written}");
    assert_eq!(serde_json::from_str::<ReaderHits>(&written).unwrap(), known);
}

fn hits(most: usize) -> impl Strategy<Value = Vec<Hit>> {
    let kind =
        prop_oneof![Just(HitKind::Open), (0_u32..4).prop_map(HitKind::Click), (0_u32..4).prop_map(HitKind::Click)];
    let one = (kind, prop_oneof![0_i64..30_000, 0_i64..600_000], prop::bool::weighted(0.2));
    prop::collection::vec(one.prop_map(|(kind, after, machine)| hit(kind, after, machine)), 0..most)
}

/// Who clicked, worked out from all clicks.
fn clicked_by_all(hits: &[Hit]) -> By {
    let clicks = hits.iter().filter_map(|one| match one.kind {
        HitKind::Click(link) => Some((link, one)),
        HitKind::Open => None,
    });
    let clicks: Vec<(u32, &Hit)> = clicks.collect();
    let person = |(link, one): &(u32, &Hit)| {
        !one.is_machine() && !clicks.iter().any(|(l, o)| l != link && o.at.duration_since(one.at).abs() <= BURST)
    };
    match () {
        () if clicks.is_empty() => By::Nobody,
        () if clicks.iter().any(person) => By::People,
        () => By::Machines,
    }
}

proptest! {
    #[test]
    fn neither_order_nor_repeats_nor_how_they_come_together_matter(
        hits in hits(60), order in any::<u64>(), again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        cut in 1_usize..9,
    ) {
        let at_once = ReaderHits::default().with(&hits);
        let mut others = hits.clone();
        if !hits.is_empty() {
            others.extend(again.iter().map(|at| hits[at.index(hits.len())]));
        }
        // An order that the seed fixes.
        let key = |at: usize| (at as u64 + 1).wrapping_mul(order | 1).rotate_left(17);
        let mut places: Vec<usize> = (0..others.len()).collect();
        places.sort_by_key(|at| key(*at));
        let others: Vec<Hit> = places.into_iter().map(|at| others[at]).collect();
        let bit_by_bit = others.chunks(cut).fold(ReaderHits::default(), |known, some| known.with(some));
        prop_assert_eq!(&at_once, &bit_by_bit);
        prop_assert_eq!(at_once.with(&hits), at_once);
    }

    #[test]
    fn few_clicks_are_judged_by_all_of_them_and_many_never_in_favour_of_people(hits in hits(60)) {
        let known = ReaderHits::default().with(&hits);
        let truth = clicked_by_all(&hits);
        if known.gap {
            prop_assert!(known.clicked() == truth || truth == By::People);
        } else {
            prop_assert_eq!(known.clicked(), truth);
        }
    }

    #[test]
    fn a_reader_is_counted_once(hits in hits(60)) {
        let counts = ReaderHits::default().with(&hits).counts();
        prop_assert!(counts.fields().iter().all(|(_, count)| (0..=1).contains(count)));
        prop_assert!(counts.opened_people + counts.opened_machines <= 1);
        prop_assert!(counts.clicked_people + counts.clicked_machines <= 1);
        prop_assert!(counts.clicked_people <= counts.opened_people);
    }
}
