use super::*;
use crate::testing::conformance::queued_job;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn queued(max_attempts: u32) -> Job {
    Job { max_attempts, ..queued_job("1", at(0)) }
}

fn failed() -> JobError {
    JobError::new("transient", "no", 1, at(0))
}

fn claim(until: i64) -> Event {
    Event::Claim { lease_until: at(until), owner: 1 }
}

#[test]
fn a_claim_counts_and_leases() {
    let job = transition(&queued(3), &claim(10), at(1)).unwrap();
    assert_eq!((job.state, job.attempt, job.fence), (State::Running, 1, 1));
    assert_eq!(job.lease_until, Some(at(10)));
}

#[test]
fn a_live_lease_holds_off_a_second_worker_until_it_ends() {
    let job = transition(&queued(3), &claim(10), at(1)).unwrap();
    assert_eq!(transition(&job, &claim(20), at(9)), Err(Refused::Leased { until: at(10) }));
    let second = transition(&job, &claim(20), at(10)).unwrap();
    assert_eq!((second.attempt, second.fence), (2, 2));
}

#[test]
fn a_heartbeat_holds_the_others_off_for_longer_and_changes_nothing_else() {
    let job = transition(&queued(3), &claim(10), at(1)).unwrap();
    let beat = Event::Heartbeat { fence: 1, lease_until: at(15) };
    let held = transition(&job, &beat, at(8)).unwrap();
    let expected = Job { lease_until: Some(at(15)), updated_at: at(8), ..job.clone() };
    assert_eq!(held, expected);
    assert_eq!(transition(&held, &claim(30), at(14)), Err(Refused::Leased { until: at(15) }));
    // Late, but nobody has taken the job meanwhile.
    assert_eq!(transition(&job, &beat, at(11)).unwrap().lease_until, Some(at(15)));
    let asked = transition(&job, &Event::AskCancel, at(2)).unwrap();
    assert!(transition(&asked, &beat, at(8)).unwrap().cancel_requested, "its owner hears of it by this");
}

#[test]
fn a_worker_that_lost_its_lease_can_write_nothing() {
    let first = transition(&queued(3), &claim(10), at(1)).unwrap();
    let second = transition(&first, &claim(20), at(11)).unwrap();
    let late = [
        Event::Succeed { fence: 1, result: None },
        Event::Bury { fence: 1, error: failed() },
        Event::GiveBack { fence: 1, run_at: at(12), spent: true, by: Carrier::Queue, error: None },
        Event::Heartbeat { fence: 1, lease_until: at(30) },
        Event::Progress { fence: 1, progress: Progress { percent: 5, note: None } },
    ];
    for event in late {
        assert_eq!(transition(&second, &event, at(12)), Err(Refused::Lost), "{event:?}");
    }
}

#[test]
fn the_last_attempt_is_the_last_even_after_a_crash() {
    let job = transition(&queued(1), &claim(10), at(1)).unwrap();
    assert_eq!(transition(&job, &claim(20), at(11)), Err(Refused::Spent));
    let dead = transition(&job, &Event::Condemn { error: failed() }, at(11)).unwrap();
    assert_eq!(dead.state, State::Dead);
}

#[test]
fn nobody_condemns_a_job_that_is_owned() {
    let job = transition(&queued(1), &claim(10), at(1)).unwrap();
    assert!(transition(&job, &Event::Condemn { error: failed() }, at(9)).is_err());
}

#[test]
fn a_snooze_gives_its_attempt_back_but_not_its_fence() {
    let job = transition(&queued(1), &claim(10), at(1)).unwrap();
    let snooze = Event::GiveBack { fence: 1, run_at: at(5), spent: false, by: Carrier::Queue, error: None };
    let job = transition(&job, &snooze, at(2)).unwrap();
    assert_eq!((job.state, job.attempt, job.fence), (State::Queued, 0, 1));
    assert_eq!(transition(&job, &claim(20), at(4)), Err(Refused::NotYet { run_at: at(5) }));
    assert!(transition(&job, &claim(20), at(5)).is_ok());
}

