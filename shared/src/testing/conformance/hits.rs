use crate::domain::hits::{Hit, HitCounts, HitKind, ReaderHits, ReaderPlace};
use crate::domain::id::CampaignId;
use crate::ports::{HitChange, HitLedger, Written};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

fn hit(kind: HitKind, minutes: i64, now: Timestamp) -> Hit {
    Hit { kind, at: now + SignedDuration::from_mins(minutes), known_machine: false, sent_at: now }
}

/// Walks a ledger of hits through its histories. `salt` makes the ids unique to this run; `now` is any time, in whole
/// milliseconds.
///
/// # Panics
/// When the ledger differs from what [`HitLedger`] says.
pub async fn hits(ledger: &dyn HitLedger, salt: &str, now: Timestamp) {
    let (campaign, other) = (CampaignId::derived(&[salt, "hits"]), CampaignId::derived(&[salt, "other hits"]));
    let at = |chunk, place| ReaderPlace { campaign: campaign.clone(), chunk, place };
    let counts = async || ledger.hit_counts(&campaign).await.expect("counts");
    assert_eq!(ledger.reader_hits(&[at(0, 0), at(7, 49)]).await.expect("hits"), [None, None]);
    assert_eq!(counts().await, HitCounts::default());

    let opened = ReaderHits::default().with(&[hit(HitKind::Open, 1, now)]);
    let clicked = opened.with(&[hit(HitKind::Click(u32::MAX), 2, now)]);
    let first = |place, after: &ReaderHits| HitChange { place, before: None, after: after.clone() };
    let two = [first(0, &opened), first(49, &clicked)];
    let both = HitCounts { opened_people: 2, clicked_people: 1, ..HitCounts::default() };
    // The second time it is the same write, whose answer was lost.
    for _ in 0..2 {
        assert_eq!(ledger.note_hits(&campaign, 7, &two).await.expect("note"), Written::Done);
        assert_eq!(counts().await, both);
    }
    let found = ledger.reader_hits(&[at(7, 49), at(7, 1), at(0, 0), at(7, 0)]).await.expect("hits");
    assert_eq!(found, [Some(clicked.clone()), None, None, Some(opened.clone())]);

    // All or nothing: one of the two is not as it was.
    let burst = clicked.with(&[hit(HitKind::Click(0), 2, now)]);
    let stale = [first(1, &opened), HitChange { place: 49, before: Some(opened.clone()), after: burst.clone() }];
    assert_eq!(ledger.note_hits(&campaign, 7, &stale).await.expect("note"), Written::Stale);
    assert_eq!(ledger.note_hits(&campaign, 7, &[first(0, &clicked)]).await.expect("note"), Written::Stale);
    assert_eq!((ledger.reader_hits(&[at(7, 1)]).await.expect("hits"), counts().await), (vec![None], both));

    // What was a person's click is a machine's by now.
    let back = [HitChange { place: 49, before: Some(clicked), after: burst }];
    assert_eq!(ledger.note_hits(&campaign, 7, &back).await.expect("note"), Written::Done);
    assert_eq!(counts().await, HitCounts { opened_people: 2, clicked_machines: 1, ..HitCounts::default() });

    // Chunks that share a part of the counts, at the same time.
    let change = [first(0, &opened)];
    let many = join_all((0..20).map(|chunk| ledger.note_hits(&other, chunk * 16, &change))).await;
    assert!(many.into_iter().all(|one| matches!(one, Ok(Written::Done))));
    assert_eq!(ledger.hit_counts(&other).await.expect("counts").opened_people, 20);
    assert_eq!(counts().await.opened_people, 2);
}
