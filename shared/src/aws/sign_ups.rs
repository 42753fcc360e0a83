use super::changes::{changing, conditional};
use super::item::{corrupt, ms, n, optional_time, s};
use super::mail_items::{META, read_sign_up, sign_up_changes, sign_up_pk};
use super::{DynamoMail, port_error};
use crate::domain::id::Tenant;
use crate::domain::keyed_hash::HashKey;
use crate::domain::people::SubscriberKey;
use crate::domain::sign_up::{ASKED_AGAIN_AFTER, SignUp};
use crate::domain::throttle::Limit;
use crate::ports::{PortError, SignUps, Throttle};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use jiff::Timestamp;

#[async_trait]
impl SignUps for DynamoMail {
    async fn ask(&self, sign_up: &SignUp) -> Result<SignUp, PortError> {
        let call =
            self.client.update_item().table_name(&self.table).key("pk", s(sign_up_pk(&sign_up.key))).key("sk", s(META));
        let call = changing(call, &sign_up_changes(sign_up), &["first_at = if_not_exists(first_at, :first_at)"], &[])
            .condition_expression("attribute_not_exists(pk) OR #at <= :before")
            .expression_attribute_values(":first_at", ms(sign_up.first_at))
            .expression_attribute_values(":before", ms(sign_up.at - ASKED_AGAIN_AFTER));
        let stored = match conditional(call).await? {
            Ok(new) => new,
            Err(old) => old.ok_or_else(|| corrupt("at"))?,
        };
        read_sign_up(&sign_up.key, &stored)
    }

    async fn get(&self, key: &SubscriberKey) -> Result<Option<SignUp>, PortError> {
        let item = self.read(&sign_up_pk(key), META).await?;
        item.as_ref().map(|item| read_sign_up(key, item)).transpose()
    }

    async fn forget(&self, key: &SubscriberKey) -> Result<(), PortError> {
        self.delete(&sign_up_pk(key), META).await
    }
}

/// The limits in the mail table: `THROTTLE#<name>#<keyed hash>` holds the end of the last slot taken.
#[derive(Clone)]
pub struct DynamoThrottle {
    client: Client,
    table: String,
    key: HashKey,
}

impl DynamoThrottle {
    /// The limits in `table`, their subjects hashed with `key`.
    #[must_use]
    pub fn new(client: Client, table: String, key: HashKey) -> Self {
        Self { client, table, key }
    }
}

#[async_trait]
impl Throttle for DynamoThrottle {
    async fn take(&self, limit: Limit, tenant: &Tenant, subject: &str, now: Timestamp) -> Result<bool, PortError> {
        let pk = format!("THROTTLE#{}#{}", limit.name, self.key.hash(&[limit.name, tenant.as_str(), subject]));
        let get = self.client.get_item().table_name(&self.table).key("pk", s(&pk)).key("sk", s(META));
        let mut taken = get.consistent_read(true).send().await.map_err(port_error)?.item;
        // Whoever comes in between has taken the slot, and the next one is looked for.
        loop {
            let before = taken.as_ref().and_then(|item| optional_time(item, "until"));
            let Some(until) = limit.take(before, now) else { return Ok(false) };
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .key("pk", s(&pk))
                .key("sk", s(META))
                .update_expression("SET #until = :until, expires_at = :expires_at")
                .expression_attribute_names("#until", "until")
                .expression_attribute_values(":until", ms(until))
                .expression_attribute_values(":expires_at", n(until.as_second() + 1));
            let call = match before {
                None => call.condition_expression("attribute_not_exists(#until)"),
                Some(before) => {
                    call.condition_expression("#until = :before").expression_attribute_values(":before", ms(before))
                }
            };
            match conditional(call).await? {
                Ok(_) => return Ok(true),
                Err(other) => taken = other,
            }
        }
    }
}