#[test]
fn a_release_for_an_earlier_time_leaves_the_job_with_the_clock() {
    let first = Job { state: State::Scheduled, run_at: Some(at(1)), ..queued(3) };
    // Its message was quicker than the release: the job has run meanwhile, and has been put off for long.
    let running = transition(&first, &claim(10), at(1)).unwrap();
    let back = Event::GiveBack { fence: 1, run_at: at(2_000), spent: false, by: Carrier::Clock, error: None };
    let later = transition(&running, &back, at(2)).unwrap();
    assert_eq!(transition(&later, &Event::Release { run_at: at(1) }, at(3)), Err(Refused::WrongState));
    assert_eq!(transition(&later, &Event::Release { run_at: at(2_000) }, at(1_990)).unwrap().state, State::Queued);
}

#[test]
fn an_expired_job_is_not_started() {
    let job = Job { expires_at: Some(at(5)), ..queued(3) };
    assert!(transition(&job, &claim(20), at(4)).is_ok());
    assert_eq!(transition(&job, &claim(20), at(5)), Err(Refused::Expired));
}

#[test]
fn a_final_job_takes_no_event() {
    let running = transition(&queued(2), &claim(10), at(1)).unwrap();
    let done = transition(&running, &Event::Succeed { fence: 1, result: None }, at(2)).unwrap();
    for event in [claim(20), Event::Release { run_at: at(0) }, Event::Condemn { error: failed() }] {
        assert_eq!(transition(&done, &event, at(30)), Err(Refused::Final), "{event:?}");
    }
    assert_eq!(transition(&done, &Event::Succeed { fence: 1, result: None }, at(3)), Err(Refused::Lost));
}

#[test]
fn what_waits_is_cancelled_at_once_and_what_runs_is_asked() {
    let waiting = transition(&queued(3), &Event::Cancel, at(1)).unwrap();
    assert_eq!((waiting.state, waiting.finished_at), (State::Cancelled, Some(at(1))));
    assert_eq!(transition(&waiting, &claim(10), at(2)), Err(Refused::Final));

    let running = transition(&queued(3), &claim(10), at(1)).unwrap();
    assert_eq!(transition(&running, &Event::Cancel, at(2)), Err(Refused::Leased { until: at(10) }));
    let asked = transition(&running, &Event::AskCancel, at(2)).unwrap();
    assert_eq!((asked.state, asked.cancel_requested), (State::Running, true));
    let stopped = transition(&asked, &Event::Stop { fence: 1 }, at(3)).unwrap();
    assert_eq!(stopped.state, State::Cancelled);
}

#[test]
fn a_job_that_is_to_be_cancelled_is_not_tried_again() {
    let running = transition(&queued(3), &claim(10), at(1)).unwrap();
    let asked = transition(&running, &Event::AskCancel, at(2)).unwrap();
    let back = Event::GiveBack { fence: 1, run_at: at(5), spent: true, by: Carrier::Queue, error: None };
    assert_eq!(transition(&asked, &back, at(3)), Err(Refused::CancelAsked));
    assert_eq!(transition(&asked, &claim(20), at(10)), Err(Refused::CancelAsked), "its worker died");
    assert_eq!(transition(&asked, &Event::Cancel, at(10)).unwrap().state, State::Cancelled);
    let done = transition(&asked, &Event::Succeed { fence: 1, result: None }, at(3)).unwrap();
    assert_eq!(done.state, State::Succeeded, "what is done is done");
}

#[test]
fn a_retry_starts_anew_and_keeps_old_owners_out() {
    let job = Job { expires_at: Some(at(5)), ..queued(1) };
    let running = transition(&job, &claim(10), at(1)).unwrap();
    let dead = transition(&running, &Event::Bury { fence: 1, error: failed() }, at(2)).unwrap();
    let payload = Some(Stored::Inline(Value::Bool(true)));
    let again = transition(&dead, &Event::Retry { payload: payload.clone(), death: None }, at(20)).unwrap();
    assert_eq!((again.state, again.attempt, again.fence), (State::Scheduled, 0, 1));
    assert_eq!((Some(again.payload.clone()), again.edited, again.finished_at), (payload, true, None));
    let second = transition(&again, &claim(40), at(20)).unwrap();
    assert_eq!((second.attempt, second.fence), (1, 2));
    assert_eq!(transition(&second, &Event::Succeed { fence: 1, result: None }, at(21)), Err(Refused::Lost));
}

