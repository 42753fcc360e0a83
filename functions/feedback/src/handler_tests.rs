use super::*;
use aws_lambda_events::event::sqs::SqsMessage;
use millrace::domain::address::EmailAddress;
use millrace::domain::campaign::{Campaign, Frozen};
use millrace::domain::chunk::{Chunk, RecipientState};
use millrace::domain::hits::HitCounts;
use millrace::domain::local_time::When;
use millrace::ports::{Campaigns, Chunks, HitLedger, Written};
use millrace::testing::builders::{draft, tenant};
use millrace::testing::{
    ManualClock, MemoryCampaigns, MemoryHits, MemoryMailLedger, MemoryPace, MemoryQueue, MemorySuppressions,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

struct World {
    campaigns: Arc<MemoryCampaigns>,
    suppressions: Arc<MemorySuppressions>,
    ledger: Arc<MemoryMailLedger>,
    hits: Arc<MemoryHits>,
    dead_letters: MemoryQueue,
    clock: ManualClock,
    feedback: Feedback,
}

fn world() -> World {
    let clock = ManualClock::default();
    let campaigns = Arc::new(MemoryCampaigns::default());
    let suppressions = Arc::new(MemorySuppressions::default());
    let ledger = Arc::new(MemoryMailLedger::default());
    let dead_letters = MemoryQueue::new(Arc::new(clock.clone()));
    let hits = Arc::new(MemoryHits::default());
    let pace = Arc::new(MemoryPace::default());
    let listener = Listener::new(campaigns.clone(), campaigns.clone(), suppressions.clone(), pace, || 0.5);
    let feedback = Feedback {
        listener,
        hits: HitCounter { campaigns: campaigns.clone(), ledger: hits.clone(), dice: || 0.0 },
        ledger: ledger.clone(),
        suppressions: suppressions.clone(),
        dead_letters: Arc::new(dead_letters.clone()),
        clock: Arc::new(clock.clone()),
    };
    World { campaigns, suppressions, ledger, hits, dead_letters, clock, feedback }
}

impl World {
    /// A campaign with one chunk of three, of which two are looked at here.
    async fn campaign(&self) -> String {
        let now = self.clock.now();
        let campaign = draft("News", When::Now, now).start(now).unwrap();
        let campaign = Campaign { tracked: true, ..campaign };
        Campaigns::create(&*self.campaigns, &campaign).await.unwrap();
        let digests = (0..3).map(|i| format!("{i:032x}")).collect();
        let chunks = vec![Chunk::new(campaign.id.clone(), 0, now, digests)];
        let after = Campaign { version: campaign.version + 1, next_chunk: 1, total: 3, ..campaign.clone() };
        let frozen = Frozen { campaign: after, chunks };
        assert_eq!(self.campaigns.freeze(&campaign, &frozen).await.unwrap(), Written::Done);
        campaign.id.to_string()
    }

    /// Takes in events; gives the places of those to be brought again.
    async fn take(&self, bodies: &[Value]) -> Vec<usize> {
        let mut event = SqsEvent::default();
        for (place, body) in bodies.iter().enumerate() {
            let mut record = SqsMessage::default();
            record.message_id = Some(place.to_string());
            record.body = Some(body.as_str().map_or_else(|| body.to_string(), str::to_owned));
            event.records.push(record);
        }
        let response = self.feedback.batch(event).await;
        response.batch_item_failures.iter().map(|failure| failure.item_identifier.parse().unwrap()).collect()
    }

    async fn states(&self, campaign: &str) -> Vec<(RecipientState, Option<String>)> {
        let id = campaign.parse().unwrap();
        let chunk = Chunks::get(&*self.campaigns, &id, 0).await.unwrap().unwrap();
        chunk.recipients.into_iter().map(|one| (one.state, one.reason)).collect()
    }
}

fn event(kind: &str, campaign: &str, place: usize, more: Value) -> Value {
    let tags = json!({
        "campaign": [campaign], "chunk": ["0"], "recipient": [place.to_string()], "attempt": ["1"],
        "ses:operation": ["SendEmail"]
    });
    let mut event = json!({
        "eventType": kind,
        "mail": {
            "messageId": format!("m-{place}"), "timestamp": "2026-11-01T10:00:00.000Z", "tags": tags,
            "destination": [format!("reader{place}@example.com")]
        }
    });
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

#[tokio::test]
async fn each_kind_of_event_is_read() {
    let world = world();
    let campaign = world.campaign().await;
    let hard = json!({"bounce": {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": []}});
    let soft = json!({"bounce": {"bounceType": "Transient", "bounceSubType": "MailboxFull"}});
    let spam = json!({"complaint": {"complaintFeedbackType": "abuse"}});
    let late = json!({"deliveryDelay": {"delayType": "MailboxFull"}});
    let virus = json!({"reject": {"reason": "Bad content"}});
    use RecipientState as S;
    let steps = [
        ("Send", json!({}), S::Sent, None),
        ("DeliveryDelay", late, S::Delayed, Some("MailboxFull")),
        ("Reject", virus, S::Rejected, Some("Bad content")),
        ("Delivery", json!({"delivery": {}}), S::Delivered, None),
        ("Bounce", soft, S::SoftBounced, Some("Transient/MailboxFull")),
        ("Bounce", hard, S::HardBounced, Some("Permanent/General")),
        (
            "Complaint",
            json!({"complaint": {"complaintFeedbackType": "not-spam"}}),
            S::HardBounced,
            Some("Permanent/General"),
        ),
        ("Complaint", spam, S::Complained, Some("abuse")),
        ("Open", json!({"open": {}}), S::Complained, Some("abuse")),
    ];
    for (kind, more, state, reason) in steps {
        assert_eq!(world.take(&[event(kind, &campaign, 1, more)]).await, [0; 0]);
        assert_eq!(world.states(&campaign).await[1], (state, reason.map(str::to_owned)), "{kind}");
    }
    assert_eq!(world.states(&campaign).await[0].0, S::Pending);
    let address = EmailAddress::parse("reader1@example.com").unwrap();
    let found = world.suppressions.check(&tenant(), &[address]).await.unwrap();
    assert_eq!(found[0].map(|one| one.reason), Some(Reason::Complaint));
}

#[tokio::test]
async fn one_bad_event_harms_no_other_and_what_failed_comes_again() {
    let world = world();
    let campaign = world.campaign().await;
    let batch = [
        event("Send", &campaign, 0, json!({})),
        json!("no JSON"),
        event("Send", "cmp_0197b3f2a4c87d0e9b61f2c35a7e4d18", 0, json!({})),
        json!({"eventType": "Send", "mail": {"messageId": "x", "tags": {"mail": ["welcome-usr_1"]}}}),
        event("Delivery", &campaign, 2, json!({})),
    ];
    world.campaigns.faults.refuse_next("ledger");
    world.ledger.faults.refuse_next("accepted");
    let mut kept = world.take(&batch).await;
    kept.sort_unstable();
    assert_eq!(kept, [0, 3, 4], "those of the chunk that could not be written, and the single mail");
    assert_eq!(world.dead_letters.all()[0].body, "no JSON");
    assert_eq!(world.take(&batch).await, [0; 0]);
    let states: Vec<_> = world.states(&campaign).await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, [RecipientState::Sent, RecipientState::Pending, RecipientState::Delivered]);
}

#[tokio::test]
async fn a_single_mail_that_bounces_suppresses_its_address_for_its_tenant() {
    let world = world();
    let body = json!({
        "eventType": "Bounce", "bounce": {"bounceType": "Permanent", "bounceSubType": "General"},
        "mail": {"messageId": "m", "destination": ["ada@example.com"], "tags": {"mail": ["welcome-usr_1"], "tenant": ["mill"]}}
    });
    for _ in 0..2 {
        assert_eq!(world.take(std::slice::from_ref(&body)).await, [0; 0]);
    }
    let address = EmailAddress::parse("ada@example.com").unwrap();
    let found = world.suppressions.check(&tenant(), &[address]).await.unwrap();
    assert_eq!(found[0].map(|one| one.reason), Some(Reason::HardBounce));
}

const READER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0";

/// An open, or a click of a link, so many seconds after the mail was sent.
fn hit(campaign: &str, place: usize, link: Option<&str>, after: i64, agent: &str) -> Value {
    let sent_at: Timestamp = "2026-11-01T10:00:00Z".parse().unwrap();
    let at = sent_at + jiff::SignedDuration::from_secs(after);
    let detail =
        json!({"ipAddress": "192.0.2.1", "timestamp": at.to_string(), "userAgent": agent, "link": link.unwrap_or("")});
    let (kind, name) = if link.is_some() { ("Click", "click") } else { ("Open", "open") };
    event(kind, campaign, place, json!({ name: detail }))
}

#[tokio::test]
async fn opens_and_clicks_are_counted_once_whatever_goes_wrong() {
    let world = world();
    let campaign = world.campaign().await;
    let id = campaign.parse().unwrap();
    let batch = [
        hit(&campaign, 0, None, 60, READER),
        hit(&campaign, 0, None, 60, READER),
        hit(&campaign, 0, Some("https://example.com/a"), 90, READER),
        hit(&campaign, 1, None, 60, "Mozilla/5.0"),
        hit(&campaign, 2, Some("https://example.com/a"), 60, READER),
        hit(&campaign, 2, Some("https://example.com/b"), 61, READER),
        hit(&campaign, 50, None, 60, READER),
        hit("cmp_0197b3f2a4c87d0e9b61f2c35a7e4d18", 0, None, 60, READER),
    ];
    let expected = HitCounts { opened_people: 1, opened_machines: 1, clicked_people: 1, clicked_machines: 1 };
    world.hits.faults.refuse_next("note hits");
    assert_eq!(world.take(&batch).await, [0, 1, 2, 3, 4, 5], "all of the chunk come again, and nothing else");
    world.hits.faults.lose_next_answer("note hits");
    assert_eq!(world.take(&batch).await.len(), 6);
    assert_eq!(world.hits.hit_counts(&id).await.unwrap(), expected);
    world.hits.faults.refuse_next("note hits");
    assert_eq!(world.take(&batch).await, [0; 0], "what is known is not written again");
    world.hits.faults.none();

    // The same one by one, and then a person after the scanner.
    for one in batch.iter().rev() {
        assert_eq!(world.take(std::slice::from_ref(one)).await, [0; 0]);
    }
    assert_eq!(world.hits.hit_counts(&id).await.unwrap(), expected);
    assert_eq!(world.take(&[hit(&campaign, 2, Some("https://example.com/b"), 3_600, READER)]).await, [0; 0]);
    let now = HitCounts { opened_people: 2, clicked_people: 2, clicked_machines: 0, ..expected };
    assert_eq!(world.hits.hit_counts(&id).await.unwrap(), now);
    assert_eq!(world.hits.counted(&id), now);
    assert!(world.states(&campaign).await.iter().all(|(state, _)| *state == RecipientState::Pending));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever order the events come in, in whatever batches, with writes that fail and answers that are lost.
    #[test]
    fn the_counts_are_the_sum_over_the_readers(
        hits in prop::collection::vec((0_usize..3, prop::option::of(0_u8..3), 0_i64..90), 1..30),
        size in 1_usize..8,
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = world();
            let campaign = world.campaign().await;
            let body = |(place, link, after): &(usize, Option<u8>, i64)| {
                let link = link.map(|link| format!("https://example.com/{link}"));
                hit(&campaign, *place, link.as_deref(), *after, READER)
            };
            let bodies: Vec<Value> = hits.iter().map(body).collect();
            let mut state = seed | 1;
            world.hits.faults.at_random(0.2, 0.2, move |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1_u64 << 53) as f64
            });
            for batch in bodies.chunks(size) {
                let mut left = batch.to_vec();
                while !left.is_empty() {
                    left = world.take(&left).await.into_iter().map(|place| left[place].clone()).collect();
                }
            }
            world.hits.faults.none();
            let id = campaign.parse().unwrap();
            let counts = world.hits.hit_counts(&id).await.unwrap();
            assert_eq!(counts, world.hits.counted(&id));
            assert_eq!(world.take(&bodies).await, [0; 0]);
            assert_eq!(counts, world.hits.hit_counts(&id).await.unwrap());
        });
    }
}

