use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use crate::ports::{CampaignList, Whose};

/// Walks a list of campaigns through its histories. `salt` makes the ids unique to this run.
///
/// # Panics
/// When the list differs from what [`CampaignList`] says.
pub async fn campaign_list(store: &dyn CampaignList, salt: &str) {
    let tenant = Tenant::parse(format!("t{salt}")).expect("a tenant");
    let [one, two] = ["one", "two"].map(|name| NewsletterId::derived(&[salt, name]));
    let mut ids: Vec<_> = (0..5).map(|i| CampaignId::derived(&[salt, &i.to_string()])).collect();
    ids.sort();
    for (i, id) in ids.iter().enumerate() {
        let newsletter = if i == 2 { &two } else { &one };
        for _ in 0..2 {
            store.list(&tenant, newsletter, id).await.expect("list");
        }
    }
    let newest: Vec<_> = ids.iter().rev().cloned().collect();
    let all = Whose::Tenant(&tenant);
    assert_eq!(store.newest(all, None, 10).await.expect("newest"), newest);
    assert_eq!(store.newest(all, None, 2).await.expect("newest"), newest[..2]);
    assert_eq!(store.newest(all, Some(&newest[1]), 2).await.expect("newest"), newest[2..4]);
    assert_eq!(store.newest(all, Some(&newest[4]), 2).await.expect("newest"), []);
    assert_eq!(store.newest(Whose::Newsletter(&two), None, 10).await.expect("newest"), [ids[2].clone()]);
    assert_eq!(store.newest(Whose::Newsletter(&one), None, 10).await.expect("newest").len(), 4);
    // A tenant may be called as a newsletter's id.
    let named = Tenant::parse(one.as_str()).expect("a tenant");
    assert_eq!(store.newest(Whose::Tenant(&named), None, 10).await.expect("newest"), []);
}
