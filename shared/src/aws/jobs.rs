use super::batch_get::batch_get;
use super::due::due_items;
use super::item::{self, DUE_SHARDS, Item, due_shard, json, ms, n, s};
use super::jobs_update::{Update, update};
use super::port_error;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Job, Refused, State, transition};
use crate::domain::lane::Priority;
use crate::ports::{Applied, Created, DueJob, Jobs, PortError, RecentJob};
use crate::telemetry::{self, Metric};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use futures::future::try_join_all;
use jiff::Timestamp;
use std::time::Duration;

/// Jobs in a DynamoDB table with the key `pk`, the sparse indexes `due` and `dead` and the index `recent`.
#[derive(Clone)]
pub struct DynamoJobs {
    pub(super) client: Client,
    pub(super) table: String,
}

pub(super) fn pk(id: &JobId) -> String {
    format!("JOB#{id}")
}

impl DynamoJobs {
    /// The name of the index of a tenant's jobs by the time they were accepted. It holds keys that never change, so only a
    /// job's first write and its deletion cost more by it.
    pub const RECENT_INDEX: &'static str = "recent";

    /// Jobs in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// One cheap read, to open the connection before the first job needs it.
    pub async fn warm(&self) {
        let _ = self.client.get_item().table_name(&self.table).key("pk", s("WARM")).send().await;
    }
}

fn due_job(item: &Item) -> Result<DueJob, PortError> {
    Ok(DueJob { id: read_id(item)?, run_at: item::time(item, "due_at")? })
}

#[async_trait]
impl Jobs for DynamoJobs {
    async fn create(&self, job: &Job, clock: bool) -> Result<Created, PortError> {
        let mut item = write(job)?;
        if clock && let Some(run_at) = job.run_at {
            item.insert("due_shard".into(), s(due_shard(&pk(&job.id))));
            item.insert("due_at".into(), ms(run_at));
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Created::New),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(e) => e.item,
                    _ => None,
                };
                let old = read(&old.ok_or_else(|| item::corrupt("pk"))?)?;
                // The SDK may have sent the put twice: then the first of the two wrote this very job.
                Ok(if old == *job { Created::New } else { Created::Exists(Box::new(old)) })
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, PortError> {
        let get = self.client.get_item().table_name(&self.table).key("pk", s(pk(id))).consistent_read(true);
        get.send().await.map_err(port_error)?.item.as_ref().map(read).transpose()
    }

    async fn apply(&self, id: &JobId, event: &Event, now: Timestamp) -> Result<Applied, PortError> {
        let Update { expression, condition, names, values } = update(&pk(id), event, now)?;
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(pk(id)))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match call.send().await {
            Ok(done) => {
                let job = read(&done.attributes.unwrap_or_default())?;
                // No event leaves a dead job dead, so this is its death.
                if job.state == State::Dead {
                    telemetry::count(Metric::JobsDead, 1);
                }
                Ok(Applied::Done(Box::new(job)))
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(e) => {
                        e.item
                    }
                    _ => None,
                };
                let Some(old) = old else { return Ok(Applied::Missing) };
                let job = read(&old)?;
                Ok(match explain(&job, event, now) {
                    Some(why) => Applied::Refused(why, Box::new(job)),
                    None => Applied::Done(Box::new(job)),
                })
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn get_many(&self, ids: &[JobId]) -> Result<Vec<Job>, PortError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(100) {
            let keys = ids.iter().map(|id| Item::from([("pk".into(), s(pk(id)))])).collect();
            for item in batch_get(&self.client, &self.table, keys, false).await? {
                found.push(read(&item)?);
            }
        }
        Ok(found)
    }

