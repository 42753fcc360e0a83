use crate::domain::address::{EmailAddress, Mailbox};
use crate::domain::id::{JobId, NewsletterId, Tenant};
use crate::domain::local_time::{SendTime, Weekdays, Zone};
use crate::domain::people::{
    Confirmation, Consent, ImportLine, Newsletter, NewsletterChange, Subscriber, SubscriberChange, SubscriberKey,
    SubscriberStatus, User,
};
use crate::domain::sequence::{After, End, Enrolment, Sequence, Step};
use crate::ports::{Added, Newsletters, Subscribers, Users};
use jiff::Timestamp;
use std::time::Duration;

fn tenant() -> Tenant {
    Tenant::parse("conformance").expect("a tenant")
}

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).expect("a zone")
}

/// Walks a store of users through its histories. `salt` makes the ids unique to this run; `now` is any time, in whole
/// milliseconds.
///
/// # Panics
/// When the store differs from what [`Users`] says.
pub async fn users(store: &dyn Users, salt: &str, now: Timestamp) {
    let email = email(&format!("{salt}.Ada@example.com"));
    let user = User {
        id: User::id_of(&tenant(), &email),
        tenant: tenant(),
        email,
        name: Some("Ada \"Countess\" Lövelace".into()),
        time_zone: Some(zone("Europe/London")),
        created_at: now,
        welcomed_at: None,
    };
    assert_eq!(store.get(&user.id).await.expect("get"), None);
    assert!(!store.welcomed(&user.id, now).await.expect("welcomed"), "nobody is made by being welcomed");
    assert_eq!(store.get(&user.id).await.expect("get"), None);
    assert_eq!(store.add(&user).await.expect("add"), Added::New);
    assert_eq!(store.get(&user.id).await.expect("get"), Some(user.clone()));
    let renamed = User { name: None, time_zone: None, created_at: now + Duration::from_secs(1), ..user.clone() };
    assert_eq!(store.add(&renamed).await.expect("add"), Added::Exists(Box::new(user.clone())));
    let later = now + Duration::from_secs(60);
    assert!(store.welcomed(&user.id, now).await.expect("welcomed"));
    assert!(store.welcomed(&user.id, later).await.expect("welcomed"));
    let welcomed = User { welcomed_at: Some(now), ..user };
    assert_eq!(store.get(&welcomed.id).await.expect("get"), Some(welcomed.clone()), "the first time stays");
    for _ in 0..2 {
        store.remove(&welcomed.id).await.expect("remove");
    }
    assert_eq!(store.get(&welcomed.id).await.expect("get"), None);
}

/// Walks a store of newsletters through its histories.
///
/// # Panics
/// When the store differs from what [`Newsletters`] says.
pub async fn newsletters(store: &dyn Newsletters, salt: &str, now: Timestamp) {
    let plain = Newsletter {
        id: NewsletterId::derived(&[salt, "plain"]),
        tenant: tenant(),
        name: "Mühlenpost".into(),
        from: Mailbox::parse("Mühlenpost <post@example.com>").expect("a sender"),
        reply_to: None,
        postal_address: "1 Mill Lane\nWatertown".into(),
        time_zone: zone("Europe/Berlin"),
        send_at: SendTime::parse("10:00").expect("a time"),
        days: None,
        archive: false,
        tracking: false,
        sequence: None,
        created_at: now,
    };
    let step = |after, at| Step { after: After::parse(after).expect("a time"), at, letter: "0123".into() };
    let steps = vec![step("0d", None), step("3d", Some(plain.send_at))];
    let full = Newsletter {
        id: NewsletterId::derived(&[salt, "full"]),
        reply_to: Some(Mailbox::parse("desk@example.com").expect("an address")),
        days: Some(Weekdays::parse(["tue", "thu"]).expect("days")),
        archive: true,
        tracking: true,
        sequence: Some(Sequence { since: now, steps }),
        ..plain.clone()
    };
    for newsletter in [plain.clone(), full.clone()] {
        assert_eq!(store.get(&newsletter.id).await.expect("get"), None);
        assert_eq!(store.add(&newsletter).await.expect("add"), Added::New);
        let other = Newsletter { name: "other".into(), ..newsletter.clone() };
        assert_eq!(store.add(&other).await.expect("add"), Added::Exists(Box::new(newsletter.clone())));
        assert_eq!(store.get(&newsletter.id).await.expect("get"), Some(newsletter));
    }
    newsletters_change(store, &plain, &full).await;
    newsletters_list(store, salt, &plain).await;
}