#[test]
fn only_what_is_dead_or_cancelled_is_retried() {
    let retry = Event::Retry { payload: None, death: None };
    assert_eq!(transition(&queued(1), &retry, at(1)), Err(Refused::WrongState));
    let running = transition(&queued(1), &claim(10), at(1)).unwrap();
    assert_eq!(transition(&running, &retry, at(20)), Err(Refused::WrongState));
    let done = transition(&running, &Event::Succeed { fence: 1, result: None }, at(2)).unwrap();
    assert_eq!(transition(&done, &retry, at(3)), Err(Refused::Final));
    let cancelled = transition(&queued(1), &Event::Cancel, at(1)).unwrap();
    assert_eq!(transition(&cancelled, &retry, at(2)).unwrap().state, State::Scheduled);
}

/// What a storm of workers may try, each with a fence it might hold.
fn any_event() -> impl Strategy<Value = Event> {
    let by = prop_oneof![Just(Carrier::Queue), Just(Carrier::Clock)];
    prop_oneof![
        (0i64..200).prop_map(|run| Event::Release { run_at: at(run) }),
        (0i64..200).prop_map(claim),
        (0u64..6, 0i64..200).prop_map(|(fence, until)| Event::Heartbeat { fence, lease_until: at(until) }),
        (0u64..6).prop_map(|fence| Event::Succeed { fence, result: None }),
        (0u64..6).prop_map(|fence| Event::Bury { fence, error: failed() }),
        (0u64..6, 0i64..200, any::<bool>(), by).prop_map(|(fence, run, spent, by)| Event::GiveBack {
            fence,
            run_at: at(run),
            spent,
            by,
            error: None
        }),
        Just(Event::Condemn { error: failed() }),
        Just(Event::Cancel),
        Just(Event::AskCancel),
        (0u64..6).prop_map(|fence| Event::Stop { fence }),
        Just(Event::Retry { payload: None, death: None }),
    ]
}

proptest! {
    #[test]
    fn in_any_history_the_rules_hold(
        max in 1u32..5,
        steps in prop::collection::vec((any_event(), 0i64..20), 0..60),
    ) {
        let mut job = queued(max);
        let mut clock = 0;
        for (event, wait) in steps {
            clock += wait;
            let before = job.clone();
            let Ok(after) = transition(&job, &event, at(clock)) else { continue };
            let retried = matches!(event, Event::Retry { .. });
            prop_assert!(!before.state.is_final() || retried, "a final job changed by itself");
            prop_assert!(before.state != State::Succeeded, "what is done was done again");
            prop_assert!(!after.cancel_requested || after.state == State::Running || after.state.is_final());
            prop_assert!(after.attempt <= after.max_attempts, "more attempts than allowed");
            prop_assert!(after.fence >= before.fence, "the fence went back");
            prop_assert_eq!(after.state.is_final(), after.finished_at.is_some());
            prop_assert_eq!(after.state == State::Running, after.lease_until.is_some());
            if let Event::Claim { .. } = event {
                let owned = before.state == State::Running && before.lease_until > Some(at(clock));
                prop_assert!(!owned, "two owners");
                prop_assert_eq!(after.fence, before.fence + 1);
            }
            if let Event::Heartbeat { fence, lease_until } = event {
                prop_assert!(before.state == State::Running && before.fence == fence, "a stranger held on to it");
                let (lease_until, updated_at) = (Some(lease_until), after.updated_at);
                prop_assert_eq!(&after, &Job { lease_until, updated_at, ..before });
            }
            job = after;
        }
    }
}
