use super::item::{Item, corrupt, n, s};
use super::{Keys, port_error};
use crate::domain::id::Tenant;
use crate::domain::webhook::{SECRET_BYTES, Secret, Secrets};
use crate::ports::{PortError, WebhookSecrets};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

/// A secret from random bytes of the system.
///
/// # Errors
/// When the system gives none.
pub fn random_secret() -> Result<Secret, PortError> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|error| PortError::Unavailable(anyhow::anyhow!("no randomness: {error}")))?;
    Ok(Secret::new(random))
}

fn pk(tenant: &Tenant) -> String {
    format!("WEBHOOK#{tenant}")
}

fn bytes(secret: &Secret) -> AttributeValue {
    AttributeValue::B(Blob::new(secret.to_bytes()))
}

fn secret(item: &Item, name: &str) -> Result<Option<Secret>, PortError> {
    let Some(value) = item.get(name) else { return Ok(None) };
    let blob = value.as_b().map_err(|_| corrupt(name))?;
    Ok(Some(Secret::new(blob.as_ref().try_into().map_err(|_| corrupt(name))?)))
}

fn secrets(item: &Item) -> Result<Secrets, PortError> {
    let until = || {
        let seconds = item.get("previous_until").and_then(|value| value.as_n().ok()?.parse().ok());
        seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or_else(|| corrupt("previous_until"))
    };
    let previous = match secret(item, "previous")? {
        Some(previous) => Some((previous, until()?)),
        None => None,
    };
    Ok(Secrets { current: secret(item, "current")?.ok_or_else(|| corrupt("current"))?, previous })
}

/// `WEBHOOK#<tenant>` in the table of keys.
#[async_trait]
impl WebhookSecrets for Keys {
    async fn ensure(&self, tenant: &Tenant, first: &Secret) -> Result<Secrets, PortError> {
        let pk = pk(tenant);
        if let Some(item) = self.read(&pk).await? {
            return secrets(&item);
        }
        let item = Item::from([("pk".to_owned(), s(&pk)), ("current".to_owned(), bytes(first))]);
        if self.put_new(item).await? {
            return Ok(first.clone().into());
        }
        secrets(&self.read(&pk).await?.ok_or_else(|| corrupt("pk"))?)
    }

    async fn rotate(
        &self,
        tenant: &Tenant,
        next: &Secret,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Secrets, PortError> {
        let found = self.ensure(tenant, next).await?;
        // Rotated by this very call before, whose answer was lost; or there was none to replace.
        if found.current == *next {
            return Ok(found);
        }
        let old = found.current.clone();
        let rotated = found.rotated(next.clone(), until, now);
        let mut call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(pk(tenant)))
            .condition_expression("#current = :old")
            .expression_attribute_names("#current", "current")
            .expression_attribute_names("#previous", "previous")
            .expression_attribute_names("#until", "previous_until")
            .expression_attribute_values(":old", bytes(&old))
            .expression_attribute_values(":next", bytes(next));
        call = match &rotated.previous {
            Some((previous, until)) => call
                .update_expression("SET #current = :next, #previous = :previous, #until = :until")
                .expression_attribute_values(":previous", bytes(previous))
                .expression_attribute_values(":until", n(until.as_second())),
            None => call.update_expression("SET #current = :next REMOVE #previous, #until"),
        };
        match call.send().await {
            Ok(_) => Ok(rotated),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let found = self.ensure(tenant, next).await?;
                if found.current == *next {
                    return Ok(found);
                }
                Err(PortError::Unavailable(anyhow::anyhow!("somebody else rotated the secret at the same time")))
            }
            Err(error) => Err(port_error(error)),
        }
    }
}
