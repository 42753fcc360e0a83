use super::Faults;
use crate::domain::rate::{Bucket, Limit, Whose};
use crate::ports::{Limits, PortError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Inner {
    set: Vec<Limit>,
    buckets: BTreeMap<String, Bucket>,
}

/// Limits in memory.
#[derive(Clone, Default)]
pub struct MemoryLimits {
    inner: Arc<Mutex<Inner>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryLimits {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Limits for MemoryLimits {
    async fn all(&self) -> Result<Vec<Limit>, PortError> {
        self.faults.before("all").await?;
        Ok(self.with(|inner| inner.set.clone()))
    }

    async fn set(&self, limit: &Limit) -> Result<(), PortError> {
        self.remove(&limit.kind, &limit.whose).await?;
        self.with(|inner| inner.set.push(limit.clone()));
        Ok(())
    }

    async fn remove(&self, kind: &str, whose: &Whose) -> Result<bool, PortError> {
        self.faults.before("remove").await?;
        Ok(self.with(|inner| {
            let count = inner.set.len();
            inner.set.retain(|limit| limit.kind != kind || limit.whose != *whose);
            inner.set.len() < count
        }))
    }

    async fn bucket(&self, name: &str) -> Result<Bucket, PortError> {
        self.faults.before("bucket").await?;
        Ok(self.with(|inner| inner.buckets.get(name).copied().unwrap_or_default()))
    }

    async fn swap(&self, name: &str, before: &Bucket, after: &Bucket) -> Result<Result<(), Bucket>, PortError> {
        self.faults.before("swap").await?;
        let swapped = self.with(|inner| {
            let stored = inner.buckets.entry(name.to_owned()).or_default();
            if stored.mark == after.mark {
                return Ok(());
            }
            if stored.mark != before.mark {
                return Err(*stored);
            }
            *stored = *after;
            Ok(())
        });
        self.faults.after("swap").await?;
        Ok(swapped)
    }
}
