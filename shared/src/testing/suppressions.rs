use super::Faults;
use crate::domain::address::EmailAddress;
use crate::domain::id::Tenant;
use crate::domain::suppression::{Reason, SOFT_BOUNCES, Suppression};
use crate::ports::{PortError, Suppressions};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Entry {
    reasons: BTreeMap<Reason, Timestamp>,
    soft: BTreeSet<String>,
}

/// Suppressed addresses in memory.
#[derive(Clone, Default)]
pub struct MemorySuppressions {
    all: Arc<Mutex<BTreeMap<(Tenant, String), Entry>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemorySuppressions {
    fn with<T>(&self, tenant: &Tenant, address: &EmailAddress, work: impl FnOnce(&mut Entry) -> T) -> T {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        work(all.entry((tenant.clone(), address.normalised())).or_default())
    }
}

#[async_trait]
impl Suppressions for MemorySuppressions {
    async fn check(&self, tenant: &Tenant, addresses: &[EmailAddress]) -> Result<Vec<Option<Suppression>>, PortError> {
        self.faults.before("check").await?;
        let first =
            |entry: &mut Entry| entry.reasons.first_key_value().map(|(&reason, &at)| Suppression { reason, at });
        Ok(addresses.iter().map(|address| self.with(tenant, address, first)).collect())
    }

    async fn suppress(
        &self,
        tenant: &Tenant,
        address: &EmailAddress,
        reason: Reason,
        at: Timestamp,
    ) -> Result<(), PortError> {
        self.faults.before("suppress").await?;
        self.with(tenant, address, |entry| {
            entry.reasons.entry(reason).or_insert(at);
        });
        self.faults.after("suppress").await
    }

    async fn soft_bounce(
        &self,
        tenant: &Tenant,
        address: &EmailAddress,
        mail: &str,
        at: Timestamp,
    ) -> Result<bool, PortError> {
        self.faults.before("soft_bounce").await?;
        let enough = self.with(tenant, address, |entry| {
            entry.soft.insert(mail.to_owned());
            let enough = entry.soft.len() >= SOFT_BOUNCES;
            if enough {
                entry.reasons.entry(Reason::SoftBounces).or_insert(at);
            }
            enough
        });
        self.faults.after("soft_bounce").await?;
        Ok(enough)
    }

    async fn lift(&self, tenant: &Tenant, address: &EmailAddress, reasons: &[Reason]) -> Result<(), PortError> {
        self.faults.before("lift").await?;
        self.with(tenant, address, |entry| {
            entry.reasons.retain(|reason, _| !reasons.contains(reason));
            if reasons.contains(&Reason::SoftBounces) {
                entry.soft.clear();
            }
        });
        self.faults.after("lift").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn suppressions_in_memory_conform() {
        conformance::suppressions(&MemorySuppressions::default(), "memory", Timestamp::UNIX_EPOCH).await;
    }
}
