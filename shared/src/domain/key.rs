//! API keys. A caller shows `mr_<key id>_<secret>`; the table holds the key id and the SHA-256 of the secret. The secret
//! is 32 random bytes, so a plain hash is enough: there is nothing to guess.

use super::id::Tenant;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt, str::FromStr};
use subtle::ConstantTimeEq;

/// What every key's text begins with. It lets secret scanners find keys that leaked.
pub const KEY_PREFIX: &str = "mr_";

/// How many random bytes make a key: 8 for the key id, 32 for the secret.
pub const KEY_BYTES: usize = 40;

/// Longest name of a key, in characters.
pub const MAX_KEY_NAME: usize = 100;

const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The text is not a key, or its parts are not as they must be. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not `mr_<16 hex digits>_<64 hex digits>`.
    #[error("not an API key")]
    Text,
    /// Not 16 lower-case hex digits.
    #[error("not a key id")]
    Id,
    /// Not a scope.
    #[error("not a scope: the scopes are jobs:write, jobs:read, audience:write, audience:read and admin")]
    Scope,
    /// A key without a scope opens nothing.
    #[error("a key needs at least one scope")]
    NoScope,
    /// A name that is empty, too long or has control characters.
    #[error("a key's name has 1 to 100 characters, none of them control characters")]
    Name,
}

/// The part of a key that is no secret: it names the key in the table and in logs. 16 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(String);

impl KeyId {
    /// Reads a key id.
    ///
    /// # Errors
    /// When it is not 16 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if is_hex(text, ID_DIGITS) { Ok(Self(text.to_owned())) } else { Err(InvalidKey::Id) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole key with its secret. It is shown once, when it is made; `Debug` hides the secret.
#[derive(Clone)]
pub struct ApiKey {
    id: KeyId,
    secret: String,
}

impl ApiKey {
    /// A key from random bytes drawn by the caller.
    #[must_use]
    pub fn generate(random: &[u8; KEY_BYTES]) -> Self {
        let (id, secret) = random.split_at(ID_DIGITS / 2);
        Self { id: KeyId(hex(id)), secret: hex(secret) }
    }

    /// Reads a key as a caller shows it.
    ///
    /// # Errors
    /// When it is not `mr_<16 hex digits>_<64 hex digits>`.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let (id, secret) =
            text.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_')).ok_or(InvalidKey::Text)?;
        if is_hex(id, ID_DIGITS) && is_hex(secret, SECRET_DIGITS) {
            Ok(Self { id: KeyId(id.to_owned()), secret: secret.to_owned() })
        } else {
            Err(InvalidKey::Text)
        }
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key as its owner writes it, secret and all.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{KEY_PREFIX}{}_{}", self.id, self.secret)
    }

    /// What the table holds in place of the secret.
    #[must_use]
    pub fn secret_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_PREFIX}{}_...", self.id)
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `jobs:write`: submit jobs.
    JobsWrite,
    /// `jobs:read`: see jobs.
    JobsRead,
    /// `audience:write`: register users, add subscribers, make and start campaigns.
    AudienceWrite,
    /// `audience:read`: see users, subscribers, newsletters and campaigns.
    AudienceRead,
    /// `admin`: everything above.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [Self::JobsWrite, Self::JobsRead, Self::AudienceWrite, Self::AudienceRead, Self::Admin];

    /// The scope's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobsWrite => "jobs:write",
            Self::JobsRead => "jobs:read",
            Self::AudienceWrite => "audience:write",
            Self::AudienceRead => "audience:read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(InvalidKey::Scope)
    }
}

/// A key as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// SHA-256 of the secret's text.
    pub secret_sha256: [u8; 32],
    /// Whose key it is.
    pub tenant: Tenant,
    /// What it opens. Never empty.
    pub scopes: BTreeSet<Scope>,
    /// What its owner calls it.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// A disabled key opens nothing.
    pub disabled: bool,
}

