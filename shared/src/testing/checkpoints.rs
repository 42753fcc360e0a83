use super::Faults;
use crate::domain::id::JobId;
use crate::ports::{Checkpoints, PortError};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Checkpoints in memory.
#[derive(Clone, Default)]
pub struct MemoryCheckpoints {
    items: Arc<Mutex<HashMap<JobId, (u64, Value)>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryCheckpoints {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<JobId, (u64, Value)>) -> T) -> T {
        work(&mut self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Checkpoints for MemoryCheckpoints {
    async fn load(&self, job: &JobId) -> Result<Option<Value>, PortError> {
        self.faults.before("load").await?;
        Ok(self.with(|items| items.get(job).map(|(_, state)| state.clone())))
    }

    async fn save(&self, job: &JobId, fence: u64, state: &Value, _now: Timestamp) -> Result<bool, PortError> {
        self.faults.before("save").await?;
        let saved = self.with(|items| {
            let ours = items.get(job).is_none_or(|(holder, _)| *holder <= fence);
            if ours {
                items.insert(job.clone(), (fence, state.clone()));
            }
            ours
        });
        self.faults.after("save").await?;
        Ok(saved)
    }
}
