use super::Faults;
use crate::domain::id::Tenant;
use crate::domain::people::SubscriberKey;
use crate::domain::sign_up::{ASKED_AGAIN_AFTER, SignUp};
use crate::domain::throttle::Limit;
use crate::ports::{PortError, SignUps, Throttle};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Inner {
    sign_ups: BTreeMap<SubscriberKey, SignUp>,
    taken: BTreeMap<(&'static str, Tenant, String), Timestamp>,
}

/// Sign-ups and their limits in memory.
#[derive(Clone, Default)]
pub struct MemorySignUps {
    inner: Arc<Mutex<Inner>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemorySignUps {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl SignUps for MemorySignUps {
    async fn ask(&self, sign_up: &SignUp) -> Result<SignUp, PortError> {
        self.faults.before("ask").await?;
        let stored = self.with(|inner| {
            let mut new = sign_up.clone();
            if let Some(old) = inner.sign_ups.get(&sign_up.key) {
                if old.at > sign_up.at - ASKED_AGAIN_AFTER {
                    return old.clone();
                }
                new.first_at = old.first_at;
            }
            inner.sign_ups.insert(sign_up.key.clone(), new.clone());
            new
        });
        self.faults.after("ask").await?;
        Ok(stored)
    }

    async fn get(&self, key: &SubscriberKey) -> Result<Option<SignUp>, PortError> {
        self.faults.before("get").await?;
        Ok(self.with(|inner| inner.sign_ups.get(key).cloned()))
    }

    async fn forget(&self, key: &SubscriberKey) -> Result<(), PortError> {
        self.faults.before("forget").await?;
        self.with(|inner| inner.sign_ups.remove(key));
        self.faults.after("forget").await
    }
}

#[async_trait]
impl Throttle for MemorySignUps {
    async fn take(&self, limit: Limit, tenant: &Tenant, subject: &str, now: Timestamp) -> Result<bool, PortError> {
        self.faults.before("take").await?;
        let key = (limit.name, tenant.clone(), subject.to_owned());
        let taken = self.with(|inner| {
            let until = limit.take(inner.taken.get(&key).copied(), now);
            until.is_some_and(|until| {
                inner.taken.insert(key, until);
                true
            })
        });
        self.faults.after("take").await?;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn sign_ups_in_memory_conform() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        conformance::sign_ups(&MemorySignUps::default(), "memory", now).await;
        conformance::throttle(&MemorySignUps::default(), "memory", now).await;
    }
}
