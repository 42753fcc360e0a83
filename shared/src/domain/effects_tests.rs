use super::*;
use crate::domain::change::{Sequence, Step};
use crate::domain::id::GroupId;
use crate::domain::job::State;
use crate::domain::target::Reach;
use crate::testing::conformance::queued_job;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn job(state: State) -> Job {
    Job {
        state,
        tags: vec!["private-tag".into()],
        payload: Stored::Inline(json!({"message": "private-payload"})),
        result: Some(Stored::Inline(json!({"sum": 3}))),
        error: Some(JobError::new("transient", "private-message", 1, at(1))),
        callback_url: Some(CallbackUrl::parse("https://example.com/hook", Reach::Public).unwrap()),
        group: Some(Member { group: GroupId::derived(&["g"]), index: 4 }),
        finished_at: state.is_final().then(|| at(9)),
        updated_at: at(9),
        ..queued_job("effects", at(0))
    }
}

fn change(old: Option<Job>, new: Job) -> Change {
    let new = Box::new(new);
    let step = match old {
        None => Step::Created(new),
        Some(old) => Step::Changed { old: Box::new(old), new },
    };
    Change { sequence: Sequence::parse("17").unwrap(), step }
}

#[test]
fn a_change_of_state_is_told_without_anything_a_caller_wrote() {
    let told = effects(&change(Some(job(State::Running)), job(State::Dead))).event.unwrap();
    assert_eq!(told.name(), "millrace.job.dead");
    let text = json!(told).to_string();
    assert!(!text.contains("private") && !text.contains("example.com"), "{text}");
    assert_eq!((told.previous, told.error_class.as_deref()), (Some("running"), Some("transient")));
    let created = effects(&change(None, job(State::Queued))).event.unwrap();
    assert_eq!((created.name(), created.previous), ("millrace.job.queued".to_owned(), None));
}

#[test]
fn what_leaves_the_state_as_it_is_has_no_effect() {
    assert_eq!(effects(&change(Some(job(State::Running)), job(State::Running))), Effects::default());
    let deleted = Change { sequence: Sequence::parse("1").unwrap(), step: Step::Deleted(Box::new(job(State::Dead))) };
    assert_eq!(effects(&deleted), Effects::default());
}

#[test]
fn only_the_end_of_a_job_calls_back_and_closes_its_place() {
    for state in State::ALL {
        let old = if state == State::Queued { State::Scheduled } else { State::Queued };
        let effects = effects(&change(Some(job(old)), job(state)));
        assert_eq!(effects.callback.is_some(), state.is_final(), "{state:?}");
        assert_eq!(effects.closed.is_some(), state.is_final(), "{state:?}");
    }
}

#[test]
fn a_callback_shows_the_job_as_it_ended() {
    let callback = effects(&change(Some(job(State::Running)), job(State::Succeeded))).callback.unwrap();
    assert_eq!((callback.name.as_str(), callback.at), ("job.succeeded", at(9)));
    assert_eq!((&callback.data["state"], &callback.data["result"]["sum"]), (&json!("succeeded"), &json!(3)));
    assert_eq!(callback.data["finished_at"], at(9).to_string());
    assert!(callback.data.get("payload").is_none());
}

#[test]
fn each_end_of_a_job_has_a_call_of_its_own_and_a_repeat_has_none() {
    let ended = |fence, second| {
        let new = Job { fence, finished_at: Some(at(second)), ..job(State::Cancelled) };
        effects(&change(Some(job(State::Queued)), new)).callback.unwrap().id
    };
    assert_eq!(ended(1, 9), ended(1, 9));
    assert_ne!(ended(1, 9), ended(2, 9));
    // Cancelled, retried and cancelled again, without a run in between.
    assert_ne!(ended(0, 9), ended(0, 10));
}
