use super::port_error;
use crate::domain::account::{Account, Enforcement};
use crate::ports::{PortError, SendingAccount};
use async_trait::async_trait;

/// The account of SES v2.
#[derive(Clone)]
pub struct SesAccount {
    pub(super) client: aws_sdk_sesv2::Client,
}

impl SesAccount {
    /// The account that the client's credentials belong to.
    #[must_use]
    pub fn new(client: aws_sdk_sesv2::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl SendingAccount for SesAccount {
    async fn account(&self) -> Result<Account, PortError> {
        let answer = self.client.get_account().send().await.map_err(port_error)?;
        let quota =
            answer.send_quota.ok_or_else(|| PortError::Corrupt(anyhow::anyhow!("an account without a quota")))?;
        Ok(Account {
            production_access: answer.production_access_enabled,
            sending_enabled: answer.sending_enabled,
            enforcement: match answer.enforcement_status.as_deref() {
                Some("HEALTHY") => Enforcement::Healthy,
                Some("PROBATION") => Enforcement::Probation,
                Some("SHUTDOWN") => Enforcement::Shutdown,
                _ => Enforcement::Other,
            },
            max_send_rate: quota.max_send_rate,
            // SES's word for no limit is -1.
            max_24_hours: Some(quota.max24_hour_send).filter(|most| *most >= 0.0),
            sent_24_hours: quota.sent_last24_hours,
        })
    }
}
