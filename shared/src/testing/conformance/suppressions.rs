use crate::domain::address::EmailAddress;
use crate::domain::id::Tenant;
use crate::domain::suppression::{Reason, SOFT_BOUNCES, Suppression};
use crate::ports::Suppressions;
use jiff::Timestamp;
use std::time::Duration;

/// Walks a store of suppressed addresses through its histories. `salt` makes the addresses unique to this run; `now` is any
/// time, in whole milliseconds.
///
/// # Panics
/// When the store differs from what [`Suppressions`] says.
pub async fn suppressions(store: &dyn Suppressions, salt: &str, now: Timestamp) {
    let tenant = Tenant::parse("conformance").expect("a tenant");
    let other = Tenant::parse("conformance-2").expect("a tenant");
    let email = |name: &str| EmailAddress::parse(format!("{salt}.{name}@example.com")).expect("an address");
    let (ada, bob, soft) = (email("Ada"), email("bob"), email("soft"));
    let later = now + Duration::from_secs(60);
    let check = async |addresses: &[EmailAddress]| store.check(&tenant, addresses).await.expect("check");
    let is = |reason, at| Some(Suppression { reason, at });
    assert_eq!(check(&[]).await, []);
    assert_eq!(check(&[ada.clone(), bob.clone()]).await, [None, None]);

    for at in [now, later] {
        store.suppress(&tenant, &ada, Reason::Erased, at).await.expect("suppress");
    }
    let found = check(&[bob.clone(), email("ADA"), ada.clone()]).await;
    assert_eq!(
        found,
        [None, is(Reason::Erased, now), is(Reason::Erased, now)],
        "the first time stays, case is nothing"
    );
    assert_eq!(store.check(&other, std::slice::from_ref(&ada)).await.expect("check"), [None], "tenants are apart");

    store.suppress(&tenant, &ada, Reason::HardBounce, later).await.expect("suppress");
    assert_eq!(check(std::slice::from_ref(&ada)).await, [is(Reason::HardBounce, later)]);
    store.lift(&tenant, &ada, &Reason::BY_TENANT).await.expect("lift");
    assert_eq!(
        check(std::slice::from_ref(&ada)).await,
        [is(Reason::Erased, now)],
        "the tenant cannot take back the owner's wish"
    );
    store.lift(&tenant, &ada, &Reason::BY_OWNER).await.expect("lift");
    assert_eq!(check(std::slice::from_ref(&ada)).await, [None]);
    store.lift(&tenant, &bob, &Reason::BY_OWNER).await.expect("nothing to lift is no error");

    let bounce =
        async |mail: usize| store.soft_bounce(&tenant, &soft, &format!("mail-{mail}"), later).await.expect("soft");
    for mail in (1..SOFT_BOUNCES).chain(1..SOFT_BOUNCES) {
        assert!(!bounce(mail).await, "a mail counts once");
    }
    assert_eq!(check(std::slice::from_ref(&soft)).await, [None]);
    assert!(bounce(SOFT_BOUNCES).await && bounce(SOFT_BOUNCES).await);
    assert_eq!(check(std::slice::from_ref(&soft)).await, [is(Reason::SoftBounces, later)]);
    store.lift(&tenant, &soft, &Reason::BY_TENANT).await.expect("lift");
    assert!(!bounce(1).await, "counting begins anew");

    let many: Vec<_> = (0..100).map(|i| email(&format!("many{i}"))).collect();
    store.suppress(&tenant, &many[99], Reason::Manual, now).await.expect("suppress");
    let found = check(&many).await;
    assert_eq!(found.iter().flatten().count(), 1);
    assert_eq!(found[99], is(Reason::Manual, now));
}
