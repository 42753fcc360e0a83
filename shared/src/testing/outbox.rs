use super::Faults;
use crate::domain::change::{Sequence, Shard};
use crate::domain::effects::JobEvent;
use crate::domain::group::Group;
use crate::domain::id::{GroupId, Tenant};
use crate::domain::stats::{Counts, Entry, Minute, Page, after};
use crate::ports::{Added, Bus, Counters, Depth, Groups, PortError, QueueDepths};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Book {
    counts: BTreeMap<Page, Counts>,
    last: BTreeMap<(Page, Shard), Sequence>,
}

/// Counts in memory.
#[derive(Clone, Default)]
pub struct MemoryCounters {
    book: Arc<Mutex<Book>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

#[async_trait]
impl Counters for MemoryCounters {
    async fn add(&self, shard: &Shard, page: &Page, entries: &[Entry], _: Timestamp) -> Result<(), PortError> {
        self.faults.before("add").await?;
        {
            let mut book = locked(&self.book);
            let place = (page.clone(), shard.clone());
            if let Some((last, counts)) = after(book.last.get(&place), entries) {
                book.last.insert(place, last);
                let kept = book.counts.entry(page.clone()).or_default();
                for (count, by) in counts {
                    *kept.entry(count).or_default() += by;
                }
            }
        }
        self.faults.after("add").await
    }

    async fn states(&self, tenant: &Tenant) -> Result<Counts, PortError> {
        self.faults.before("states").await?;
        Ok(locked(&self.book).counts.get(&Page::States(tenant.clone())).cloned().unwrap_or_default())
    }

    async fn minutes(
        &self,
        tenant: &Tenant,
        first: Minute,
        last: Minute,
    ) -> Result<BTreeMap<Minute, Counts>, PortError> {
        self.faults.before("minutes").await?;
        let pages = Page::Minute(tenant.clone(), first)..=Page::Minute(tenant.clone(), last);
        let book = locked(&self.book);
        let minutes = book.counts.range(pages).filter_map(|(page, counts)| match page {
            Page::Minute(_, minute) => Some((*minute, counts.clone())),
            Page::States(_) => None,
        });
        Ok(minutes.collect())
    }
}

/// Groups in memory.
#[derive(Clone, Default)]
pub struct MemoryGroups {
    groups: Arc<Mutex<BTreeMap<GroupId, Group>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryGroups {
    fn change(&self, id: &GroupId, change: impl FnOnce(&mut Group)) -> Option<Group> {
        locked(&self.groups).get_mut(id).map(|group| {
            change(group);
            group.clone()
        })
    }
}

#[async_trait]
impl Groups for MemoryGroups {
    async fn create(&self, group: &Group) -> Result<Added<Group>, PortError> {
        self.faults.before("create_group").await?;
        let added = {
            let mut groups = locked(&self.groups);
            match groups.get(&group.id) {
                Some(old) => Added::Exists(Box::new(old.clone())),
                None => {
                    groups.insert(group.id.clone(), group.clone());
                    Added::New
                }
            }
        };
        self.faults.after("create_group").await?;
        Ok(added)
    }

    async fn get(&self, id: &GroupId) -> Result<Option<Group>, PortError> {
        self.faults.before("get_group").await?;
        Ok(locked(&self.groups).get(id).cloned())
    }

    async fn accepted(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError> {
        self.faults.before("accepted").await?;
        self.change(id, |group| {
            if group.abandoned_at.is_none() {
                group.accepted_at.get_or_insert(at);
            }
        });
        self.faults.after("accepted").await
    }

    async fn abandoned(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError> {
        self.faults.before("abandoned").await?;
        self.change(id, |group| {
            if group.completed_at.is_none() {
                group.abandoned_at.get_or_insert(at);
            }
        });
        self.faults.after("abandoned").await
    }

    async fn close(&self, id: &GroupId, jobs: &[u16]) -> Result<Option<Group>, PortError> {
        self.faults.before("close").await?;
        let group = self.change(id, |group| group.open.retain(|job| !jobs.contains(job)));
        self.faults.after("close").await?;
        Ok(group)
    }

    async fn completed(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError> {
        self.faults.before("completed").await?;
        self.change(id, |group| {
            if group.abandoned_at.is_none() {
                group.completed_at.get_or_insert(at);
            }
        });
        self.faults.after("completed").await
    }
}

/// A bus that remembers what it was told.
#[derive(Clone, Default)]
pub struct MemoryBus {
    told: Arc<Mutex<Vec<JobEvent>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryBus {
    /// What it was told.
    #[must_use]
    pub fn told(&self) -> Vec<JobEvent> {
        locked(&self.told).clone()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, events: &[JobEvent]) -> Result<(), PortError> {
        self.faults.before("publish").await?;
        locked(&self.told).extend_from_slice(events);
        self.faults.after("publish").await
    }
}

/// Depths that are set by hand; none are other queues' depths.
#[derive(Clone, Default)]
pub struct MemoryDepths {
    depths: Arc<Mutex<BTreeMap<String, Depth>>>,
    asked: Arc<Mutex<usize>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryDepths {
    /// From now on the queue has this depth.
    pub fn set(&self, queue: &str, depth: Depth) {
        locked(&self.depths).insert(queue.to_owned(), depth);
    }

    /// How often any was asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        *locked(&self.asked)
    }
}

#[async_trait]
impl QueueDepths for MemoryDepths {
    async fn depth(&self, queue: &str) -> Result<Depth, PortError> {
        self.faults.before("depth").await?;
        *locked(&self.asked) += 1;
        Ok(locked(&self.depths).get(queue).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn counters_and_groups_in_memory_conform() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        conformance::counters(&MemoryCounters::default(), "t", now).await;
        conformance::groups(&MemoryGroups::default(), "t", now).await;
    }
}