    async fn recent(
        &self,
        tenant: &Tenant,
        after: Option<&RecentJob>,
        limit: usize,
    ) -> Result<Vec<RecentJob>, PortError> {
        let mut found = Vec::with_capacity(limit);
        let mut start = after.map(|after| {
            Item::from([
                ("tenant".into(), s(tenant.as_str())),
                ("created_at".into(), ms(after.created_at)),
                ("pk".into(), s(pk(&after.id))),
            ])
        });
        while found.len() < limit {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(Self::RECENT_INDEX)
                .key_condition_expression("tenant = :tenant")
                .expression_attribute_values(":tenant", s(tenant.as_str()))
                .scan_index_forward(false)
                .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            let answer = query.send().await.map_err(port_error)?;
            for item in answer.items() {
                let (created_at, id) = (item::time(item, "created_at")?, read_id(item)?);
                found.push(RecentJob { created_at, id });
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueJob>, PortError> {
        let share = limit.div_ceil(usize::from(DUE_SHARDS)).max(1);
        let names: Vec<String> = (0..DUE_SHARDS).map(|shard| shard.to_string()).collect();
        let shards = names.iter().map(|shard| due_items(&self.client, &self.table, shard, until, share));
        try_join_all(shards).await?.iter().flatten().map(due_job).collect()
    }
}

/// Why the condition failed, by the machine's own word. `None`: the event has happened already, written by this very call,
/// which the SDK sent twice because the first answer was lost.
fn explain(job: &Job, event: &Event, now: Timestamp) -> Option<Refused> {
    let ours = job.updated_at == now
        && match event {
            Event::Claim { owner, .. } => job.state == State::Running && job.owner == Some(*owner),
            Event::Succeed { fence, result } => {
                job.state == State::Succeeded && job.fence == *fence && job.result == *result
            }
            Event::GiveBack { fence, run_at, .. } => {
                matches!(job.state, State::Queued | State::Scheduled)
                    && job.fence == *fence
                    && job.run_at == Some(*run_at)
            }
            Event::Bury { fence, error } => {
                job.state == State::Dead && job.fence == *fence && job.error.as_ref() == Some(error)
            }
            Event::Condemn { error } => job.state == State::Dead && job.error.as_ref() == Some(error),
            Event::Release { run_at } => job.state == State::Queued && job.run_at == Some(*run_at),
            Event::Cancel => job.state == State::Cancelled,
            Event::Stop { fence } => job.state == State::Cancelled && job.fence == *fence,
            Event::Retry { payload, .. } => {
                job.state == State::Scheduled
                    && job.run_at == Some(now)
                    && payload.as_ref().is_none_or(|payload| job.payload == *payload)
            }
            Event::Heartbeat { .. } | Event::Progress { .. } | Event::AskCancel => false,
        };
    if ours {
        return None;
    }
    Some(transition(job, event, now).err().unwrap_or(Refused::WrongState))
}

/// How long a finished job is kept, from its last change.
pub(super) const KEEP_SUCCEEDED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a dead job is kept: long enough for a person to come back from anything.
pub(super) const KEEP_DEAD: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How long a cancelled job is kept.
pub(super) const KEEP_CANCELLED: Duration = KEEP_SUCCEEDED;

fn write(job: &Job) -> Result<Item, PortError> {
    let mut item = Item::from([
        ("pk".into(), s(pk(&job.id))),
        ("tenant".into(), s(job.tenant.as_str())),
        ("kind".into(), s(&job.kind)),
        ("state".into(), s(job.state.as_str())),
        ("attempt".into(), n(job.attempt)),
        ("max_attempts".into(), n(job.max_attempts)),
        ("fence".into(), n(job.fence)),
        ("fingerprint".into(), s(&job.fingerprint)),
        ("created_at".into(), ms(job.created_at)),
        ("updated_at".into(), ms(job.updated_at)),
        ("payload".into(), json(&job.payload)?),
    ]);
    if job.priority != Priority::default() {
        item.insert("priority".into(), s(job.priority.as_str()));
    }
    if let Some(key) = &job.ordering_key {
        item.insert("ordering_key".into(), s(key.as_str()));
    }
    if !job.tags.is_empty() {
        item.insert("tags".into(), json(&job.tags)?);
    }
    let times = [("run_at", job.run_at), ("start_by", job.expires_at)];
    for (name, at) in times {
        if let Some(at) = at {
            item.insert(name.into(), ms(at));
        }
    }
    if let Some(url) = &job.callback_url {
        item.insert("callback_url".into(), s(url.as_str()));
    }
    if let Some(member) = &job.group {
        item.insert("group".into(), s(member.to_string()));
    }
    if let Some(timeout) = job.timeout {
        item.insert("timeout_ms".into(), n(timeout.as_millis()));
    }
    Ok(item)
}

pub(super) fn read_id(item: &Item) -> Result<JobId, PortError> {
    let id = item::text(item, "pk")?.trim_start_matches("JOB#");
    JobId::parse(id).map_err(|_| item::corrupt("pk"))
}

fn read_priority(item: &Item) -> Result<Priority, PortError> {
    match item::optional_text(item, "priority") {
        None => Ok(Priority::default()),
        Some(text) => {
            let known = Priority::ALL.into_iter().find(|known| known.as_str() == text);
            known.ok_or_else(|| item::corrupt("priority"))
        }
    }
}

pub(super) fn read(item: &Item) -> Result<Job, PortError> {
    let state = item::text(item, "state")?;
    Ok(Job {
        id: read_id(item)?,
        tenant: item::parsed(item, "tenant")?,
        kind: item::text(item, "kind")?.to_owned(),
        priority: read_priority(item)?,
        ordering_key: item.contains_key("ordering_key").then(|| item::parsed(item, "ordering_key")).transpose()?,
        state: State::ALL.into_iter().find(|known| known.as_str() == state).ok_or_else(|| item::corrupt("state"))?,
        attempt: item::number(item, "attempt")?,
        max_attempts: item::number(item, "max_attempts")?,
        fence: item::number(item, "fence")?,
        fingerprint: item::text(item, "fingerprint")?.to_owned(),
        tags: item::optional_json(item, "tags")?.unwrap_or_default(),
        created_at: item::time(item, "created_at")?,
        updated_at: item::time(item, "updated_at")?,
        run_at: item::optional_time(item, "run_at"),
        started_at: item::optional_time(item, "started_at"),
        finished_at: item::optional_time(item, "finished_at"),
        lease_until: item::optional_time(item, "lease_until"),
        owner: item::optional_number(item, "owner"),
        expires_at: item::optional_time(item, "start_by"),
        timeout: item::optional_number(item, "timeout_ms").map(Duration::from_millis),
        callback_url: item::optional_parsed(item, "callback_url")?,
        group: item::optional_parsed(item, "group")?,
        progress: item::optional_json(item, "progress")?,
        cancel_requested: item::flag(item, "cancel_requested"),
        payload: item::optional_json(item, "payload")?.ok_or_else(|| item::corrupt("payload"))?,
        edited: item::flag(item, "edited"),
        result: item::optional_json(item, "result")?,
        error: item::optional_json(item, "error")?,
    })
}
