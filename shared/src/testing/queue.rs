use super::Faults;
use crate::ports::{Clock, DeadLetter, DeadLetters, Group, Message, PortError, Queue};
use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a FIFO queue remembers what was sent.
const DEDUPLICATION: SignedDuration = SignedDuration::from_mins(5);

/// A message as it lies on the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it is shown next.
    pub visible_at: Timestamp,
    /// How often it was received.
    pub received: u32,
    /// What it has in common with others.
    pub group: Option<Group>,
}

impl Delivered {
    fn order(&self) -> Option<&str> {
        match &self.group {
            Some(Group::Ordered { group, .. }) => Some(group),
            _ => None,
        }
    }

    /// What a receiver names it by. That of a FIFO queue is worth nothing once the message was received again.
    fn receipt(&self) -> String {
        self.order().map_or_else(|| self.id.clone(), |_| format!("{}#{}", self.id, self.received))
    }

    /// An SQS record of it.
    fn record(&self, arn: &str) -> SqsMessage {
        let mut record = SqsMessage::default();
        record.message_id = Some(self.id.clone());
        record.receipt_handle = Some(self.receipt());
        record.body = Some(self.body.clone());
        record.event_source_arn = Some(arn.to_owned());
        let mut attribute = |name: &str, value: String| record.attributes.insert(name.to_owned(), value);
        attribute("SentTimestamp", self.sent_at.as_millisecond().to_string());
        attribute("ApproximateReceiveCount", self.received.to_string());
        match &self.group {
            None => {}
            Some(Group::Tenant(tenant)) => drop(attribute("MessageGroupId", tenant.to_string())),
            Some(Group::Ordered { group, deduplication }) => {
                attribute("MessageGroupId", group.clone());
                attribute("MessageDeduplicationId", deduplication.clone());
            }
        }
        record
    }
}

#[derive(Default)]
struct Inner {
    next: u64,
    messages: Vec<Delivered>,
    /// When each deduplication number was sent.
    sent: BTreeMap<String, Timestamp>,
}

impl Inner {
    /// The place of a message that its receiver may still hide or delete by `receipt`.
    fn held(&self, receipt: &str, now: Timestamp) -> Option<usize> {
        let in_time = |message: &Delivered| message.order().is_none() || message.visible_at > now;
        self.messages.iter().position(|message| message.receipt() == receipt && in_time(message))
    }

    fn push(&mut self, message: &Message, now: Timestamp, visible_at: Timestamp) {
        if let Some(Group::Ordered { deduplication, .. }) = &message.group {
            match self.sent.get(deduplication) {
                Some(sent_at) if now.duration_since(*sent_at) < DEDUPLICATION => return,
                _ => drop(self.sent.insert(deduplication.clone(), now)),
            }
        }
        self.next += 1;
        let (id, body, group) = (format!("m-{}", self.next), message.body.clone(), message.group.clone());
        self.messages.push(Delivered { id, body, sent_at: now, visible_at, received: 0, group });
    }

    /// Places of messages that may be received, in the order in which they would be.
    fn receivable(&self, now: Timestamp, fifo: bool, mut pick: impl FnMut(usize) -> usize) -> Vec<usize> {
        let visible = |i: &usize| self.messages[*i].visible_at <= now;
        let mut visible: Vec<usize> = (0..self.messages.len()).filter(visible).collect();
        let mut chosen = Vec::new();
        if !fifo {
            while !visible.is_empty() {
                chosen.push(visible.swap_remove(pick(visible.len())));
            }
            return chosen;
        }
        // A group of which a message is in flight or hidden is not touched; of another, the first messages are given.
        let held: HashSet<_> =
            self.messages.iter().filter(|m| m.visible_at > now).filter_map(Delivered::order).collect();
        visible.retain(|i| self.messages[*i].order().is_none_or(|order| !held.contains(order)));
        while !visible.is_empty() {
            let order = self.messages[visible[pick(visible.len())]].order();
            let of_group = visible.iter().copied().filter(|i| self.messages[*i].order() == order);
            let of_group: Vec<usize> = of_group.collect();
            chosen.extend(&of_group[..=pick(of_group.len())]);
            visible.retain(|i| !of_group.contains(i));
        }
        chosen
    }
}

/// A queue in memory, with visibility timeouts by a given clock: a FIFO queue when its name ends in `.fifo`, as on AWS.
#[derive(Clone)]
pub struct MemoryQueue {
    arn: Arc<str>,
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryQueue {
    /// An empty standard queue.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::named("queue", clock)
    }

