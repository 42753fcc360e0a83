use crate::domain::backoff::Backoff;
use crate::domain::target::{CallbackUrl, MAX_URL, Reach};
use crate::job::Job;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Longest `type`.
const MAX_NAME: usize = 128;

/// Call an endpoint, signed as [Standard Webhooks](https://www.standardwebhooks.com) has it. The body is
/// `{"type", "timestamp", "data"}`; the job's id is the message's.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Whom to call: https, at a public address. Redirects are not followed.
    #[schemars(length(max = MAX_URL))]
    pub url: String,
    /// What happened: words of letters, digits and _ with full stops between, such as `invoice.paid`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$"))]
    pub name: String,
    /// What is to be said of it.
    pub data: Value,
    /// When it happened; when the job was accepted, if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub timestamp: Option<Timestamp>,
}

/// Hides all that a caller wrote.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook")
    }
}

impl Job for Webhook {
    const KIND: &'static str = "webhook";
    /// With the waits below, about a day and a half.
    const MAX_ATTEMPTS: u32 = 12;
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(5), factor: 4, cap: Duration::from_secs(8 * 3_600) };

    /// What cannot be called anywhere. Whether it may be called from here is the worker's to say.
    fn check(&self) -> Result<(), String> {
        CallbackUrl::parse(&self.url, Reach::Local).map_err(|why| format!("url {why}"))?;
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if self.name.len() > MAX_NAME || !self.name.split('.').all(word) {
            return Err(format!("type has 1 to {MAX_NAME} characters: words of letters, digits and _ with full stops"));
        }
        Ok(())
    }
}