async fn newsletters_change(store: &dyn Newsletters, plain: &Newsletter, full: &Newsletter) {
    let nothing = NewsletterChange::default();
    assert_eq!(store.change(&plain.id, &nothing).await.expect("change"), Some(plain.clone()));
    let all = NewsletterChange {
        name: Some("Wasserpost".into()),
        from: Some(Mailbox::parse("water@example.com").expect("an address")),
        reply_to: Some(full.reply_to.clone()),
        postal_address: Some("2 Mill Lane".into()),
        time_zone: Some(zone("Asia/Tokyo")),
        send_at: Some(SendTime::parse("07:30").expect("a time")),
        days: Some(full.days),
        archive: Some(true),
        tracking: Some(true),
        sequence: Some(full.sequence.clone()),
    };
    let empty = NewsletterChange {
        reply_to: Some(None),
        days: Some(None),
        archive: Some(false),
        tracking: Some(false),
        sequence: Some(None),
        ..NewsletterChange::default()
    };
    for change in [all, empty] {
        let before = store.get(&plain.id).await.expect("get").expect("it is there");
        let after = change.of(before);
        assert_eq!(store.change(&plain.id, &change).await.expect("change"), Some(after.clone()));
        assert_eq!(store.get(&plain.id).await.expect("get"), Some(after));
        let nobody = NewsletterId::derived(&["nobody"]);
        assert_eq!(store.change(&nobody, &change).await.expect("change"), None);
        assert_eq!(store.get(&nobody).await.expect("get"), None, "none is made by a change");
    }
}

async fn newsletters_list(store: &dyn Newsletters, salt: &str, one: &Newsletter) {
    let tenant = Tenant::parse(format!("list-{salt}")).expect("a tenant");
    assert_eq!(store.list(&tenant, None, 10).await.expect("list"), []);
    let mut all: Vec<_> = (0..7)
        .map(|i: u32| Newsletter {
            id: NewsletterId::derived(&[salt, "listed", &i.to_string()]),
            tenant: tenant.clone(),
            ..one.clone()
        })
        .collect();
    for newsletter in &all {
        assert_eq!(store.add(newsletter).await.expect("add"), Added::New);
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    for limit in [1, 3, 7, 100] {
        let mut seen: Vec<Newsletter> = Vec::new();
        loop {
            let page = store.list(&tenant, seen.last().map(|last| &last.id), limit).await.expect("list");
            let full = page.len() == limit;
            seen.extend(page);
            if !full {
                break;
            }
        }
        assert_eq!(seen, all, "in pages of {limit}");
    }
}

fn subscriber(newsletter: &NewsletterId, i: usize, now: Timestamp) -> Subscriber {
    let email = email(&format!("reader{i}@example.org"));
    Subscriber {
        key: SubscriberKey::of(newsletter, &email),
        tenant: tenant(),
        email,
        name: i.is_multiple_of(2).then(|| format!("Reader {i}")),
        time_zone: i.is_multiple_of(3).then(|| zone("Asia/Tokyo")),
        tags: if i.is_multiple_of(5) { vec!["a".into(), "b c".into()] } else { Vec::new() },
        status: SubscriberStatus::Active,
        consent: i.is_multiple_of(7).then(|| Consent::told("form", now)),
        created_at: now,
        unsubscribed_at: None,
        sequence: None,
    }
}

/// Walks a store of subscribers through its histories.
///
/// # Panics
/// When the store differs from what [`Subscribers`] says.
pub async fn subscribers(store: &dyn Subscribers, salt: &str, now: Timestamp) {
    let (ours, other) = (NewsletterId::derived(&[salt, "ours"]), NewsletterId::derived(&[salt, "other"]));
    assert_eq!(store.get(&[]).await.expect("get"), []);
    let empty = store.page(&ours, None, 10).await.expect("page");
    assert!(empty.subscribers.is_empty() && empty.last);

    let mut all: Vec<_> = (0..90).map(|i| subscriber(&ours, i, now)).collect();
    for one in all.iter().chain([&subscriber(&other, 0, now)]) {
        assert_eq!(store.add(one).await.expect("add"), Added::New);
    }
    let again = Subscriber { name: Some("Other".into()), ..all[0].clone() };
    assert_eq!(store.add(&again).await.expect("add"), Added::Exists(Box::new(all[0].clone())));

    assert!(store.unsubscribe(&all[0].key, now).await.expect("unsubscribe"));
    assert!(store.unsubscribe(&all[0].key, now + Duration::from_secs(9)).await.expect("unsubscribe"));
    all[0].status = SubscriberStatus::Unsubscribed;
    all[0].unsubscribed_at = Some(now);
    let stranger = subscriber(&ours, 1_000, now).key;
    assert!(!store.unsubscribe(&stranger, now).await.expect("unsubscribe"));
    let exists = store.add(&again).await.expect("add");
    assert_eq!(exists, Added::Exists(Box::new(all[0].clone())), "an unsubscribed address is not added anew");

    let keys = [&all[3], &all[0], &all[3]].map(|one| one.key.clone());
    let wanted = [keys.as_slice(), &[stranger]].concat();
    let found = store.get(&wanted).await.expect("get");
    assert_eq!(found, [Some(all[3].clone()), Some(all[0].clone()), Some(all[3].clone()), None], "in order");
    let many: Vec<_> = all.iter().take(50).map(|one| one.key.clone()).collect();
    let found = store.get(&many).await.expect("get");
    assert_eq!(found, all.iter().take(50).cloned().map(Some).collect::<Vec<_>>());

    subscribers_change(store, &mut all, now).await;
    subscribers_confirm(store, &ours, &mut all, now).await;
    subscribers_advance(store, &ours, now).await;

    all.sort_by(|a, b| a.key.cmp(&b.key));
    for limit in [1, 7, 89, 90, 91, 92, 2_000] {
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = store.page(&ours, after.as_deref(), limit).await.expect("page");
            assert!(page.subscribers.len() <= limit);
            after = page.subscribers.last().map(|one| one.key.digest().to_owned()).or(after);
            seen.extend(page.subscribers);
            if page.last {
                break;
            }
        }
        assert_eq!(seen, all, "in pages of {limit}");
    }
}

