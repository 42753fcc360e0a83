use crate::domain::id::Tenant;
use crate::domain::rate::{Bucket, Limit, Period, Rate, Whose};
use crate::ports::Limits;
use jiff::{SignedDuration, Timestamp};

/// Sets, lists and removes limits, and fills a bucket from several sides. `salt` makes the names unique to this run.
///
/// # Panics
/// When the store differs from what [`Limits`] says.
pub async fn limits(store: &dyn Limits, salt: &str, now: Timestamp) {
    set_and_removed(store, salt).await;
    swapped(store, salt, now).await;
}

async fn set_and_removed(store: &dyn Limits, salt: &str) {
    let (kind, tenant) = (format!("kind-{salt}"), Tenant::parse(format!("tenant-{salt}")).expect("a tenant"));
    let limit = |whose, jobs| Limit { kind: kind.clone(), whose, rate: Rate::new(jobs, Period::Minute).burst(jobs) };
    let whose = [Whose::All, Whose::EachTenant, Whose::Tenant(tenant)];
    let mine = async || -> Vec<Limit> {
        let all = store.all().await.expect("all");
        let find = |whose: &Whose| all.iter().find(|limit| limit.kind == kind && limit.whose == *whose).cloned();
        whose.iter().filter_map(find).collect()
    };
    assert_eq!(mine().await, []);
    for (jobs, whose) in (1..).zip(&whose) {
        store.set(&limit(whose.clone(), jobs)).await.expect("set");
    }
    store.set(&limit(Whose::EachTenant, 9)).await.expect("set");
    let expected: Vec<Limit> = whose.iter().zip([1, 9, 3]).map(|(whose, jobs)| limit(whose.clone(), jobs)).collect();
    assert_eq!(mine().await, expected);
    assert!(store.remove(&kind, &Whose::EachTenant).await.expect("remove"));
    assert!(!store.remove(&kind, &Whose::EachTenant).await.expect("remove"), "it is gone");
    assert_eq!(mine().await, [expected[0].clone(), expected[2].clone()]);
    for whose in [&whose[0], &whose[2]] {
        assert!(store.remove(&kind, whose).await.expect("remove"));
    }
    assert_eq!(mine().await, []);
}

async fn swapped(store: &dyn Limits, salt: &str, now: Timestamp) {
    let name = format!("bucket-{salt}#a");
    let at = |micros: i64| Some(now + SignedDuration::from_micros(micros));
    let empty = Bucket::default();
    assert_eq!(store.bucket(&name).await.expect("bucket"), empty);
    let first = Bucket { taken: at(1_001), line: None, mark: Some(u64::MAX) };
    assert_eq!(store.swap(&name, &empty, &first).await.expect("swap"), Ok(()));
    assert_eq!(store.swap(&name, &empty, &first).await.expect("swap"), Ok(()), "the same call once more");
    assert_eq!(store.bucket(&name).await.expect("bucket"), first);
    let second = Bucket { taken: at(1_001), line: at(5), mark: Some(0) };
    assert_eq!(store.swap(&name, &empty, &second).await.expect("swap"), Err(first), "another stands there");
    assert_eq!(store.swap(&name, &first, &second).await.expect("swap"), Ok(()));
    assert_eq!(store.bucket(&name).await.expect("bucket"), second);
    assert_eq!(store.bucket(&format!("bucket-{salt}")).await.expect("bucket"), empty, "another's bucket");
}
