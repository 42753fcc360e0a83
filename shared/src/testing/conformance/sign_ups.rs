use crate::domain::address::EmailAddress;
use crate::domain::id::{NewsletterId, Tenant};
use crate::domain::local_time::Zone;
use crate::domain::people::SubscriberKey;
use crate::domain::sign_up::{ASKED_AGAIN_AFTER, SignUp};
use crate::domain::throttle::Limit;
use crate::ports::{SignUps, Throttle};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

fn tenant() -> Tenant {
    Tenant::parse("conformance").expect("a tenant")
}

/// Walks a store of sign-ups through its histories. `salt` makes the keys unique to this run; `now` is any time, in whole
/// milliseconds.
///
/// # Panics
/// When the store differs from what [`SignUps`] says.
pub async fn sign_ups(store: &dyn SignUps, salt: &str, now: Timestamp) {
    let email = EmailAddress::parse("Ada@example.com").expect("an address");
    let key = SubscriberKey::of(&NewsletterId::derived(&[salt, "sign-ups"]), &email);
    let first = SignUp {
        key: key.clone(),
        tenant: tenant(),
        email,
        name: Some("Ada \"Countess\" Lövelace".into()),
        time_zone: Some(Zone::parse("Europe/London").expect("a zone")),
        ip: Some("2001:db8::7".into()),
        first_at: now,
        at: now,
    };
    assert_eq!(store.get(&key).await.expect("get"), None);
    store.forget(&key).await.expect("nothing to forget is no error");
    assert_eq!(store.ask(&first).await.expect("ask"), first);
    assert_eq!(store.get(&key).await.expect("get"), Some(first.clone()));

    let soon = now + ASKED_AGAIN_AFTER - Duration::from_millis(1);
    let early = SignUp { name: None, first_at: soon, at: soon, ..first.clone() };
    assert_eq!(store.ask(&early).await.expect("ask"), first, "not so soon");
    let later = now + ASKED_AGAIN_AFTER;
    let second = SignUp { name: None, time_zone: None, ip: None, first_at: later, at: later, ..first.clone() };
    let stored = SignUp { first_at: now, ..second.clone() };
    assert_eq!(store.ask(&second).await.expect("ask"), stored, "it keeps when the first came");
    assert_eq!(store.get(&key).await.expect("get"), Some(stored));

    store.forget(&key).await.expect("forget");
    assert_eq!(store.get(&key).await.expect("get"), None);
    assert_eq!(store.ask(&second).await.expect("ask"), second, "it begins anew");
}

/// Takes from limits until they are used up.
///
/// # Panics
/// When the store differs from what [`Throttle`] says.
pub async fn throttle(store: &dyn Throttle, salt: &str, now: Timestamp) {
    let every = SignedDuration::from_mins(1);
    let limit = Limit { name: "conformance", burst: 3, every };
    let (ada, bob) = (format!("{salt}-ada"), format!("{salt}-bob"));
    let take = async |subject: &str, at| store.take(limit, &tenant(), subject, at).await.expect("take");
    assert!(take(&ada, now).await && take(&ada, now).await && take(&ada, now).await);
    assert!(!take(&ada, now).await && !take(&ada, now + every - Duration::from_millis(1)).await);
    assert!(take(&bob, now).await, "each by themselves");
    let other = Tenant::parse("conformance-2").expect("a tenant");
    assert!(store.take(limit, &other, &ada, now).await.expect("take"), "tenants are apart");
    let more = Limit { name: "conformance-2", ..limit };
    assert!(store.take(more, &tenant(), &ada, now).await.expect("take"), "limits are apart");
    assert!(take(&ada, now + every).await && !take(&ada, now + every).await);

    let rush = futures::future::join_all((0..8).map(|_| take(&bob, now))).await;
    assert_eq!(rush.into_iter().filter(|taken| *taken).count(), 2, "whoever comes at once does not get more");
}
