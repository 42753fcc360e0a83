//! What AWS says of a stack. Nothing is judged here.

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::types::StateValue;
use aws_sdk_lambda::{
    error::{ProvideErrorMetadata, SdkError},
    types::{FunctionResponseType, RecursiveLoop},
};
use aws_sdk_scheduler::types::ScheduleState;
use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    error::Error as StdError,
};

use super::expect::Expected;

/// Calls at the same time. Reads of Lambda's configuration are throttled early.
const AT_ONCE: usize = 5;

/// What there is. What is missing has no entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) functions: BTreeMap<String, Function>,
    pub(super) queues: BTreeMap<String, Queue>,
    /// Event sources of these queues and functions, whoever made them.
    pub(super) sources: Vec<Source>,
    pub(super) schedules: Vec<Schedule>,
    pub(super) alarms: Vec<Alarm>,
}

#[derive(Clone, Debug)]
pub(super) struct Function {
    /// `Active` when it can be called.
    pub(super) state: String,
    /// Of the last update: `Successful`, `InProgress` or `Failed`.
    pub(super) update: String,
    pub(super) timeout: i64,
    /// Whether it may be called by its own messages again and again. None: Lambda was not asked.
    pub(super) may_loop: Option<bool>,
}

#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) visibility: i64,
    pub(super) retention: i64,
    pub(super) visible: i64,
    pub(super) in_flight: i64,
    /// Name of the queue its dead letters go to, and after how many receives.
    pub(super) redrive: Option<(String, i64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) function: String,
    /// Name of the queue. None: a stream.
    pub(super) queue: Option<String>,
    /// `Enabled` when it reads.
    pub(super) state: String,
    /// Whether an answer may name the messages that failed.
    pub(super) partial: bool,
    pub(super) concurrency: Option<i32>,
    /// How the last batch went.
    pub(super) last: String,
}

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) function: String,
}

#[derive(Clone, Debug)]
pub(super) struct Alarm {
    pub(super) name: String,
    pub(super) says: String,
    pub(super) ringing: bool,
    pub(super) actions: bool,
    /// Name of the queue it watches the depth of.
    pub(super) depth_of: Option<String>,
}

/// Asks AWS.
pub(super) async fn look(config: &SdkConfig, expected: &Expected) -> anyhow::Result<Facts> {
    let lambda = aws_sdk_lambda::Client::new(config);
    let (functions, sources, queues, schedules, alarms) = futures::try_join!(
        functions(&lambda, expected, is_local(config)),
        sources(&lambda, expected),
        queues(aws_sdk_sqs::Client::new(config), expected),
        schedules(aws_sdk_scheduler::Client::new(config), expected),
        alarms(aws_sdk_cloudwatch::Client::new(config), expected),
    )?;
    Ok(Facts { functions, queues, sources, schedules, alarms })
}

/// The local engine does not keep whether a function may loop.
fn is_local(config: &SdkConfig) -> bool {
    config.endpoint_url().is_some_and(|url| url.contains("://127.0.0.1") || url.contains("://localhost"))
}

/// What follows the last colon: the name of what an ARN names.
fn name(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// The error of a call, with what to look at.
fn failed<E, R>(what: &str, error: SdkError<E, R>) -> anyhow::Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let said = error.code().map(|code| format!("{code}: {}", error.message().unwrap_or("no more was said")));
    said.map_or_else(|| anyhow::Error::new(error), anyhow::Error::msg).context(format!(
        "{what} could not be read: are region and credentials those of the stack's account, and may they read it?"
    ))
}

async fn functions(
    client: &aws_sdk_lambda::Client,
    expected: &Expected,
    local: bool,
) -> anyhow::Result<BTreeMap<String, Function>> {
    let one = async |expected: &super::expect::Function| {
        let name = &expected.name;
        let answer = match client.get_function_configuration().function_name(name).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
                return Ok(None);
            }
            Err(error) => return Err(failed("the functions", error)),
        };
        let may_loop = if local || expected.queues.is_empty() {
            None
        } else {
            let answer = client.get_function_recursion_config().function_name(name).send().await;
            Some(answer.map_err(|error| failed("the functions", error))?.recursive_loop == Some(RecursiveLoop::Allow))
        };
        let function = Function {
            state: answer.state.map_or_else(String::new, |state| state.as_str().to_owned()),
            update: answer.last_update_status.map_or_else(String::new, |status| status.as_str().to_owned()),
            timeout: answer.timeout.unwrap_or_default().into(),
            may_loop,
        };
        Ok(Some((name.clone(), function)))
    };
    let all = stream::iter(&expected.functions).map(one).buffer_unordered(AT_ONCE);
    all.try_filter_map(async |found| Ok(found)).try_collect().await
}

