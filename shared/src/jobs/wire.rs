use crate::domain::id::{JobId, Tenant};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The message that brings a job to its worker.
///
/// It is a hint: the job's item in the table is the truth. A lost, repeated or late message does no harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobMessage {
    /// Version of this form: [`JobMessage::VERSION`].
    pub v: u32,
    /// Which job.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its payload, when that spares the worker a read. Absent: the worker takes the stored copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// A message that is no job message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableMessage {
    /// Not JSON of the right form. The text names a place, never the content.
    #[error("not a message of this queue: {0}")]
    Garbled(String),
    /// A form that this build does not know, sent by a newer one.
    #[error("message version {0} is not known to this build")]
    Version(u32),
}

impl JobMessage {
    /// The form this build writes and reads.
    pub const VERSION: u32 = 1;

    /// Payloads up to this size travel in the message: Lambda takes at most 6 MB for a batch, which is ten messages.
    pub const PAYLOAD_MAX: usize = 256 * 1024;

    /// A message for a job.
    #[must_use]
    pub fn new(id: JobId, kind: String, tenant: Tenant, payload: Option<Value>) -> Self {
        Self { v: Self::VERSION, id, kind, tenant, payload }
    }

    /// The body to send.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// When the body is not of this form.
    pub fn parse(body: &str) -> Result<Self, UnreadableMessage> {
        parse(body, Self::VERSION)
    }
}

/// Reads a body of the given version.
pub(super) fn parse<T: DeserializeOwned>(body: &str, version: u32) -> Result<T, UnreadableMessage> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    // Only category and place: serde's own text may quote the content.
    let garbled = |error: serde_json::Error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "unexpected fields",
            _ => "not JSON",
        };
        UnreadableMessage::Garbled(format!("{what} at line {} column {}", error.line(), error.column()))
    };
    let Version { v } = serde_json::from_str(body).map_err(garbled)?;
    if v != version {
        return Err(UnreadableMessage::Version(v));
    }
    serde_json::from_str(body).map_err(garbled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_version_is_told_from_garbage() {
        assert_eq!(JobMessage::parse(r#"{"v":2,"new":"form"}"#), Err(UnreadableMessage::Version(2)));
        assert!(matches!(JobMessage::parse("{{"), Err(UnreadableMessage::Garbled(_))));
        assert!(matches!(JobMessage::parse(r#"{"v":1,"id":"x"}"#), Err(UnreadableMessage::Garbled(_))));
    }

    #[test]
    fn an_error_never_quotes_the_body() {
        let error = JobMessage::parse(r#"{"v":1,"id":"secret@example.com","kind":"echo","tenant":"t"}"#).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(body in ".*") {
            let _ = JobMessage::parse(&body);
        }

        #[test]
        fn what_is_written_reads_back(key in ".*", kind in "[a-z-]{1,20}", text in prop::option::of(".*")) {
            let payload = text.map(Value::String);
            let message = JobMessage::new(JobId::derived(&[&key]), kind, Tenant::parse("t").unwrap(), payload);
            prop_assert_eq!(JobMessage::parse(&message.body()).unwrap(), message);
        }
    }
}
