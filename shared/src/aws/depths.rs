use super::port_error;
use crate::ports::{Depth, PortError, QueueDepths};
use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;

/// The depths of the queues whose URLs begin with a common prefix.
#[derive(Clone)]
pub struct SqsDepths {
    client: Client,
    prefix: String,
}

impl SqsDepths {
    /// Queues at `prefix` and their names.
    #[must_use]
    pub fn new(client: Client, prefix: String) -> Self {
        Self { client, prefix }
    }
}

#[async_trait]
impl QueueDepths for SqsDepths {
    async fn depth(&self, queue: &str) -> Result<Depth, PortError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let call = self.client.get_queue_attributes().queue_url(format!("{}{queue}", self.prefix));
        let answer = call.set_attribute_names(Some(names.to_vec())).send().await.map_err(port_error)?;
        let [visible, in_flight, delayed] = names.map(|name| {
            let text = answer.attributes().and_then(|attributes| attributes.get(&name));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        });
        Ok(Depth { visible, in_flight, delayed })
    }
}