async fn subscribers_advance(store: &dyn Subscribers, ours: &NewsletterId, now: Timestamp) {
    let (later, other) = (now + Duration::from_secs(60), now + Duration::from_secs(7));
    let begun =
        Enrolment { edition: "0123".into(), started_at: now, steps: 2, taken: 0, next_at: Some(later), ended: None };
    let one = Subscriber { sequence: Some(begun.clone()), ..subscriber(ours, 2_000, now) };
    assert_eq!(store.add(&one).await.expect("add"), Added::New);
    let read =
        async || store.get(std::slice::from_ref(&one.key)).await.expect("get").remove(0).and_then(|one| one.sequence);
    assert_eq!(read().await, Some(begun.clone()));
    let first = begun.after(0, Some(later));
    let second = first.after(1, None);
    let ended = second.ended(End::Suppressed, later);
    let elsewhere = Enrolment { started_at: other, ..second.clone() };
    for (next, stored) in [
        (&elsewhere, &begun),
        (&first, &first),
        (&second, &second),
        (&first, &second),
        (&first.ended(End::Deleted, now), &second),
        (&second, &second),
        (&ended, &ended),
        (&second.after(2, None), &ended),
        (&ended.ended(End::Unsubscribed, now), &ended),
    ] {
        store.advance(&one.key, next).await.expect("advance");
        assert_eq!(read().await.as_ref(), Some(stored), "after {next:?}");
    }
    // Nobody is enrolled twice.
    assert!(store.unsubscribe(&one.key, now).await.expect("unsubscribe"));
    let anew = Enrolment { started_at: other, ..begun.clone() };
    let back = Subscriber { sequence: Some(anew.clone()), ..one.clone() };
    assert_eq!(store.confirm(&back).await.expect("confirm").sequence, Some(ended));
    // Unless they never were, or are other people by now.
    let plain = subscriber(ours, 2_001, now);
    assert_eq!(store.add(&plain).await.expect("add"), Added::New);
    store.advance(&plain.key, &first).await.expect("advance");
    assert_eq!(store.get(std::slice::from_ref(&plain.key)).await.expect("get"), [Some(plain.clone())]);
    assert!(store.unsubscribe(&plain.key, now).await.expect("unsubscribe"));
    let enrolled = Subscriber { sequence: Some(anew.clone()), ..plain.clone() };
    assert_eq!(store.confirm(&enrolled).await.expect("confirm").sequence, Some(anew));
    for key in [&one.key, &plain.key] {
        store.remove(key).await.expect("remove");
        store.advance(key, &first).await.expect("advance");
        assert_eq!(store.get(std::slice::from_ref(key)).await.expect("get"), [None], "none is made by an advance");
    }
}

