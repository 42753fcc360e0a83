//! What every implementation of a port must do, in memory and on AWS alike. Each function panics with what differs.

mod account;
mod blobs;
mod campaign_list;
mod campaigns;
mod hits;
mod keys;
mod limits;
mod operations;
mod outbox;
mod people;
mod schedules;
mod sign_ups;
mod suppressions;

pub use account::account;
pub use blobs::{blobs, files};
pub use campaign_list::campaign_list;
pub use campaigns::{campaigns, chunks, pace, send_line};
pub use hits::hits;
pub use keys::{hash_keys, keys, token_keys};
pub use limits::limits;
pub use operations::{checkpoints, dead_jobs};
pub use outbox::{counters, groups, webhook_secrets};
pub use people::{newsletters, subscribers, users};
pub use schedules::schedules;
pub use sign_ups::{sign_ups, throttle};
pub use suppressions::suppressions;

use crate::domain::group::Member;
use crate::domain::id::{GroupId, JobId, Tenant};
use crate::domain::job::{Carrier, Event, Job, JobError, Progress, Refused, State, Stored, transition};
use crate::domain::lane::{OrderingKey, Priority};
use crate::domain::target::{CallbackUrl, Reach};
use crate::ports::{Applied, Created, Jobs, MailLedger, Opened, RecentJob};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

/// A job of the kind `echo` that is queued at `now`, with an id of its own for each `name`.
#[must_use]
pub fn queued_job(name: &str, now: Timestamp) -> Job {
    Job {
        id: JobId::derived(&[name]),
        tenant: Tenant::parse("conformance").expect("a tenant"),
        kind: "echo".into(),
        priority: Priority::Normal,
        ordering_key: None,
        state: State::Queued,
        attempt: 0,
        max_attempts: 2,
        fence: 0,
        fingerprint: "f".into(),
        tags: vec!["a".into(), "b".into()],
        created_at: now,
        updated_at: now,
        run_at: None,
        started_at: None,
        finished_at: None,
        lease_until: None,
        owner: None,
        expires_at: None,
        timeout: Some(Duration::from_secs(3)),
        callback_url: None,
        group: None,
        progress: None,
        cancel_requested: false,
        payload: Stored::Inline(json!({"message": "hällo", "n": [1, 2.5, null]})),
        edited: false,
        result: None,
        error: None,
    }
}

fn done(applied: Applied) -> Job {
    match applied {
        Applied::Done(job) => *job,
        other => panic!("expected the event to happen, got {other:?}"),
    }
}

/// Walks a job store through every event from every state and compares with [`transition`] each time. `salt` makes the ids
/// unique to this run; `now` is any time, in whole milliseconds.
///
/// # Panics
/// When the store differs from the machine.
pub async fn jobs(store: &dyn Jobs, salt: &str, now: Timestamp) {
    created_once(store, salt, now).await;
    every_event_from_every_state(store, salt, now).await;
    due_is_what_waits_for_the_clock(store, salt, now).await;
    recent_is_each_job_of_a_tenant_once(store, salt, now).await;
}

async fn created_once(store: &dyn Jobs, salt: &str, now: Timestamp) {
    let job = Job {
        callback_url: Some(CallbackUrl::parse("https://example.com/ü?a=b", Reach::Public).expect("a URL")),
        group: Some(Member { group: GroupId::derived(&[salt]), index: 99 }),
        ..queued_job(&format!("{salt}-once"), now)
    };
    assert_eq!(store.get(&job.id).await.expect("get"), None);
    assert_eq!(store.create(&job, false).await.expect("create"), Created::New);
    assert_eq!(store.get(&job.id).await.expect("get"), Some(job.clone()));
    let other = Job { fingerprint: "other".into(), ..job.clone() };
    assert_eq!(store.create(&other, false).await.expect("create"), Created::Exists(Box::new(job.clone())));
    for priority in Priority::ALL {
        let job = Job { priority, ..queued_job(&format!("{salt}-{}", priority.as_str()), now) };
        store.create(&job, false).await.expect("create");
        assert_eq!(store.get(&job.id).await.expect("get"), Some(job));
    }
    let ordering_key = Some(OrderingKey::parse("clé 1").expect("a key"));
    let ordered = Job { ordering_key, ..queued_job(&format!("{salt}-ordered"), now) };
    store.create(&ordered, false).await.expect("create");
    assert_eq!(store.get(&ordered.id).await.expect("get"), Some(ordered));
    let missing = JobId::derived(&[salt, "missing"]);
    assert_eq!(store.apply(&missing, &Event::Release { run_at: now }, now).await.expect("apply"), Applied::Missing);
}

