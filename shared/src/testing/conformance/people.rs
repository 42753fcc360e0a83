use crate::domain::address::{EmailAddress, Mailbox};
use crate::domain::id::{NewsletterId, Tenant};
use crate::domain::local_time::{SendTime, Weekdays, Zone};
use crate::domain::people::{Consent, Newsletter, Subscriber, SubscriberKey, SubscriberStatus, User};
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
    assert_eq!(store.get(&welcomed.id).await.expect("get"), Some(welcomed), "the first time stays");
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
        created_at: now,
    };
    let full = Newsletter {
        id: NewsletterId::derived(&[salt, "full"]),
        reply_to: Some(Mailbox::parse("desk@example.com").expect("an address")),
        days: Some(Weekdays::parse(["tue", "thu"]).expect("days")),
        ..plain.clone()
    };
    for newsletter in [plain, full] {
        assert_eq!(store.get(&newsletter.id).await.expect("get"), None);
        assert_eq!(store.add(&newsletter).await.expect("add"), Added::New);
        let other = Newsletter { name: "other".into(), ..newsletter.clone() };
        assert_eq!(store.add(&other).await.expect("add"), Added::Exists(Box::new(newsletter.clone())));
        assert_eq!(store.get(&newsletter.id).await.expect("get"), Some(newsletter));
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
        consent: i.is_multiple_of(7).then(|| Consent { source: "form".into(), at: now }),
        created_at: now,
        unsubscribed_at: None,
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

    all.sort_by(|a, b| a.key.cmp(&b.key));
    for limit in [1, 7, 89, 90, 91, 2_000] {
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