async fn subscribers_change(store: &dyn Subscribers, all: &mut [Subscriber], now: Timestamp) {
    let nothing = SubscriberChange::default();
    assert_eq!(store.change(&all[1].key, &nothing).await.expect("change"), Some(all[1].clone()));
    let fill = SubscriberChange {
        name: Some(Some("Grace".into())),
        time_zone: Some(Some(zone("America/New_York"))),
        tags: Some(vec!["x".into()]),
    };
    let empty = SubscriberChange { name: Some(None), time_zone: Some(None), tags: Some(Vec::new()) };
    let some = SubscriberChange { tags: Some(vec!["y".into(), "z".into()]), ..SubscriberChange::default() };
    for (one, change) in [(1, &fill), (2, &fill), (2, &empty), (3, &some)] {
        let changed = store.change(&all[one].key, change).await.expect("change");
        all[one] = change.of(all[one].clone());
        assert_eq!(changed, Some(all[one].clone()));
        let read = store.get(&[all[one].key.clone()]).await.expect("get");
        assert_eq!(read, [Some(all[one].clone())]);
    }
    let stranger = subscriber(all[0].key.newsletter(), 1_001, now).key;
    assert_eq!(store.change(&stranger, &fill).await.expect("change"), None);
    assert_eq!(store.get(&[stranger]).await.expect("get"), [None], "none is made by a change");
}

async fn subscribers_confirm(store: &dyn Subscribers, ours: &NewsletterId, all: &mut Vec<Subscriber>, now: Timestamp) {
    let later = now + Duration::from_secs(3_600);
    let consent = Consent {
        source: "form".into(),
        at: now,
        ip: Some("192.0.2.7".into()),
        text: Some("1".into()),
        confirmed: Some(Confirmation { at: later, ip: None }),
        import: Some(ImportLine { job: JobId::derived(&["import"]), line: 7 }),
    };
    let confirmed = |one: &Subscriber| Subscriber {
        name: Some("Confirmed".into()),
        time_zone: None,
        tags: Vec::new(),
        status: SubscriberStatus::Active,
        consent: Some(consent.clone()),
        created_at: later,
        unsubscribed_at: None,
        ..one.clone()
    };
    // An active one stays as it is; one that unsubscribed comes back; one that is not there is added.
    let active = store.confirm(&confirmed(&all[5])).await.expect("confirm");
    assert_eq!(active, all[5]);
    let back = Subscriber {
        time_zone: all[0].time_zone.clone(),
        tags: all[0].tags.clone(),
        created_at: now,
        ..confirmed(&all[0])
    };
    assert_eq!(store.confirm(&confirmed(&all[0])).await.expect("confirm"), back);
    all[0] = back;
    let new = confirmed(&subscriber(ours, 1_002, now));
    assert_eq!(store.confirm(&new).await.expect("confirm"), new);
    all.push(new.clone());

    let pending = Subscriber { status: SubscriberStatus::Pending, ..subscriber(ours, 1_003, now) };
    assert_eq!(store.add(&pending).await.expect("add"), Added::New);
    let again = store.add(&pending).await.expect("add");
    assert!(again == Added::New || again == Added::Exists(Box::new(pending.clone())));
    let sure = Subscriber { time_zone: pending.time_zone.clone(), created_at: now, ..confirmed(&pending) };
    assert_eq!(store.confirm(&confirmed(&pending)).await.expect("confirm"), sure);
    let read = store.get(&[pending.key.clone(), new.key, all[0].key.clone()]).await.expect("get");
    assert_eq!(read, [Some(sure), all.last().cloned(), Some(all[0].clone())]);

    for _ in 0..2 {
        store.remove(&pending.key).await.expect("remove");
    }
    assert_eq!(store.get(&[pending.key]).await.expect("get"), [None]);
}
