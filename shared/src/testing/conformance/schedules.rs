use crate::domain::id::Tenant;
use crate::domain::lane::Priority;
use crate::domain::local_time::Zone;
use crate::domain::schedule::{Cron, Schedule, ScheduleName, Template, Wanted};
use crate::domain::target::{CallbackUrl, Reach};
use crate::ports::{Schedules, Written};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

fn wanted(cron: &str, message: &str) -> Wanted {
    let job = Template {
        kind: "echo".into(),
        payload: json!({ "message": message }),
        priority: Priority::High,
        max_attempts: Some(3),
        timeout: Some(Duration::from_secs(7)),
        callback_url: Some(CallbackUrl::parse("https://example.com/over", Reach::Public).expect("a URL")),
        tags: vec!["a".into()],
    };
    let (cron, time_zone) = (Cron::parse(cron).expect("an expression"), Zone::parse("Europe/Berlin").expect("a zone"));
    Wanted { cron, time_zone, job }
}

fn name(text: &str) -> ScheduleName {
    ScheduleName::parse(text).expect("a name")
}

/// Holds a store of schedules to what [`Schedules`] says. `salt` makes the tenants unique to this run; `now` is any time, in whole
/// milliseconds.
///
/// # Panics
/// When it differs.
pub async fn schedules(store: &dyn Schedules, salt: &str, now: Timestamp) {
    let tenant = Tenant::parse(format!("sched-{salt}")).expect("a tenant");
    written_over_the_version_that_was_read(store, &tenant, now).await;
    due_by_the_next_tick(store, &tenant, now).await;
    let tenant = Tenant::parse(format!("sched-list-{salt}")).expect("a tenant");
    listed_by_pages(store, &tenant, now).await;
}

async fn written_over_the_version_that_was_read(store: &dyn Schedules, tenant: &Tenant, now: Timestamp) {
    let name = name("versions");
    let put = async |before: Option<&Schedule>, after: &Schedule| store.put(before, after).await.expect("put");
    let get = async || store.get(tenant, &name).await.expect("get");
    assert_eq!(get().await, None);
    let first = Schedule::new(tenant.clone(), name.clone(), wanted("30 9 * * mon-fri", "ä"), now);
    assert_eq!(put(Some(&first), &first).await, Written::Stale, "there is none to be replaced");
    assert_eq!(put(None, &first).await, Written::Done);
    assert_eq!(put(None, &first).await, Written::Done, "the same call again");
    assert_eq!(get().await, Some(first.clone()));
    let later = now + Duration::from_secs(60);
    let second = first.replaced(wanted("0 * * * *", "b"), later);
    assert_eq!(put(None, &second).await, Written::Stale, "there is one");
    assert_eq!(put(Some(&first), &second).await, Written::Done);
    assert_eq!(put(Some(&first), &second).await, Written::Done, "the same call again");
    assert_eq!(get().await, Some(second.clone()));
    let ticked = first.ticked(first.next.expect("a tick"), now);
    assert_eq!(put(Some(&first), &ticked).await, Written::Stale, "it was replaced meanwhile");
    let ticked = second.ticked(second.next.expect("a tick"), now);
    assert_eq!(put(Some(&second), &ticked).await, Written::Done);
    assert_eq!(get().await, Some(ticked.clone()));

    assert!(store.delete(tenant, &name).await.expect("delete"));
    assert!(!store.delete(tenant, &name).await.expect("delete"));
    assert_eq!(get().await, None);
    assert_eq!(put(Some(&ticked), &ticked.ticked(later, later)).await, Written::Stale, "it was deleted meanwhile");
    let anew = Schedule::new(tenant.clone(), name.clone(), wanted("0 * * * *", "c"), later);
    assert_eq!(put(None, &anew).await, Written::Done);
    assert_eq!(put(Some(&first), &ticked).await, Written::Stale, "another one of the same name and version");
    assert!(store.delete(tenant, &name).await.expect("delete"));
}

async fn due_by_the_next_tick(store: &dyn Schedules, tenant: &Tenant, now: Timestamp) {
    let due = async |until: Timestamp| -> Vec<ScheduleName> {
        let due = store.due(until, 1_000).await.expect("due").into_iter();
        due.filter(|(owner, _)| owner == tenant).map(|(_, name)| name).collect()
    };
    let hourly = Schedule::new(tenant.clone(), name("hourly"), wanted("0 * * * *", "a"), now);
    let never = Schedule { next: None, ..Schedule::new(tenant.clone(), name("never"), wanted("0 * * * *", "a"), now) };
    for schedule in [&hourly, &never] {
        assert_eq!(store.put(None, schedule).await.expect("put"), Written::Done);
    }
    let tick = hourly.next.expect("a tick");
    assert_eq!(due(tick - Duration::from_secs(1)).await, []);
    assert_eq!(due(tick).await, std::slice::from_ref(&hourly.name));
    let ticked = hourly.ticked(tick, now);
    assert_eq!(store.put(Some(&hourly), &ticked).await.expect("put"), Written::Done);
    assert_eq!(due(tick).await, []);
    assert_eq!(due(ticked.next.expect("a tick")).await, std::slice::from_ref(&hourly.name));
    assert!(store.delete(tenant, &hourly.name).await.expect("delete"));
    assert_eq!(due(ticked.next.expect("a tick")).await, []);
}

async fn listed_by_pages(store: &dyn Schedules, tenant: &Tenant, now: Timestamp) {
    let mut made = Vec::new();
    for i in 0..5_u64 {
        // Some are of one millisecond.
        let at = now + Duration::from_millis(i / 2);
        let schedule = Schedule::new(tenant.clone(), name(&format!("n{i}")), wanted("0 0 * * *", "a"), at);
        assert_eq!(store.put(None, &schedule).await.expect("put"), Written::Done);
        made.push(schedule);
    }
    let (all, end) = store.list(tenant, None, 100).await.expect("list");
    assert_eq!(end, None);
    assert!(all.is_sorted_by(|a, b| a.created_at >= b.created_at));
    let (mut paged, mut place) = (Vec::new(), None);
    loop {
        let (page, next) = store.list(tenant, place.as_ref(), 2).await.expect("list");
        paged.extend(page);
        place = next;
        if place.is_none() {
            break;
        }
    }
    assert_eq!(paged, all, "by pages as at once");
    let mut sorted = all;
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(sorted, made);
    let other = Tenant::parse(format!("{tenant}-other")).expect("a tenant");
    assert_eq!(store.list(&other, None, 100).await.expect("list"), (vec![], None));
}
