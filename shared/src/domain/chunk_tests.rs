use super::*;
use proptest::prelude::*;

fn ts(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn fresh(recipients: usize) -> Chunk {
    let digests = (0..recipients).map(|i| format!("{i:032x}")).collect();
    Chunk::new(CampaignId::derived(&["c"]), 3, ts(0), digests)
}

const BY: Settlement = Settlement {
    wait: SignedDuration::from_secs(60),
    uncertain: Uncertain::Retry,
    sent_until: None,
    heard_until: None,
};

fn event(place: usize, attempt: u8, kind: EventKind) -> MailEvent {
    MailEvent { place, attempt, message_id: format!("m{attempt}"), kind, reason: None }
}

fn at(second: i64) -> Again {
    Again::At(ts(second))
}

fn send_all(chunk: &Chunk) -> Vec<(usize, Verdict)> {
    chunk.pending().into_iter().map(|place| (place, Verdict::Send)).collect()
}

fn claimed(chunk: &Chunk, owner: &str, at: i64) -> Chunk {
    chunk.claim(owner, &send_all(chunk), ts(at), ts(at + 30)).unwrap()
}

#[test]
fn a_claim_holds_off_a_second_one() {
    let chunk = claimed(&fresh(3), "a", 0);
    assert_eq!((chunk.status, chunk.fence, chunk.counts().sending), (ChunkStatus::Sending, 1, 3));
    assert_eq!(chunk.attention_at, Some(ts(30)));
    assert_eq!(chunk.claim("b", &[], ts(100), ts(130)), Err(ChunkRefused(ChunkStatus::Sending)));
}

#[test]
fn only_the_owner_records() {
    let chunk = claimed(&fresh(1), "a", 0);
    assert!(chunk.record("b", &[], at(1), ts(2)).is_err());
    let done = chunk.record("a", &[(0, Sent::Accepted("m".into()))], at(1), ts(2)).unwrap();
    assert_eq!((done.status, done.attention_at, done.lease_until), (ChunkStatus::Done, None, None));
    assert_eq!(done.recipients[0].message_id.as_deref(), Some("m"));
    assert!(done.record("a", &[], at(1), ts(2)).is_err());
}

#[test]
fn those_not_to_be_sent_are_decided_by_the_claim() {
    let verdicts = [
        (0, Verdict::Suppress("bounce".into())),
        (1, Verdict::Skip("erased".into())),
        (2, Verdict::Fail("not rendered".into())),
        (3, Verdict::Send),
        (9, Verdict::Send),
    ];
    // An event says that the last one has it already.
    let heard = fresh(4).hear(&[event(3, 1, EventKind::Send)]).unwrap();
    let chunk = heard.claim("a", &verdicts, ts(0), ts(30)).unwrap();
    assert_eq!(chunk.status, ChunkStatus::Done, "nobody is left to be sent");
    let counts = chunk.counts();
    assert_eq!((counts.suppressed, counts.skipped, counts.failed, counts.sent, counts.open_chunks), (1, 1, 1, 1, 0));
    let reasons: Vec<_> = chunk.recipients.iter().map(|one| one.reason.as_deref()).collect();
    assert_eq!(reasons, [Some("bounce"), Some("erased"), Some("not rendered"), None]);
}

#[test]
fn what_is_left_decides_what_comes_next() {
    let chunk = claimed(&fresh(3), "a", 0);
    let outcomes = [(0, Sent::Accepted("m".into())), (1, Sent::Unknown), (2, Sent::NotYet)];
    let pending = chunk.record("a", &outcomes, at(10), ts(60)).unwrap();
    assert_eq!((pending.status, pending.attention_at), (ChunkStatus::Pending, Some(ts(10))));
    let chunk = claimed(&pending, "b", 20);
    assert_eq!(chunk.counts().sending, 1, "the unknown one is not sent again");
    let settling = chunk.record("b", &[(2, Sent::Refused("MessageRejected".into()))], at(30), ts(90)).unwrap();
    assert_eq!((settling.status, settling.attention_at), (ChunkStatus::Settling, Some(ts(90))));
    assert_eq!((settling.counts().failed, settling.counts().unknown), (1, 1));
    assert_eq!(settling.recipients[2].reason.as_deref(), Some("MessageRejected"));
}

#[test]
fn a_chunk_whose_message_comes_again_is_dispatched_only_if_it_does_not() {
    let chunk = claimed(&fresh(1), "a", 0);
    let pending = chunk.record("a", &[(0, Sent::NotYet)], Again::Queued(ts(300)), ts(60)).unwrap();
    assert_eq!((pending.status, pending.queued, pending.attention_at), (ChunkStatus::Pending, true, Some(ts(300))));
    assert!(!claimed(&pending, "b", 10).queued);
}

#[test]
fn a_lease_that_ends_unrecorded_is_settled_by_events_and_then_by_time() {
    let chunk = claimed(&fresh(2), "a", 0);
    assert!(chunk.settle(BY, ts(29)).is_err(), "the lease still runs");
    let chunk = chunk.hear(&[event(0, 1, EventKind::Send)]).unwrap();
    let settling = chunk.settle(BY, ts(30)).unwrap();
    assert_eq!((settling.status, settling.attention_at), (ChunkStatus::Settling, Some(ts(90))));
    assert_eq!((settling.counts().sent, settling.counts().unknown), (1, 1));
    assert!(settling.settle(BY, ts(89)).is_err(), "events are still waited for");
    let again = settling.settle(BY, ts(90)).unwrap();
    assert_eq!((again.status, again.pending()), (ChunkStatus::Pending, vec![1]));
    assert_eq!(again.recipients[1].attempt, 2);
}

#[test]
fn who_perhaps_has_it_stays_unknown_when_it_is_not_sent_again() {
    let again = claimed(&fresh(4), "a", 0).settle(BY, ts(90)).unwrap();
    assert_eq!((again.counts().pending, again.counts().doubtful), (4, 4));
    let verdicts = [
        (0, Verdict::Suppress("unsubscribed".into())),
        (1, Verdict::Skip("erased".into())),
        (2, Verdict::Fail("not rendered".into())),
        (3, Verdict::Send),
    ];
    let chunk = again.claim("b", &verdicts, ts(91), ts(121)).unwrap();
    assert_eq!((chunk.counts().unknown, chunk.counts().sending, chunk.counts().doubtful), (3, 1, 0));
    assert_eq!(chunk.recipients[0].reason.as_deref(), Some("unsubscribed"));
    let chunk = chunk.record("b", &[(3, Sent::Refused("MessageRejected".into()))], at(92), ts(150)).unwrap();
    assert_eq!((chunk.status, chunk.counts().unknown), (ChunkStatus::Done, 4));
    let chunk = chunk.hear(&[event(0, 1, EventKind::Delivery)]).unwrap();
    assert_eq!((chunk.counts().delivered, chunk.counts().unknown), (1, 3));
    // A definite refusal leaves no doubt.
    let refused = claimed(&fresh(1), "a", 0).record("a", &[(0, Sent::Refused("r".into()))], at(1), ts(60)).unwrap();
    assert_eq!(refused.reopen(&[RecipientState::Failed], 1, ts(100)).unwrap().counts().doubtful, 0);
}

#[test]
fn the_last_event_that_is_waited_for_ends_the_waiting() {
    let chunk = claimed(&fresh(2), "a", 0).settle(BY, ts(30)).unwrap();
    let chunk = chunk.hear(&[event(0, 1, EventKind::Send)]).unwrap();
    assert_eq!(chunk.status, ChunkStatus::Settling);
    let chunk = chunk.hear(&[event(1, 1, EventKind::HardBounce)]).unwrap();
    assert_eq!((chunk.status, chunk.attention_at, chunk.settle_at), (ChunkStatus::Done, None, None));
}

#[test]
fn without_any_event_the_second_attempt_is_the_last() {
    let mut chunk = fresh(1);
    for attempt in 1..=MAX_ATTEMPTS_UNHEARD {
        assert_eq!(chunk.recipients[0].attempt, attempt);
        chunk = claimed(&chunk, "a", 0).settle(BY, ts(1_000)).unwrap();
    }
    assert_eq!((chunk.status, chunk.counts().unknown), (ChunkStatus::Done, 1));
}

#[test]
fn while_events_come_there_are_more_attempts_but_not_endless_ones() {
    let mut chunk = fresh(2).hear(&[event(0, 1, EventKind::Send)]).unwrap();
    let mut attempts = 0;
    while chunk.status == ChunkStatus::Pending {
        attempts += 1;
        chunk = claimed(&chunk, "a", 0).settle(BY, ts(1_000)).unwrap();
    }
    assert_eq!((attempts, chunk.status, chunk.counts().unknown), (MAX_ATTEMPTS, ChunkStatus::Done, 1));
}

#[test]
fn who_holds_sends_nothing_twice() {
    let hold = Settlement { uncertain: Uncertain::Hold, ..BY };
    let settling = claimed(&fresh(2), "a", 0).settle(hold, ts(30)).unwrap();
    assert_eq!(settling.attention_at, Some(ts(90)));
    let held = settling.settle(hold, ts(90)).unwrap();
    assert_eq!((held.status, held.counts().unknown), (ChunkStatus::Done, 2));
    // A late event still tells what became of it.
    let told = held.hear(&[event(1, 1, EventKind::Delivery)]).unwrap();
    assert_eq!((told.counts().unknown, told.counts().delivered), (1, 1));
}

#[test]
fn while_events_of_others_are_missing_too_nothing_is_sent_twice() {
    // Leased until 30, waited for until 90. Others were sent after it, and no event has come since before it.
    let heard = |second| Settlement { sent_until: Some(ts(80)), heard_until: Some(ts(second)), ..BY };
    let waiting = claimed(&fresh(1), "a", 0).settle(heard(0), ts(90)).unwrap();
    assert_eq!((waiting.status, waiting.attention_at), (ChunkStatus::Settling, Some(ts(90) + BY.wait)));
    assert!(waiting.settle(heard(0), ts(91)).is_err());
    let late = waiting.settle(heard(29), ts(90) + BY.wait).unwrap();
    assert_eq!(late.status, ChunkStatus::Settling, "its own events may be the next");
    let slow = Settlement { wait: SignedDuration::from_mins(15), ..heard(-1_000) };
    let later = waiting.settle(slow, ts(2_000)).unwrap();
    assert_eq!(later.attention_at, Some(ts(2_000) + LOOK_AGAIN));
    let again = waiting.settle(heard(30), ts(90) + BY.wait).unwrap();
    assert_eq!(again.status, ChunkStatus::Pending, "once they come again, no event means no mail");
    let given_up = waiting.settle(heard(0), ts(90) + GIVE_UP_AFTER).unwrap();
    assert_eq!((given_up.status, given_up.counts().unknown), (ChunkStatus::Done, 1), "and not for ever");
}

#[test]
fn where_nobody_else_was_sent_anything_it_takes_longer() {
    // The last mail before it was sent at -100 and heard of; nothing was sent after it.
    let by = Settlement { sent_until: Some(ts(20)), heard_until: Some(ts(-100)), ..BY };
    let chunk = |sent_after| claimed(&fresh(1), "a", 0).following(Some(ts(sent_after)));
    let waiting = chunk(-100).settle(by, ts(90)).unwrap();
    assert_eq!((waiting.status, waiting.attention_at), (ChunkStatus::Settling, Some(ts(30 + 4 * 60))));
    assert_eq!(waiting.settle(by, ts(30 + 4 * 60)).unwrap().status, ChunkStatus::Pending);
    let waiting = chunk(-50).settle(by, ts(90)).unwrap();
    assert_eq!(waiting.attention_at, Some(ts(90) + BY.wait), "the events of others are missing too");
}

#[test]
fn two_accepted_attempts_are_a_counted_repeat() {
    let chunk = claimed(&fresh(1), "a", 0).settle(BY, ts(1_000)).unwrap();
    let chunk = claimed(&chunk, "b", 2_000).hear(&[event(0, 1, EventKind::Send)]).unwrap();
    assert_eq!(chunk.counts().repeated, 0);
    let outcome = [(0, Sent::Accepted("m2".into()))];
    let done = chunk.record("b", &outcome, at(2_001), ts(2_100)).unwrap();
    assert_eq!((done.counts().sent, done.counts().repeated), (1, 1));
    assert_eq!(done.recipients[0].message_id.as_deref(), Some("m1"), "the first one's");
    // The other way round it comes to the same.
    let chunk = claimed(&fresh(1), "a", 0).settle(BY, ts(1_000)).unwrap();
    let done = claimed(&chunk, "b", 2_000).record("b", &outcome, at(2_001), ts(2_100)).unwrap();
    assert_eq!(
        done.hear(&[event(0, 1, EventKind::Send)]).unwrap().recipients,
        [Recipient {
            accepted: 0b11,
            attempt: 2,
            message_id: Some("m1".into()),
            state: RecipientState::Sent,
            ..Recipient::new(format!("{:032x}", 0))
        }]
    );
}

#[test]
fn a_resend_takes_those_it_is_for_and_once() {
    let outcomes = [
        (0, Sent::Accepted("m".into())),
        (1, Sent::Refused("x".into())),
        (2, Sent::Unknown),
        (3, Sent::Refused("y".into())),
    ];
    let hold = Settlement { uncertain: Uncertain::Hold, ..BY };
    let chunk = claimed(&fresh(4), "a", 0).record("a", &outcomes, at(1), ts(60)).unwrap();
    assert_eq!(chunk.reopen(&[RecipientState::Failed], 1, ts(70)), None, "it is not done");
    let chunk = chunk.settle(hold, ts(60)).unwrap();
    assert_eq!(chunk.reopen(&[RecipientState::Suppressed], 1, ts(70)), None);
    let again = chunk.reopen(&[RecipientState::Failed], 1, ts(70)).unwrap();
    assert_eq!((again.pending(), again.status, again.attention_at), (vec![1, 3], ChunkStatus::Pending, Some(ts(70))));
    assert_eq!((again.recipients[1].attempt, again.recipients[1].reason.clone()), (2, None));
    let failed = claimed(&again, "b", 80).record("b", &outcomes, at(81), ts(200)).unwrap();
    assert_eq!(failed.status, ChunkStatus::Done);
    assert_eq!(failed.reopen(&[RecipientState::Failed], 1, ts(90)), None, "this resend had them");
    assert_eq!(failed.reopen(&[RecipientState::Unknown, RecipientState::Sent], 2, ts(90)).unwrap().pending(), [2]);
}

#[test]
fn fifty_recipients_are_a_short_text() {
    let mut chunk = claimed(&fresh(MAX_RECIPIENTS), "a", 0);
    let id = "0102019a1b2c3d4e-5f6a7b8c-9d0e-4f1a-8b2c-3d4e5f6a7b8c-000000".to_owned();
    let outcomes: Vec<_> = (0..MAX_RECIPIENTS).map(|place| (place, Sent::Accepted(id.clone()))).collect();
    chunk = chunk.record("a", &outcomes, at(1), ts(2)).unwrap();
    let text = serde_json::to_string(&chunk.recipients).unwrap();
    assert!(text.len() < 6_000, "{} bytes: a write of a chunk costs six units at most", text.len());
    assert_eq!(serde_json::from_str::<Vec<Recipient>>(&text).unwrap(), chunk.recipients);
}

/// What may happen to a chunk, with small numbers that are read as places, outcomes and waiting times.
#[derive(Debug, Clone)]
enum Step {
    Claim(Vec<u8>),
    Record(Vec<u8>),
    Settle,
    Event(u8, u8, u8),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let choices = || proptest::collection::vec(0u8..6, 4);
    prop_oneof![
        choices().prop_map(Step::Claim),
        choices().prop_map(Step::Record),
        Just(Step::Settle),
        (0u8..4, 1u8..3, 0u8..7).prop_map(|(place, attempt, kind)| Step::Event(place, attempt, kind)),
        (1i64..100).prop_map(Step::Pass),
    ]
}

const KINDS: [EventKind; 7] = [
    EventKind::Send,
    EventKind::Delay,
    EventKind::Reject,
    EventKind::Delivery,
    EventKind::SoftBounce,
    EventKind::HardBounce,
    EventKind::Complaint,
];

fn is_final(state: RecipientState) -> bool {
    use RecipientState as S;
    matches!(state, S::Failed | S::Suppressed | S::Skipped) || state.is_accepted()
}

proptest! {
    /// In any history nobody is lost, only an event changes a final state, and only for a more telling one, and the fence
    /// only grows.
    #[test]
    fn the_ledger_holds(steps in proptest::collection::vec(step(), 1..60)) {
        let mut chunk = fresh(4);
        let mut now = 0;
        for step in steps {
            let before = chunk.clone();
            let event_came = matches!(step, Step::Event(..));
            let result = match step {
                Step::Claim(choices) => {
                    let verdicts: Vec<_> = chunk.pending().into_iter().filter_map(|place| {
                        let verdict = match choices[place] {
                            0 => Verdict::Suppress("s".into()),
                            1 => Verdict::Skip("e".into()),
                            2 => Verdict::Fail("f".into()),
                            3 => return None,
                            _ => Verdict::Send,
                        };
                        Some((place, verdict))
                    }).collect();
                    chunk.claim("a", &verdicts, ts(now), ts(now + 30))
                }
                Step::Record(choices) => {
                    let outcomes: Vec<_> = (0..4).filter_map(|place| Some((place, match choices[place] {
                        0 => Sent::NotYet,
                        1 => Sent::Refused("r".into()),
                        2 => Sent::Unknown,
                        3 => return None,
                        _ if chunk.recipients[place].state != RecipientState::Sending => return None,
                        _ => Sent::Accepted("m".into()),
                    }))).collect();
                    chunk.record("a", &outcomes, at(now + 5), ts(now + 60))
                }
                Step::Settle => chunk.settle(BY, ts(now)),
                Step::Event(place, attempt, kind) => {
                    chunk.hear(&[event(place.into(), attempt, KINDS[usize::from(kind)])]).ok_or(ChunkRefused(chunk.status))
                }
                Step::Pass(seconds) => {
                    now += seconds;
                    continue;
                }
            };
            let Ok(after) = result else { continue };
            prop_assert_eq!(after.counts().sum(), 4);
            prop_assert_eq!(after.fence, before.fence + 1);
            for (old, new) in before.recipients.iter().zip(&after.recipients) {
                prop_assert_eq!(&old.digest, &new.digest);
                prop_assert!(new.attempt >= old.attempt && new.attempt <= MAX_ATTEMPTS);
                prop_assert!(!is_final(old.state) || new == old || event_came, "a final state is final");
                prop_assert!(!old.state.is_accepted() || new.state >= old.state, "what SES told stays");
                // Only waiting for its event leads from "perhaps sent" back to "to be sent".
                let repeated = matches!(old.state, RecipientState::Unknown) && new.state == RecipientState::Pending;
                prop_assert!(!repeated || new.attempt == old.attempt + 1);
            }
            // Whoever is left is found again: by the dispatcher, or when the lease or the waiting ends.
            let open = after.status != ChunkStatus::Done;
            prop_assert_eq!(after.attention_at.is_some(), open);
            prop_assert_eq!(after.counts().open_chunks, i64::from(open));
            prop_assert!(open || after.counts().pending + after.counts().sending == 0);
            prop_assert!(after.status == ChunkStatus::Sending || after.counts().sending == 0);
            prop_assert_eq!(after.status == ChunkStatus::Pending, after.counts().pending > 0 && after.counts().sending == 0 && after.lease_until.is_none());
            prop_assert_eq!(after.settle_at.is_some() || after.status != ChunkStatus::Settling, true);
            chunk = after;
        }
    }

    /// In whatever order SES's events come, however often, one by one or together, and whether before or after the worker
    /// wrote down its answers: what is known in the end is the same.
    #[test]
    fn the_order_of_events_does_not_matter(
        told in proptest::collection::vec((0usize..3, 1u8..3, 0usize..7, proptest::option::of(0u8..3)), 0..12),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 24),
        recorded_after in 0usize..12,
        answers in proptest::collection::vec(0u8..3, 3),
    ) {
        let events: Vec<MailEvent> = told.iter().map(|(place, attempt, kind, reason)| MailEvent {
            reason: reason.map(|reason| reason.to_string()),
            ..event(*place, *attempt, KINDS[*kind])
        }).collect();
        let claimed = claimed(&fresh(3), "a", 0);
        let outcomes: Vec<_> = answers.iter().enumerate().filter_map(|(place, answer)| match answer {
            0 => None,
            1 => Some((place, Sent::Accepted("m1".into()))),
            _ => Some((place, Sent::Unknown)),
        }).collect();
        let record = |chunk: &Chunk| chunk.record("a", &outcomes, at(1), ts(60)).unwrap();
        let hear = |chunk: &Chunk, events: &[MailEvent]| chunk.hear(events).unwrap_or_else(|| chunk.clone());
        let expected = hear(&record(&claimed), &events);

        // Shuffled, some twice, with the record somewhere in between.
        let shuffled = order.iter().filter(|_| !events.is_empty()).map(|index| index.get(&events)).chain(&events);
        let mut chunk = claimed;
        for (i, event) in shuffled.enumerate() {
            if i == recorded_after {
                chunk = record(&chunk);
            }
            chunk = hear(&chunk, std::slice::from_ref(event));
        }
        if chunk.is_of("a") {
            chunk = record(&chunk);
        }
        prop_assert_eq!(&chunk.recipients, &expected.recipients);
        prop_assert_eq!(chunk.counts(), expected.counts());
        prop_assert_eq!((chunk.status, chunk.attention_at), (expected.status, expected.attention_at));
    }
}
