use super::PortError;
use crate::domain::account::Account;
use async_trait::async_trait;

/// The mail service's account.
#[async_trait]
pub trait SendingAccount: Send + Sync {
    /// Its limits and how far they are used. SES answers this about once a second: ask seldom.
    async fn account(&self) -> Result<Account, PortError>;
}
