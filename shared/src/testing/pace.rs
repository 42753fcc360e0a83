use super::Faults;
use crate::domain::pace::{Cut, Grant, Line, SendRate, grant};
use crate::ports::{Pace, PortError, SendLine, Written};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines of time in memory.
#[derive(Clone, Default)]
pub struct MemoryPace {
    lines: Arc<Mutex<BTreeMap<String, Line>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryPace {
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Line) -> T) -> T {
        work(self.lines.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }
}

#[async_trait]
impl Pace for MemoryPace {
    async fn take(
        &self,
        name: &str,
        cost: SignedDuration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Grant, PortError> {
        self.faults.before("take").await?;
        let granted = self.with(name, |line| {
            let granted = grant(line.taken_until, cost, now, latest);
            if let Grant::Slot { until, .. } = granted {
                line.taken_until = Some(until);
            }
            granted
        });
        self.faults.after("take").await?;
        Ok(granted)
    }
}

#[async_trait]
impl SendLine for MemoryPace {
    async fn line(&self, name: &str) -> Result<Line, PortError> {
        self.faults.before("line").await?;
        Ok(self.with(name, |line| *line))
    }

    async fn cut(&self, name: &str, before: Option<Cut>, cut: Cut) -> Result<Written, PortError> {
        self.faults.before("cut").await?;
        let written = self.with(name, |line| {
            if line.cut != before && line.cut != Some(cut) {
                return Written::Stale;
            }
            line.cut = Some(cut);
            Written::Done
        });
        self.faults.after("cut").await?;
        Ok(written)
    }

    async fn allow(&self, name: &str, ceiling: SendRate) -> Result<(), PortError> {
        self.faults.before("allow").await?;
        self.with(name, |line| line.ceiling = Some(ceiling));
        self.faults.after("allow").await
    }

    async fn heard(&self, name: &str, at: Timestamp) -> Result<(), PortError> {
        self.faults.before("heard").await?;
        self.with(name, |line| line.heard_at = line.heard_at.max(Some(at)));
        self.faults.after("heard").await
    }
}
