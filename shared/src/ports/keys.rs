use super::PortError;
use crate::domain::{
    key::{Key, KeyId},
    token::{TokenKey, TokenKeys as Keyring},
};
use async_trait::async_trait;

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
