//! The table as the template's sources see it: every name that follows from a row is made here, once.

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    table::{Function, Grant, Lane, LaneName, OWN_DEAD_LETTERS, Schedule, Stream, Table, Trigger},
    yaml,
};

/// Visibility timeout over the function's timeout, beside the window, as AWS advises for a queue that a function reads.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
const VISIBILITY: u32 = 6;
/// Seconds after which a message of the lane high is late; longer than the 15 minutes by which a retry may be delayed.
const LATE: u32 = 1_200;
/// Columns of a comment.
const COLUMNS: usize = 100;

/// All functions.
#[derive(Serialize)]
pub(crate) struct View {
    functions: Vec<FunctionView>,
    /// Tables with a stream.
    streamed: Vec<String>,
    /// Names of all queues that are read, after the stack's.
    all_queues: Vec<String>,
}

#[derive(Serialize)]
struct FunctionView {
    /// Beginning of its logical ids: `NewsletterRun`.
    id: String,
    name: String,
    description: String,
    timeout: Option<u32>,
    memory: Option<u32>,
    route: Option<String>,
    env: Vec<(String, String)>,
    statements: Vec<Statement>,
    queues: Vec<QueueView>,
    dead: Vec<DeadView>,
    schedule: Option<ScheduleView>,
    stream: Option<StreamView>,
    /// Whether it sends messages.
    sends: bool,
}

#[derive(Serialize)]
struct Statement {
    why: Vec<String>,
    actions: Vec<String>,
    on: Vec<String>,
    condition: Option<String>,
}

/// A queue that calls a function.
#[derive(Serialize, Clone)]
pub(crate) struct QueueView {
    id: String,
    /// After the stack's name.
    pub(crate) name: String,
    /// What it is, for a reader.
    what: String,
    /// Logical id of its event source after the function's.
    event: String,
    pub(crate) fifo: bool,
    dead: String,
    visibility: String,
    batch: u32,
    pub(crate) window: u32,
    pub(crate) concurrency: u32,
    /// Seconds after which a message that still waits is worth an alarm.
    late: u32,
    fed_by: Option<String>,
}

/// A queue of dead letters.
#[derive(Serialize)]
pub(crate) struct DeadView {
    id: String,
    pub(crate) name: String,
    what: String,
    alarm: String,
    pub(crate) fifo: bool,
    /// Names of the queues it takes from. None: Lambda sends to it.
    sources: Vec<String>,
}

#[derive(Serialize)]
struct ScheduleView {
    #[serde(flatten)]
    schedule: Schedule,
    /// Seconds without a tick that are worth an alarm.
    silence: u32,
}

#[derive(Serialize)]
struct StreamView {
    #[serde(flatten)]
    stream: Stream,
    patterns: Vec<String>,
}

/// The queues of all workers, and those of their dead letters.
struct JobQueues {
    queues: Vec<String>,
    dead: Vec<String>,
}

impl View {
    pub(crate) fn of(table: Table) -> anyhow::Result<Self> {
        let workers = || table.functions.iter().filter(|function| !function.trigger.lanes.is_empty());
        let jobs = JobQueues {
            queues: workers().flat_map(queues).map(|queue| queue.id).collect(),
            dead: workers().flat_map(dead).map(|dead| dead.id).collect(),
        };
        let mut streamed: Vec<String> = Vec::new();
        let mut functions = Vec::new();
        for function in &table.functions {
            streamed.extend(function.trigger.stream.as_ref().map(|stream| stream.table.clone()));
            functions.push(FunctionView::of(function, &table, &jobs).with_context(|| function.name.clone())?);
        }
        streamed.sort();
        streamed.dedup();
        let all_queues = table.functions.iter().flat_map(queues).map(|queue| queue.name).collect();
        Ok(Self { functions, streamed, all_queues })
    }
}

