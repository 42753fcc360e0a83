//! `infra/functions.json`: what each function is, as the template needs it. Its JSON Schema is made from these types.

use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::project::Project;

/// Where the table is.
pub(crate) const FILE: &str = "infra/functions.json";

/// What stands for a function's own dead-letter queues in its row, and for the first of them as a variable's value.
pub(crate) const OWN_DEAD_LETTERS: &str = "own dead letters";

/// The most receivers that a queue's event source may be given; two are the fewest.
const CONCURRENCY: std::ops::RangeInclusive<u32> = 2..=1000;

/// Millrace's functions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// The schema of this file.
    #[serde(rename = "$schema")]
    #[expect(dead_code, reason = "read by editors")]
    schema: String,
    /// Environment variables and their values, in CloudFormation's JSON. `{"Ref": "own dead letters"}` is the dead-letter
    /// queue of the function itself. The names are those of `shared/src/env.rs`.
    pub(crate) variables: BTreeMap<String, Value>,
    /// What a function may do because of its trigger.
    pub(crate) grants: TriggerGrants,
    /// One row for each folder of `functions/`.
    pub(crate) functions: Vec<Function>,
}

/// What a function may do because of its trigger.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerGrants {
    /// Every function.
    pub(crate) every: Vec<Grant>,
    /// Functions with lanes or a queue.
    pub(crate) queue: Vec<Grant>,
    /// Functions on a table's stream.
    pub(crate) stream: Vec<Grant>,
}

/// A function.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Function {
    /// Its folder in `functions/`, and its name after the stack's.
    #[schemars(regex(pattern = r"^[a-z]+(-[a-z]+)*$"))]
    pub(crate) name: String,
    /// What it does, one sentence.
    pub(crate) description: String,
    /// What calls it.
    pub(crate) trigger: Trigger,
    /// Seconds an invocation may take. Left out: the parameter `WorkerTimeout`. The queues' visibility timeout follows.
    #[schemars(range(min = 3, max = 900))]
    pub(crate) timeout: Option<u32>,
    /// MiB of memory. Left out: 256.
    #[schemars(range(min = 128, max = 10240))]
    pub(crate) memory: Option<u32>,
    /// Names of its environment variables.
    pub(crate) env: Vec<String>,
    /// What its role allows, beyond what comes with its trigger.
    pub(crate) grants: Vec<Grant>,
}

/// What calls a function; at least one of these.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trigger {
    /// Requests to the HTTP API.
    pub(crate) http: Option<Http>,
    /// Jobs, on a queue for each lane.
    pub(crate) lanes: Vec<Lane>,
    /// Messages that are no jobs, on one queue.
    pub(crate) queue: Option<Queue>,
    /// A schedule, which only ticks: the function works out what is due.
    pub(crate) schedule: Option<Schedule>,
    /// The stream of a table.
    pub(crate) stream: Option<Stream>,
}

/// Requests to the HTTP API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// The route's key, `$default` for all that no other route takes.
    pub(crate) route: String,
}

/// The name of a lane.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LaneName {
    /// Before all others.
    High,
    /// The usual one; its queue has the worker's own name.
    Normal,
    /// What may wait.
    Low,
    /// One at a time for each ordering key, on a FIFO queue.
    Ordered,
}

/// A lane of a worker.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lane {
    /// Which one.
    pub(crate) lane: LaneName,
    /// The most messages in one invocation; more than ten only with a window.
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) batch: u32,
    /// Seconds to wait for a batch to fill. 0 on a lane where latency counts, and on the ordered one.
    #[schemars(range(max = 300))]
    pub(crate) window: u32,
    /// The most invocations at the same time.
    #[schemars(range(min = 2, max = 1000))]
    pub(crate) concurrency: u32,
}

/// A queue that is no lane.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    /// The most messages in one invocation; more than ten only with a window.
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) batch: u32,
    /// Seconds to wait for a batch to fill.
    #[schemars(range(max = 300))]
    pub(crate) window: u32,
    /// The most invocations at the same time.
    #[schemars(range(min = 2, max = 1000))]
    pub(crate) concurrency: u32,
    /// The EventBridge rule of the template that may send to it.
    pub(crate) fed_by: Option<String>,
}

/// A schedule.
#[derive(Deserialize, Serialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// How often: `1 minute`, `15 minutes`.
    #[schemars(regex(pattern = r"^(1 (minute|hour|day)|[0-9]+ (minutes|hours|days))$"))]
    pub(crate) rate: String,
    /// What a tick does.
    pub(crate) description: String,
    /// Why this often.
    pub(crate) why: String,
    /// Seconds after which a tick that could not be delivered is dropped.
    #[schemars(range(min = 60, max = 86400))]
    pub(crate) max_age_seconds: u32,
    /// How often its delivery is tried again.
    #[schemars(range(max = 185))]
    pub(crate) retries: u32,
}

