use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn ts(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn fresh(recipients: usize) -> Chunk {
    let digests = (0..recipients).map(|i| format!("{i:032x}")).collect();
    Chunk::new(CampaignId::derived(&["c"]), 3, ts(0), digests)
}

const SETTLE: SignedDuration = SignedDuration::from_secs(60);

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
    assert!(chunk.record("b", &[], ts(1), ts(2)).is_err());
    let done = chunk.record("a", &[(0, Sent::Accepted("m".into()))], ts(1), ts(2)).unwrap();
    assert_eq!((done.status, done.attention_at, done.lease_until), (ChunkStatus::Done, None, None));
    assert_eq!(done.recipients[0].message_id.as_deref(), Some("m"));
    assert!(done.record("a", &[], ts(1), ts(2)).is_err());
}

#[test]
fn those_not_to_be_sent_are_decided_by_the_claim() {
    let verdicts = [
        (0, Verdict::Suppress),
        (1, Verdict::Skip),
        (2, Verdict::Fail),
        (3, Verdict::AlreadySent("m".into())),
        (9, Verdict::Send),
    ];
    let chunk = fresh(4).claim("a", &verdicts, ts(0), ts(30)).unwrap();
    assert_eq!(chunk.status, ChunkStatus::Done, "nobody is left to be sent");
    let counts = chunk.counts();
    assert_eq!((counts.suppressed, counts.skipped, counts.failed, counts.sent, counts.open_chunks), (1, 1, 1, 1, 0));
}

#[test]
fn what_is_left_decides_what_comes_next() {
    let chunk = claimed(&fresh(3), "a", 0);
    let outcomes = [(0, Sent::Accepted("m".into())), (1, Sent::Unknown), (2, Sent::NotYet)];
    let pending = chunk.record("a", &outcomes, ts(10), ts(60)).unwrap();
    assert_eq!((pending.status, pending.attention_at), (ChunkStatus::Pending, Some(ts(10))));
    let chunk = claimed(&pending, "b", 20);
    assert_eq!(chunk.counts().sending, 1, "the unknown one is not sent again");
    let settling = chunk.record("b", &[(2, Sent::Refused)], ts(30), ts(90)).unwrap();
    assert_eq!((settling.status, settling.attention_at), (ChunkStatus::Settling, Some(ts(90))));
    assert_eq!((settling.counts().failed, settling.counts().unknown), (1, 1));
}

#[test]
fn a_lease_that_ends_unrecorded_is_settled_by_events_and_then_by_time() {
    let chunk = claimed(&fresh(2), "a", 0);
    assert!(chunk.settle(&[], ts(29), SETTLE).is_err(), "the lease still runs");
    let event = SendEvent { recipient: 0, attempt: 1, message_id: "m".into() };
    let settling = chunk.settle(std::slice::from_ref(&event), ts(30), SETTLE).unwrap();
    assert_eq!((settling.status, settling.attention_at), (ChunkStatus::Settling, Some(ts(90))));
    assert!(settling.settle(std::slice::from_ref(&event), ts(89), SETTLE).is_err(), "events are still waited for");
    let again = settling.settle(&[event], ts(90), SETTLE).unwrap();
    assert_eq!((again.status, again.pending()), (ChunkStatus::Pending, vec![1]));
    assert_eq!((again.recipients[1].attempt, again.repeats()), (2, true));
}

#[test]
fn without_any_event_the_second_attempt_is_the_last() {
    let mut chunk = fresh(1);
    for attempt in 1..=MAX_ATTEMPTS_UNHEARD {
        assert_eq!(chunk.recipients[0].attempt, attempt);
        chunk = claimed(&chunk, "a", 0).settle(&[], ts(1_000), SETTLE).unwrap();
    }
    assert_eq!((chunk.status, chunk.counts().unknown), (ChunkStatus::Done, 1));
}

#[test]
fn while_events_come_there_are_more_attempts_but_not_endless_ones() {
    let event = SendEvent { recipient: 0, attempt: 1, message_id: "m".into() };
    let mut chunk = fresh(2);
    let mut attempts = 0;
    while chunk.status == ChunkStatus::Pending {
        attempts += 1;
        chunk = claimed(&chunk, "a", 0).settle(std::slice::from_ref(&event), ts(1_000), SETTLE).unwrap();
    }
    assert_eq!((attempts, chunk.status, chunk.counts().unknown), (MAX_ATTEMPTS, ChunkStatus::Done, 1));
}

#[test]
fn fifty_recipients_are_a_short_text() {
    let mut chunk = claimed(&fresh(MAX_RECIPIENTS), "a", 0);
    let id = "0102019a1b2c3d4e-5f6a7b8c-9d0e-4f1a-8b2c-3d4e5f6a7b8c-000000".to_owned();
    let outcomes: Vec<_> = (0..MAX_RECIPIENTS).map(|place| (place, Sent::Accepted(id.clone()))).collect();
    chunk = chunk.record("a", &outcomes, ts(1), ts(2)).unwrap();
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
    Event(u8),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let choices = || proptest::collection::vec(0u8..6, 4);
    prop_oneof![
        choices().prop_map(Step::Claim),
        choices().prop_map(Step::Record),
        Just(Step::Settle),
        (0u8..4).prop_map(Step::Event),
        (1i64..100).prop_map(Step::Pass),
    ]
}

fn is_final(state: RecipientState) -> bool {
    use RecipientState as S;
    matches!(state, S::Sent | S::Failed | S::Suppressed | S::Skipped)
}

proptest! {
    /// In any history nobody is lost, nobody leaves a final state, and the fence only grows.
    #[test]
    fn the_ledger_holds(steps in proptest::collection::vec(step(), 1..60)) {
        let mut chunk = fresh(4);
        let mut events: BTreeMap<usize, SendEvent> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            let before = chunk.clone();
            let result = match step {
                Step::Claim(choices) => {
                    let verdicts: Vec<_> = chunk.pending().into_iter().filter_map(|place| {
                        let verdict = match choices[place] {
                            0 => Verdict::Suppress,
                            1 => Verdict::Skip,
                            2 => Verdict::Fail,
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
                        1 => Sent::Refused,
                        2 => Sent::Unknown,
                        3 => return None,
                        _ => Sent::Accepted("m".into()),
                    }))).collect();
                    chunk.record("a", &outcomes, ts(now + 5), ts(now + 60))
                }
                Step::Settle => {
                    let events: Vec<_> = events.values().cloned().collect();
                    chunk.settle(&events, ts(now), SETTLE)
                }
                Step::Event(place) => {
                    let recipient = usize::from(place);
                    events.insert(recipient, SendEvent { recipient, attempt: 1, message_id: "e".into() });
                    continue;
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
                prop_assert!(!is_final(old.state) || new == old, "a final state is final");
                // Only waiting for its event leads from "perhaps sent" back to "to be sent".
                let repeated = matches!(old.state, RecipientState::Unknown) && new.state == RecipientState::Pending;
                prop_assert!(!repeated || new.attempt == old.attempt + 1);
            }
            // Whoever is left is found again: by the dispatcher, or when the lease or the waiting ends.
            let open = after.status != ChunkStatus::Done;
            prop_assert_eq!(after.attention_at.is_some(), open);
            prop_assert_eq!(after.counts().open_chunks, i64::from(open));
            prop_assert!(open || after.counts().pending + after.counts().sending == 0);
            prop_assert_eq!(after.status == ChunkStatus::Sending, after.counts().sending > 0);
            chunk = after;
        }
    }
}