    /// An empty queue of this name.
    #[must_use]
    pub fn named(name: &str, clock: Arc<dyn Clock>) -> Self {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:memory-{name}").into();
        Self { arn, inner: Arc::default(), clock, faults: Faults::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }

    /// Everything on the queue, in flight or not.
    #[must_use]
    pub fn all(&self) -> Vec<Delivered> {
        self.with(|inner| inner.messages.clone())
    }

    /// Takes everything off the queue.
    pub fn take_all(&self) -> Vec<Delivered> {
        self.with(|inner| std::mem::take(&mut inner.messages))
    }

    /// Receives at most `most` visible messages, chosen by `pick` (a number from 0 to 1 for each), and hides them for
    /// `timeout`. Standard queues promise no order. A FIFO queue keeps that of each group, and gives nothing of a group as
    /// long as any of its messages is in flight.
    pub fn receive(&self, most: usize, timeout: Duration, mut pick: impl FnMut() -> f64) -> SqsEvent {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let pick = |among: usize| ((pick() * among as f64) as usize).min(among.saturating_sub(1));
        let now = self.clock.now();
        let mut event = SqsEvent::default();
        self.with(|inner| {
            let mut chosen = inner.receivable(now, self.is_fifo(), pick);
            chosen.truncate(most);
            for place in chosen {
                let message = &mut inner.messages[place];
                message.visible_at = now + timeout;
                message.received += 1;
                event.records.push(message.record(&self.arn));
            }
        });
        event
    }

    /// Deletes the messages of a batch that the worker did not name as failed.
    pub fn settle(&self, event: &SqsEvent, failed: &[String]) {
        let now = self.clock.now();
        self.with(|inner| {
            for record in &event.records {
                let kept = record.message_id.as_ref().is_some_and(|id| failed.contains(id));
                let place = inner.held(record.receipt_handle.as_deref().unwrap_or_default(), now);
                if let Some(place) = place.filter(|_| !kept) {
                    inner.messages.remove(place);
                }
            }
        });
    }

    /// Does with a batch what Lambda does when its worker has answered.
    pub fn answered(&self, event: &SqsEvent, response: &SqsBatchResponse) {
        let failed = response.batch_item_failures.iter().map(|failure| failure.item_identifier.clone());
        self.settle(event, &failed.collect::<Vec<_>>());
    }

    /// Deletes a message.
    pub fn delete(&self, id: &str) {
        self.with(|inner| inner.messages.retain(|message| message.id != id));
    }

    /// Puts a second copy of some message on a standard queue, which now and then delivers twice.
    pub fn duplicate(&self, pick: f64) {
        let now = self.clock.now();
        self.with(|inner| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let at = (pick * inner.messages.len() as f64) as usize;
            if let Some(message) = inner.messages.get(at).filter(|message| message.order().is_none()).cloned() {
                inner.next += 1;
                let id = format!("m-{}", inner.next);
                inner.messages.push(Delivered { id, visible_at: now, received: 0, ..message });
            }
        });
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, messages: &[Message]) -> Vec<Result<(), PortError>> {
        let mut results = Vec::new();
        let mut stopped: HashSet<&str> = HashSet::new();
        for message in messages {
            let sent = if message.order().is_some() != self.is_fifo() {
                Err(PortError::Refused(anyhow::anyhow!("a message that this type of queue does not take")))
            } else if message.order().is_some_and(|order| stopped.contains(order)) {
                Err(PortError::Unavailable(anyhow::anyhow!("a message before it of its group was not taken")))
            } else {
                self.send_alone(message).await
            };
            if sent.is_err() {
                stopped.extend(message.order());
            }
            results.push(sent);
        }
        results
    }

    async fn hide(&self, receipt: &str, delay: Duration) -> Result<(), PortError> {
        self.faults.before("hide").await?;
        let now = self.clock.now();
        self.with(|inner| {
            if let Some(place) = inner.held(receipt, now) {
                inner.messages[place].visible_at = now + delay;
            }
        });
        self.faults.after("hide").await
    }
}

impl MemoryQueue {
    async fn send_alone(&self, message: &Message) -> Result<(), PortError> {
        self.faults.before("send").await?;
        let now = self.clock.now();
        let delay = if self.is_fifo() { Duration::ZERO } else { message.delay.min(Message::MAX_DELAY) };
        self.with(|inner| inner.push(message, now, now + delay));
        self.faults.after("send").await
    }
}

