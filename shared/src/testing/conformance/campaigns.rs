use crate::domain::campaign::{Campaign, CampaignState, Counts, Draft, Frozen};
use crate::domain::chunk::{Chunk, ChunkStatus, MAX_RECIPIENTS, SendEvent, Sent, Verdict};
use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use crate::domain::local_time::{SendTime, Timing, When, Whose, Zone};
use crate::domain::pace::{Grant, grant};
use crate::domain::people::Segment;
use crate::ports::{Added, Campaigns, Chunks, DueItem, Duty, Pace, Written};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

fn draft(salt: &str, name: &str, now: Timestamp) -> Campaign {
    let timing = Timing {
        when: When::On("2030-02-28".parse().expect("a date")),
        whose: Whose::Recipient,
        send_at: SendTime::parse("10:00").expect("a time"),
        time_zone: Zone::parse("Europe/Berlin").expect("a zone"),
        days: None,
    };
    let draft = Draft {
        id: CampaignId::derived(&[salt, name]),
        tenant: Tenant::parse("conformance").expect("a tenant"),
        newsletter: NewsletterId::derived(&[salt]),
        subject: "Hällo {{ name }}".into(),
        timing,
        segment: Segment { tags_any: vec!["a".into()], tags_all: Vec::new() },
    };
    Campaign::draft(draft, now)
}

/// A page of the audience with `chunks` chunks of `recipients` recipients each.
fn page(campaign: &Campaign, chunks: u32, recipients: usize, due: Timestamp) -> Frozen {
    let chunk = |number| {
        let digests = (0..recipients).map(|i| format!("{number:016x}{i:016x}")).collect();
        Chunk::new(campaign.id.clone(), number, due, digests)
    };
    let chunks: Vec<_> = (campaign.next_chunk..).take(chunks as usize).map(chunk).collect();
    let campaign = Campaign {
        cursor: Some(format!("{:032x}", campaign.next_chunk)),
        next_chunk: campaign.next_chunk + chunks.len() as u32,
        total: campaign.total + (chunks.len() * recipients) as u64,
        version: campaign.version + 1,
        ..campaign.clone()
    };
    Frozen { campaign, chunks }
}

/// A campaign that is freezing, stored.
async fn freezing(store: &dyn Campaigns, salt: &str, name: &str, now: Timestamp) -> Campaign {
    let campaign = draft(salt, name, now);
    assert_eq!(store.create(&campaign).await.expect("create"), Added::New);
    let started = Campaign { timing: Timing { when: When::Now, ..campaign.timing.clone() }, ..campaign.clone() };
    let started = started.start(now).expect("a draft can be started");
    assert_eq!(store.update(&campaign, &started).await.expect("update"), Written::Done);
    started
}

/// Walks a store of campaigns through its histories. `salt` makes the ids unique to this run; `now` is any time, in whole
/// milliseconds.
///
/// # Panics
/// When the store differs from what [`Campaigns`] and [`Chunks`] say.
pub async fn campaigns(store: &dyn Campaigns, chunks: &dyn Chunks, salt: &str, now: Timestamp) {
    versions(store, salt, now).await;
    pages(store, chunks, salt, now).await;
    due_items(store, chunks, salt, now).await;
}

async fn versions(store: &dyn Campaigns, salt: &str, now: Timestamp) {
    let campaign = draft(salt, "versions", now);
    assert_eq!(store.get(&campaign.id).await.expect("get"), None);
    assert_eq!(store.meta(&campaign.id).await.expect("meta"), None);
    assert_eq!(store.update(&campaign, &campaign.look_again(now)).await.expect("update"), Written::Stale);
    assert_eq!(store.create(&campaign).await.expect("create"), Added::New);
    let other = Campaign { subject: "other".into(), ..campaign.clone() };
    assert_eq!(store.create(&other).await.expect("create"), Added::Exists(Box::new(campaign.clone())));
    let view = store.get(&campaign.id).await.expect("get").expect("it is stored");
    assert_eq!((&view.campaign, view.counts), (&campaign, Counts::default()));

    let one = campaign.look_again(now);
    let two = campaign.look_again(now + Duration::from_secs(1));
    assert_eq!(store.update(&campaign, &one).await.expect("update"), Written::Done);
    assert_eq!(store.update(&campaign, &two).await.expect("update"), Written::Stale);
    assert_eq!(store.update(&campaign, &one).await.expect("update"), Written::Done, "as if the answer was lost");
    assert_eq!(store.meta(&campaign.id).await.expect("meta"), Some(one.clone()));
    let full = Campaign {
        state: CampaignState::Finished,
        started_at: Some(now),
        opens_at: Some(now),
        opened_at: Some(now),
        frozen: true,
        cursor: Some("f".repeat(32)),
        next_chunk: 3,
        total: 120,
        finished_at: Some(now),
        attention_at: None,
        version: one.version + 1,
        ..one.clone()
    };
    assert_eq!(store.update(&one, &full).await.expect("update"), Written::Done);
    assert_eq!(store.meta(&campaign.id).await.expect("meta"), Some(full));
}

