//! Values that several requests have, read and checked where serde reads them, so that a fault has its place.

use crate::app::millis;
use jiff::{SignedDuration, Timestamp};
use millrace::domain::address::parse_name;
use millrace::domain::people::{Consent, parse_tags};
use serde::{Deserialize, Deserializer};

/// How far a caller's clock may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A field that may be left out, which changes nothing, or be `null`, which empties it. Goes with `#[serde(default)]`.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A field that may be left out and cannot be emptied. Goes with `#[serde(default)]`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A person's name; blank is none.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Name(pub(crate) Option<String>);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_name(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// Tags, sorted, each once.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(crate) struct Tags(pub(crate) Vec<String>);

impl TryFrom<Vec<String>> for Tags {
    type Error = String;

    fn try_from(tags: Vec<String>) -> Result<Self, String> {
        parse_tags(tags).map(Self)
    }
}

/// A line of text of 1 to `MAX` characters, trimmed.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Line<const MAX: usize>(pub(crate) String);

impl<const MAX: usize> TryFrom<String> for Line<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        if (1..=MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("has 1 to {MAX} characters on one line"))
        }
    }
}

/// A text of 1 to `MAX` characters that may have line breaks, trimmed.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Lines<const MAX: usize>(pub(crate) String);

impl<const MAX: usize> TryFrom<String> for Lines<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim().replace("\r\n", "\n");
        if (1..=MAX).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() && c != '\n') {
            Ok(Self(text))
        } else {
            Err(format!("has 1 to {MAX} characters, none of them control characters but line breaks"))
        }
    }
}

/// The proof that somebody wanted to be written to.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct ConsentRequest {
    /// Where it was given, as a form's address or the name of a list; 1 to 500 characters.
    #[schema(value_type = String, min_length = 1, max_length = 500, example = "https://example.com/subscribe")]
    pub(crate) source: Line<500>,
    /// When it was given. Not in the future.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T09:30:00Z")]
    pub(crate) at: Timestamp,
}

impl ConsentRequest {
    /// The consent; `None` when it is from the future.
    #[must_use]
    pub(crate) fn consent(self, now: Timestamp) -> Option<Consent> {
        (self.at.duration_since(now) <= SKEW).then(|| Consent::told(self.source.0, millis(self.at)))
    }
}
