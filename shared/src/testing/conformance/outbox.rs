use crate::domain::change::{Change, Sequence, Shard};
use crate::domain::group::Group;
use crate::domain::id::{GroupId, Tenant};
use crate::domain::stats::{Count, Counts, Entry, Happened, Minute, Page, What, pages};
use crate::domain::webhook::{SECRET_BYTES, Secret, Secrets};
use crate::ports::{Added, Counters, Groups, WebhookSecrets};
use crate::testing::history::history;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts a history of jobs, each batch told several times, and compares with the jobs. `salt` makes the tenants unique to
/// this run.
///
/// # Panics
/// When the pages differ from what [`Counters`] says.
pub async fn counters(store: &dyn Counters, salt: &str, now: Timestamp) {
    a_change_counts_once_for_each_shard(store, salt, now).await;
    a_history_adds_up_to_its_jobs(store, salt, now).await;
}

async fn a_change_counts_once_for_each_shard(store: &dyn Counters, salt: &str, now: Timestamp) {
    let tenant = Tenant::parse(format!("count-{salt}")).expect("a tenant");
    let count = |happened| Count { kind: "echo".into(), what: What::Happened(happened) };
    let entry = |sequence: u64, happened, by| {
        let sequence = Sequence::parse(&format!("4421584500000000017450{sequence:06}")).expect("a number");
        Entry { sequence, count: count(happened), by }
    };
    let (one, two) = (Shard::new("shardId-00000001546985880512-9d8e7f6a"), Shard::new("shardId-2"));
    let minute = Minute::of(now);
    let page = Page::Minute(tenant.clone(), minute);
    let batch = [entry(9, Happened::Started, 1), entry(10, Happened::Succeeded, 1), entry(100, Happened::Started, 2)];
    for _ in 0..2 {
        store.add(&one, &page, &batch, now).await.expect("add");
        store.add(&one, &page, &batch[1..], now).await.expect("add");
    }
    // The same numbers from another shard are other changes.
    store.add(&two, &page, &batch[..1], now).await.expect("add");
    // Half of it is new.
    let next = [entry(100, Happened::Started, 2), entry(101, Happened::Dead, 1)];
    store.add(&one, &page, &next, now).await.expect("add");
    // What adds up to nothing moves the place on all the same.
    let nothing = [entry(102, Happened::Dead, 1), entry(103, Happened::Dead, -1)];
    store.add(&one, &page, &nothing, now).await.expect("add");
    store.add(&one, &page, &nothing[1..], now).await.expect("add");

    let expected =
        Counts::from([(count(Happened::Started), 4), (count(Happened::Succeeded), 1), (count(Happened::Dead), 1)]);
    let around = |before, after| (Minute(minute.0 - before), Minute(minute.0 + after));
    for (first, last) in [around(0, 0), around(60, 60)] {
        let found = store.minutes(&tenant, first, last).await.expect("minutes");
        assert_eq!(found, BTreeMap::from([(minute, expected.clone())]));
    }
    let (first, last) = around(-1, 60);
    assert_eq!(store.minutes(&tenant, first, last).await.expect("minutes"), BTreeMap::new());
    assert_eq!(store.states(&tenant).await.expect("states"), Counts::new());
}

async fn a_history_adds_up_to_its_jobs(store: &dyn Counters, salt: &str, now: Timestamp) {
    let mut state = 7_u64;
    let mut dice = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let made = history(salt, 8, 120, now, &mut dice);
    let tell = async |changes: &[Change]| {
        for (page, entries) in pages(changes) {
            store.add(&Shard::new("one"), &page, &entries, now).await.expect("add");
        }
    };
    for (i, batch) in made.changes.chunks(7).enumerate() {
        tell(batch).await;
        tell(&batch[i % batch.len()..]).await;
        tell(batch).await;
    }
    for tenant in ["0", "1"].map(|name| Tenant::parse(format!("{name}-{salt}")).expect("a tenant")) {
        let mut expected = Counts::new();
        for job in made.jobs.iter().filter(|job| job.tenant == tenant) {
            *expected.entry(Count { kind: job.kind.clone(), what: What::In(job.state) }).or_default() += 1;
        }
        let mut found = store.states(&tenant).await.expect("states");
        found.retain(|_, by| *by != 0);
        assert_eq!(found, expected);
    }
}