/// Every event, at `now`, for a job that may have died at `died`.
fn events(died: Timestamp, now: Timestamp) -> Vec<Event> {
    let later = now + Duration::from_secs(60);
    let error = JobError::new("transient", "a \"quoted\" message", 1, now);
    let mut events = vec![
        Event::Release { run_at: now },
        Event::Claim { lease_until: later, owner: 7 },
        Event::Condemn { error: error.clone() },
        Event::Cancel,
        Event::AskCancel,
        Event::Retry { payload: None, death: None },
        Event::Retry { payload: None, death: Some(died) },
        Event::Retry { payload: None, death: Some(now) },
        Event::Retry { payload: Some(Stored::Blob("payloads/other.json".into())), death: None },
    ];
    for fence in [1, 2] {
        events.extend([
            Event::Heartbeat { fence, lease_until: later },
            Event::Progress { fence, progress: Progress { percent: 40, note: Some("half".into()) } },
            Event::Succeed { fence, result: None },
            Event::Succeed { fence, result: Some(Stored::Inline(json!({"sum": 3}))) },
            Event::Bury { fence, error: error.clone() },
            Event::Stop { fence },
        ]);
        for (by, spent, error) in
            [(Carrier::Queue, true, Some(error.clone())), (Carrier::Queue, false, None), (Carrier::Clock, true, None)]
        {
            events.push(Event::GiveBack { fence, run_at: later, spent, by, error });
        }
    }
    events
}

/// Event lists that bring a new job into each state that differs to a guard.
fn histories(now: Timestamp) -> Vec<(&'static str, Vec<Event>)> {
    let claim = Event::Claim { lease_until: now + Duration::from_secs(30), owner: 1 };
    let back = |by| Event::GiveBack { fence: 1, run_at: now + Duration::from_secs(5), spent: true, by, error: None };
    let bury = Event::Bury { fence: 1, error: JobError::new("permanent", "no", 1, now) };
    let half = Event::Progress { fence: 1, progress: Progress { percent: 50, note: None } };
    let edit = Event::Retry { payload: Some(Stored::Inline(json!({"message": "edited"}))), death: None };
    let beat = Event::Heartbeat { fence: 1, lease_until: now + Duration::from_secs(90) };
    let asked = vec![claim.clone(), half, Event::AskCancel];
    vec![
        ("queued", vec![]),
        ("running", vec![claim.clone()]),
        ("extended", vec![claim.clone(), beat]),
        ("waiting", vec![claim.clone(), back(Carrier::Queue)]),
        ("scheduled", vec![claim.clone(), back(Carrier::Clock)]),
        (
            "released",
            vec![claim.clone(), back(Carrier::Clock), Event::Release { run_at: now + Duration::from_secs(5) }],
        ),
        ("succeeded", vec![claim.clone(), Event::Succeed { fence: 1, result: None }]),
        ("dead", vec![claim.clone(), bury.clone()]),
        ("asked", asked.clone()),
        ("cancelled", vec![Event::Cancel]),
        ("stopped", [asked.clone(), vec![Event::Stop { fence: 1 }]].concat()),
        ("retried", [asked, vec![Event::Stop { fence: 1 }, Event::Retry { payload: None, death: None }]].concat()),
        ("edited", vec![claim, bury, edit]),
    ]
}

