use super::Faults;
use crate::domain::id::Tenant;
use crate::domain::schedule::{Schedule, ScheduleName};
use crate::ports::{PortError, SchedulePlace, Schedules, Written};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type Items = BTreeMap<(Tenant, ScheduleName), Schedule>;

/// Schedules in memory.
#[derive(Clone, Default)]
pub struct MemorySchedules {
    items: Arc<Mutex<Items>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemorySchedules {
    fn with<T>(&self, work: impl FnOnce(&mut Items) -> T) -> T {
        work(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Schedules for MemorySchedules {
    async fn get(&self, tenant: &Tenant, name: &ScheduleName) -> Result<Option<Schedule>, PortError> {
        self.faults.before("get_schedule").await?;
        Ok(self.with(|items| items.get(&(tenant.clone(), name.clone())).cloned()))
    }

    async fn put(&self, before: Option<&Schedule>, after: &Schedule) -> Result<Written, PortError> {
        self.faults.before("put_schedule").await?;
        let written = self.with(|items| {
            let key = (after.tenant.clone(), after.name.clone());
            let stored = items.get(&key);
            let version = |schedule: &Schedule| (schedule.version, schedule.created_at);
            if stored.map(version) == before.map(version) {
                items.insert(key, after.clone());
                Written::Done
            } else if stored == Some(after) {
                Written::Done
            } else {
                Written::Stale
            }
        });
        self.faults.after("put_schedule").await?;
        Ok(written)
    }

    async fn delete(&self, tenant: &Tenant, name: &ScheduleName) -> Result<bool, PortError> {
        self.faults.before("delete_schedule").await?;
        let deleted = self.with(|items| items.remove(&(tenant.clone(), name.clone())).is_some());
        self.faults.after("delete_schedule").await?;
        Ok(deleted)
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&SchedulePlace>,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<SchedulePlace>), PortError> {
        self.faults.before("list_schedules").await?;
        let mut own: Vec<Schedule> =
            self.with(|items| items.values().filter(|schedule| schedule.tenant == *tenant).cloned().collect());
        let place = |created_at: Timestamp, name: &ScheduleName| (created_at, name.clone());
        own.retain(|schedule| {
            let own = place(schedule.created_at, &schedule.name);
            after.is_none_or(|after| own < place(after.created_at, &after.name))
        });
        own.sort_by_key(|schedule| std::cmp::Reverse(place(schedule.created_at, &schedule.name)));
        let more = own.len() > limit;
        own.truncate(limit);
        let last = own.last().filter(|_| more);
        let next = last.map(|last| SchedulePlace { created_at: last.created_at, name: last.name.clone() });
        Ok((own, next))
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<(Tenant, ScheduleName)>, PortError> {
        self.faults.before("due_schedules").await?;
        let mut due: Vec<(Timestamp, Tenant, ScheduleName)> = self.with(|items| {
            let ticking = items.values().filter_map(|schedule| {
                let next = schedule.next.filter(|next| *next <= until)?;
                Some((next, schedule.tenant.clone(), schedule.name.clone()))
            });
            ticking.collect()
        });
        due.sort();
        due.truncate(limit);
        Ok(due.into_iter().map(|(_, tenant, name)| (tenant, name)).collect())
    }
}
