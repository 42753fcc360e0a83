use crate::domain::id::{JobId, Tenant};
use crate::domain::job::Job;
use crate::ports::{Group, Message};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

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
    /// What it has waited for because of a rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Waited>,
}

/// How a job's message has waited because of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// For its turn at which limit.
    pub line: Line,
    /// How often, from 1.
    pub times: u8,
}

/// A limit at which jobs wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The tenant's own. It is the first.
    Tenant,
    /// The one that all jobs of the kind share.
    Kind,
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

    /// The message that brings `job` to its worker after `delay`. An ordered job knows no delay: its message holds its place.
    #[must_use]
    pub fn carrying(job: &Job, payload: Option<Value>, delay: Duration) -> Message {
        let (id, kind, tenant) = (job.id.clone(), job.kind.clone(), job.tenant.clone());
        let body = Self { v: Self::VERSION, id, kind, tenant, payload, waited: None }.body();
        match &job.ordering_key {
            None => Message { body, delay, group: Some(Group::Tenant(job.tenant.clone())) },
            Some(key) => {
                let group = Some(Group::Ordered {
                    group: key.group(&job.tenant, &job.kind),
                    deduplication: Self::deduplication(job),
                });
                Message { body, delay: Duration::ZERO, group }
            }
        }
    }

    /// The body to send.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// What a FIFO queue tells an ordered job's messages apart by. It stays the same as long as the message that is there
    /// already is enough, which is deleted only when the job is final: so it changes with each retry by a person, and a
    /// repeated request or a second look of the clock sends nothing twice within SQS's five minutes. Later it does, behind
    /// the first message, which does no harm.
    fn deduplication(job: &Job) -> String {
        match job.run_at {
            None => job.id.to_string(),
            Some(at) => format!("{}-{}", job.id, at.as_millisecond()),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// When the body is not of this form.
    pub fn parse(body: &str) -> Result<Self, UnreadableMessage> {
        parse(body, Self::VERSION)
    }

    /// Whose message a body is of a version that this build does not know. Whatever the form, its job is named by `id`.
    #[must_use]
    pub fn id_in(body: &str) -> Option<JobId> {
        #[derive(Deserialize)]
        struct Named {
            id: JobId,
        }
        serde_json::from_str(body).ok().map(|Named { id }| id)
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
    use crate::domain::lane::OrderingKey;
    use crate::testing::conformance::queued_job;
    use jiff::Timestamp;
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

    #[test]
    fn an_ordered_message_is_sent_anew_when_its_job_is_tried_anew_and_not_before() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = OrderingKey::parse("k").unwrap();
        let first = Job { ordering_key: Some(key), ..queued_job("1", at(0)) };
        let numbers = |job: &Job| match JobMessage::carrying(job, None, Duration::from_secs(9)) {
            Message { group: Some(Group::Ordered { group, deduplication }), delay: Duration::ZERO, .. } => {
                (group, deduplication)
            }
            other => panic!("{other:?}"),
        };
        let second = Job { id: JobId::derived(&["2"]), ..first.clone() };
        assert_eq!(numbers(&first).0, numbers(&second).0);
        assert_ne!(numbers(&first).1, numbers(&second).1);
        let claimed = Job { attempt: 1, fence: 1, updated_at: at(1), ..first.clone() };
        assert_eq!(numbers(&claimed), numbers(&first));
        let retried = |second| Job { run_at: Some(at(second)), ..claimed.clone() };
        assert_ne!(numbers(&retried(2)), numbers(&first));
        assert_ne!(numbers(&retried(2)), numbers(&retried(3)));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(body in ".*") {
            let _ = (JobMessage::parse(&body), JobMessage::id_in(&body));
        }

        #[test]
        fn what_is_written_reads_back(
            key in ".*", kind in "[a-z-]{1,20}", text in prop::option::of(".*"), times in prop::option::of(1u8..),
        ) {
            let job = Job { kind: kind.clone(), ..queued_job(&key, Timestamp::UNIX_EPOCH) };
            let payload = text.map(Value::String);
            let read = JobMessage::parse(&JobMessage::carrying(&job, payload.clone(), Duration::ZERO).body).unwrap();
            let (v, id, tenant) = (JobMessage::VERSION, job.id, job.tenant);
            prop_assert_eq!(&read, &JobMessage { v, id, kind, tenant, payload, waited: None });
            let waited = times.map(|times| Waited { line: if times % 2 == 0 { Line::Kind } else { Line::Tenant }, times });
            let copy = JobMessage { waited, ..read };
            prop_assert_eq!(JobMessage::id_in(&copy.body()), Some(copy.id.clone()));
            prop_assert_eq!(JobMessage::parse(&copy.body()).unwrap(), copy);
        }
    }
}