#[async_trait]
impl DeadLetters for MemoryQueue {
    async fn receive(&self, hide: Duration) -> Result<Vec<DeadLetter>, PortError> {
        self.faults.before("receive").await?;
        let records = self.receive(10, hide, || 0.0).records;
        let letters = self.with(|inner| {
            let ids = records.iter().filter_map(|record| record.message_id.clone());
            let messages = ids.filter_map(|id| inner.messages.iter().find(|message| message.id == id));
            let letter = |message: &Delivered| DeadLetter {
                id: message.id.clone(),
                receipt: message.receipt(),
                body: message.body.clone(),
                group: message.group.clone(),
                sent_at: message.sent_at,
                source: None,
            };
            messages.map(letter).collect()
        });
        Ok(letters)
    }

    async fn show(&self, letters: &[DeadLetter]) -> Result<(), PortError> {
        for letter in letters {
            self.hide(&letter.receipt, Duration::ZERO).await?;
        }
        Ok(())
    }

    async fn delete(&self, letter: &DeadLetter) -> Result<(), PortError> {
        self.faults.before("delete").await?;
        self.with(|inner| inner.messages.retain(|message| message.id != letter.id));
        self.faults.after("delete").await
    }
}

/// Queues in memory, each made when its name is first said.
#[derive(Clone)]
pub struct MemoryQueues {
    clock: Arc<dyn Clock>,
    queues: Arc<Mutex<BTreeMap<String, MemoryQueue>>>,
}

impl MemoryQueues {
    /// No queues yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, queues: Arc::default() }
    }

    /// The queue of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> MemoryQueue {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || MemoryQueue::named(name, self.clock.clone());
        queues.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// The queue of this name as a port.
    #[must_use]
    pub fn open(&self, name: &str) -> Arc<dyn Queue> {
        Arc::new(self.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    const VISIBILITY: Duration = Duration::from_secs(60);

    fn queue() -> (ManualClock, MemoryQueue) {
        let clock = ManualClock::default();
        (clock.clone(), MemoryQueue::named("x.fifo", Arc::new(clock)))
    }

    fn ordered(group: &str, deduplication: &str) -> Message {
        let group = Group::Ordered { group: group.into(), deduplication: deduplication.into() };
        Message { body: deduplication.into(), delay: Duration::ZERO, group: Some(group) }
    }

    fn bodies(event: &SqsEvent) -> Vec<&str> {
        event.records.iter().map(|record| record.body.as_deref().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_group_waits_for_its_first_message_and_others_do_not() {
        let (clock, queue) = queue();
        let sent = [ordered("a", "a1"), ordered("b", "b1"), ordered("a", "a2"), ordered("b", "b2")];
        assert!(queue.send(&sent).await.iter().all(Result::is_ok));
        let first = queue.receive(1, VISIBILITY, || 0.0);
        assert_eq!(bodies(&first), ["a1"]);
        let second = queue.receive(10, VISIBILITY, || 0.99);
        assert_eq!(bodies(&second), ["b1", "b2"], "a is in flight");
        queue.settle(&second, &[]);
        queue.hide(first.records[0].receipt_handle.as_deref().unwrap(), Duration::from_secs(5)).await.unwrap();
        assert_eq!(queue.receive(10, VISIBILITY, || 0.99).records.len(), 0, "its first message is hidden");
        clock.advance(Duration::from_secs(5));
        let again = queue.receive(10, VISIBILITY, || 0.99);
        assert_eq!(bodies(&again), ["a1", "a2"]);
        queue.settle(&first, &[]);
        assert_eq!(queue.all().len(), 2, "the receipt of before is worth nothing");
        clock.advance(VISIBILITY);
        queue.settle(&again, &[]);
        assert_eq!(queue.all().len(), 2, "nor is one that is too old");
    }

    #[tokio::test]
    async fn what_was_sent_within_five_minutes_is_not_sent_again() {
        let (clock, queue) = queue();
        let deleted = async || {
            queue.send_one(ordered("a", "1")).await.unwrap();
            let event = queue.receive(10, VISIBILITY, || 0.0);
            queue.settle(&event, &[]);
            event.records.len()
        };
        assert_eq!(deleted().await, 1);
        clock.advance(Duration::from_secs(299));
        assert_eq!(deleted().await, 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(deleted().await, 1);
    }

    #[tokio::test]
    async fn after_a_refused_message_the_rest_of_its_group_is_not_sent() {
        let (_, queue) = queue();
        queue.faults.refuse_next("send");
        let sent = queue.send(&[ordered("a", "a1"), ordered("b", "b1"), ordered("a", "a2")]).await;
        assert_eq!(sent.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(queue.all().iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["b1"]);
    }
}
