use super::*;
use crate::domain::job::State;
use proptest::prelude::*;
use serde_json::json;

const SAMPLE: &str = include_str!("../../../events/outbox.json");

fn sample() -> Value {
    serde_json::from_str(SAMPLE).unwrap()
}

fn told_of(event: Value) -> Vec<Told> {
    serde_json::from_value::<StreamEvent>(event).unwrap().told()
}

#[test]
fn the_sample_event_tells_a_jobs_life() {
    let event: StreamEvent = serde_json::from_value(sample()).unwrap();
    assert_eq!(event.shard().as_str(), "shardId-00000001546985880512-9d8e7f6a");
    let states: Vec<_> = event
        .told()
        .into_iter()
        .map(|told| match told {
            Told::Change(change) => (change.before().map(|job| job.state), change.after().map(|job| job.state)),
            other => panic!("{other:?}"),
        })
        .collect();
    let [queued, running, succeeded] = [State::Queued, State::Running, State::Succeeded].map(Some);
    assert_eq!(states, [(None, queued), (queued, running), (running, succeeded), (succeeded, None)]);
}

#[test]
fn the_end_of_a_window_tells_nothing() {
    let end = json!({"window": {"start": "2027-01-15T08:00:00Z", "end": "2027-01-15T08:01:00Z"}, "state": {},
        "shardId": "s", "eventSourceARN": "a", "isFinalInvokeForWindow": true, "isWindowTerminatedEarly": false});
    assert!(told_of(end).is_empty());
}

#[test]
fn items_that_are_no_jobs_are_passed_over() {
    let mut event = sample();
    event["Records"][0]["dynamodb"]["Keys"]["pk"]["S"] = json!("SCHED#nightly");
    assert_eq!(told_of(event)[0], Told::Foreign);
}

#[test]
fn what_cannot_be_read_is_kept_as_it_came_and_harms_no_neighbour() {
    for (pointer, value) in [
        ("/dynamodb/NewImage/state", json!({"S": "dreaming"})),
        ("/dynamodb/NewImage/state", json!({"X": "queued"})),
        ("/dynamodb/NewImage/attempt", json!({"N": "many"})),
        ("/dynamodb/NewImage/pk", json!({"S": "JOB#?"})),
        ("/dynamodb/SequenceNumber", json!("first")),
        ("/dynamodb/Keys", json!(null)),
    ] {
        let mut event = sample();
        *event["Records"][1].pointer_mut(pointer).unwrap() = value;
        let told = told_of(event.clone());
        let Told::Unreadable { why, record } = &told[1] else { panic!("{pointer}: {:?}", told[1]) };
        assert_eq!(serde_json::from_str::<Value>(record).unwrap(), event["Records"][1]);
        assert!(!why.contains("hello"), "it quotes the payload: {why}");
        assert!(matches!(told[0], Told::Change(_)) && matches!(told[2], Told::Change(_)));
    }
    let mut event = sample();
    event["Records"][0] = json!("a record?");
    assert!(matches!(told_of(event)[0], Told::Unreadable { .. }));
}

#[test]
fn attributes_of_every_type_are_read() {
    let all = json!({"M": {"list": {"L": [{"N": "1"}, {"NULL": true}, {"BOOL": false}]}, "bytes": {"B": "aGk="},
        "sets": {"SS": ["a"]}, "numbers": {"NS": ["1"]}, "blobs": {"BS": ["aGk="]}}});
    let read = attribute(all).unwrap();
    let map = read.as_m().unwrap();
    assert_eq!(map["bytes"], AttributeValue::B(Blob::new("hi")));
    assert_eq!(map["list"].as_l().unwrap().len(), 3);
    for wrong in [json!({}), json!({"S": 1}), json!({"S": "a", "N": "1"}), json!({"B": "?"}), json!("S")] {
        assert!(attribute(wrong.clone()).is_none(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_record_is_answered(text in ".*", number: u64, flag: bool) {
        for record in [json!(text), json!(number), json!(flag), json!({"dynamodb": {"Keys": {"pk": {"S": format!("JOB#{text}")}}, "SequenceNumber": text}})] {
            prop_assert_eq!(told_of(json!({"Records": [record]})).len(), 1);
        }
    }
}
