//! What the operator's long jobs work with.

use super::queued_job;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Job, JobError};
use crate::ports::{Applied, Checkpoints, DeadJobs, Jobs};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

/// Holds an index of dead jobs to what [`DeadJobs`] says; `jobs` is the store that it shows. `salt` makes the ids unique to
/// this run; `now` is any time, in whole milliseconds.
///
/// # Panics
/// When it differs.
pub async fn dead_jobs(dead: &dyn DeadJobs, jobs: &dyn Jobs, salt: &str, now: Timestamp) {
    let tenant = Tenant::parse(format!("dead-{salt}")).expect("a tenant");
    let apply = async |id: &JobId, event: Event, at: Timestamp| match jobs.apply(id, &event, at).await.expect("apply") {
        Applied::Done(job) => *job,
        other => panic!("{event:?}: {other:?}"),
    };
    let at = |ms: u64| now + Duration::from_millis(ms);
    let mut made = Vec::new();
    for i in 0..6_u64 {
        let job = Job { tenant: tenant.clone(), ..queued_job(&format!("{salt}-dead-{i}"), now) };
        jobs.create(&job, false).await.expect("create");
        // Some die in one millisecond.
        let error = JobError::new("permanent", &format!("no {i}"), 0, at(i / 2));
        made.push(apply(&job.id, Event::Condemn { error }, at(i / 2)).await);
    }
    let alive = Job { tenant: tenant.clone(), ..queued_job(&format!("{salt}-alive"), now) };
    jobs.create(&alive, false).await.expect("create");
    apply(&alive.id, Event::Cancel, now).await;

    let all = dead.dead(&tenant, None, at(60_000), 100).await.expect("dead");
    assert_eq!(all.len(), made.len(), "{all:?}");
    assert!(all.is_sorted_by_key(|job| job.death.at));
    for job in &made {
        let entry = all.iter().find(|entry| entry.death.id == job.id).expect("it is dead");
        assert_eq!((Some(entry.death.at), &entry.kind), (job.finished_at, &job.kind));
        assert_eq!((&entry.tags, &entry.error), (&job.tags, &job.error));
    }
    let mut paged = Vec::new();
    loop {
        let page = dead.dead(&tenant, paged.last().map(|job: &crate::ports::DeadJob| &job.death), at(60_000), 2);
        let page = page.await.expect("dead");
        let last = page.len() < 2;
        paged.extend(page);
        if last {
            break;
        }
    }
    assert_eq!(paged, all, "by pages as at once");
    let early = dead.dead(&tenant, None, at(1), 100).await.expect("dead");
    assert_eq!(early, all[..4], "those that died later are left out");

    let again = &all[0].death;
    let retry = |death| Event::Retry { payload: None, death: Some(death) };
    let stale = jobs.apply(&again.id, &retry(at(9)), at(10)).await.expect("apply");
    assert!(matches!(stale, Applied::Refused(..)), "another death: {stale:?}");
    apply(&again.id, retry(again.at), at(10)).await;
    let left = dead.dead(&tenant, None, at(60_000), 100).await.expect("dead");
    assert_eq!(left, all[1..], "what is retried is not dead");
    // A place is a place, whether or not the job is still there.
    assert_eq!(dead.dead(&tenant, Some(again), at(60_000), 100).await.expect("dead"), all[1..]);
    let error = JobError::new("permanent", "again", 0, at(20));
    apply(&again.id, Event::Condemn { error }, at(20)).await;
    let last = dead.dead(&tenant, None, at(60_000), 100).await.expect("dead").pop().expect("one");
    assert_eq!((last.death.id, last.death.at), (again.id.clone(), at(20)), "a second death has its own time");

    let nobody = Tenant::parse(format!("nobody-{salt}")).expect("a tenant");
    assert_eq!(dead.dead(&nobody, None, at(60_000), 10).await.expect("dead"), []);
}

/// Holds a store of checkpoints to what [`Checkpoints`] says. `salt` makes the ids unique to this run.
///
/// # Panics
/// When it differs.
pub async fn checkpoints(store: &dyn Checkpoints, salt: &str, now: Timestamp) {
    let job = JobId::derived(&[salt, "checkpoint"]);
    assert_eq!(store.load(&job).await.expect("load"), None);
    let (first, second) = (json!({"cursor": "ä", "n": 1}), json!({"cursor": null, "n": [2.5]}));
    assert!(store.save(&job, 2, &first, now).await.expect("save"));
    assert_eq!(store.load(&job).await.expect("load"), Some(first));
    assert!(store.save(&job, 2, &second, now).await.expect("save"), "the same attempt saves again");
    assert!(!store.save(&job, 1, &json!({}), now).await.expect("save"), "an attempt that lost the job saves nothing");
    assert_eq!(store.load(&job).await.expect("load"), Some(second));
    assert!(store.save(&job, 3, &json!({"n": 3}), now).await.expect("save"));
    assert_eq!(store.load(&job).await.expect("load"), Some(json!({"n": 3})));
    assert_eq!(store.load(&JobId::derived(&[salt, "none"])).await.expect("load"), None);
}
