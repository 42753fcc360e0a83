use super::{
    ConfirmSubscription, Echo, ExportSubscribers, ImportSubscribers, RetryJobs, SequenceStep, TestLetter, Webhook,
    Welcome,
};
use crate::domain::backoff::Backoff;
use crate::domain::lane::Lane;
use crate::domain::rate::Policy;
use crate::job::Job;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::time::Duration;

/// The function that works on a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worker {
    /// `functions/echo`.
    Echo,
    /// `functions/email`.
    Email,
    /// `functions/operations`.
    Operations,
    /// `functions/webhook`.
    Webhook,
}

impl Worker {
    /// Every worker that takes jobs.
    pub const ALL: [Self; 4] = [Self::Echo, Self::Email, Self::Operations, Self::Webhook];

    /// The name of its folder and function.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Email => "email",
            Self::Operations => "operations",
            Self::Webhook => "webhook",
        }
    }

    /// The lanes it has. Each costs a queue that Lambda asks all month long.
    #[must_use]
    pub fn lanes(self) -> &'static [Lane] {
        match self {
            Self::Echo => &[Lane::High, Lane::Normal, Lane::Low, Lane::Ordered],
            Self::Email => &[Lane::High, Lane::Normal, Lane::Low],
            Self::Operations => &[Lane::Normal],
            Self::Webhook => &[Lane::Normal],
        }
    }

    /// The name of a lane's queue, after the stack's name and a hyphen.
    #[must_use]
    pub fn queue(self, lane: Lane) -> String {
        let name = self.name();
        match lane {
            Lane::Normal => name.to_owned(),
            Lane::High | Lane::Low => format!("{name}-{}", lane.as_str()),
            Lane::Ordered => format!("{name}-{}.fifo", lane.as_str()),
        }
    }

    /// The name of the queue for what cannot be read of a lane, after the stack's name and a hyphen. The letters of a FIFO
    /// queue are kept in one.
    #[must_use]
    pub fn dead_letters(self, lane: Lane) -> String {
        let name = self.name();
        match lane {
            Lane::High | Lane::Normal | Lane::Low => format!("{name}-dead"),
            Lane::Ordered => format!("{name}-dead.fifo"),
        }
    }

    /// The lane whose queue has this name, which the stack's name and a hyphen may precede.
    #[must_use]
    pub fn lane(self, queue: &str) -> Option<Lane> {
        let named = |lane: &Lane| {
            let before = queue.strip_suffix(self.queue(*lane).as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
        };
        self.lanes().iter().copied().find(named)
    }
}

/// What is known of a kind without its type.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Names it had before.
    pub aliases: &'static [&'static str],
    /// Who works on it.
    pub worker: Worker,
    /// Whether only Millrace itself submits such jobs.
    pub internal: bool,
    /// Attempts when the submitter names none.
    pub max_attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// Longest attempt, when that is less than its worker's time.
    pub timeout: Option<Duration>,
    /// How many may start, until the operator sets other limits.
    pub policy: Policy,
    /// Tells what is wrong with a payload, for its submitter to read.
    pub check: fn(&Value) -> Result<(), String>,
    /// The JSON Schema (2020-12) of a payload, made from its type. What `check` refuses beyond it is in the descriptions.
    pub schema: fn() -> Value,
}

const fn of<J: Job>(worker: Worker) -> Kind {
    Kind {
        name: J::KIND,
        aliases: J::ALIASES,
        worker,
        internal: false,
        max_attempts: J::MAX_ATTEMPTS,
        backoff: J::BACKOFF,
        timeout: J::TIMEOUT,
        policy: Policy { all: J::RATE, each_tenant: J::TENANT_RATE },
        check: |payload| J::deserialize(payload).map_err(|error| error.to_string())?.check(),
        schema: || SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<J>().to_value(),
    }
}

/// A kind that only Millrace itself submits.
const fn internal<J: Job>(worker: Worker) -> Kind {
    Kind { internal: true, ..of::<J>(worker) }
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    of::<Echo>(Worker::Echo),
    of::<Webhook>(Worker::Webhook),
    of::<Welcome>(Worker::Email),
    internal::<ConfirmSubscription>(Worker::Email),
    internal::<TestLetter>(Worker::Email),
    internal::<SequenceStep>(Worker::Email),
    internal::<RetryJobs>(Worker::Operations),
    internal::<ImportSubscribers>(Worker::Operations),
    internal::<ExportSubscribers>(Worker::Operations),
];

/// The kind that has this name, or had it before.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    find(KINDS, name)
}

fn find<'a>(kinds: &'a [Kind], name: &str) -> Option<&'a Kind> {
    kinds.iter().find(|kind| kind.name == name || kind.aliases.contains(&name))
}

/// The name that a job's kind has now; the one it was stored with, when this build does not know it.
#[must_use]
pub fn current_name(name: &str) -> &str {
    kind(name).map_or(name, |kind| kind.name)
}

/// The kinds that anybody may submit.
pub fn public_kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| !kind.internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_unique_and_plain() {
        let mut names: Vec<&str> = Vec::new();
        for kind in KINDS {
            names.extend([&[kind.name], kind.aliases].concat());
            assert!((1..=100).contains(&kind.max_attempts));
        }
        for (i, name) in names.iter().enumerate() {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(!names[i + 1..].contains(name), "{name} is two kinds");
        }
    }

    #[test]
    fn a_lane_is_known_by_its_queue() {
        for worker in Worker::ALL {
            for lane in worker.lanes() {
                let queue = worker.queue(*lane);
                assert_eq!(worker.lane(&queue), Some(*lane));
                assert_eq!(worker.lane(&format!("stack-echo-high-{queue}")), Some(*lane));
                assert_eq!(queue.ends_with(".fifo"), worker.dead_letters(*lane).ends_with(".fifo"));
            }
        }
        assert_eq!(Worker::Echo.lane("stack-echo-dead"), None);
        assert_eq!(Worker::Echo.lane("stack-noecho"), None);
        assert_eq!(Worker::Email.lane("stack-email-ordered.fifo"), None, "it has no such lane");
    }

    /// A kind that had another name.
    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    struct Renamed(Echo);

    impl Job for Renamed {
        const KIND: &'static str = "renamed";
        const ALIASES: &'static [&'static str] = &["before", "before-that"];
    }

    #[test]
    fn a_kind_is_found_by_every_name_it_has_had() {
        let kinds = [of::<Echo>(Worker::Echo), of::<Renamed>(Worker::Echo)];
        for name in ["renamed", "before", "before-that"] {
            assert_eq!(find(&kinds, name).map(|kind| kind.name), Some("renamed"));
        }
        assert!(find(&kinds, "after").is_none());
        assert_eq!((current_name("echo"), current_name("gone")), ("echo", "gone"));
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
