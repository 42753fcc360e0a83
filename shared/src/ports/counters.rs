use super::PortError;
use crate::domain::change::Shard;
use crate::domain::id::Tenant;
use crate::domain::stats::{Counts, Entry, Minute, Page};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The pages of counts. See [`after`](crate::domain::stats::after), which they carry out atomically.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Adds to a page what a shard tells, in its order. Each change counts once, however often it is told, also when an
    /// earlier call's answer was lost.
    async fn add(&self, shard: &Shard, page: &Page, entries: &[Entry], now: Timestamp) -> Result<(), PortError>;

    /// How many jobs a tenant has. It may be some moments old.
    async fn states(&self, tenant: &Tenant) -> Result<Counts, PortError>;

    /// What happened to a tenant's jobs in the minutes from `first` to `last`, both included. Minutes in which nothing
    /// happened are left out. It may be some moments old.
    async fn minutes(
        &self,
        tenant: &Tenant,
        first: Minute,
        last: Minute,
    ) -> Result<BTreeMap<Minute, Counts>, PortError>;
}
