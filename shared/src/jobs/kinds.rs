use super::{Echo, Welcome};
use crate::domain::backoff::Backoff;
use crate::env;
use crate::job::Job;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The function that works on a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worker {
    /// `functions/echo`.
    Echo,
    /// `functions/email`.
    Email,
}

impl Worker {
    /// Every worker that takes jobs.
    pub const ALL: [Self; 2] = [Self::Echo, Self::Email];

    /// The environment variable that holds its queue's URL.
    #[must_use]
    pub fn queue_env(self) -> &'static str {
        match self {
            Self::Echo => env::ECHO_QUEUE_URL,
            Self::Email => env::EMAIL_QUEUE_URL,
        }
    }
}

/// What is known of a kind without its type.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Who works on it.
    pub worker: Worker,
    /// Attempts when the submitter names none.
    pub max_attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// Tells what is wrong with a payload, for its submitter to read.
    pub check: fn(&Value) -> Result<(), String>,
    /// The JSON Schema (2020-12) of a payload, made from its type. What `check` refuses beyond it is in the descriptions.
    pub schema: fn() -> Value,
}

const fn of<J: Job>(worker: Worker) -> Kind {
    Kind {
        name: J::KIND,
        worker,
        max_attempts: J::MAX_ATTEMPTS,
        backoff: J::BACKOFF,
        check: |payload| J::deserialize(payload).map_err(|error| error.to_string())?.check(),
        schema: || SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<J>().to_value(),
    }
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[of::<Echo>(Worker::Echo), of::<Welcome>(Worker::Email)];

/// The kind of this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_unique_and_plain() {
        for (i, kind) in KINDS.iter().enumerate() {
            assert!(kind.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(KINDS[i + 1..].iter().all(|other| other.name != kind.name));
            assert!((1..=100).contains(&kind.max_attempts));
        }
    }

    #[test]
    fn a_schema_says_what_the_type_takes() {
        let schema = (kind("echo").unwrap().schema)();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
        assert_eq!(schema["properties"]["sleep_ms"]["maximum"], 600_000);
        assert!(schema["properties"]["message"]["description"].is_string());
        let schema = (kind("welcome").unwrap().schema)();
        assert_eq!(schema["required"], json!(["user"]));
        assert!(schema["properties"]["user"]["pattern"].as_str().unwrap().contains(crate::domain::id::UserId::PREFIX));
    }

    #[test]
    fn a_payload_is_checked_by_its_type() {
        let check = kind("echo").unwrap().check;
        assert_eq!(check(&json!({"message": [1, 2]})), Ok(()));
        assert!(check(&json!({"mesage": 1})).unwrap_err().contains("mesage"));
        assert!(check(&json!({"sleep_ms": 600_001})).unwrap_err().contains("sleep_ms"));
        assert!((kind("welcome").unwrap().check)(&json!({"user": "job_1"})).is_err());
    }
}
