use super::batch_get::batch_get;
use super::changes::conditional;
use super::item::{Item, ms, n, optional_time, s, text};
use super::mail_items::META;
use super::port_error;
use crate::domain::address::EmailAddress;
use crate::domain::id::Tenant;
use crate::domain::keyed_hash::HashKey;
use crate::domain::suppression::{Reason, SOFT_BOUNCE_COUNTS, SOFT_BOUNCES, Suppression};
use crate::ports::{PortError, Suppressions};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use jiff::Timestamp;
use std::collections::HashMap;

/// The suppressed addresses in the mail table: `SUPP#<tenant>#<keyed hash>`, each reason an attribute with its time. Soft
/// bounces are counted beside it, under the sort key `SOFT`.
#[derive(Clone)]
pub struct DynamoSuppressions {
    client: Client,
    table: String,
    key: HashKey,
}

impl DynamoSuppressions {
    /// The suppressed addresses in `table`, hashed with `key`.
    #[must_use]
    pub fn new(client: Client, table: String, key: HashKey) -> Self {
        Self { client, table, key }
    }

    fn pk(&self, tenant: &Tenant, address: &EmailAddress) -> String {
        format!("SUPP#{tenant}#{}", self.key.hash(&["address", tenant.as_str(), &address.normalised()]))
    }
}

fn read(item: &Item) -> Option<Suppression> {
    let given = |reason: &Reason| Some(Suppression { reason: *reason, at: optional_time(item, reason.as_str())? });
    Reason::ALL.iter().find_map(given)
}

#[async_trait]
impl Suppressions for DynamoSuppressions {
    async fn check(&self, tenant: &Tenant, addresses: &[EmailAddress]) -> Result<Vec<Option<Suppression>>, PortError> {
        let keys: Vec<String> = addresses.iter().map(|address| self.pk(tenant, address)).collect();
        let mut unique = keys.clone();
        unique.sort();
        unique.dedup();
        if unique.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = unique.into_iter().map(|pk| Item::from([("pk".into(), s(pk)), ("sk".into(), s(META))])).collect();
        let mut found = HashMap::new();
        for item in batch_get(&self.client, &self.table, wanted, true).await? {
            found.insert(text(&item, "pk")?.to_owned(), read(&item));
        }
        Ok(keys.iter().map(|pk| found.get(pk).copied().flatten()).collect())
    }

    async fn suppress(
        &self,
        tenant: &Tenant,
        address: &EmailAddress,
        reason: Reason,
        at: Timestamp,
    ) -> Result<(), PortError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(self.pk(tenant, address)))
            .key("sk", s(META))
            .update_expression("SET #reason = if_not_exists(#reason, :at)")
            .expression_attribute_names("#reason", reason.as_str())
            .expression_attribute_values(":at", ms(at));
        call.send().await.map(drop).map_err(port_error)
    }

    async fn soft_bounce(
        &self,
        tenant: &Tenant,
        address: &EmailAddress,
        mail: &str,
        at: Timestamp,
    ) -> Result<bool, PortError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(self.pk(tenant, address)))
            .key("sk", s("SOFT"))
            .update_expression("ADD mails :mail SET expires_at = if_not_exists(expires_at, :until)")
            .expression_attribute_values(":mail", AttributeValue::Ss(vec![mail.to_owned()]))
            .expression_attribute_values(":until", n((at + SOFT_BOUNCE_COUNTS).as_second()))
            .return_values(ReturnValue::AllNew);
        let counted = call.send().await.map_err(port_error)?.attributes.unwrap_or_default();
        let mails = counted.get("mails").and_then(|mails| mails.as_ss().ok()).map_or(0, Vec::len);
        let enough = mails >= SOFT_BOUNCES;
        if enough {
            self.suppress(tenant, address, Reason::SoftBounces, at).await?;
        }
        Ok(enough)
    }

    async fn lift(&self, tenant: &Tenant, address: &EmailAddress, reasons: &[Reason]) -> Result<(), PortError> {
        let pk = self.pk(tenant, address);
        if reasons.contains(&Reason::SoftBounces) {
            let call = self.client.delete_item().table_name(&self.table).key("pk", s(&pk)).key("sk", s("SOFT"));
            call.send().await.map_err(port_error)?;
        }
        let names: Vec<String> = reasons.iter().map(|reason| format!("#{}", reason.as_str())).collect();
        let mut call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(pk))
            .key("sk", s(META))
            .update_expression(format!("REMOVE {}", names.join(", ")))
            // An update makes an item where there is none: a hash of somebody who never was suppressed.
            .condition_expression("attribute_exists(pk)");
        for (name, reason) in names.iter().zip(reasons) {
            call = call.expression_attribute_names(name, reason.as_str());
        }
        conditional(call).await.map(drop)
    }
}
