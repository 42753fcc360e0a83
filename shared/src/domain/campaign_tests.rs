use super::*;
use crate::domain::address::EmailAddress;
use crate::domain::chunk::{Chunk, ChunkStatus, MAX_RECIPIENTS, RecipientState};
use crate::domain::local_time::{Past, SendTime, Whose, Zone};
use crate::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
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
        past: Past::Now,
    };
    let draft = Draft {
        id: CampaignId::derived(&["c"]),
        tenant: Tenant::parse("t").unwrap(),
        newsletter: newsletter(),
        subject: "s".to_owned(),
        letter: "l".to_owned(),
        timing,
        segment: Segment::default(),
        rules: Rules::default(),
        rate: None,
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
        sequence: None,
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

fn sending(count: usize) -> Campaign {
    freeze_all(draft(When::Now).start(ts("2026-07-01T12:00:00Z")).unwrap(), &audience(count), PAGE).0
}

#[test]
fn a_pause_keeps_its_place_and_a_resume_goes_on_there() {
    let (now, later) = (ts("2026-07-01T12:10:00Z"), ts("2026-07-01T13:00:00Z"));
    let freezing = draft(When::Now).start(ts("2026-07-01T12:00:00Z")).unwrap();
    let on_a_date = draft(When::On("2026-07-03".parse().unwrap())).start(now).unwrap();
    for before in [freezing, sending(10), on_a_date] {
        let paused = before.pause(StopReason::Person, now).unwrap();
        assert_eq!((paused.state, paused.attention_at), (CampaignState::Paused, None));
        assert!(!paused.state.sends());
        assert_eq!(paused.pause(StopReason::Person, now), Err(WrongState(CampaignState::Paused)));
        assert!(paused.freeze(&[], true, now).is_err() && paused.open(later).is_err());
        let resumed = paused.resume(&Counts::default(), later).unwrap();
        assert_eq!((resumed.state, resumed.stopped.clone()), (before.state, None));
        let next = if before.state == CampaignState::Scheduled { before.opens_at } else { Some(later) };
        assert_eq!(resumed.attention_at, next);
        assert!(resumed.resume(&Counts::default(), later).is_err());
    }
    assert!(draft(When::Now).pause(StopReason::Person, now).is_err());
}

#[test]
fn a_quota_pause_ends_by_itself_unless_a_person_pauses_too() {
    let now = ts("2026-07-01T12:10:00Z");
    let paused = sending(10).pause(StopReason::Quota, now).unwrap();
    assert_eq!(paused.attention_at, Some(now + QUOTA_EVERY));
    let by_hand = paused.pause(StopReason::Person, now).unwrap();
    assert_eq!((by_hand.state, by_hand.attention_at), (CampaignState::Paused, None));
    assert_eq!(by_hand.pause(StopReason::Quota, now), Err(WrongState(CampaignState::Paused)));
    assert_eq!(by_hand.resume(&Counts::default(), now).unwrap().state, CampaignState::Sending);
}

#[test]
fn a_start_that_is_late_waits_for_a_person() {
    let dated = draft(When::On("2026-07-03".parse().unwrap())).start(ts("2026-07-01T12:00:00Z")).unwrap();
    let opens = ts("2026-07-02T20:00:00Z");
    let hours = |hours: i64| opens + SignedDuration::from_hours(hours);
    assert_eq!(dated.open(hours(6)).unwrap().unwrap().state, CampaignState::Freezing);
    let late = dated.open(hours(7)).unwrap().unwrap();
    assert_eq!((late.state, late.attention_at), (CampaignState::Paused, None));
    assert_eq!(late.stopped.as_ref().map(|stop| stop.reason), Some(StopReason::Late));
    let resumed = late.resume(&Counts::default(), hours(30)).unwrap();
    assert_eq!((resumed.state, resumed.opened_at), (CampaignState::Freezing, Some(hours(30))), "the person decides");
    let patient = Campaign { rules: Rules { late_hours: 24, ..dated.rules }, ..dated };
    assert_eq!(patient.open(hours(24)).unwrap().unwrap().state, CampaignState::Freezing);
}

#[test]
fn what_is_cancelled_is_over() {
    let now = ts("2026-07-01T12:10:00Z");
    let paused = sending(10).pause(StopReason::Person, now).unwrap();
    for before in [draft(When::Now), sending(10), paused] {
        let cancelled = before.cancel(now).unwrap();
        assert_eq!((cancelled.state, cancelled.finished_at), (CampaignState::Cancelled, Some(now)));
        assert_eq!((cancelled.attention_at, cancelled.stopped.clone()), (None, None));
        assert!(cancelled.cancel(now).is_err() && cancelled.resume(&Counts::default(), now).is_err());
        assert!(cancelled.at_rate(None).is_err() && cancelled.send_rest(&[Resendable::Failed], now).is_err());
    }
}

#[test]
fn too_many_bounces_or_complaints_halt_and_those_seen_by_a_person_do_not_again() {
    let now = ts("2026-07-01T12:10:00Z");
    let campaign = sending(10);
    let counts =
        |delivered, hard_bounced, complained| Counts { delivered, hard_bounced, complained, ..Counts::default() };
    assert_eq!(campaign.tripped(&counts(0, 9, 0)), None, "the first few say nothing");
    assert_eq!(campaign.tripped(&counts(240, 10, 0)), Some(StopReason::Bounces));
    assert_eq!(campaign.tripped(&counts(241, 10, 0)), None);
    assert_eq!(campaign.tripped(&counts(0, 0, 2)), None);
    assert_eq!(campaign.tripped(&counts(3_747, 0, 3)), Some(StopReason::Complaints));
    assert_eq!(campaign.tripped(&counts(3_748, 0, 3)), None);

    let seen = counts(240, 10, 0);
    let halted = campaign.halt(StopReason::Bounces, None, now).unwrap();
    assert_eq!((halted.state, halted.tripped(&seen)), (CampaignState::Halted, None));
    let resumed = halted.resume(&seen, now).unwrap();
    assert_eq!((resumed.state, resumed.tripped(&seen)), (CampaignState::Sending, None));
    assert_eq!(resumed.tripped(&counts(250, 19, 0)), None);
    assert_eq!(resumed.tripped(&counts(250, 20, 0)), Some(StopReason::Bounces), "what came since counts");
}

#[test]
fn many_refused_mails_halt() {
    let campaign = sending(10);
    let counts = |sent, failed| Counts { sent, failed, ..Counts::default() };
    assert_eq!(campaign.tripped(&counts(0, 19)), None);
    assert_eq!(campaign.tripped(&counts(80, 20)), Some(StopReason::Failures));
    assert_eq!(campaign.tripped(&counts(81, 20)), None);
}

#[test]
fn a_resend_goes_through_the_chunks_and_ends_in_sending() {
    let now = ts("2026-07-02T12:00:00Z");
    let done = Counts { sent: 70, failed: 30, ..Counts::default() };
    assert!(sending(100).send_rest(&[Resendable::Failed], now).is_err());
    let finished = sending(100).finish(&done, now).unwrap();
    let again = finished.send_rest(&[Resendable::Failed, Resendable::Failed], now).unwrap();
    assert_eq!((again.state, again.frozen, again.finished_at), (CampaignState::Freezing, true, None));
    assert_eq!((again.pass, again.resend.clone()), (1, Some(Resend { states: vec![Resendable::Failed], next: 0 })));
    assert!(again.freeze(&[], true, now).is_err(), "the audience is complete");
    assert_eq!(again.finish(&done, now), None);
    let half = again.gone_through(1, now).unwrap();
    assert_eq!(half.resend.as_ref().map(|resend| resend.next), Some(1));
    let through = half.gone_through(2, now).unwrap();
    assert_eq!((through.state, through.resend.clone()), (CampaignState::Sending, None));
    assert!(through.finish(&done, now).is_some());
}

#[test]
fn those_whose_hour_is_past_are_listed_as_skipped() {
    let mut campaign = draft(When::On("2026-07-02".parse().unwrap()));
    campaign.timing.past = Past::Skip;
    // 10:00 in Berlin is past, 10:00 in New York to come.
    let started = campaign.start(ts("2026-07-02T12:00:00Z")).unwrap();
    let opened = started.open(ts("2026-07-02T12:00:00Z")).unwrap().unwrap();
    let all: Vec<_> = audience(100)
        .into_iter()
        .enumerate()
        .map(|(i, one)| Subscriber {
            time_zone: Zone::parse(if i < 60 { "Europe/Berlin" } else { "America/New_York" }).ok(),
            ..one
        })
        .collect();
    let (campaign, chunks) = freeze_all(opened, &all, PAGE);
    assert_eq!((campaign.total, campaign.state), (100, CampaignState::Sending));
    let counts: Counts = chunks.iter().map(Chunk::counts).sum();
    assert_eq!((counts.skipped, counts.pending, counts.open_chunks), (60, 40, 1));
    let skipped = chunks.iter().find(|chunk| chunk.status == ChunkStatus::Done).unwrap();
    assert_eq!(skipped.recipients[0].reason.as_deref(), Some("past"));
    assert!(skipped.recipients.iter().all(|one| one.state == RecipientState::Skipped));
}

#[test]
fn counts_by_state_are_all_of_them() {
    let fields = Counts::default().fields();
    let counts = Counts::from_fields(|name| fields.iter().position(|(other, _)| *other == name).unwrap() as i64 + 1);
    assert_eq!(counts.fields().map(|(_, value)| value).to_vec(), (1..=15).collect::<Vec<_>>());
    assert_eq!(counts.sum(), (1..=12).sum::<i64>(), "without open chunks, repeats and the doubtful, who are pending");
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