impl FunctionView {
    fn of(function: &Function, table: &Table, jobs: &JobQueues) -> anyhow::Result<Self> {
        let own = Own { id: camel(&function.name), queues: queues(function), dead: dead(function), function };
        let Trigger { http, schedule, stream, .. } = &function.trigger;
        let general = [
            Some(&table.grants.every),
            (!own.queues.is_empty()).then_some(&table.grants.queue),
            stream.as_ref().map(|_| &table.grants.stream),
        ];
        let grants = || general.into_iter().flatten().flatten().chain(&function.grants);
        let env = function
            .env
            .iter()
            .map(|name| Ok((name.clone(), yaml::value(&own.variable(&table.variables[name])?, false))));
        Ok(Self {
            name: function.name.clone(),
            description: function.description.clone(),
            timeout: function.timeout,
            memory: function.memory,
            route: http.as_ref().map(|http| http.route.clone()),
            env: env.collect::<anyhow::Result<_>>()?,
            statements: grants().map(|grant| own.statement(grant, jobs)).collect::<anyhow::Result<_>>()?,
            schedule: match schedule {
                Some(schedule) => Some(ScheduleView { silence: silence(&schedule.rate)?, schedule: schedule.clone() }),
                None => None,
            },
            stream: stream.clone().map(|stream| StreamView {
                patterns: stream
                    .filters
                    .iter()
                    .map(|pattern| yaml::value(&Value::from(pattern.to_string()), false))
                    .collect(),
                stream,
            }),
            sends: grants().any(|grant| grant.actions.iter().any(|action| action == "sqs:SendMessage")),
            id: own.id,
            queues: own.queues,
            dead: own.dead,
        })
    }
}

/// What `own …` in a row stands for.
struct Own<'a> {
    id: String,
    queues: Vec<QueueView>,
    dead: Vec<DeadView>,
    function: &'a Function,
}

impl Own<'_> {
    fn variable(&self, value: &Value) -> anyhow::Result<Value> {
        if *value != json!({"Ref": OWN_DEAD_LETTERS}) {
            return Ok(value.clone());
        }
        let dead = self.dead.first().context("it has no dead-letter queue")?;
        Ok(json!({"Ref": dead.id}))
    }

    fn statement(&self, grant: &Grant, jobs: &JobQueues) -> anyhow::Result<Statement> {
        let mut on = Vec::new();
        for name in &grant.on {
            on.extend(self.arns(name, jobs)?);
        }
        Ok(Statement {
            why: grant.why.as_deref().map(wrapped).unwrap_or_default(),
            actions: grant.actions.clone(),
            on,
            condition: grant.condition.as_ref().map(|condition| yaml::value(condition, false)),
        })
    }

    fn arns(&self, on: &str, jobs: &JobQueues) -> anyhow::Result<Vec<String>> {
        let arn = |id: &str| format!("!GetAtt {id}.Arn");
        let found = match on {
            "*" => vec!["'*'".to_owned()],
            "own logs" => vec![arn(&format!("{}Logs", self.id))],
            "own queues" => self.queues.iter().map(|queue| arn(&queue.id)).collect(),
            OWN_DEAD_LETTERS => self.dead.iter().map(|dead| arn(&dead.id)).collect(),
            "own stream" => {
                let stream = self.function.trigger.stream.as_ref();
                stream.map(|stream| format!("!Sub ${{{}.Arn}}/stream/*", stream.table)).into_iter().collect()
            }
            "job queues" => jobs.queues.iter().map(|id| arn(id)).collect(),
            "job dead letters" => jobs.dead.iter().map(|id| arn(id)).collect(),
            _ if on.contains(' ') => bail!("{on:?} is no name of something to allow"),
            _ => vec![match (on.split_once(':'), on.split_once('/')) {
                (Some((service, rest)), _) => {
                    format!("!Sub arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}")
                }
                (None, Some((id, rest))) => format!("!Sub ${{{id}.Arn}}/{rest}"),
                (None, None) => arn(on),
            }],
        };
        if found.is_empty() {
            bail!("it has no {}", on.trim_start_matches("own "));
        }
        Ok(found)
    }
}

