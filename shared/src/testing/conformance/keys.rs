use crate::domain::id::{Tenant, digest_hex};
use crate::domain::key::{ApiKey, KEY_BYTES, Key, Scope};
use crate::domain::keyed_hash::{HASH_KEY_BYTES, HashKey};
use crate::domain::token::{TOKEN_KEY_BYTES, TokenKey};
use crate::ports::{HashKeys, Keys, TokenKeys};
use jiff::Timestamp;

fn key(salt: &str, scopes: &[Scope], name: Option<&str>, now: Timestamp) -> Key {
    let mut random = [0; KEY_BYTES];
    random[..32].copy_from_slice(digest_hex(&["key", salt]).as_bytes());
    let tenant = Tenant::parse("conformance").expect("a tenant");
    let (shown, scopes) = (ApiKey::generate(&random), scopes.iter().copied().collect());
    Key::new(&shown, tenant, scopes, name.map(str::to_owned), now).expect("a key")
}

/// API keys are added once and read back as they were. `salt` makes them unique to this run.
///
/// # Panics
/// When the store differs.
pub async fn keys(store: &dyn Keys, salt: &str, now: Timestamp) {
    let plain = key(&format!("{salt}-a"), &[Scope::JobsRead], None, now);
    let mut full = key(&format!("{salt}-b"), &Scope::ALL, Some("Bücher & Co"), now);
    full.disabled = true;
    for key in [&plain, &full] {
        assert_eq!(store.find(&key.id).await.expect("find"), None);
        assert!(store.add(key).await.expect("add"));
        assert_eq!(store.find(&key.id).await.expect("find").as_ref(), Some(key));
    }
    let other = Key { disabled: true, ..plain.clone() };
    assert!(!store.add(&other).await.expect("add"), "an id is taken once");
    assert_eq!(store.find(&plain.id).await.expect("find"), Some(plain));
}

/// The first signing key stays, whoever comes later. `store` must serve nothing else: the keys it is left with are known.
///
/// # Panics
/// When the store differs.
pub async fn token_keys(store: &dyn TokenKeys) {
    let key = |byte| TokenKey::generate(&[byte; TOKEN_KEY_BYTES]);
    let (first, second) = (key(1), key(2));
    let (one, two) = futures::join!(store.ensure(&first), store.ensure(&second));
    let kept = one.expect("ensure");
    assert_eq!(two.expect("ensure"), kept, "all get the same");
    assert_eq!(store.load().await.expect("load"), Some(kept.clone()));
    assert_eq!(store.ensure(&key(3)).await.expect("ensure"), kept);
}

/// The first key of keyed hashes stays, whoever comes later. `store` must serve nothing else.
///
/// # Panics
/// When the store differs.
pub async fn hash_keys(store: &dyn HashKeys) {
    let key = |byte| HashKey::generate(&[byte; HASH_KEY_BYTES]);
    let (first, second) = (key(1), key(2));
    let (one, two) = futures::join!(store.ensure_hash_key(&first), store.ensure_hash_key(&second));
    let kept = one.expect("ensure");
    assert_eq!(two.expect("ensure"), kept, "all get the same");
    assert_eq!(store.ensure_hash_key(&key(3)).await.expect("ensure"), kept);
}
