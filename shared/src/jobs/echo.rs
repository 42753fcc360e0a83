use crate::domain::backoff::Backoff;
use crate::job::Job;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Longest sleep or snooze.
const LONGEST_MS: u64 = 600_000;
/// Largest result asked for, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// Gives back what it was given, or fails as asked: a job to try things out with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Echo {
    /// What to give back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// How long to take, 0-600,000 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = LONGEST_MS))]
    pub sleep_ms: Option<u64>,
    /// How to fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fail>,
    /// Fail in the first so many attempts only; in all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_attempts: Option<u32>,
    /// Pad the result to at least so many bytes, up to 4 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = LARGEST))]
    pub result_bytes: Option<usize>,
    /// Report progress while sleeping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<bool>,
    /// Come back once after so many ms without spending an attempt, 1-600,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = LONGEST_MS))]
    pub snooze_ms: Option<u64>,
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fail {
    /// As a service that is away for a moment.
    Transient,
    /// As work that can never succeed.
    Permanent,
    /// As a service that asks to slow down.
    Throttled,
    /// As a handler with a bug.
    Panic,
    /// As a process that ends without a word.
    Exit,
}

impl Job for Echo {
    const KIND: &'static str = "echo";
    const MAX_ATTEMPTS: u32 = 5;
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), factor: 2, cap: Duration::from_secs(60) };

    fn check(&self) -> Result<(), String> {
        for (name, value) in [("sleep_ms", self.sleep_ms), ("snooze_ms", self.snooze_ms)] {
            if value.is_some_and(|ms| ms > LONGEST_MS) {
                return Err(format!("{name} may be at most {LONGEST_MS}"));
            }
        }
        if self.result_bytes.is_some_and(|bytes| bytes > LARGEST) {
            return Err(format!("result_bytes may be at most {LARGEST}"));
        }
        Ok(())
    }
}
