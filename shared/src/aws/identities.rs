use super::{SesAccount, port_error};
use crate::domain::preflight::Identity;
use crate::ports::{Identities, PortError};
use async_trait::async_trait;
use aws_sdk_sesv2::types::{DkimStatus, MailFromDomainStatus};

#[async_trait]
impl Identities for SesAccount {
    async fn identity(&self, name: &str) -> Result<Option<Identity>, PortError> {
        let answer = match self.client.get_email_identity().email_identity(name).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found_exception()) => {
                return Ok(None);
            }
            Err(error) => return Err(port_error(error)),
        };
        let dkim =
            answer.dkim_attributes.is_some_and(|dkim| dkim.signing_enabled && dkim.status == Some(DkimStatus::Success));
        let mail_from = answer.mail_from_attributes.as_ref().map(|mail_from| &mail_from.mail_from_domain_status);
        Ok(Some(Identity {
            verified: answer.verified_for_sending_status,
            dkim,
            mail_from: mail_from == Some(&MailFromDomainStatus::Success),
        }))
    }
}
