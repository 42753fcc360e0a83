//! Identifiers. Each is a newtype over text that is safe in a URL path, a DynamoDB key and an SES tag.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;

/// Longest identifier accepted from outside, in bytes.
pub const MAX_ID_LEN: usize = 128;

/// The text is not an identifier of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}")]
pub struct InvalidId {
    expected: &'static str,
}

impl InvalidId {
    /// The text is not this.
    pub(super) const fn new(expected: &'static str) -> Self {
        Self { expected }
    }
}

fn is_id_text(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ID_LEN
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// 128 bits of SHA-256 over the parts, as 32 hex digits. Each part is preceded by its length, so that no two lists of
/// parts give the same input.
#[must_use]
pub fn digest_hex(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $article:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every identifier of this type begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier from a UUID drawn by the caller (version 7, so that identifiers sort by time).
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(format!("{}{}", $prefix, uuid.as_simple()))
            }

            /// The identifier that these parts always give: the same parts, the same identifier.
            #[must_use]
            pub fn derived(parts: &[&str]) -> Self {
                Self(format!("{}{}", $prefix, digest_hex(parts)))
            }

            /// Reads an identifier.
            ///
            /// # Errors
            /// When the prefix is missing or a character is not `[A-Za-z0-9_-]`, or it is over [`MAX_ID_LEN`] bytes.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if is_id_text(&text) && text.len() > $prefix.len() && text.starts_with($prefix) {
                    Ok(Self(text))
                } else {
                    Err(InvalidId { expected: $article })
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

id!(
    /// A job.
    JobId,
    "job_",
    "a job id"
);
id!(
    /// A registered user.
    UserId,
    "usr_",
    "a user id"
);
id!(
    /// A newsletter: what one subscribes to.
    NewsletterId,
    "nl_",
    "a newsletter id"
);
id!(
    /// One address on one newsletter.
    SubscriberId,
    "sub_",
    "a subscriber id"
);
id!(
    /// One letter sent to a newsletter's subscribers.
    CampaignId,
    "cmp_",
    "a campaign id"
);

id!(
    /// Jobs that are waited for together.
    GroupId,
    "grp_",
    "a group id"
);

/// Whose data it is. A key belongs to one tenant and sees only that tenant's data. 1-64 characters `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

impl Tenant {
    /// Reads a tenant's name.
    ///
    /// # Errors
    /// When it is empty, over 64 bytes, or has a character outside `[A-Za-z0-9_-]`.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        if is_id_text(&text) && text.len() <= 64 {
            Ok(Self(text))
        } else {
            Err(InvalidId { expected: "a tenant: 1-64 characters of letters, digits, _ and -" })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Tenant {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest_hex(&["ab", "c"]), digest_hex(&["a", "bc"]));
        assert_ne!(digest_hex(&["ab"]), digest_hex(&["ab", ""]));
        assert_eq!(JobId::derived(&["t", "k"]), JobId::derived(&["t", "k"]));
    }

    #[test]
    fn a_foreign_prefix_is_refused() {
        assert!(JobId::parse("usr_1").is_err());
        assert!(JobId::parse("job_").is_err());
        assert!(JobId::parse("job_a#b").is_err());
        assert!(JobId::parse("job_a1").is_ok());
    }

    proptest! {
        #[test]
        fn derived_ids_read_back(a in ".*", b in ".*") {
            let id = UserId::derived(&[&a, &b]);
            prop_assert_eq!(UserId::parse(id.as_str()).unwrap(), id);
        }
    }
}
