use super::Faults;
use crate::domain::change::{Change, Sequence, Step};
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Carrier, Event, Job, State, transition};
use crate::ports::{
    Applied, Created, DeadJob, DeadJobs, Death, DueJob, JobScan, Jobs, PortError, RecentJob, ScanPage, ScannedJob,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Jobs in memory. Its guard is [`transition`] itself.
#[derive(Clone, Default)]
pub struct MemoryJobs {
    items: Arc<Mutex<BTreeMap<JobId, (Job, bool)>>>,
    stream: Arc<Mutex<Option<Vec<Change>>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryJobs {
    /// Jobs whose changes are kept, as the table's stream has them.
    #[must_use]
    pub fn streamed() -> Self {
        Self { stream: Arc::new(Mutex::new(Some(Vec::new()))), ..Self::default() }
    }

    /// The changes from the one at `from` on.
    #[must_use]
    pub fn changes(&self, from: usize) -> Vec<Change> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_ref().and_then(|changes| changes.get(from..)).unwrap_or_default().to_vec()
    }

    /// Deletes a job, as the table does when its time to be kept is over.
    pub fn delete(&self, id: &JobId) {
        self.with(|items| {
            if let Some((job, _)) = items.remove(id) {
                self.tell(|| Step::Deleted(Box::new(job)));
            }
        });
    }

    fn tell(&self, step: impl FnOnce() -> Step) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = stream.as_mut() {
            let sequence = Sequence::parse(&(changes.len() + 1).to_string()).expect("a number");
            changes.push(Change { sequence, step: step() });
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<JobId, (Job, bool)>) -> T) -> T {
        work(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every job there is.
    #[must_use]
    pub fn all(&self) -> Vec<Job> {
        self.with(|items| items.values().map(|(job, _)| job.clone()).collect())
    }
}

#[async_trait]
impl Jobs for MemoryJobs {
    async fn create(&self, job: &Job, clock: bool) -> Result<Created, PortError> {
        self.faults.before("create").await?;
        let created = self.with(|items| match items.get(&job.id) {
            Some((old, _)) => Created::Exists(Box::new(old.clone())),
            None => {
                items.insert(job.id.clone(), (job.clone(), clock));
                self.tell(|| Step::Created(Box::new(job.clone())));
                Created::New
            }
        });
        self.faults.after("create").await?;
        Ok(created)
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, PortError> {
        self.faults.before("get").await?;
        Ok(self.with(|items| items.get(id).map(|(job, _)| job.clone())))
    }

    async fn apply(&self, id: &JobId, event: &Event, now: Timestamp) -> Result<Applied, PortError> {
        self.faults.before("apply").await?;
        let applied = self.with(|items| {
            let Some((job, due)) = items.get_mut(id) else { return Applied::Missing };
            match transition(job, event, now) {
                Ok(next) => {
                    *due = match event {
                        Event::GiveBack { by, .. } => *by == Carrier::Clock,
                        Event::Retry { .. } => true,
                        Event::Heartbeat { .. } | Event::Progress { .. } | Event::AskCancel => *due,
                        _ => false,
                    };
                    let old = std::mem::replace(job, next.clone());
                    self.tell(|| Step::Changed { old: Box::new(old), new: Box::new(next.clone()) });
                    Applied::Done(Box::new(next))
                }
                Err(why) => Applied::Refused(why, Box::new(job.clone())),
            }
        });
        self.faults.after("apply").await?;
        Ok(applied)
    }

    async fn get_many(&self, ids: &[JobId]) -> Result<Vec<Job>, PortError> {
        self.faults.before("get_many").await?;
        Ok(self.with(|items| ids.iter().filter_map(|id| items.get(id).map(|(job, _)| job.clone())).collect()))
    }

    async fn recent(
        &self,
        tenant: &Tenant,
        after: Option<&RecentJob>,
        limit: usize,
    ) -> Result<Vec<RecentJob>, PortError> {
        self.faults.before("recent").await?;
        let place = |job: &Job| (job.created_at, job.id.clone());
        let after = after.map(|after| (after.created_at, after.id.clone()));
        let mut places: Vec<(Timestamp, JobId)> = self.with(|items| {
            let own = items.values().map(|(job, _)| job).filter(|job| job.tenant == *tenant);
            own.map(place).filter(|place| after.as_ref().is_none_or(|after| place < after)).collect()
        });
        places.sort_by(|a, b| b.cmp(a));
        places.truncate(limit);
        Ok(places.into_iter().map(|(created_at, id)| RecentJob { created_at, id }).collect())
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueJob>, PortError> {
        self.faults.before("due").await?;
        let mut due: Vec<DueJob> = self.with(|items| {
            let waiting = items.values().filter(|(job, due)| *due && job.state == State::Scheduled);
            waiting
                .filter_map(|(job, _)| {
                    let run_at = job.run_at.filter(|at| *at <= until)?;
                    Some(DueJob { id: job.id.clone(), run_at })
                })
                .collect()
        });
        due.sort_by_key(|job| job.run_at);
        due.truncate(limit);
        Ok(due)
    }
}

#[async_trait]
impl DeadJobs for MemoryJobs {
    async fn dead(
        &self,
        tenant: &Tenant,
        after: Option<&Death>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeadJob>, PortError> {
        self.faults.before("dead").await?;
        let place = |death: &Death| (death.at, death.id.clone());
        let mut dead: Vec<DeadJob> = self.with(|items| {
            let dead = items.values().map(|(job, _)| job);
            let dead = dead.filter(|job| job.state == State::Dead && job.tenant == *tenant);
            dead.filter_map(|job| {
                let death = Death { at: job.finished_at?, id: job.id.clone() };
                let (kind, tags, error) = (job.kind.clone(), job.tags.clone(), job.error.clone());
                Some(DeadJob { death, kind, tags, error })
            })
            .collect()
        });
        dead.retain(|job| job.death.at <= until && after.is_none_or(|after| place(&job.death) > place(after)));
        dead.sort_by_key(|job| place(&job.death));
        dead.truncate(limit);
        Ok(dead)
    }
}

#[async_trait]
impl JobScan for MemoryJobs {
    async fn scan(&self, segment: u32, of: u32, from: Option<&str>) -> Result<ScanPage, PortError> {
        const PAGE: usize = 4;
        self.faults.before("scan").await?;
        let own: Vec<Job> = self.with(|items| {
            let numbered = (0..of).cycle().zip(items.values());
            numbered.filter(|(number, _)| *number == segment).map(|(_, (job, _))| job.clone()).collect()
        });
        let rest = own.into_iter().filter(|job| from.is_none_or(|from| job.id.as_str() > from));
        let mut page: Vec<Job> = rest.take(PAGE + 1).collect();
        let more = page.len() > PAGE;
        page.truncate(PAGE);
        let next = page.last().filter(|_| more).map(|job| job.id.to_string());
        let looked_at = page.len() as u64;
        let alive = page.into_iter().filter(|job| !matches!(job.state, State::Succeeded | State::Cancelled));
        let jobs = alive.map(|job| ScannedJob { id: job.id.to_string(), job: Ok(Box::new(job)) }).collect();
        Ok(ScanPage { jobs, looked_at, units: 0.5, next })
    }
}
