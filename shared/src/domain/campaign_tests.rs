use super::*;
use crate::domain::address::EmailAddress;
use crate::domain::local_time::{SendTime, Whose, Zone};
use crate::domain::people::{SubscriberKey, SubscriberStatus};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ZONES: [&str; 5] = ["Europe/Berlin", "Asia/Tokyo", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"];

fn ts(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn newsletter() -> NewsletterId {
    NewsletterId::derived(&["n"])
}

fn draft(when: When) -> Campaign {
    let timing = Timing {
        when,
        whose: Whose::Recipient,
        send_at: SendTime::parse("10:00").unwrap(),
        time_zone: Zone::parse("Europe/Berlin").unwrap(),
        days: None,
    };
    let draft = Draft {
        id: CampaignId::derived(&["c"]),
        tenant: Tenant::parse("t").unwrap(),
        newsletter: newsletter(),
        subject: "s".to_owned(),
        timing,
        segment: Segment::default(),
    };
    Campaign::draft(draft, ts("2026-07-01T00:00:00Z"))
}

fn subscriber(i: usize, zone: Option<&str>) -> Subscriber {
    let email = EmailAddress::parse(format!("a{i}@example.com")).unwrap();
    Subscriber {
        key: SubscriberKey::of(&newsletter(), &email),
        tenant: Tenant::parse("t").unwrap(),
        email,
        name: None,
        time_zone: zone.map(|zone| Zone::parse(zone).unwrap()),
        tags: Vec::new(),
        status: SubscriberStatus::Active,
        consent: None,
        created_at: ts("2026-01-01T00:00:00Z"),
        unsubscribed_at: None,
    }
}

fn audience(count: usize) -> Vec<Subscriber> {
    let mut all: Vec<_> = (0..count).map(|i| subscriber(i, (i % 7 > 0).then(|| ZONES[i % ZONES.len()]))).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// Freezes page by page and gives all the chunks.
fn freeze_all(mut campaign: Campaign, audience: &[Subscriber], page: usize) -> (Campaign, Vec<Chunk>) {
    let mut chunks = Vec::new();
    while campaign.state == CampaignState::Freezing {
        let after = campaign.cursor.clone().unwrap_or_default();
        let rest: Vec<_> = audience.iter().filter(|one| one.key.digest() > after.as_str()).cloned().collect();
        let some = &rest[..rest.len().min(page)];
        let frozen = campaign.freeze(some, some.len() == rest.len(), ts("2026-07-01T12:00:05Z")).unwrap();
        assert!(frozen.chunks.len() <= MAX_CHUNKS_PER_PAGE);
        assert_eq!(frozen.campaign.version, campaign.version + 1);
        campaign = frozen.campaign;
        chunks.extend(frozen.chunks);
    }
    (campaign, chunks)
}

#[test]
fn a_campaign_for_now_freezes_at_once_and_one_for_later_waits() {
    let now = ts("2026-07-01T12:00:00Z");
    let started = draft(When::Now).start(now).unwrap();
    assert_eq!((started.state, started.attention_at), (CampaignState::Freezing, Some(now)));
    assert_eq!(started.start(now), Err(StartRefused::NotDraft(CampaignState::Freezing)));

    let dated = draft(When::On("2026-07-03".parse().unwrap())).start(now).unwrap();
    let opens = ts("2026-07-02T20:00:00Z");
    assert_eq!((dated.state, dated.attention_at), (CampaignState::Scheduled, Some(opens)));
    assert_eq!(dated.open(now).unwrap(), None);
    let opened = dated.open(opens).unwrap().unwrap();
    assert_eq!((opened.state, opened.opened_at), (CampaignState::Freezing, Some(opens)));
    assert!(draft(When::On("2026-06-29".parse().unwrap())).start(now).is_err());
}

#[test]
fn chunks_are_full_and_of_one_hour() {
    let started = draft(When::Next).start(ts("2026-07-01T12:00:00Z")).unwrap();
    let opened = started.open(ts("2026-07-01T12:00:00Z")).unwrap().unwrap();
    let (campaign, chunks) = freeze_all(opened, &audience(1_000), PAGE);
    assert_eq!((campaign.total, campaign.state, campaign.frozen), (1_000, CampaignState::Sending, true));
    let hours: BTreeSet<_> = chunks.iter().map(|chunk| chunk.due).collect();
    assert_eq!(hours.len(), 5);
    assert_eq!(
        chunks.len(),
        hours
            .iter()
            .map(|hour| {
                let in_hour: usize =
                    chunks.iter().filter(|chunk| chunk.due == *hour).map(|chunk| chunk.recipients.len()).sum();
                in_hour.div_ceil(MAX_RECIPIENTS)
            })
            .sum::<usize>()
    );
    assert!(chunks.iter().enumerate().all(|(i, chunk)| chunk.number as usize == i));
}

#[test]
fn an_empty_audience_finishes_the_campaign() {
    let started = draft(When::Now).start(ts("2026-07-01T12:00:00Z")).unwrap();
    let (campaign, chunks) = freeze_all(started, &[], PAGE);
    assert_eq!((campaign.state, campaign.total, chunks.len()), (CampaignState::Finished, 0, 0));
    assert_eq!(campaign.attention_at, None);
}

#[test]
fn only_active_subscribers_of_the_segment_are_taken() {
    let mut all = audience(4);
    all[0].status = SubscriberStatus::Unsubscribed;
    all[1].tags = vec!["river".into(), "mill".into()];
    all[2].tags = vec!["river".into()];
    let mut campaign = draft(When::Now);
    campaign.segment = Segment { tags_any: vec!["river".into()], tags_all: vec!["mill".into()] };
    let (campaign, chunks) = freeze_all(campaign.start(ts("2026-07-01T12:00:00Z")).unwrap(), &all, 2);
    assert_eq!(campaign.total, 1);
    assert_eq!(chunks[0].recipients[0].digest, all[1].key.digest());
}

#[test]
fn it_finishes_when_all_are_accounted_for_and_not_before() {
    let now = ts("2026-07-01T12:00:00Z");
    let (campaign, chunks) = freeze_all(draft(When::Now).start(now).unwrap(), &audience(10), PAGE);
    let counts: Counts = chunks.iter().map(Chunk::counts).sum();
    assert_eq!(campaign.finish(&counts, now), None);
    let done = Counts { sent: 7, unknown: 1, failed: 1, suppressed: 1, ..Counts::default() };
    assert_eq!(campaign.finish(&Counts { open_chunks: 1, ..done }, now), None, "an unknown one may be settled yet");
    assert_eq!(campaign.finish(&Counts { sent: 6, ..done }, now), None, "one is missing");
    let finished = campaign.finish(&done, now).unwrap();
    assert_eq!(
        (finished.state, finished.finished_at, finished.attention_at),
        (CampaignState::Finished, Some(now), None)
    );
    assert_eq!(finished.finish(&done, now), None);
}

proptest! {
    /// However the pages are cut, everybody is in exactly one chunk.
    #[test]
    fn nobody_is_lost_or_put_down_twice(count in 0usize..700, page in 1usize..300, spread in any::<bool>()) {
        let now = ts("2026-07-01T12:00:00Z");
        let started = draft(if spread { When::Next } else { When::Now }).start(now).unwrap();
        let opened = started.open(now).ok().flatten().unwrap_or(started);
        let all = audience(count);
        let (campaign, chunks) = freeze_all(opened, &all, page);
        let mut digests: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.recipients).map(|one| &one.digest).collect();
        digests.sort();
        let expected: Vec<_> = all.iter().map(|one| one.key.digest()).collect();
        prop_assert_eq!(digests, expected);
        prop_assert_eq!(campaign.total, count as u64);
        prop_assert_eq!(campaign.next_chunk as usize, chunks.len());
        prop_assert!(chunks.iter().all(|chunk| (1..=MAX_RECIPIENTS).contains(&chunk.recipients.len())));
    }

    /// A page with more due times than one write holds is taken in part.
    #[test]
    fn a_page_never_exceeds_one_write(page in 200usize..1_000) {
        let zones: Vec<_> = jiff::tz::db().available().filter_map(|zone| Zone::parse(zone.as_str()).ok()).collect();
        let started = draft(When::Next).start(ts("2026-07-01T12:00:00Z")).unwrap();
        let opened = started.open(ts("2026-07-01T12:00:00Z")).unwrap().unwrap();
        let all: Vec<_> = audience(page).into_iter().enumerate().map(|(i, one)| {
            Subscriber { time_zone: zones.get(i % zones.len()).cloned(), ..one }
        }).collect();
        let (campaign, _) = freeze_all(opened, &all, page);
        prop_assert_eq!(campaign.total, page as u64);
    }
}
