use super::item::{Item, corrupt, optional_text, parsed, s, text};
use super::port_error;
use crate::domain::id::Tenant;
use crate::domain::key::{ApiKey, InvalidKey, KEY_BYTES, Key, KeyId, Scope};
use crate::domain::keyed_hash::{HASH_KEY_BYTES, HashKey};
use crate::domain::token::{TOKEN_KEY_BYTES, TokenKey, TokenKeys as Keyring};
use crate::ports::{self, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The table of keys. `KEY#<key id>` is an API key; `TOKEN#KEYS` holds the keys that sign tokens, in one item, so that
/// the current one and the earlier ones are always read together; `WEBHOOK#<tenant>` holds a tenant's webhook secrets alike;
/// `TOKEN#HASH` is the key of keyed hashes.
#[derive(Clone)]
pub struct Keys {
    pub(super) client: Client,
    pub(super) table: String,
}

const TOKEN_KEYS: &str = "TOKEN#KEYS";
const HASH_KEY: &str = "TOKEN#HASH";

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// A key cannot be like this.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
    /// The system gave no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
    /// The table did not take it.
    #[error(transparent)]
    Table(#[from] PortError),
}

impl Keys {
    /// The keys in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Makes a key and stores it. This is the only time its secret is known: show it once.
    ///
    /// # Errors
    /// When the scopes or the name are not valid, or the table does not take it.
    pub async fn create(
        &self,
        tenant: Tenant,
        scopes: BTreeSet<Scope>,
        name: Option<String>,
        now: Timestamp,
    ) -> Result<ApiKey, CreateKeyError> {
        let mut random = [0; KEY_BYTES];
        getrandom::fill(&mut random).map_err(CreateKeyError::Random)?;
        let shown = ApiKey::generate(&random);
        let key = Key::new(&shown, tenant, scopes, name, now)?;
        if ports::Keys::add(self, &key).await? {
            Ok(shown)
        } else {
            Err(PortError::Unavailable(anyhow::anyhow!("the key id is taken; make another")).into())
        }
    }

    pub(super) async fn read(&self, pk: &str) -> Result<Option<Item>, PortError> {
        let call = self.client.get_item().table_name(&self.table).key("pk", s(pk)).consistent_read(true);
        call.send().await.map(|answer| answer.item).map_err(port_error)
    }

    /// `false` when an item with this key is there; it is unchanged.
    pub(super) async fn put_new(&self, item: Item) -> Result<bool, PortError> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        match call.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(false),
            Err(error) => Err(port_error(error)),
        }
    }
}

/// A key that signs tokens from random bytes of the system.
///
/// # Errors
/// When the system gives none.
pub fn random_token_key() -> Result<TokenKey, PortError> {
    let mut random = [0; TOKEN_KEY_BYTES];
    getrandom::fill(&mut random).map_err(|error| PortError::Unavailable(anyhow::anyhow!("no randomness: {error}")))?;
    Ok(TokenKey::generate(&random))
}

/// A key of keyed hashes from random bytes of the system.
///
/// # Errors
/// When the system gives none.
pub fn random_hash_key() -> Result<HashKey, PortError> {
    let mut random = [0; HASH_KEY_BYTES];
    getrandom::fill(&mut random).map_err(|error| PortError::Unavailable(anyhow::anyhow!("no randomness: {error}")))?;
    Ok(HashKey::generate(&random))
}

fn pk(id: &KeyId) -> String {
    format!("KEY#{id}")
}

fn bytes<'a>(item: &'a Item, name: &str) -> Result<&'a [u8], PortError> {
    item.get(name).and_then(|value| value.as_b().ok()).map(AsRef::as_ref).ok_or_else(|| corrupt(name))
}

