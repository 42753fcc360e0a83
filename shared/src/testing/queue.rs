use super::Faults;
use crate::domain::id::Tenant;
use crate::ports::{Clock, Message, PortError, Queue};
use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A message as it lies on the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its id; also its receipt.
    pub id: String,
    /// Its body.
    pub body: String,
    /// When it is shown next.
    pub visible_at: Timestamp,
    /// How often it was received.
    pub received: u32,
    /// Whose work it is.
    pub tenant: Option<Tenant>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    messages: Vec<Delivered>,
}

/// A standard queue in memory, with visibility timeouts by a given clock.
#[derive(Clone)]
pub struct MemoryQueue {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::default(), clock, faults: Faults::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything on the queue, in flight or not.
    #[must_use]
    pub fn all(&self) -> Vec<Delivered> {
        self.with(|inner| inner.messages.clone())
    }

    /// Receives at most `most` visible messages, chosen by `pick` (a number from 0 to 1 for each), and hides them for
    /// `timeout`. Standard queues promise no order.
    pub fn receive(&self, most: usize, timeout: Duration, mut pick: impl FnMut() -> f64) -> SqsEvent {
        let now = self.clock.now();
        let mut event = SqsEvent::default();
        self.with(|inner| {
            let mut visible: Vec<usize> =
                (0..inner.messages.len()).filter(|i| inner.messages[*i].visible_at <= now).collect();
            while event.records.len() < most && !visible.is_empty() {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
                let at = ((pick() * visible.len() as f64) as usize).min(visible.len() - 1);
                let message = &mut inner.messages[visible.swap_remove(at)];
                message.visible_at = now + timeout;
                message.received += 1;
                event.records.push(record(&message.id, &message.body));
            }
        });
        event
    }

    /// Deletes the messages of a batch that the worker did not name as failed.
    pub fn settle(&self, event: &SqsEvent, failed: &[String]) {
        self.with(|inner| {
            for record in &event.records {
                let id = record.message_id.clone().unwrap_or_default();
                if !failed.contains(&id) {
                    inner.messages.retain(|message| message.id != id);
                }
            }
        });
    }

    /// Puts a second copy of some visible message on the queue, as a standard queue now and then delivers twice.
    pub fn duplicate(&self, pick: f64) {
        let now = self.clock.now();
        self.with(|inner| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let at = (pick * inner.messages.len() as f64) as usize;
            if let Some(message) = inner.messages.get(at).cloned() {
                inner.next += 1;
                let id = format!("m-{}", inner.next);
                inner.messages.push(Delivered { id, visible_at: now, received: 0, ..message });
            }
        });
    }
}

/// An SQS record with this id and body.
#[must_use]
pub(super) fn record(id: &str, body: &str) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(id.to_owned());
    record.receipt_handle = Some(id.to_owned());
    record.body = Some(body.to_owned());
    record
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, messages: &[Message]) -> Vec<Result<(), PortError>> {
        let mut results = Vec::new();
        for message in messages {
            if let Err(error) = self.faults.before("send").await {
                results.push(Err(error));
                continue;
            }
            let visible_at = self.clock.now() + message.delay.min(Message::MAX_DELAY);
            self.with(|inner| {
                inner.next += 1;
                let id = format!("m-{}", inner.next);
                let (body, tenant) = (message.body.clone(), message.tenant.clone());
                inner.messages.push(Delivered { id, body, visible_at, received: 0, tenant });
            });
            results.push(self.faults.after("send").await);
        }
        results
    }

    async fn hide(&self, receipt: &str, delay: Duration) -> Result<(), PortError> {
        self.faults.before("hide").await?;
        let visible_at = self.clock.now() + delay;
        self.with(|inner| {
            if let Some(message) = inner.messages.iter_mut().find(|message| message.id == receipt) {
                message.visible_at = visible_at;
            }
        });
        Ok(())
    }
}
