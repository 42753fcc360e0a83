use super::PortError;
use crate::domain::{
    id::Tenant,
    key::{Key, KeyId},
    keyed_hash::HashKey,
    token::{TokenKey, TokenKeys as Keyring},
    webhook::{Secret, Secrets},
};
use async_trait::async_trait;
use jiff::Timestamp;

/// The API keys.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Stores a new key. `false` when its id is taken; the key that has it is unchanged.
    async fn add(&self, key: &Key) -> Result<bool, PortError>;

    /// The key with this id, as last written. `None` when there is none.
    async fn find(&self, id: &KeyId) -> Result<Option<Key>, PortError>;
}

/// The keys that sign tokens in public links.
#[async_trait]
pub trait TokenKeys: Send + Sync {
    /// The keys. `None` before the first was stored.
    async fn load(&self) -> Result<Option<Keyring>, PortError>;

    /// The keys, after storing `first` if there are none. Of several callers at once, one's key is stored and all get it.
    async fn ensure(&self, first: &TokenKey) -> Result<Keyring, PortError>;
}

/// The secrets that sign calls to customers' endpoints.
#[async_trait]
pub trait WebhookSecrets: Send + Sync {
    /// A tenant's secrets, after storing `first` if it has none. Of several callers at once, one's secret is stored and all
    /// get it.
    async fn ensure(&self, tenant: &Tenant, first: &Secret) -> Result<Secrets, PortError>;

    /// Makes `next` a tenant's current secret; the one before signs until `until` as well. Gives the secrets as they are
    /// then.
    async fn rotate(
        &self,
        tenant: &Tenant,
        next: &Secret,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Secrets, PortError>;
}

/// The key of keyed hashes.
#[async_trait]
pub trait HashKeys: Send + Sync {
    /// The key, after storing `first` if there is none. Of several callers at once, one's key is stored and all get it.
    async fn ensure_hash_key(&self, first: &HashKey) -> Result<HashKey, PortError>;
}
