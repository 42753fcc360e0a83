//! SES's side of the story: a `Send` event to the feedback queue for each accepted mail, in the form SES publishes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::mail::{Mail, bare, domain};

/// How many events may wait while the queue is away. Beyond it events are dropped, with a warning.
const MAX_WAITING: usize = 100_000;
/// What one `SendMessageBatch` takes.
const BATCH: usize = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Any region will do: the engine keeps its resources in the one it was deployed to, this one.
const REGION: &str = "us-east-1";
/// The account of the local engine, which is also the one of its queues' URLs.
const ACCOUNT: &str = "000000000000";

/// Hands accepted mails to the task that reports them. Cheap to clone; the task ends when the last clone is gone and
/// all that waits is sent.
#[derive(Clone)]
pub struct Feedback {
    waiting: mpsc::Sender<Arc<Mail>>,
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
        let (waiting, mails) = mpsc::channel(MAX_WAITING);
        let sender = Sender { client: Client::from_conf(config), queue_url: queue_url.to_owned() };
        Ok((Self { waiting }, tokio::spawn(sender.run(mails))))
    }

    /// Has the `Send` event of this mail sent. Never waits.
    pub(crate) fn report(&self, mail: Arc<Mail>) {
        if let Err(error) = self.waiting.try_send(mail) {
            let mail = error.into_inner();
            tracing::warn!(message = mail.id, "dropped a Send event: {MAX_WAITING} of them wait for the queue already");
        }
    }
}

/// The event SES publishes for an accepted mail: what an EventBridge rule with `InputPath: $.detail` passes on.
pub fn send_event(mail: &Mail) -> Value {
    json!({
        "eventType": "Send",
        "mail": {
            "timestamp": format!("{:.3}", mail.received_at),
            "source": mail.from,
            "sourceArn": format!("arn:aws:ses:{REGION}:{ACCOUNT}:identity/{}", bare(&mail.from)),
            "sendingAccountId": ACCOUNT,
            "messageId": mail.id,
            "destination": mail.to.iter().chain(&mail.cc).chain(&mail.bcc).map(|to| bare(to)).collect::<Vec<_>>(),
            "headersTruncated": false,
            "headers": headers(mail),
            "commonHeaders": common_headers(mail),
            "tags": tags(mail),
        },
        "send": {},
    })
}

fn headers(mail: &Mail) -> Vec<Value> {
    let own = mail.headers.iter().map(|header| json!({ "name": header.name, "value": header.value }));
    if mail.raw.is_some() {
        return own.collect();
    }
    let people = [("Reply-To", &mail.reply_to), ("To", &mail.to), ("Cc", &mail.cc)];
    let people = people.into_iter().filter(|(_, given)| !given.is_empty());
    let mut headers = vec![json!({ "name": "From", "value": mail.from })];
    headers.extend(people.map(|(name, given)| json!({ "name": name, "value": given.join(", ") })));
    headers.push(json!({ "name": "Subject", "value": mail.subject }));
    headers.push(json!({ "name": "MIME-Version", "value": "1.0" }));
    headers.extend(own);
    headers
}

fn common_headers(mail: &Mail) -> Value {
    let mut common = json!({ "from": [mail.from], "messageId": mail.id, "subject": mail.subject });
    for (name, given) in [("replyTo", &mail.reply_to), ("to", &mail.to), ("cc", &mail.cc)] {
        if !given.is_empty() {
            common[name] = json!(given);
        }
    }
    common
}

/// The tags of the sender and those SES adds. A value is always a list.
fn tags(mail: &Mail) -> BTreeMap<&str, [&str; 1]> {
    let mut tags: BTreeMap<_, _> = mail.tags.iter().map(|(name, value)| (name.as_str(), [value.as_str()])).collect();
    tags.insert("ses:operation", ["SendEmail"]);
    tags.insert("ses:source-ip", ["127.0.0.1"]);
    tags.insert("ses:from-domain", [domain(&mail.from)]);
    tags.insert("ses:caller-identity", ["mailbox"]);
    if let Some(set) = &mail.configuration_set {
        tags.insert("ses:configuration-set", [set]);
    }
    tags
}

struct Sender {
    client: Client,
    queue_url: String,
}

impl Sender {
    async fn run(self, mut mails: mpsc::Receiver<Arc<Mail>>) {
        let mut unsent: VecDeque<Arc<Mail>> = VecDeque::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let room = BATCH - unsent.len();
            let mut taken = Vec::with_capacity(room);
            if unsent.is_empty() && mails.recv_many(&mut taken, room).await == 0 {
                return;
            }
            while taken.len() < room
                && let Ok(mail) = mails.try_recv()
            {
                taken.push(mail);
            }
            unsent.extend(taken);
            if self.send(&mut unsent, pause == FIRST_PAUSE).await {
                pause = FIRST_PAUSE;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Sends up to one batch, and takes out of `unsent` what the queue has or will never take. False when all or some of it
    /// must be sent again. Only the first failure in a row is told.
    async fn send(&self, unsent: &mut VecDeque<Arc<Mail>>, first: bool) -> bool {
        let entry = |(index, mail): (usize, &Arc<Mail>)| {
            let body = send_event(mail).to_string();
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
        let mut again = VecDeque::new();
        for (index, mail) in unsent.drain(..).enumerate() {
            match failed.get(index.to_string().as_str()) {
                None => {}
                Some(true) => tracing::warn!(message = mail.id, "the feedback queue refused a Send event; dropped it"),
                Some(false) => again.push_back(mail),
            }
        }
        *unsent = again;
        unsent.is_empty()
    }
}
