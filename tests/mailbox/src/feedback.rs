//! SES's side of the story on its way to the feedback queue: each event when its time has come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use anyhow::Context;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::App;
use crate::events::{Event, REGION, story};
use crate::fate::{self, Fate};
use crate::faults::Fault;
use crate::mail::{Mail, bare};

/// How many events may wait for their time or for the queue. Beyond it events are dropped, with a warning.
const MAX_WAITING: usize = 100_000;
/// What one `SendMessageBatch` takes.
const BATCH: usize = 10;
/// Events are sent once in this time, those of mails with equal tags beside each other. At AWS the batching window of the function
/// that hears them brings them together; the local engine has none and hands out ten at a time, as they came.
const WINDOW: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Hands events to the task that sends them. Cheap to clone; the task ends when the last clone is gone and all that waits is
/// sent.
#[derive(Clone)]
pub struct Feedback {
    waiting: mpsc::Sender<Due>,
    began: Instant,
}

/// An event and when it is sent, in the order in which they are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    /// The end of the window it falls in.
    sent_at: Instant,
    /// What mails of one chunk have in common.
    beside: Option<String>,
    at: Instant,
    body: String,
}

impl Feedback {
    /// Starts the task that sends events to the queue at `queue_url` through the SQS endpoint `engine_url`. The queue need
    /// not exist yet: sending is retried until it does.
    ///
    /// # Errors
    /// A URL is not one of HTTP.
    pub fn start(engine_url: &str, queue_url: &str) -> anyhow::Result<(Self, JoinHandle<()>)> {
        for url in [engine_url, queue_url] {
            let uri: axum::http::Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
            anyhow::ensure!(uri.scheme_str() == Some("http") && uri.host().is_some(), "{url:?} is not an http:// URL");
        }
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(engine_url)
            // The key id that the engine takes for the account's root user. It is no secret.
            .credentials_provider(Credentials::new("test", "test", None, None, "mailbox"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let (waiting, events) = mpsc::channel(MAX_WAITING);
        let sender = Sender { client: Client::from_conf(config), queue_url: queue_url.to_owned() };
        Ok((Self { waiting, began: Instant::now() }, tokio::spawn(sender.run(events))))
    }

    /// Has an event sent, not before `at`. Never waits.
    fn report(&self, at: Instant, beside: Option<String>, body: &Value) {
        let windows = at.duration_since(self.began).as_millis().div_ceil(WINDOW.as_millis());
        let sent_at = self.began + WINDOW * u32::try_from(windows).unwrap_or(u32::MAX);
        if self.waiting.try_send(Due { sent_at, beside, at, body: body.to_string() }).is_err() {
            tracing::warn!("dropped an event: {MAX_WAITING} of them wait already");
        }
    }
}

/// Tells what becomes of an accepted mail, with the faults that were asked for. SES tells nothing of a mail that was sent
/// without a configuration set.
pub(crate) fn tell(app: &App, mail: &Mail) {
    let people: Vec<&str> = mail.to.iter().chain(&mail.cc).chain(&mail.bcc).map(|given| bare(given)).collect();
    let fates: Vec<(&str, Fate)> = match fate::is_virus(mail) {
        true => Vec::new(),
        false => people.into_iter().map(|address| (address, fate::draw(app, address))).collect(),
    };
    let (Some(feedback), Some(_)) = (&app.feedback, &mail.configuration_set) else { return };
    let now = Instant::now();
    let tag = |name: &str| mail.tags.get(name);
    let beside = tag("campaign").zip(tag("chunk")).map(|(campaign, chunk)| format!("{campaign} {chunk}"));
    for Event { after, body } in disturbed(app, story(mail, &fates)) {
        feedback.report(now + after, beside.clone(), &body);
    }
}

/// Tells of one event of an accepted mail, now, with the faults that were asked for. False when nobody is told.
pub(crate) fn tell_now(app: &App, body: Value) -> bool {
    let Some(feedback) = &app.feedback else { return false };
    let now = Instant::now();
    for Event { after, body } in disturbed(app, vec![Event { after: Duration::ZERO, body }]) {
        feedback.report(now + after, None, &body);
    }
    true
}

/// The events as they come when something goes wrong.
fn disturbed(app: &App, mut events: Vec<Event>) -> Vec<Event> {
    let faults = &app.disturbance;
    if faults.hits(Fault::Reorder) {
        let times: Vec<Duration> = events.iter().map(|event| event.after).collect();
        events.reverse();
        for (event, after) in events.iter_mut().zip(times) {
            event.after = after;
        }
    }
    let later = Duration::from_millis(faults.delay_ms());
    let mut told = Vec::with_capacity(events.len());
    for mut event in events {
        if faults.hits(Fault::Lose) {
            continue;
        }
        if faults.hits(Fault::Delay) {
            event.after += later;
        }
        if faults.hits(Fault::Repeat) {
            told.push(Event { after: event.after + later, body: event.body.clone() });
        }
        told.push(event);
    }
    told
}

struct Sender {
    client: Client,
    queue_url: String,
}

impl Sender {
    async fn run(self, mut events: mpsc::Receiver<Due>) {
        let mut waiting: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
        let mut unsent: Vec<String> = Vec::new();
        let (mut pause, mut open) = (FIRST_PAUSE, true);
        loop {
            while waiting.len() < MAX_WAITING
                && let Ok(event) = events.try_recv()
            {
                waiting.push(Reverse(event));
            }
            // Told to stop, it does not wait for times to come.
            let now = Instant::now();
            while unsent.len() < BATCH
                && waiting.peek().is_some_and(|Reverse(next)| !open || next.sent_at <= now)
                && let Some(Reverse(next)) = waiting.pop()
            {
                unsent.push(next.body);
            }
            if !unsent.is_empty() {
                if self.send(&mut unsent, pause == FIRST_PAUSE).await {
                    pause = FIRST_PAUSE;
                } else {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                continue;
            }
            let next = waiting.peek().map(|Reverse(next)| next.sent_at);
            tokio::select! {
                event = events.recv(), if open => match event {
                    Some(event) => waiting.push(Reverse(event)),
                    None => open = false,
                },
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
                else => return,
            }
        }
    }

    /// Sends up to one batch, and takes out of `unsent` what the queue has or will never take. False when all or some of it
    /// must be sent again. Only the first failure in a row is told.
    async fn send(&self, unsent: &mut Vec<String>, first: bool) -> bool {
        let entry = |(index, body): (usize, &String)| {
            SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body).build()
        };
        let Ok(entries) = unsent.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>() else { return false };
        let call = self.client.send_message_batch().queue_url(&self.queue_url).set_entries(Some(entries));
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let code = error.code().unwrap_or("no answer");
                if first {
                    tracing::info!(code, "the feedback queue does not take events; trying until it does");
                }
                tracing::debug!(error = %DisplayErrorContext(&error), "the feedback queue did not answer well");
                return false;
            }
        };
        let failed: BTreeMap<&str, bool> = answer.failed().iter().map(|one| (one.id(), one.sender_fault())).collect();
        let mut again = Vec::new();
        for (index, body) in unsent.drain(..).enumerate() {
            match failed.get(index.to_string().as_str()) {
                None => {}
                Some(true) => tracing::warn!("the feedback queue refused an event; dropped it"),
                Some(false) => again.push(body),
            }
        }
        *unsent = again;
        unsent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Amount, Faults};
    use crate::testing::{app, mail};

