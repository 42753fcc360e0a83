use super::{dice, port_error};
use crate::domain::effects::JobEvent;
use crate::ports::{Bus, PortError};
use async_trait::async_trait;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use std::time::Duration;

/// Entries of one PutEvents ([quota](https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html)). Ours
/// have less than 1 KB each, far from the 256 KB of a request.
const ENTRIES: usize = 10;
/// How often an entry is sent that the bus did not take.
const TRIES: u32 = 4;
/// The source of all our events.
const SOURCE: &str = "millrace";

/// A bus of EventBridge.
#[derive(Clone)]
pub struct EventBridge {
    client: Client,
    bus: String,
}

impl EventBridge {
    /// The bus of this name.
    #[must_use]
    pub fn new(client: Client, bus: String) -> Self {
        Self { client, bus }
    }

    /// Sends at most [`ENTRIES`] events. Gives those that were not taken.
    async fn send<'a>(&self, events: &[&'a JobEvent]) -> Result<Vec<&'a JobEvent>, PortError> {
        let mut call = self.client.put_events();
        for event in events {
            let detail = serde_json::to_string(event).map_err(|error| PortError::Refused(error.into()))?;
            let entry = PutEventsRequestEntry::builder()
                .event_bus_name(&self.bus)
                .source(SOURCE)
                .detail_type(event.name())
                .time(aws_smithy_types::DateTime::from_millis(event.at.as_millisecond()))
                .detail(detail);
            call = call.entries(entry.build());
        }
        let answer = call.send().await.map_err(port_error)?;
        // 200 with failures inside. An entry that has no event id is not taken, also when the answer is too short.
        let taken = |i: usize| answer.entries().get(i).is_some_and(|entry| entry.event_id().is_some());
        Ok(events.iter().enumerate().filter(|(i, _)| !taken(*i)).map(|(_, event)| *event).collect())
    }
}

#[async_trait]
impl Bus for EventBridge {
    async fn publish(&self, events: &[JobEvent]) -> Result<(), PortError> {
        let all: Vec<&JobEvent> = events.iter().collect();
        for chunk in all.chunks(ENTRIES) {
            let mut left = chunk.to_vec();
            for attempt in 1..=TRIES {
                left = self.send(&left).await?;
                if left.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50 << attempt).mul_f64(dice())).await;
            }
            if !left.is_empty() {
                let source = anyhow::anyhow!("the bus did not take {} events in {TRIES} tries", left.len());
                return Err(PortError::Unavailable(source));
            }
        }
        Ok(())
    }
}