async fn pages(store: &dyn Campaigns, chunks: &dyn Chunks, salt: &str, now: Timestamp) {
    let started = freezing(store, salt, "pages", now).await;
    let first = page(&started, 3, 20, now);
    let rival = page(&started, 2, 10, now);
    assert_eq!(store.freeze(&started, &first).await.expect("freeze"), Written::Done);
    assert_eq!(store.freeze(&started, &first).await.expect("freeze"), Written::Done, "as if the answer was lost");
    assert_eq!(store.freeze(&started, &rival).await.expect("freeze"), Written::Stale);
    // The longest page there can be.
    let second = page(&first.campaign, 96, MAX_RECIPIENTS, now);
    assert_eq!(store.freeze(&first.campaign, &second).await.expect("freeze"), Written::Done);
    let view = store.get(&started.id).await.expect("get").expect("it is stored");
    assert_eq!(view.campaign, second.campaign);
    assert_eq!(view.counts, Counts { pending: 4_860, open_chunks: 99, ..Counts::default() });
    for chunk in first.chunks.iter().chain(&second.chunks) {
        assert_eq!(chunks.get(&started.id, chunk.number).await.expect("get").as_ref(), Some(chunk));
    }
    assert_eq!(chunks.get(&started.id, 99).await.expect("get"), None);
}

async fn due_items(store: &dyn Campaigns, chunks: &dyn Chunks, salt: &str, now: Timestamp) {
    let started = freezing(store, salt, "due", now).await;
    let later = now + Duration::from_secs(100);
    let id = &started.id;
    let ours = async |lane, until| -> Vec<DueItem> {
        let due = store.due(lane, until, 10_000).await.expect("due");
        let mine = |item: &DueItem| matches!(item, DueItem::Campaign(of) | DueItem::Chunk(of, _) if of == id);
        due.into_iter().filter(mine).collect()
    };
    assert_eq!(ours(Duty::Attention, now).await, [DueItem::Campaign(id.clone())]);
    let early = now - SignedDuration::from_millis(1);
    assert_eq!(ours(Duty::Attention, early).await, [], "not before its time");
    let frozen = page(&started, 1, 2, later);
    assert_eq!(store.freeze(&started, &frozen).await.expect("freeze"), Written::Done);
    let chunk = frozen.chunks[0].clone();
    let item = DueItem::Chunk(id.clone(), 0);
    assert_eq!(ours(Duty::Dispatch, now).await, []);
    assert_eq!(ours(Duty::Dispatch, later).await, std::slice::from_ref(&item));

    let put_off = later + Duration::from_secs(300);
    assert_eq!(chunks.dispatched(&chunk, put_off).await.expect("dispatched"), Written::Done);
    assert_eq!(ours(Duty::Dispatch, later).await, []);
    assert_eq!(ours(Duty::Dispatch, put_off).await, [item]);
    let further = put_off + Duration::from_secs(1);
    assert_eq!(chunks.dispatched(&chunk, further).await.expect("dispatched"), Written::Stale, "somebody else did");

    let lease_until = now + Duration::from_secs(30);
    let claimed = chunk.claim("me", &[(0, Verdict::Send)], now, lease_until).expect("it is pending");
    assert_eq!(chunks.update(&chunk, &claimed).await.expect("update"), Written::Done, "a dispatch is no change");
    assert_eq!(chunks.dispatched(&chunk, further).await.expect("dispatched"), Written::Stale, "it is claimed");
    assert_eq!(ours(Duty::Dispatch, further).await, []);
    assert_eq!(ours(Duty::Attention, lease_until).await.len(), 2, "the campaign, and the chunk's lease");
    let done = Chunk { status: ChunkStatus::Done, attention_at: None, lease_until: None, fence: 2, ..claimed.clone() };
    assert_eq!(chunks.update(&claimed, &done).await.expect("update"), Written::Done);
    assert_eq!(ours(Duty::Attention, further).await, [DueItem::Campaign(id.clone())]);
}

