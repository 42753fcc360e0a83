//! In the place of Lambda's pollers: takes messages from a queue and calls its function with as many as a path says.
//! So batches are of a known size, and what the pollers ask of SQS is counted: one receive and one delete a batch.

use anyhow::{Context as _, bail};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use millrace_tests::stack::{Inside, Stack};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);

/// The pollers' place.
pub(crate) struct Poller<'a> {
    stack: &'a Stack,
    sqs: aws_sdk_sqs::Client,
    endpoint: String,
    /// Requests it made of SQS.
    pub(crate) sqs_requests: u64,
    /// Invocations it made.
    pub(crate) invocations: u64,
}

impl<'a> Poller<'a> {
    pub(crate) fn new(stack: &'a Stack, inside: &Inside) -> anyhow::Result<Self> {
        let endpoint = std::env::var("AWS_ENDPOINT_URL").context("AWS_ENDPOINT_URL: run it by `make bench-cost`")?;
        let sqs = aws_sdk_sqs::Client::new(inside.aws.config());
        Ok(Self { stack, sqs, endpoint, sqs_requests: 0, invocations: 0 })
    }

    /// Stops the engine's own pollers of this function.
    pub(crate) async fn take_over(&self, function: &str) -> anyhow::Result<()> {
        let url = format!("{}/2015-03-31/event-source-mappings/", self.endpoint);
        let name = format!("{}-{function}", self.stack.name);
        let found = self.stack.control("lambda", "GET", &format!("{url}?FunctionName={name}"), &Value::Null).await?;
        let mappings = found["EventSourceMappings"].as_array().context("the event source mappings")?;
        for mapping in
            mappings.iter().filter(|mapping| mapping["FunctionArn"].as_str().is_some_and(|arn| arn.ends_with(&name)))
        {
            let id = mapping["UUID"].as_str().context("a mapping's id")?;
            self.stack.control("lambda", "PUT", &format!("{url}{id}"), &json!({ "Enabled": false })).await?;
        }
        // A poll that is under way may still take something.
        sleep(Duration::from_secs(3)).await;
        Ok(())
    }

    /// Stops the clock's ticks: those that a path needs it makes itself.
    pub(crate) async fn stop_the_clock(&self) -> anyhow::Result<()> {
        let name = format!("{}-clock", self.stack.name);
        let all = self.stack.control("scheduler", "GET", &format!("{}/schedules", self.endpoint), &Value::Null).await?;
        let schedules = all["Schedules"].as_array().context("the schedules")?;
        let arn_ends = format!(":{name}");
        let one = schedules
            .iter()
            .find(|schedule| schedule["Target"]["Arn"].as_str().is_some_and(|arn| arn.ends_with(&arn_ends)))
            .context("the clock's schedule")?;
        let url = format!("{}/schedules/{}", self.endpoint, one["Name"].as_str().context("its name")?);
        let mut whole = self.stack.control("scheduler", "GET", &url, &Value::Null).await?;
        whole["State"] = json!("DISABLED");
        self.stack.control("scheduler", "PUT", &url, &whole).await.map(drop)
    }

    /// Takes `size` messages of the queue to the function, and deletes those that it is done with.
    pub(crate) async fn work(&mut self, queue: &str, function: &str, size: usize) -> anyhow::Result<()> {
        let url = format!("{}/000000000000/{}-{queue}", self.endpoint, self.stack.name);
        let mut messages = Vec::new();
        let end = Instant::now() + PATIENCE;
        while messages.len() < size {
            let receive = self
                .sqs
                .receive_message()
                .queue_url(&url)
                .max_number_of_messages(i32::try_from(size - messages.len())?)
                .message_system_attribute_names(MessageSystemAttributeName::All);
            messages.extend(receive.send().await?.messages.unwrap_or_default());
            if Instant::now() > end {
                bail!("{} messages of {size} came to {queue}", messages.len());
            }
        }
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{}-{queue}", self.stack.name);
        let records: Vec<Value> = messages.iter().map(|message| record(message, &arn)).collect();
        let answer = self.stack.invoke_with(function, &json!({ "Records": records })).await?;
        let kept: Vec<&str> = answer["batchItemFailures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|failure| failure["itemIdentifier"].as_str())
            .collect();
        let mut done = Vec::new();
        for message in messages.iter().filter(|message| !kept.contains(&message.message_id().unwrap_or_default())) {
            let entry = DeleteMessageBatchRequestEntry::builder()
                .id(done.len().to_string())
                .receipt_handle(message.receipt_handle().unwrap_or_default());
            done.push(entry.build()?);
        }
        if !kept.is_empty() {
            bail!("{function} kept {} messages: the path is not what it should be", kept.len());
        }
        self.sqs.delete_message_batch().queue_url(&url).set_entries(Some(done)).send().await?;
        self.sqs_requests += 2;
        self.invocations += 1;
        Ok(())
    }

    /// Calls a function that has no queue.
    pub(crate) async fn call(&mut self, function: &str) -> anyhow::Result<()> {
        self.stack.invoke_with(function, &json!({})).await?;
        self.invocations += 1;
        Ok(())
    }
}

fn record(message: &Message, arn: &str) -> Value {
    let attributes: Map<String, Value> = message
        .attributes
        .iter()
        .flatten()
        .map(|(name, value)| (name.as_str().to_owned(), Value::String(value.clone())))
        .collect();
    json!({
        "messageId": message.message_id(),
        "receiptHandle": message.receipt_handle(),
        "body": message.body(),
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5_of_body(),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": "us-east-1",
    })
}