async fn sources(client: &aws_sdk_lambda::Client, expected: &Expected) -> anyhow::Result<Vec<Source>> {
    // All of the account: somebody else's function on one of our queues would take its messages.
    let mut pages = client.list_event_source_mappings().into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(source) = pages.next().await {
        let source = source.map_err(|error| failed("the event sources", error))?;
        let (arn, function) = (source.event_source_arn.unwrap_or_default(), source.function_arn.unwrap_or_default());
        let queue = (arn.split(':').nth(2) == Some("sqs")).then(|| name(&arn).to_owned());
        // An alias or a version would follow the name.
        let function = function.split(':').nth(6).unwrap_or(&function).to_owned();
        if !expected.has(queue.as_ref().unwrap_or(&function)) {
            continue;
        }
        found.push(Source {
            function,
            queue,
            state: source.state.unwrap_or_default(),
            partial: source
                .function_response_types
                .is_some_and(|types| types.contains(&FunctionResponseType::ReportBatchItemFailures)),
            concurrency: source.scaling_config.and_then(|scaling| scaling.maximum_concurrency),
            last: source.last_processing_result.unwrap_or_default(),
        });
    }
    Ok(found)
}

async fn queues(client: aws_sdk_sqs::Client, expected: &Expected) -> anyhow::Result<BTreeMap<String, Queue>> {
    let prefix = format!("{}-", expected.stack);
    let mut pages = client.list_queues().queue_name_prefix(prefix).max_results(1000).into_paginator().items().send();
    let mut urls = Vec::new();
    while let Some(url) = pages.next().await {
        let url = url.map_err(|error| failed("the queues", error))?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        if expected.has(&name) {
            urls.push((name, url));
        }
    }
    let one = async |(name, url): (String, String)| {
        let call = client.get_queue_attributes().queue_url(url).attribute_names(Attribute::All);
        let answer = call.send().await.map_err(|error| failed("the queues", error))?;
        Ok((name, Queue::of(&answer.attributes.unwrap_or_default())))
    };
    stream::iter(urls).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

impl Queue {
    fn of(attributes: &HashMap<Attribute, String>) -> Self {
        let number = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let redrive = attributes.get(&Attribute::RedrivePolicy).and_then(|text| {
            let policy: Value = serde_json::from_str(text).ok()?;
            // SQS gives the number back as it was set: some tools set it as text.
            let count = &policy["maxReceiveCount"];
            let count = count.as_i64().or_else(|| count.as_str()?.parse().ok())?;
            Some((name(policy["deadLetterTargetArn"].as_str()?).to_owned(), count))
        });
        Self {
            visibility: number(Attribute::VisibilityTimeout),
            retention: number(Attribute::MessageRetentionPeriod),
            visible: number(Attribute::ApproximateNumberOfMessages),
            in_flight: number(Attribute::ApproximateNumberOfMessagesNotVisible),
            redrive,
        }
    }
}

async fn schedules(client: aws_sdk_scheduler::Client, expected: &Expected) -> anyhow::Result<Vec<Schedule>> {
    let prefix = format!("{}-", expected.stack);
    let mut pages = client.list_schedules().name_prefix(prefix).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(schedule) = pages.next().await {
        let schedule = schedule.map_err(|error| failed("the schedules", error))?;
        let target = schedule.target.map(|target| target.arn).unwrap_or_default();
        if expected.has(name(&target)) {
            found.push(Schedule {
                name: schedule.name.unwrap_or_default(),
                enabled: schedule.state == Some(ScheduleState::Enabled),
                function: name(&target).to_owned(),
            });
        }
    }
    Ok(found)
}

async fn alarms(client: aws_sdk_cloudwatch::Client, expected: &Expected) -> anyhow::Result<Vec<Alarm>> {
    let prefix = format!("{}-", expected.stack);
    let mut pages = client.describe_alarms().alarm_name_prefix(prefix).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed("the alarms", error))?;
        for alarm in page.metric_alarms.unwrap_or_default() {
            let dimensions = alarm.dimensions.unwrap_or_default();
            let mut values = dimensions.iter().filter_map(|dimension| dimension.value.as_deref());
            // The prefix is also that of a stack whose name goes on where ours ends. Alarms of the whole account have no dimension.
            if !dimensions.is_empty() && !values.any(|value| value == expected.stack || expected.has(value)) {
                continue;
            }
            let depth = alarm.metric_name.as_deref() == Some("ApproximateNumberOfMessagesVisible");
            let queue = dimensions.iter().find(|dimension| depth && dimension.name.as_deref() == Some("QueueName"));
            found.push(Alarm {
                name: alarm.alarm_name.unwrap_or_default(),
                says: alarm.alarm_description.unwrap_or_default(),
                ringing: alarm.state_value == Some(StateValue::Alarm),
                actions: alarm.actions_enabled == Some(true) && !alarm.alarm_actions.unwrap_or_default().is_empty(),
                depth_of: queue.and_then(|dimension| dimension.value.clone()),
            });
        }
    }
    Ok(found)
}
