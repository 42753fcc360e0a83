use super::Faults;
use crate::domain::id::Tenant;
use crate::domain::key::{ApiKey, KEY_BYTES, Key, KeyId, Scope};
use crate::domain::keyed_hash::HashKey;
use crate::domain::token::{TokenKey, TokenKeys as Keyring};
use crate::domain::webhook::{Secret, Secrets};
use crate::ports::{HashKeys, Keys, PortError, TokenKeys, WebhookSecrets};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Inner {
    keys: BTreeMap<KeyId, Key>,
    tokens: Option<Keyring>,
    webhooks: BTreeMap<Tenant, Secrets>,
    hash: Option<HashKey>,
    finds: usize,
}

/// Keys in memory.
#[derive(Clone, Default)]
pub struct MemoryKeys {
    inner: Arc<Mutex<Inner>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryKeys {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a key of this tenant, made of `seed`, and gives it as its owner writes it.
    ///
    /// # Panics
    /// When there is no scope.
    pub fn seed(&self, seed: u8, tenant: &Tenant, scopes: &[Scope]) -> String {
        let shown = ApiKey::generate(&[seed; KEY_BYTES]);
        let scopes = scopes.iter().copied().collect();
        let key = Key::new(&shown, tenant.clone(), scopes, None, Timestamp::UNIX_EPOCH).expect("a key has a scope");
        self.with(|inner| inner.keys.insert(key.id.clone(), key));
        shown.reveal()
    }

    /// Disables a key.
    pub fn disable(&self, id: &KeyId) {
        self.with(|inner| {
            if let Some(key) = inner.keys.get_mut(id) {
                key.disabled = true;
            }
        });
    }

    /// How often a key was looked for.
    #[must_use]
    pub fn finds(&self) -> usize {
        self.with(|inner| inner.finds)
    }
}

#[async_trait]
impl Keys for MemoryKeys {
    async fn add(&self, key: &Key) -> Result<bool, PortError> {
        self.faults.before("add").await?;
        let added = self.with(|inner| {
            let free = !inner.keys.contains_key(&key.id);
            if free {
                inner.keys.insert(key.id.clone(), key.clone());
            }
            free
        });
        self.faults.after("add").await?;
        Ok(added)
    }

    async fn find(&self, id: &KeyId) -> Result<Option<Key>, PortError> {
        self.faults.before("find").await?;
        Ok(self.with(|inner| {
            inner.finds += 1;
            inner.keys.get(id).cloned()
        }))
    }
}

#[async_trait]
impl TokenKeys for MemoryKeys {
    async fn load(&self) -> Result<Option<Keyring>, PortError> {
        self.faults.before("load").await?;
        Ok(self.with(|inner| inner.tokens.clone()))
    }

    async fn ensure(&self, first: &TokenKey) -> Result<Keyring, PortError> {
        self.faults.before("ensure").await?;
        let keys = self.with(|inner| inner.tokens.get_or_insert_with(|| first.clone().into()).clone());
        self.faults.after("ensure").await?;
        Ok(keys)
    }
}

#[async_trait]
impl WebhookSecrets for MemoryKeys {
    async fn ensure(&self, tenant: &Tenant, first: &Secret) -> Result<Secrets, PortError> {
        self.faults.before("ensure_secret").await?;
        let first = first.clone();
        let secrets = self.with(|inner| inner.webhooks.entry(tenant.clone()).or_insert_with(|| first.into()).clone());
        self.faults.after("ensure_secret").await?;
        Ok(secrets)
    }

    async fn rotate(
        &self,
        tenant: &Tenant,
        next: &Secret,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Secrets, PortError> {
        self.faults.before("rotate").await?;
        let secrets = self.with(|inner| {
            let secrets = inner.webhooks.entry(tenant.clone()).or_insert_with(|| next.clone().into());
            if secrets.current != *next {
                *secrets = secrets.clone().rotated(next.clone(), until, now);
            }
            secrets.clone()
        });
        self.faults.after("rotate").await?;
        Ok(secrets)
    }
}

#[async_trait]
impl HashKeys for MemoryKeys {
    async fn ensure_hash_key(&self, first: &HashKey) -> Result<HashKey, PortError> {
        self.faults.before("ensure_hash_key").await?;
        Ok(self.with(|inner| inner.hash.get_or_insert_with(|| first.clone()).clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn keys_in_memory_conform() {
        conformance::keys(&MemoryKeys::default(), "memory", Timestamp::UNIX_EPOCH).await;
        conformance::token_keys(&MemoryKeys::default()).await;
        conformance::webhook_secrets(&MemoryKeys::default(), "memory", Timestamp::UNIX_EPOCH).await;
        conformance::hash_keys(&MemoryKeys::default()).await;
    }
}