/// Walks the ledger of a campaign's chunks through its histories.
///
/// # Panics
/// When the store differs from what [`Chunks`] says.
pub async fn chunks(store: &dyn Campaigns, chunks: &dyn Chunks, salt: &str, now: Timestamp) {
    let started = freezing(store, salt, "chunks", now).await;
    let frozen = page(&started, 24, 5, now);
    assert_eq!(store.freeze(&started, &frozen).await.expect("freeze"), Written::Done);
    let counts = async || store.get(&started.id).await.expect("get").expect("it is stored").counts;

    let before = frozen.chunks[0].clone();
    let verdicts = [(0, Verdict::Send), (1, Verdict::Send), (2, Verdict::Suppress), (3, Verdict::Skip)];
    let lease_until = now + Duration::from_secs(60);
    let mine = before.claim("mine", &verdicts, now, lease_until).expect("it is pending");
    let rival = before.claim("rival", &verdicts, now, lease_until).expect("it is pending");
    assert_eq!(chunks.update(&before, &mine).await.expect("update"), Written::Done);
    assert_eq!(chunks.update(&before, &rival).await.expect("update"), Written::Stale);
    assert_eq!(chunks.update(&before, &mine).await.expect("update"), Written::Done, "as if the answer was lost");
    assert_eq!(chunks.get(&started.id, 0).await.expect("get"), Some(mine.clone()));
    let expected = Counts { pending: 116, sending: 2, suppressed: 1, skipped: 1, open_chunks: 24, ..Counts::default() };
    assert_eq!(counts().await, expected, "counted once");

    let outcomes = [(0, Sent::Accepted("id-1".into())), (1, Sent::Unknown)];
    let recorded = mine.record("mine", &outcomes, now, lease_until).expect("it is mine");
    assert_eq!(chunks.update(&mine, &recorded).await.expect("update"), Written::Done);
    let expected = Counts { sending: 0, sent: 1, unknown: 1, ..expected };
    assert_eq!(counts().await, expected);
    let zombie = mine.settle(&[], lease_until, SignedDuration::ZERO).expect("its lease is over");
    assert_eq!(chunks.update(&mine, &zombie).await.expect("update"), Written::Stale);
    let stranger = Chunk { number: 999, ..mine.clone() };
    assert_eq!(chunks.update(&stranger, &stranger).await.expect("update"), Written::Stale, "there is no such chunk");

    // Many workers at once get in nobody's way.
    let all = frozen.chunks[1..].iter().map(|chunk| async {
        let verdicts: Vec<_> = chunk.pending().into_iter().map(|place| (place, Verdict::Fail)).collect();
        let failed = chunk.claim("many", &verdicts, now, lease_until).expect("it is pending");
        chunks.update(chunk, &failed).await.expect("update")
    });
    assert!(join_all(all).await.into_iter().all(|written| written == Written::Done));
    let expected = Counts { pending: 1, failed: 115, open_chunks: 1, ..expected };
    assert_eq!(counts().await, expected);

    let event = |recipient, attempt, id: &str| SendEvent { recipient, attempt, message_id: id.into() };
    assert_eq!(chunks.events(&started.id, 0).await.expect("events"), []);
    for event in [event(1, 1, "id-2"), event(1, 1, "id-3"), event(49, 2, "id-4")] {
        chunks.seen(&started.id, 0, &event, now).await.expect("seen");
    }
    chunks.seen(&started.id, 1, &event(0, 1, "elsewhere"), now).await.expect("seen");
    let noted = chunks.events(&started.id, 0).await.expect("events");
    assert_eq!(noted, [event(1, 1, "id-2"), event(49, 2, "id-4")], "the first id stays");
}

/// Compares a line of time with [`grant`], alone and with many who ask at once. `salt` makes the line unique to this run.
///
/// # Panics
/// When the line differs.
pub async fn pace(line: &dyn Pace, salt: &str, now: Timestamp) {
    let at = |ms: i64| now + SignedDuration::from_millis(ms);
    let mut taken = None;
    let asks =
        [(0, 100, 50), (0, 100, 100), (0, 100, 150), (0, 100, 200), (10, 50, 300), (400, 100, 450), (400, 100, 900)];
    for (ms, cost, latest) in asks {
        let cost = SignedDuration::from_millis(cost);
        let expected = grant(taken, cost, at(ms), at(latest));
        assert_eq!(line.take(salt, cost, at(ms), at(latest)).await.expect("take"), expected, "{ms} {latest}");
        if let Grant::Slot { until, .. } = expected {
            taken = Some(until);
        }
    }
    let other = format!("{salt}-many");
    let cost = SignedDuration::from_millis(100);
    let asks = (0..12).map(|_| line.take(&other, cost, at(0), at(1_000)));
    let mut slots: Vec<_> = join_all(asks)
        .await
        .into_iter()
        .filter_map(|granted| match granted.expect("take") {
            Grant::Slot { from, until } => Some((from, until)),
            Grant::Refused { .. } => None,
        })
        .collect();
    slots.sort();
    let expected: Vec<_> = (0..10).map(|i| (at(100 * i), at(100 * (i + 1)))).collect();
    assert_eq!(slots, expected, "ten slots fit and none overlaps");
}