#[async_trait]
impl ports::Keys for Keys {
    async fn add(&self, key: &Key) -> Result<bool, PortError> {
        let scopes = key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        let mut item = Item::from([
            ("pk".to_owned(), s(pk(&key.id))),
            ("secret_sha256".to_owned(), AttributeValue::B(Blob::new(key.secret_sha256))),
            ("tenant".to_owned(), s(key.tenant.as_str())),
            ("scopes".to_owned(), AttributeValue::Ss(scopes)),
            // As text, for those who look at the table: nothing sorts by it.
            ("created_at".to_owned(), s(key.created_at.to_string())),
            ("disabled".to_owned(), AttributeValue::Bool(key.disabled)),
        ]);
        if let Some(name) = &key.name {
            item.insert("name".to_owned(), s(name));
        }
        self.put_new(item).await
    }

    async fn find(&self, id: &KeyId) -> Result<Option<Key>, PortError> {
        let Some(item) = self.read(&pk(id)).await? else { return Ok(None) };
        let scopes = item.get("scopes").and_then(|value| value.as_ss().ok()).ok_or_else(|| corrupt("scopes"))?;
        Ok(Some(Key {
            id: id.clone(),
            secret_sha256: bytes(&item, "secret_sha256")?.try_into().map_err(|_| corrupt("secret_sha256"))?,
            tenant: parsed(&item, "tenant")?,
            scopes: scopes
                .iter()
                .map(|scope| scope.parse())
                .collect::<Result<_, _>>()
                .map_err(|_| corrupt("scopes"))?,
            name: optional_text(&item, "name").map(str::to_owned),
            created_at: text(&item, "created_at")?.parse().map_err(|_| corrupt("created_at"))?,
            disabled: *item
                .get("disabled")
                .and_then(|value| value.as_bool().ok())
                .ok_or_else(|| corrupt("disabled"))?,
        }))
    }
}

#[async_trait]
impl ports::TokenKeys for Keys {
    async fn load(&self) -> Result<Option<Keyring>, PortError> {
        let Some(item) = self.read(TOKEN_KEYS).await? else { return Ok(None) };
        let key = |bytes: &[u8]| {
            let bytes: &[u8; TOKEN_KEY_BYTES] = bytes.try_into().map_err(|_| corrupt("token key"))?;
            Ok::<_, PortError>(TokenKey::generate(bytes))
        };
        let earlier = match item.get("earlier") {
            None => Vec::new(),
            Some(list) => {
                let list = list.as_bs().map_err(|_| corrupt("earlier"))?;
                list.iter().map(|blob| key(blob.as_ref())).collect::<Result<_, _>>()?
            }
        };
        Ok(Some(Keyring { current: key(bytes(&item, "current")?)?, earlier }))
    }

    async fn ensure(&self, first: &TokenKey) -> Result<Keyring, PortError> {
        if let Some(keys) = self.load().await? {
            return Ok(keys);
        }
        let item = Item::from([
            ("pk".to_owned(), s(TOKEN_KEYS)),
            ("current".to_owned(), AttributeValue::B(Blob::new(first.to_bytes()))),
        ]);
        if self.put_new(item).await? {
            return Ok(first.clone().into());
        }
        self.load().await?.ok_or_else(|| corrupt("current"))
    }
}

impl Keys {
    async fn hash_key(&self) -> Result<Option<HashKey>, PortError> {
        let Some(item) = self.read(HASH_KEY).await? else { return Ok(None) };
        let secret: &[u8; HASH_KEY_BYTES] = bytes(&item, "secret")?.try_into().map_err(|_| corrupt("secret"))?;
        Ok(Some(HashKey::generate(secret)))
    }
}

#[async_trait]
impl ports::HashKeys for Keys {
    async fn ensure_hash_key(&self, first: &HashKey) -> Result<HashKey, PortError> {
        if let Some(key) = self.hash_key().await? {
            return Ok(key);
        }
        let item = Item::from([
            ("pk".to_owned(), s(HASH_KEY)),
            ("secret".to_owned(), AttributeValue::B(Blob::new(first.to_bytes()))),
        ]);
        if self.put_new(item).await? {
            return Ok(first.clone());
        }
        self.hash_key().await?.ok_or_else(|| corrupt("secret"))
    }
}
