use super::Faults;
use crate::domain::account::{Account, Enforcement};
use crate::domain::preflight::Identity;
use crate::ports::{Identities, PortError, SendingAccount};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An account of the mail service in memory: out of the sandbox, without limits, and every domain and address verified and signed, unless it
/// is said otherwise.
#[derive(Clone)]
pub struct MemoryAccount {
    account: Arc<Mutex<Account>>,
    identities: Arc<Mutex<BTreeMap<String, Option<Identity>>>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl Default for MemoryAccount {
    fn default() -> Self {
        let account = Account {
            production_access: true,
            sending_enabled: true,
            enforcement: Enforcement::Healthy,
            max_send_rate: 10_000.0,
            max_24_hours: None,
            sent_24_hours: 0.0,
        };
        Self { account: Arc::new(Mutex::new(account)), identities: Arc::default(), faults: Faults::default() }
    }
}

impl MemoryAccount {
    /// Changes the account.
    pub fn set(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is known of an identity from now; `None` is nothing.
    pub fn know(&self, name: &str, identity: Option<Identity>) {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), identity);
    }
}

#[async_trait]
impl SendingAccount for MemoryAccount {
    async fn account(&self) -> Result<Account, PortError> {
        self.faults.before("account").await?;
        Ok(*self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Identities for MemoryAccount {
    async fn identity(&self, name: &str) -> Result<Option<Identity>, PortError> {
        self.faults.before("identity").await?;
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        // As in the development mailbox: nobody can own what is under `.invalid`.
        let usual = Identity { verified: true, dkim: true, mail_from: false };
        let usual = Some(usual).filter(|_| !name.ends_with("invalid"));
        Ok(identities.get(name).copied().unwrap_or(usual))
    }
}
