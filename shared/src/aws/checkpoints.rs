use super::item::{self, Item, json, n, s};
use super::jobs::KEEP_DEAD;
use super::port_error;
use crate::domain::id::JobId;
use crate::ports::{Checkpoints, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use jiff::Timestamp;
use serde_json::Value;

/// Checkpoints in the table of jobs, each an item of its own: a job's item is written often, and billed by its size.
#[derive(Clone)]
pub struct DynamoCheckpoints {
    client: Client,
    table: String,
}

fn pk(job: &JobId) -> String {
    format!("CHECK#{job}")
}

impl DynamoCheckpoints {
    /// Checkpoints in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }
}

#[async_trait]
impl Checkpoints for DynamoCheckpoints {
    async fn load(&self, job: &JobId) -> Result<Option<Value>, PortError> {
        let get = self.client.get_item().table_name(&self.table).key("pk", s(pk(job))).consistent_read(true);
        match get.send().await.map_err(port_error)?.item {
            Some(item) => item::optional_json(&item, "checkpoint"),
            None => Ok(None),
        }
    }

    async fn save(&self, job: &JobId, fence: u64, state: &Value, now: Timestamp) -> Result<bool, PortError> {
        let item = Item::from([
            ("pk".into(), s(pk(job))),
            ("fence".into(), n(fence)),
            ("checkpoint".into(), json(state)?),
            // A job that died over it may be retried as long as it is kept.
            ("expires_at".into(), n((now + KEEP_DEAD).as_second())),
        ]);
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR fence <= :fence")
            .expression_attribute_values(":fence", n(fence));
        match put.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(false),
            Err(error) => Err(port_error(error)),
        }
    }
}