    /// The kinds in the order in which they come, after so many milliseconds.
    fn told(faults: Faults) -> Vec<(String, u128)> {
        let app = app();
        app.disturbance.set(faults);
        let mut events = disturbed(&app, story(&mail("m", "a@example.com"), &[("a@example.com", Fate::Spam)]));
        events.sort_by_key(|event| event.after);
        let kind = |event: &Event| event.body["eventType"].as_str().unwrap().to_owned();
        events.iter().map(|event| (kind(event), event.after.as_millis())).collect()
    }

    fn own(events: &[(&str, u128)]) -> Vec<(String, u128)> {
        events.iter().map(|(kind, after)| ((*kind).to_owned(), *after)).collect()
    }

    #[test]
    fn events_come_reversed_twice_late_or_never() {
        let all = Amount::Share(1.0);
        let plain = [("Send", 0), ("Delivery", 300), ("Complaint", 900)];
        assert_eq!(told(Faults::default()), own(&plain));
        let reversed = told(Faults { reorder: all, ..Faults::default() });
        assert_eq!(reversed, own(&[("Complaint", 0), ("Delivery", 300), ("Send", 900)]));
        let late = told(Faults { delay: Amount::Next { next: 1 }, delay_ms: 2_000, ..Faults::default() });
        assert_eq!(late, own(&[("Delivery", 300), ("Complaint", 900), ("Send", 2_000)]));
        let twice = told(Faults { repeat: Amount::Next { next: 1 }, delay_ms: 500, ..Faults::default() });
        assert_eq!(twice, own(&[("Send", 0), ("Delivery", 300), ("Send", 500), ("Complaint", 900)]));
        assert_eq!(told(Faults { lose: Amount::Next { next: 2 }, ..Faults::default() }), own(&[("Complaint", 900)]));
        assert!(told(Faults { lose: all, ..Faults::default() }).is_empty());
    }
}