/// Walks a group through its life. `salt` makes the ids unique to this run.
///
/// # Panics
/// When the store differs from what [`Groups`] says.
pub async fn groups(store: &dyn Groups, salt: &str, now: Timestamp) {
    let later = now + Duration::from_secs(60);
    let group = |name: &str, size: u16| Group {
        id: GroupId::derived(&[salt, name]),
        tenant: Tenant::parse("conformance").expect("a tenant"),
        fingerprint: "f".into(),
        size,
        open: (0..size).collect(),
        on_complete: json!({"kind": "echo", "payload": {"inline": {"message": "hällo"}}}),
        created_at: now,
        accepted_at: None,
        abandoned_at: None,
        completed_at: None,
    };
    let get = async |group: &Group| store.get(&group.id).await.expect("get").expect("it is there");

    let mut one = group("one", 100);
    assert_eq!(store.get(&one.id).await.expect("get"), None);
    assert_eq!(store.close(&one.id, &[1]).await.expect("close"), None);
    store.accepted(&one.id, now).await.expect("accepted");
    assert_eq!(store.get(&one.id).await.expect("get"), None, "nothing makes a group but `create`");
    assert_eq!(store.create(&one).await.expect("create"), Added::New);
    let other = Group { fingerprint: "other".into(), ..one.clone() };
    assert_eq!(store.create(&other).await.expect("create"), Added::Exists(Box::new(one.clone())));
    store.accepted(&one.id, now).await.expect("accepted");
    store.accepted(&one.id, later).await.expect("accepted");
    one.accepted_at = Some(now);
    assert_eq!(get(&one).await, one);

    for _ in 0..2 {
        let closed = store.close(&one.id, &[3, 99]).await.expect("close");
        one.open.retain(|job| ![3, 99].contains(job));
        assert_eq!(closed.as_ref(), Some(&one), "closing twice is closing once");
        assert!(!one.is_due());
    }
    let all: Vec<u16> = (0..100).collect();
    one.open.clear();
    for _ in 0..2 {
        assert_eq!(store.close(&one.id, &all).await.expect("close").as_ref(), Some(&one));
    }
    assert!(one.is_due());
    store.completed(&one.id, now).await.expect("completed");
    store.completed(&one.id, later).await.expect("completed");
    store.abandoned(&one.id, later).await.expect("abandoned");
    one.completed_at = Some(now);
    assert_eq!(get(&one).await, one);
    assert!(!one.is_due());

    let mut given_up = group("given-up", 1);
    assert_eq!(store.create(&given_up).await.expect("create"), Added::New);
    store.abandoned(&given_up.id, now).await.expect("abandoned");
    store.completed(&given_up.id, later).await.expect("completed");
    store.accepted(&given_up.id, later).await.expect("accepted");
    given_up.abandoned_at = Some(now);
    assert_eq!(get(&given_up).await, given_up);
}

/// The first secret stays until it is rotated, whoever comes later. `salt` makes the tenant unique to this run; `now` is in
/// whole seconds.
///
/// # Panics
/// When the store differs from what [`WebhookSecrets`] says.
pub async fn webhook_secrets(store: &dyn WebhookSecrets, salt: &str, now: Timestamp) {
    let secret = |byte| Secret::new([byte; SECRET_BYTES]);
    let tenant = Tenant::parse(format!("hooks-{salt}")).expect("a tenant");
    let (first, second) = (secret(1), secret(2));
    let (one, two) = futures::join!(store.ensure(&tenant, &first), store.ensure(&tenant, &second));
    let kept = one.expect("ensure");
    assert_eq!(two.expect("ensure"), kept, "all get the same");
    assert_eq!(kept.previous, None);
    let until = now + Duration::from_secs(60);
    let expected = Secrets { current: secret(3), previous: Some((kept.current, until)) };
    for _ in 0..2 {
        let rotated = store.rotate(&tenant, &secret(3), until, now).await.expect("rotate");
        assert_eq!(rotated, expected, "rotating to the same again is rotating once");
        assert_eq!(store.ensure(&tenant, &secret(9)).await.expect("ensure"), expected);
    }
    let rotated = store.rotate(&tenant, &secret(4), now, now).await.expect("rotate");
    assert_eq!(rotated, Secrets::from(secret(4)), "no time is left to the old one");
    assert_eq!(store.ensure(&tenant, &secret(9)).await.expect("ensure"), rotated);
    let other = Tenant::parse(format!("fresh-{salt}")).expect("a tenant");
    assert_eq!(store.rotate(&other, &secret(5), until, now).await.expect("rotate"), Secrets::from(secret(5)));
}