async fn every_event_from_every_state(store: &dyn Jobs, salt: &str, now: Timestamp) {
    let mut checked = 0;
    for (state, history) in histories(now) {
        // Before, within and after the lease and the wait; with attempts left and without; before and after its time.
        for (moment, seconds) in [("soon", 1), ("later", 10), ("late", 100)] {
            for (i, event) in events(now, now + Duration::from_secs(seconds)).into_iter().enumerate() {
                let limits = [(2, None), (1, None), (2, Some(now + Duration::from_secs(50)))];
                // Only a claim looks at them.
                let relevant = if matches!(event, Event::Claim { .. }) { limits.len() } else { 1 };
                for (max_attempts, expires_at) in limits.into_iter().take(relevant) {
                    let name = format!("{salt}-{state}-{moment}-{i}-{max_attempts}-{}", expires_at.is_some());
                    let mut job = Job { max_attempts, expires_at, ..queued_job(&name, now) };
                    store.create(&job, false).await.expect("create");
                    for step in &history {
                        job = transition(&job, step, now).expect("the history is possible");
                        let stored = done(store.apply(&job.id, step, now).await.expect("apply"));
                        assert_eq!(stored, job, "{name}: {step:?}");
                    }
                    let at = now + Duration::from_secs(seconds);
                    let stored = store.apply(&job.id, &event, at).await.expect("apply");
                    let expected = match transition(&job, &event, at) {
                        Ok(next) => Applied::Done(Box::new(next)),
                        Err(why) => Applied::Refused(why, Box::new(job.clone())),
                    };
                    assert_eq!(stored, expected, "{name}: {event:?}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 500, "only {checked} cases were compared");
}

async fn due_is_what_waits_for_the_clock(store: &dyn Jobs, salt: &str, now: Timestamp) {
    let soon = now + Duration::from_secs(1_000);
    let far = Job { state: State::Scheduled, run_at: Some(soon), ..queued_job(&format!("{salt}-due"), now) };
    let carried = Job { state: State::Scheduled, run_at: Some(soon), ..queued_job(&format!("{salt}-carried"), now) };
    store.create(&far, true).await.expect("create");
    store.create(&carried, false).await.expect("create");
    let ids = async |until| -> Vec<JobId> {
        store.due(until, 1_000).await.expect("due").into_iter().map(|due| due.id).collect()
    };
    assert!(!ids(now).await.contains(&far.id), "it is not due yet");
    let listed = store.due(soon, 1_000).await.expect("due");
    let entry = listed.iter().find(|due| due.id == far.id).expect("it is due");
    assert_eq!(entry.run_at, soon);
    assert!(!ids(soon).await.contains(&carried.id), "a message carries it");
    let release = Event::Release { run_at: soon };
    let stale = Event::Release { run_at: soon - Duration::from_secs(1) };
    let refused = store.apply(&far.id, &stale, now).await.expect("apply");
    assert!(matches!(refused, Applied::Refused(Refused::WrongState, _)), "{refused:?}");
    assert!(ids(soon).await.contains(&far.id), "another time's release leaves it with the clock");
    done(store.apply(&far.id, &release, now).await.expect("apply"));
    assert!(!ids(soon).await.contains(&far.id), "it was released");
    let refused = store.apply(&far.id, &release, now + Duration::from_secs(1)).await.expect("apply");
    assert!(matches!(refused, Applied::Refused(Refused::WrongState, _)), "{refused:?}");

    let unwanted = Job { state: State::Scheduled, run_at: Some(soon), ..queued_job(&format!("{salt}-unwanted"), now) };
    store.create(&unwanted, true).await.expect("create");
    done(store.apply(&unwanted.id, &Event::Cancel, now).await.expect("apply"));
    assert!(!ids(soon).await.contains(&unwanted.id), "it was cancelled");
    done(store.apply(&unwanted.id, &Event::Retry { payload: None, death: None }, now).await.expect("apply"));
    assert!(ids(now).await.contains(&unwanted.id), "the clock brings what was retried");
    let claim = Event::Claim { lease_until: soon, owner: 1 };
    done(store.apply(&unwanted.id, &claim, now).await.expect("apply"));
    assert!(!ids(soon).await.contains(&unwanted.id), "a worker has it");
}

async fn recent_is_each_job_of_a_tenant_once(store: &dyn Jobs, salt: &str, now: Timestamp) {
    let tenant = Tenant::parse(format!("recent-{salt}")).expect("a tenant");
    let mut made = Vec::new();
    for i in 0..7_u64 {
        // Some are of one millisecond.
        let created_at = now + Duration::from_millis(i / 3);
        let job = queued_job(&format!("{salt}-recent-{i}"), created_at);
        let job = Job { tenant: tenant.clone(), ..job };
        store.create(&job, false).await.expect("create");
        made.push(job);
    }
    // What happens to a job does not move it.
    let claim = Event::Claim { lease_until: now + Duration::from_secs(60), owner: 1 };
    made[0] = done(store.apply(&made[0].id, &claim, now + Duration::from_secs(1)).await.expect("apply"));
    let mut listed: Vec<RecentJob> = Vec::new();
    loop {
        let page = store.recent(&tenant, listed.last(), 2).await.expect("recent");
        let last = page.len() < 2;
        listed.extend(page);
        if last {
            break;
        }
        assert!(listed.len() <= made.len(), "it does not end: {listed:?}");
    }
    assert!(listed.is_sorted_by(|newer, older| newer.created_at >= older.created_at), "{listed:?}");
    assert_eq!(store.recent(&tenant, None, 100).await.expect("recent"), listed, "the order stays");
    let ids: Vec<JobId> =
        listed.iter().map(|place| place.id.clone()).chain([JobId::derived(&[salt, "none"])]).collect();
    let mut found = store.get_many(&ids).await.expect("get_many");
    found.sort_by(|a, b| a.id.cmp(&b.id));
    made.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, made);
    let nobody = Tenant::parse(format!("nobody-{salt}")).expect("a tenant");
    assert_eq!(store.recent(&nobody, listed.last(), 2).await.expect("recent"), []);
}

/// Walks a ledger of single mails through its histories. `salt` makes the names unique to this run.
///
/// # Panics
/// When the ledger differs from what [`MailLedger`] says.
pub async fn mail_ledger(ledger: &dyn MailLedger, salt: &str, now: Timestamp) {
    let later = now + Duration::from_secs(10);
    let mail = format!("{salt}-a");
    assert_eq!(ledger.open(&mail, now).await.expect("open"), Opened::Fresh);
    assert_eq!(ledger.open(&mail, later).await.expect("open"), Opened::Unsettled { since: now });
    assert!(!ledger.reopen(&mail, later, later).await.expect("reopen"), "another intent stands there");
    assert!(ledger.reopen(&mail, now, later).await.expect("reopen"));
    assert_eq!(ledger.open(&mail, later).await.expect("open"), Opened::Unsettled { since: later });
    ledger.withdraw(&mail).await.expect("withdraw");
    assert_eq!(ledger.open(&mail, now).await.expect("open"), Opened::Fresh);
    ledger.accepted(&mail, "first", now).await.expect("accepted");
    ledger.accepted(&mail, "second", now).await.expect("accepted");
    let sent = Opened::Sent { message_id: "first".into() };
    assert_eq!(ledger.open(&mail, later).await.expect("open"), sent);
    ledger.withdraw(&mail).await.expect("withdraw");
    assert!(!ledger.reopen(&mail, now, later).await.expect("reopen"), "it is sent");
    assert_eq!(ledger.open(&mail, later).await.expect("open"), sent);

    // An event may come before anything else is known of the mail.
    let early = format!("{salt}-b");
    ledger.accepted(&early, "by-event", now).await.expect("accepted");
    assert_eq!(ledger.open(&early, now).await.expect("open"), Opened::Sent { message_id: "by-event".into() });
}

#[cfg(test)]
mod tests {
    use crate::testing::{
        MemoryAccount, MemoryCampaignList, MemoryCampaigns, MemoryCheckpoints, MemoryJobs, MemoryLimits,
        MemoryMailLedger, MemoryNewsletters, MemoryPace, MemorySchedules, MemorySubscribers, MemoryUsers,
    };
    use jiff::Timestamp;

    #[tokio::test]
    async fn the_jobs_in_memory_conform() {
        super::jobs(&MemoryJobs::default(), "t", Timestamp::from_second(1_800_000_000).unwrap()).await;
    }

    #[tokio::test]
    async fn operations_in_memory_conform() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let jobs = MemoryJobs::default();
        super::dead_jobs(&jobs, &jobs, "t", now).await;
        super::checkpoints(&MemoryCheckpoints::default(), "t", now).await;
        super::schedules(&MemorySchedules::default(), "t", now).await;
    }

    #[tokio::test]
    async fn the_limits_in_memory_conform() {
        super::limits(&MemoryLimits::default(), "t", Timestamp::from_second(1_800_000_000).unwrap()).await;
    }

    #[tokio::test]
    async fn the_mail_ledger_in_memory_conforms() {
        super::mail_ledger(&MemoryMailLedger::default(), "t", Timestamp::from_second(1_800_000_000).unwrap()).await;
    }

    #[tokio::test]
    async fn the_account_and_the_list_of_campaigns_in_memory_conform() {
        let account = MemoryAccount::default();
        super::account(&account, &account).await;
        super::campaign_list(&MemoryCampaignList::default(), "t").await;
    }

    #[tokio::test]
    async fn people_in_memory_conform() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        super::users(&MemoryUsers::default(), "t", now).await;
        super::newsletters(&MemoryNewsletters::default(), "t", now).await;
        super::subscribers(&MemorySubscribers::default(), "t", now).await;
    }

    #[tokio::test]
    async fn the_campaigns_in_memory_conform() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let store = MemoryCampaigns::default();
        super::campaigns(&store, &store, "t", now).await;
        super::chunks(&store, &store, "t", now).await;
        let lines = MemoryPace::default();
        super::pace(&lines, "t", now).await;
        super::send_line(&lines, &lines, "line", now).await;
    }
}