/// Runs the sample event's records through the handler, twice: SQS delivers at least once.
#[tokio::test]
async fn the_sample_event_is_read_twice() {
    let world = world();
    for sample in
        [include_str!("../../../events/feedback.send.json"), include_str!("../../../events/feedback.open.json")]
    {
        let sample: SqsEvent = serde_json::from_str(sample).unwrap();
        for _ in 0..2 {
            assert!(world.feedback.batch(sample.clone()).await.batch_item_failures.is_empty());
        }
    }
    assert!(world.dead_letters.all().is_empty());
}

fn tag() -> impl Strategy<Value = String> {
    let known =
        select(vec!["cmp_1", "0", "49", "255", "256", "4294967296", "-1", "18446744073709551616", "", "welcome-usr_1"]);
    prop_oneof![known.prop_map(str::to_owned), ".{0,20}"]
}

fn taken(body: Value) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let world = world();
        assert_eq!(world.take(&[body]).await, [0; 0]);
        world.dead_letters.all().len()
    })
}

proptest! {
    #[test]
    fn any_text_is_answered(body in ".*") {
        prop_assert_eq!(taken(Value::String(body)), 1);
    }

    #[test]
    fn any_tags_are_answered(
        kind in prop_oneof![select(vec!["Send", "Bounce", "Complaint", "Reject"]).prop_map(str::to_owned), ".{0,20}"],
        id in ".{0,20}",
        tags in prop::collection::btree_map(
            prop_oneof![select(vec!["campaign", "chunk", "recipient", "attempt", "mail"]).prop_map(str::to_owned), ".{0,9}"],
            prop::collection::vec(tag(), 0..3),
            0..7,
        ),
    ) {
        prop_assert_eq!(taken(json!({ "eventType": kind, "mail": { "messageId": id, "tags": tags } })), 0);
    }

    #[test]
    fn an_event_of_another_form_is_put_aside(mail in prop_oneof![Just(json!(null)), Just(json!([])), Just(json!({"messageId": 1}))]) {
        prop_assert_eq!(taken(json!({ "eventType": "Send", "mail": mail })), 1);
    }
}
