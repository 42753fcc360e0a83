use crate::domain::campaign::{
    Campaign, CampaignState, Counts, Draft, Frozen, QUOTA_EVERY, Resend, Resendable, Rules, StopReason,
};
use crate::domain::chunk::{
    Again, Chunk, ChunkStatus, EventKind, MAX_RECIPIENTS, MailEvent, Sent, Settlement, Uncertain, Verdict,
};
use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use crate::domain::local_time::{Past, SendTime, Timing, When, Whose, Zone};
use crate::domain::pace::{Cut, Grant, Line, SendRate, grant};
use crate::domain::people::Segment;
use crate::ports::{Added, Campaigns, Chunks, DueItem, Pace, SendLine, Written};
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
        past: Past::Skip,
    };
    let draft = Draft {
        id: CampaignId::derived(&[salt, name]),
        tenant: Tenant::parse("conformance").expect("a tenant"),
        newsletter: NewsletterId::derived(&[salt]),
        subject: "Hällo {{ name }}".into(),
        letter: "0123456789abcdef0123456789abcdef".into(),
        timing,
        segment: Segment { tags_any: vec!["a".into()], tags_all: Vec::new() },
        rules: Rules { late_hours: 3, uncertain: Uncertain::Hold },
        rate: SendRate::per_second(2.5).ok(),
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
    let started = Campaign { tracked: true, ..started.start(now).expect("a draft can be started") };
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
    assert_eq!(store.meta(&campaign.id).await.expect("meta").as_ref(), Some(&full));
    let again = full.send_rest(&[Resendable::Failed, Resendable::Unknown], now).expect("it is finished");
    assert_eq!(store.update(&full, &again).await.expect("update"), Written::Done);
    let read = store.meta(&campaign.id).await.expect("meta").expect("it is stored");
    assert_eq!(read, again);
    let states = vec![Resendable::Unknown, Resendable::Failed];
    assert_eq!((read.pass, read.resend), (1, Some(Resend { states, next: 0 })));
    let halted = again.halt(StopReason::Bounces, Some("code".into()), now).expect("it sends");
    assert_eq!(store.update(&again, &halted).await.expect("update"), Written::Done);
    assert_eq!(store.meta(&campaign.id).await.expect("meta").as_ref(), Some(&halted));
    let counts = Counts { hard_bounced: 7, delivered: 100, ..Counts::default() };
    let resumed = halted.resume(&counts, now).expect("it is halted");
    assert_eq!(store.update(&halted, &resumed).await.expect("update"), Written::Done);
    assert_eq!(store.meta(&campaign.id).await.expect("meta"), Some(resumed));
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
    let ours = async |until| -> Vec<DueItem> {
        let due = store.due(until, 10_000).await.expect("due");
        let mine = |item: &DueItem| matches!(item, DueItem::Campaign(of) | DueItem::Chunk(of, _) if of == id);
        due.into_iter().filter(mine).collect()
    };
    let ready = async |until| chunks.ready(id, until, 100).await.expect("ready");
    let queued = async |now| chunks.queued(id, now).await.expect("queued");
    let active = async || store.active(10_000).await.expect("active").contains(id);
    assert_eq!(ours(now).await, [DueItem::Campaign(id.clone())]);
    let early = now - SignedDuration::from_millis(1);
    assert_eq!(ours(early).await, [], "not before its time");
    assert!(active().await);
    let frozen = page(&started, 2, 2, later);
    assert_eq!(store.freeze(&started, &frozen).await.expect("freeze"), Written::Done);
    assert_eq!(ready(now).await, [0; 0]);
    let mut both = ready(later).await;
    both.sort_unstable();
    assert_eq!(both, [0, 1]);
    assert_eq!(chunks.ready(id, later, 1).await.expect("ready").len(), 1, "no more than asked for");
    let chunk = frozen.chunks[0].clone();

    let put_off = later + Duration::from_secs(300);
    assert_eq!(queued(now).await, 0);
    assert_eq!(chunks.dispatched(&chunk, put_off).await.expect("dispatched"), Written::Done);
    assert_eq!((ready(later).await, queued(later).await), (vec![1], 1));
    assert_eq!(queued(put_off).await, 0, "its message is taken for lost");
    assert_eq!(ready(put_off).await.len(), 2);
    let further = put_off + Duration::from_secs(1);
    assert_eq!(chunks.dispatched(&chunk, further).await.expect("dispatched"), Written::Stale, "somebody else did");
    let stored = chunks.get(id, 0).await.expect("get").expect("it is there");
    assert_eq!(stored, Chunk { queued: true, attention_at: Some(put_off), ..chunk.clone() });
    assert_eq!(chunks.put_back(&stored, now).await.expect("put back"), Written::Done);
    assert_eq!((ready(now).await, queued(now).await), (vec![0], 0));
    let stored = chunks.get(id, 0).await.expect("get").expect("it is there");
    assert_eq!(stored, Chunk { attention_at: Some(now), ..chunk.clone() });
    assert_eq!(chunks.dispatched(&stored, put_off).await.expect("dispatched"), Written::Done);

    let lease_until = now + Duration::from_secs(30);
    let claimed = chunk.claim("me", &[(0, Verdict::Send)], now, lease_until).expect("it is pending");
    assert_eq!(chunks.update(&chunk, &claimed).await.expect("update"), Written::Done, "a dispatch is no change");
    assert_eq!(chunks.dispatched(&chunk, further).await.expect("dispatched"), Written::Stale, "it is claimed");
    assert_eq!(chunks.put_back(&chunk, now).await.expect("put back"), Written::Stale);
    assert_eq!((ready(further).await, queued(now).await), (vec![1], 0));
    assert_eq!(ours(lease_until).await.len(), 2, "the campaign, and the chunk's lease");
    let done = Chunk { status: ChunkStatus::Done, attention_at: None, lease_until: None, fence: 2, ..claimed.clone() };
    assert_eq!(chunks.update(&claimed, &done).await.expect("update"), Written::Done);
    assert_eq!(ours(further).await, [DueItem::Campaign(id.clone())]);

    let campaign = store.meta(id).await.expect("meta").expect("it is there");
    let paused = campaign.pause(StopReason::Quota, now).expect("it sends");
    assert_eq!(store.update(&campaign, &paused).await.expect("update"), Written::Done);
    assert!(!active().await);
    assert_eq!(ours(further + QUOTA_EVERY).await, [DueItem::Campaign(id.clone())], "its pause ends by itself");
    let cancelled = paused.cancel(now).expect("it is not over");
    assert_eq!(store.update(&paused, &cancelled).await.expect("update"), Written::Done);
    assert_eq!(ours(further + QUOTA_EVERY).await, []);
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
    let verdicts = [
        (0, Verdict::Send),
        (1, Verdict::Send),
        (2, Verdict::Suppress("bounce".into())),
        (3, Verdict::Skip("erased".into())),
    ];
    let lease_until = now + Duration::from_secs(60);
    let mine = before.claim("mine", &verdicts, now, lease_until).expect("it is pending").following(Some(now));
    let rival = before.claim("rival", &verdicts, now, lease_until).expect("it is pending");
    assert_eq!(chunks.update(&before, &mine).await.expect("update"), Written::Done);
    assert_eq!(chunks.update(&before, &rival).await.expect("update"), Written::Stale);
    assert_eq!(chunks.update(&before, &mine).await.expect("update"), Written::Done, "as if the answer was lost");
    assert_eq!(chunks.get(&started.id, 0).await.expect("get"), Some(mine.clone()));
    let expected = Counts { pending: 116, sending: 2, suppressed: 1, skipped: 1, open_chunks: 24, ..Counts::default() };
    assert_eq!(counts().await, expected, "counted once");

    let outcomes = [(0, Sent::Accepted("id-1".into())), (1, Sent::Unknown)];
    let recorded = mine.record("mine", &outcomes, Again::At(now), lease_until).expect("it is mine");
    assert_eq!(chunks.update(&mine, &recorded).await.expect("update"), Written::Done);
    let expected = Counts { sending: 0, sent: 1, unknown: 1, ..expected };
    assert_eq!(counts().await, expected);
    let (wait, uncertain) = (SignedDuration::ZERO, Uncertain::Retry);
    let by = Settlement { wait, uncertain, sent_until: None, heard_until: None };
    let zombie = mine.settle(by, lease_until).expect("its lease is over");
    assert_eq!(chunks.update(&mine, &zombie).await.expect("update"), Written::Stale);
    let stranger = Chunk { number: 999, ..mine.clone() };
    assert_eq!(chunks.update(&stranger, &stranger).await.expect("update"), Written::Stale, "there is no such chunk");

    // Many workers at once get in nobody's way.
    let all = frozen.chunks[1..].iter().map(|chunk| async {
        let verdicts: Vec<_> =
            chunk.pending().into_iter().map(|place| (place, Verdict::Fail("not rendered".into()))).collect();
        let failed = chunk.claim("many", &verdicts, now, lease_until).expect("it is pending");
        chunks.update(chunk, &failed).await.expect("update")
    });
    assert!(join_all(all).await.into_iter().all(|written| written == Written::Done));
    let expected = Counts { pending: 1, failed: 115, open_chunks: 1, ..expected };
    assert_eq!(counts().await, expected);

    let event = |place, kind, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        MailEvent { place, attempt: 1, message_id: format!("id-{}", place + 1), kind, reason }
    };
    let told = [event(1, EventKind::HardBounce, Some("Permanent/General")), event(0, EventKind::Delivery, None)];
    let heard = recorded.hear(&told).expect("it is new");
    assert_eq!(chunks.update(&recorded, &heard).await.expect("update"), Written::Done);
    assert_eq!(chunks.get(&started.id, 0).await.expect("get"), Some(heard.clone()));
    let expected = Counts { sent: 0, unknown: 0, delivered: 1, hard_bounced: 1, ..expected };
    assert_eq!(counts().await, expected);

    let read = chunks.range(&started.id, 0..3).await.expect("range");
    assert_eq!(read.iter().map(|chunk| chunk.number).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(read[0], heard);
    let last = chunks.range(&started.id, 20..70).await.expect("range");
    assert_eq!(last.iter().map(|chunk| chunk.number).collect::<Vec<_>>(), [20, 21, 22, 23], "those that are there");
    assert_eq!(chunks.range(&started.id, 5..5).await.expect("range"), []);
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

/// Walks what is known of a line through its histories. `salt` makes the line unique to this run.
///
/// # Panics
/// When the line differs from what [`SendLine`] says.
pub async fn send_line(lines: &dyn SendLine, pace: &dyn Pace, salt: &str, now: Timestamp) {
    let line = async || lines.line(salt).await.expect("line");
    let rate = |mails| SendRate::per_second(mails).expect("a rate");
    assert_eq!(line().await, Line::default());
    lines.allow(salt, rate(12.5)).await.expect("allow");
    lines.allow(salt, rate(14.0)).await.expect("allow");
    let second = SignedDuration::from_secs(1);
    pace.take(salt, second, now, now + second).await.expect("take");
    let expected = Line { taken_until: Some(now + second), ceiling: Some(rate(14.0)), ..Line::default() };
    assert_eq!(line().await, expected);

    let first = Cut { left: rate(9.8), at: now };
    let second = Cut { left: rate(6.86), at: now + second };
    assert_eq!(lines.cut(salt, None, first).await.expect("cut"), Written::Done);
    assert_eq!(lines.cut(salt, None, first).await.expect("cut"), Written::Done, "as if the answer was lost");
    assert_eq!(lines.cut(salt, None, second).await.expect("cut"), Written::Stale);
    assert_eq!(line().await, Line { cut: Some(first), ..expected });
    assert_eq!(lines.cut(salt, Some(first), second).await.expect("cut"), Written::Done);
    assert_eq!(lines.cut(salt, Some(first), first).await.expect("cut"), Written::Stale);

    for seconds in [10, 30, 20] {
        lines.heard(salt, now + Duration::from_secs(seconds)).await.expect("heard");
    }
    let heard_at = Some(now + Duration::from_secs(30));
    assert_eq!(line().await, Line { cut: Some(second), heard_at, ..expected }, "the latest stays");
}