/// The stream of a table: new and old images, in order by item. A batch that fails is cut in two and tried again until it is too
/// old; then what it was goes to the function's dead-letter queue.
#[derive(Deserialize, Serialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    /// The table of the template.
    pub(crate) table: String,
    /// The most records in one invocation.
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) batch: u32,
    /// Seconds to wait for a batch to fill.
    #[schemars(range(max = 300))]
    pub(crate) window: u32,
    /// Invocations at the same time for one shard.
    #[schemars(range(min = 1, max = 10))]
    pub(crate) parallel: u32,
    /// Whether it answers for each record. If not, a failure is one of the whole batch.
    pub(crate) partial_answers: bool,
    /// Seconds of a tumbling window: the event then names its shard, and the answer's `state` comes back with the next one.
    #[schemars(range(min = 1, max = 900))]
    pub(crate) tumbling_seconds: Option<u32>,
    /// Seconds until a record is given up. The stream itself keeps it for 24 hours.
    #[schemars(range(min = 60, max = 86400))]
    pub(crate) max_age_seconds: u32,
    /// Patterns of records worth an invocation, in the syntax of event filters. None: every record.
    #[serde(default)]
    pub(crate) filters: Vec<Value>,
}

/// A statement of a role.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// Actions by their full names; no wildcard.
    pub(crate) actions: Vec<String>,
    /// What they are allowed on: a resource of the template by its logical id (`JobsTable`), a part of one
    /// (`JobsTable/index/due`, `Bucket/payloads/*`), `own queues`, `own dead letters`, `own logs`, `own stream`, `job queues`
    /// (every lane of every worker), `job dead letters` (theirs), something else of this account and region (`ses:identity/*`), or `*`.
    pub(crate) on: Vec<String>,
    /// A condition, as the policy has it.
    pub(crate) condition: Option<Value>,
    /// Why it is needed. Must be there when there is a wildcard or a condition.
    pub(crate) why: Option<String>,
}

impl Table {
    /// Reads the project's table.
    pub(crate) fn read(project: &Project) -> anyhow::Result<Self> {
        let path = project.file(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).context(FILE)
    }

    /// Reads a table and checks what its schema cannot say.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Self = serde_json::from_str(text)?;
        let mut names = BTreeSet::new();
        for function in &table.functions {
            ensure!(names.insert(&function.name), "{} has two rows", function.name);
            function.check(&table).with_context(|| function.name.clone())?;
        }
        let general = [&table.grants.every, &table.grants.queue, &table.grants.stream];
        general.into_iter().flatten().try_for_each(Grant::check)?;
        Ok(table)
    }
}

impl Function {
    fn check(&self, table: &Table) -> anyhow::Result<()> {
        let Trigger { http, lanes, queue, schedule, stream } = &self.trigger;
        ensure!(
            http.is_some() || !lanes.is_empty() || queue.is_some() || schedule.is_some() || stream.is_some(),
            "nothing calls it"
        );
        ensure!(
            [!lanes.is_empty(), queue.is_some(), stream.is_some()].iter().filter(|has| **has).count() <= 1,
            "it has two kinds of event source"
        );
        ensure!(
            lanes.windows(2).all(|pair| pair[0].lane < pair[1].lane),
            "its lanes are not in order: high, normal, low, ordered"
        );
        ensure!(lanes.is_empty() || lanes.iter().any(|lane| lane.lane == LaneName::Normal), "it has no normal lane");
        for lane in lanes {
            check_source(lane.batch, lane.window, lane.concurrency)?;
            ensure!(lane.lane != LaneName::Ordered || lane.window == 0, "a FIFO queue waits for no batch to fill");
        }
        if let Some(queue) = queue {
            check_source(queue.batch, queue.window, queue.concurrency)?;
        }
        for name in &self.env {
            ensure!(table.variables.contains_key(name), "the variable {name} has no value under \"variables\"");
        }
        self.grants.iter().try_for_each(Grant::check)
    }
}

/// Limits of an event source on a queue.
fn check_source(batch: u32, window: u32, concurrency: u32) -> anyhow::Result<()> {
    let most = if window == 0 { 10 } else { 10_000 };
    ensure!((1..=most).contains(&batch), "a batch is 1 to {most} messages with a window of {window} s");
    ensure!(CONCURRENCY.contains(&concurrency), "concurrency is {} to {}", CONCURRENCY.start(), CONCURRENCY.end());
    Ok(())
}

impl Grant {
    fn check(&self) -> anyhow::Result<()> {
        if let Some(action) = self.actions.iter().find(|action| action.contains('*')) {
            bail!("{action}: an action is named in full");
        }
        let wide = self.condition.is_some() || self.on.iter().any(|on| on.contains('*'));
        ensure!(!wide || self.why.is_some(), "{:?} on {:?} needs a \"why\"", self.actions, self.on);
        Ok(())
    }
}
