//! After the fact: what follows from the changes of jobs, taken from the stream of their table.
//!
//! Every step may be repeated: a count is kept once for each change, a place in a group is closed once, the jobs that are
//! submitted have derived ids, and events carry an id of their own. So a batch either succeeds whole or is told again whole.

use crate::accept::{Intake, NewJob, SubmitError, fingerprint, submit_many};
use crate::domain::change::{Change, Shard};
use crate::domain::effects::{Callback, Effects, JobEvent, effects};
use crate::domain::group::Group;
use crate::domain::id::GroupId;
use crate::domain::lane::Priority;
use crate::domain::stats::pages;
use crate::groups::completion;
use crate::job::Job as _;
use crate::jobs::{Webhook, kind};
use crate::ports::{Bus, Counters, Groups, PortError};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes at the same time.
const CONCURRENCY: usize = 8;

/// One record of the stream.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// A job's change.
    Change(Box<Change>),
    /// A change of an item that is no job.
    Foreign,
    /// Something that this build cannot read.
    Unreadable {
        /// Why, without quoting the record.
        why: String,
        /// The record as it came, to be kept.
        record: String,
    },
}

/// What the outbox works with.
#[derive(Clone)]
pub struct Outbox {
    /// The pages of counts.
    pub counters: Arc<dyn Counters>,
    /// The groups of jobs.
    pub groups: Arc<dyn Groups>,
    /// Where the jobs are put that follow.
    pub intake: Intake,
    /// Who is told. `None`: nobody.
    pub bus: Option<Arc<dyn Bus>>,
}

/// What a batch came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Pages of counts that were written or found written.
    pub pages: usize,
    /// Groups that jobs of this batch belong to.
    pub groups: usize,
    /// Jobs that follow groups.
    pub completions: usize,
    /// Jobs that call back.
    pub callbacks: usize,
    /// Events that were published.
    pub events: usize,
}

impl Outbox {
    /// Carries out what follows from the changes of one shard, which are in order. Safe to repeat, also in part.
    ///
    /// # Errors
    /// When a service did not take something. The whole batch is to be told again.
    pub async fn take(&self, shard: &Shard, changes: &[Change], now: Timestamp) -> Result<Done, PortError> {
        let mut done = Done::default();
        let pages = pages(changes);
        done.pages = pages.len();
        stream::iter(&pages)
            .map(|(page, entries)| self.counters.add(shard, page, entries, now))
            .buffer_unordered(CONCURRENCY)
            .try_collect::<()>()
            .await?;

        let mut closed: BTreeMap<GroupId, Vec<u16>> = BTreeMap::new();
        let mut follow = Vec::new();
        let mut events: Vec<JobEvent> = Vec::new();
        for Effects { event, callback, closed: place } in changes.iter().map(effects) {
            events.extend(event);
            if let Some(place) = place {
                closed.entry(place.group).or_default().push(place.index);
            }
            if let Some(callback) = callback {
                follow.push(call(callback)?);
                done.callbacks += 1;
            }
        }
        done.groups = closed.len();
        let due = self.close(&closed).await?;
        let completions = self.completions(due).await?;
        done.completions = completions.len();
        let (ids, jobs): (Vec<GroupId>, Vec<NewJob>) = completions.into_iter().unzip();
        follow.splice(0..0, jobs);
        self.submit(follow, now).await?;
        for id in &ids {
            self.groups.completed(id, now).await?;
        }

        // Last, because what is told twice costs whoever listens.
        if let Some(bus) = &self.bus {
            bus.publish(&events).await?;
            done.events = events.len();
        }
        Ok(done)
    }

    /// Takes jobs that are over out of their groups. Gives the groups that are complete by that.
    async fn close(&self, closed: &BTreeMap<GroupId, Vec<u16>>) -> Result<Vec<Group>, PortError> {
        let groups: Vec<_> = stream::iter(closed)
            .map(|(id, jobs)| self.groups.close(id, jobs))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(groups.into_iter().flatten().filter(Group::is_due).collect())
    }

    async fn completions(&self, due: Vec<Group>) -> Result<Vec<(GroupId, NewJob)>, PortError> {
        let mut jobs = Vec::with_capacity(due.len());
        for group in due {
            match completion(&self.intake, &group).await {
                Ok(job) => jobs.push((group.id, job)),
                Err(error) if error.is_transient() => return Err(error),
                // Nothing makes it readable by waiting, and the shard has other things to tell.
                Err(error) => tracing::error!(group = %group.id, "the job that follows cannot be made: {error}"),
            }
        }
        Ok(jobs)
    }

    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<(), PortError> {
        let ids: Vec<_> = jobs.iter().map(|job| job.id.clone()).collect();
        for (id, submitted) in ids.iter().zip(submit_many(&self.intake, jobs, now).await) {
            match submitted {
                Ok(_) => {}
                Err(SubmitError::Unavailable(error)) => return Err(error),
                Err(SubmitError::Mismatch) => tracing::error!(job = %id, "another job has the id of one that follows"),
            }
        }
        Ok(())
    }
}

/// The job that makes a call.
fn call(callback: Callback) -> Result<NewJob, PortError> {
    let payload =
        Webhook { url: callback.url.into(), name: callback.name, data: callback.data, timestamp: Some(callback.at) };
    let payload = serde_json::to_value(payload).map_err(|error| PortError::Refused(error.into()))?;
    let kind = kind(Webhook::KIND).ok_or_else(|| PortError::Refused(anyhow::anyhow!("the kind webhook is gone")))?;
    Ok(NewJob {
        id: callback.id,
        repeatable: true,
        fingerprint: fingerprint(&payload),
        tenant: callback.tenant,
        kind,
        payload,
        priority: Priority::Normal,
        ordering_key: None,
        run_at: None,
        expires_at: None,
        max_attempts: None,
        timeout: None,
        callback_url: None,
        group: None,
        tags: Vec::new(),
    })
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
