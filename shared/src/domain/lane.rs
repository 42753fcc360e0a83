//! Lanes: the ways by which jobs come to their worker.

use super::id::{Tenant, digest_hex};
use serde::{Deserialize, Serialize};

/// A way by which jobs come to a worker: a queue of its own, with a concurrency of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// For what cannot wait behind the rest.
    High,
    /// For what says nothing else.
    Normal,
    /// For what may wait behind the rest.
    Low,
    /// A FIFO queue, for jobs with an ordering key.
    Ordered,
}

impl Lane {
    /// Every lane that a worker may have.
    pub const ALL: [Self; 4] = [Self::High, Self::Normal, Self::Low, Self::Ordered];

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Ordered => "ordered",
        }
    }
}

/// Which of the lanes without order a job takes. Lanes do not wait for each other: each is worked on beside the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before the rest.
    High,
    /// As most.
    #[default]
    Normal,
    /// After the rest.
    Low,
}

impl Priority {
    /// Every priority.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Lane::from(self).as_str()
    }
}

impl From<Priority> for Lane {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

/// What jobs have in common that run one at a time, in the order in which they were submitted: 1-128 characters, none of
/// them a control character. It holds among the jobs of one tenant and kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderingKey(String);

/// The text is no ordering key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has 1 to {} characters, none of them control characters", OrderingKey::MAX_CHARS)]
pub struct InvalidOrderingKey;

impl OrderingKey {
    /// Longest key, in characters.
    pub const MAX_CHARS: usize = 128;

    /// Reads a key.
    ///
    /// # Errors
    /// When it is empty or too long, or has a control character.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidOrderingKey> {
        let text = text.into();
        let fits = (1..=Self::MAX_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text)) } else { Err(InvalidOrderingKey) }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The message group of this key's jobs: a digest, because a key may have characters that a group may not.
    #[must_use]
    pub fn group(&self, tenant: &Tenant, kind: &str) -> String {
        digest_hex(&["ordering-key", tenant.as_str(), kind, &self.0])
    }
}

impl TryFrom<String> for OrderingKey {
    type Error = InvalidOrderingKey;

    fn try_from(text: String) -> Result<Self, InvalidOrderingKey> {
        Self::parse(text)
    }
}

impl From<OrderingKey> for String {
    fn from(key: OrderingKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_some_characters_and_not_of_too_many() {
        for fine in ["a", "customer 7", "ü".repeat(128).as_str()] {
            assert_eq!(OrderingKey::parse(fine).unwrap().as_str(), fine);
        }
        for wrong in ["", "a\nb", "\u{7f}", "a".repeat(129).as_str()] {
            assert_eq!(OrderingKey::parse(wrong), Err(InvalidOrderingKey), "{wrong:?}");
        }
    }

    #[test]
    fn a_group_is_of_one_tenant_kind_and_key_and_of_what_sqs_takes() {
        let (key, tenant) = (OrderingKey::parse("ü 1").unwrap(), Tenant::parse("t").unwrap());
        let group = key.group(&tenant, "echo");
        assert!(group.len() <= 128 && group.bytes().all(|b| b.is_ascii_alphanumeric()), "{group}");
        let others = [
            key.group(&Tenant::parse("u").unwrap(), "echo"),
            key.group(&tenant, "welcome"),
            OrderingKey::parse("ü 2").unwrap().group(&tenant, "echo"),
        ];
        assert!(!others.contains(&group));
        assert_eq!(key.group(&tenant, "echo"), group);
    }
}