impl Key {
    /// The record of a new key.
    ///
    /// # Errors
    /// When there is no scope, or the name is not 1 to [`MAX_KEY_NAME`] characters without control characters.
    pub fn new(
        key: &ApiKey,
        tenant: Tenant,
        scopes: BTreeSet<Scope>,
        name: Option<String>,
        now: Timestamp,
    ) -> Result<Self, InvalidKey> {
        if scopes.is_empty() {
            return Err(InvalidKey::NoScope);
        }
        if let Some(name) = &name
            && (name.is_empty() || name.chars().count() > MAX_KEY_NAME || name.chars().any(char::is_control))
        {
            return Err(InvalidKey::Name);
        }
        let (id, secret_sha256) = (key.id.clone(), key.secret_sha256());
        Ok(Self { id, secret_sha256, tenant, scopes, name, created_at: now, disabled: false })
    }

    /// Whether the shown key is this one and may still be used. Takes the same time however much of the secret is right.
    #[must_use]
    pub fn admits(&self, shown: &ApiKey) -> bool {
        let same: bool = self.secret_sha256.ct_eq(&shown.secret_sha256()).into();
        same && self.id == shown.id && !self.disabled
    }

    /// Whether the key has this scope, by itself or through [`Scope::Admin`].
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(key: &ApiKey, scopes: &[Scope]) -> Key {
        let tenant = Tenant::parse("acme").unwrap();
        Key::new(key, tenant, scopes.iter().copied().collect(), None, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn debug_hides_the_secret() {
        let key = ApiKey::generate(&[7; KEY_BYTES]);
        assert_eq!(format!("{key:?}"), "mr_0707070707070707_...");
        assert_eq!(key.reveal(), format!("mr_0707070707070707_{}", "07".repeat(32)));
    }

    #[test]
    fn admin_opens_everything_and_nothing_else_does() {
        let key = ApiKey::generate(&[1; KEY_BYTES]);
        for scope in Scope::ALL {
            assert!(record(&key, &[Scope::Admin]).allows(scope));
            assert!(record(&key, &[scope]).allows(scope));
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert!(!record(&key, &[Scope::JobsWrite]).allows(Scope::JobsRead));
        assert!(!record(&key, &[Scope::AudienceWrite]).allows(Scope::JobsWrite));
    }

    #[test]
    fn a_key_needs_a_scope_and_a_fair_name() {
        let (key, tenant) = (ApiKey::generate(&[1; KEY_BYTES]), Tenant::parse("acme").unwrap());
        let new = |scopes: &[Scope], name: Option<&str>| {
            let scopes = scopes.iter().copied().collect();
            Key::new(&key, tenant.clone(), scopes, name.map(str::to_owned), Timestamp::UNIX_EPOCH)
        };
        assert_eq!(new(&[], None), Err(InvalidKey::NoScope));
        for name in ["", "a\nb", &"x".repeat(MAX_KEY_NAME + 1)] {
            assert_eq!(new(&[Scope::Admin], Some(name)), Err(InvalidKey::Name));
        }
        assert!(new(&[Scope::Admin], Some("build server")).is_ok());
    }

    #[test]
    fn a_disabled_key_opens_nothing() {
        let key = ApiKey::generate(&[1; KEY_BYTES]);
        let mut stored = record(&key, &[Scope::Admin]);
        assert!(stored.admits(&key));
        stored.disabled = true;
        assert!(!stored.admits(&key));
    }

    proptest! {
        #[test]
        fn a_key_reads_back_and_opens_only_its_own_record(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), id in any::<[u8; 8]>()) {
            let whole = |secret: [u8; 32]| {
                let mut bytes = [0; KEY_BYTES];
                bytes[..8].copy_from_slice(&id);
                bytes[8..].copy_from_slice(&secret);
                ApiKey::generate(&bytes)
            };
            let (one, other) = (whole(a), whole(b));
            let read = ApiKey::parse(&one.reveal()).unwrap();
            prop_assert_eq!(read.reveal(), one.reveal());
            prop_assert!(record(&one, &[Scope::Admin]).admits(&read));
            prop_assert_eq!(record(&one, &[Scope::Admin]).admits(&other), a == b);
        }

        #[test]
        fn no_text_panics(text in ".*", tail in "[0-9a-f_]{0,90}") {
            let _ = ApiKey::parse(&text);
            let _ = ApiKey::parse(&format!("{KEY_PREFIX}{tail}"));
            let _ = KeyId::parse(&text);
        }
    }
}