/// The queues that call a function.
pub(crate) fn queues(function: &Function) -> Vec<QueueView> {
    let (id, name) = (camel(&function.name), &function.name);
    let visibility = |window: u32| match function.timeout {
        Some(seconds) => (VISIBILITY * seconds + window).to_string(),
        None => "!Ref VisibilityTimeout".to_owned(),
    };
    let lane = |lane: &Lane| {
        let (part, suffix, what, late) = match lane.lane {
            LaneName::High => ("High", "-high", "Lane high of", LATE),
            LaneName::Normal => ("", "", "Queue of", 2 * LATE),
            LaneName::Low => ("Low", "-low", "Lane low of", 6 * LATE),
            LaneName::Ordered => ("Ordered", "-ordered.fifo", "Lane ordered of", 2 * LATE),
        };
        let fifo = lane.lane == LaneName::Ordered;
        QueueView {
            id: format!("{id}{part}Queue"),
            name: format!("{name}{suffix}"),
            what: format!("{what} {name}."),
            event: format!("{part}Queue"),
            fifo,
            dead: format!("{id}{}DeadLetterQueue", if fifo { part } else { "" }),
            visibility: visibility(lane.window),
            batch: lane.batch,
            window: lane.window,
            concurrency: lane.concurrency,
            late,
            fed_by: None,
        }
    };
    let single = function.trigger.queue.iter().map(|queue| QueueView {
        fed_by: queue.fed_by.clone(),
        ..lane(&Lane {
            lane: LaneName::Normal,
            batch: queue.batch,
            window: queue.window,
            concurrency: queue.concurrency,
        })
    });
    function.trigger.lanes.iter().map(lane).chain(single).collect()
}

/// The dead-letter queues of a function: a FIFO queue's must be one too.
pub(crate) fn dead(function: &Function) -> Vec<DeadView> {
    let (id, name, queues) = (camel(&function.name), &function.name, queues(function));
    let view = |fifo: bool| DeadView {
        id: format!("{id}{}DeadLetterQueue", if fifo { "Ordered" } else { "" }),
        name: format!("{name}-dead{}", if fifo { ".fifo" } else { "" }),
        what: match (&function.trigger.stream, fifo) {
            (Some(stream), _) => {
                format!("Where the records are listed that {name} could not take from {}.", stream.table)
            }
            (None, false) => format!("What no worker of {name} could read."),
            (None, true) => format!("What no worker of {name}'s lane ordered could read."),
        },
        alarm: format!("{id}{}DeadLetterAlarm", if fifo { "Ordered" } else { "" }),
        fifo,
        sources: queues.iter().filter(|queue| queue.fifo == fifo).map(|queue| queue.name.clone()).collect(),
    };
    let plain = function.trigger.stream.is_some() || queues.iter().any(|queue| !queue.fifo);
    let fifo = queues.iter().any(|queue| queue.fifo);
    [(plain, false), (fifo, true)].into_iter().filter(|(has, _)| *has).map(|(_, fifo)| view(fifo)).collect()
}

/// Four ticks, in the periods that CloudWatch knows.
fn silence(rate: &str) -> anyhow::Result<u32> {
    let (number, unit) = rate.split_once(' ').context("a rate is a number and a unit")?;
    let unit = match unit.trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => bail!("a rate counts minutes, hours or days"),
    };
    Ok((4 * unit * number.parse::<u32>()?).clamp(300, 86_400))
}

/// `newsletter-run` as `NewsletterRun`.
pub(crate) fn camel(name: &str) -> String {
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..].to_ascii_lowercase();
    name.split(['-', '_']).filter(|part| !part.is_empty()).map(word).collect()
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            word.clone_into(line);
        } else if line.len() + word.len() < COLUMNS {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
