//! A stack that is up.

use anyhow::{Context as _, bail};
use aws_sdk_dynamodb::types::{BillingMode, GlobalSecondaryIndex};
use millrace::aws::{Aws, Keys, S3Blobs, SqsQueue};
use millrace::domain::{id::Tenant, key::Scope};
use millrace::telemetry::Metric;
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::env;
use std::sync::Once;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long anything may take to happen before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as JSON; `Null` when it is none.
    pub body: Value,
    /// Its body as text.
    pub text: String,
}

impl Answer {
    /// The text at a JSON pointer.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn str(&self, pointer: &str) -> &str {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text at {pointer} in {}", self.text))
    }

    /// The number at a JSON pointer.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn number(&self, pointer: &str) -> u64 {
        let found = self.body.pointer(pointer).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no number at {pointer} in {}", self.text))
    }
}

/// A stack that is up.
pub struct Stack {
    http: reqwest::Client,
    api: String,
    key: String,
    mailbox: String,
    /// The stack's name, with which its functions' names begin.
    pub name: String,
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("{name} is not set: run the tests with `make test-e2e`"))
}

impl Stack {
    /// The stack of the environment.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn from_env() -> Self {
        Self::try_from_env().expect("a stack that is up")
    }

    fn try_from_env() -> anyhow::Result<Self> {
        Self::of(variable)
    }

    /// The stack that these variables name, as `local.env` holds them.
    ///
    /// # Errors
    /// When one is missing.
    pub fn of(variable: impl Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<Self> {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Ok(Self {
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?,
            api: variable("MILLRACE_API_URL")?,
            key: variable("MILLRACE_API_KEY")?,
            mailbox: variable("MILLRACE_MAILBOX_URL")?,
            name: variable("MILLRACE_STACK")?,
        })
    }

    /// The same stack for another tenant, with a key that opens the jobs.
    ///
    /// # Panics
    /// When no key can be made.
    pub async fn as_tenant(&self, inside: &Inside, tenant: &str) -> Self {
        let keys = Keys::new(inside.aws.dynamodb(), inside.table("KeysTable").await);
        let (tenant, scopes) = (Tenant::parse(tenant).expect("a tenant"), [Scope::JobsWrite, Scope::JobsRead].into());
        let key = keys.create(tenant, scopes, None, jiff::Timestamp::now()).await.expect("a key");
        Self {
            http: self.http.clone(),
            api: self.api.clone(),
            key: key.reveal(),
            mailbox: self.mailbox.clone(),
            name: self.name.clone(),
        }
    }

    /// A request to the API with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.open(method, path).bearer_auth(&self.key)
    }

    /// A request to the API without a key.
    pub fn open(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.api))
    }

    /// A request to any address.
    pub fn anywhere(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, body, text }
    }

    /// GET with the key.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(self.request(Method::GET, path)).await
    }

    /// POST with the key.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    /// POST that must be answered with `status`.
    ///
    /// # Panics
    /// When it is answered with another.
    pub async fn post_ok(&self, path: &str, body: &Value, status: u16) -> Answer {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        answer
    }

    /// Submits an `echo` job with these further fields; gives its id.
    pub async fn echo(&self, payload: Value, more: Value) -> String {
        let mut body = json!({ "kind": "echo", "payload": payload });
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.post_ok("/v1/jobs", &body, 202).await.str("/id").to_owned()
    }

    /// Reads a job.
    pub async fn job(&self, id: &str) -> Answer {
        let answer = self.get(&format!("/v1/jobs/{id}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer
    }

    /// Waits until the job is in one of these states; gives it.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub async fn job_in(&self, id: &str, states: &[&str]) -> Answer {
        until(&format!("{id} in {states:?}"), async || {
            let job = self.job(id).await;
            states.contains(&job.str("/state")).then_some(job)
        })
        .await
    }

    /// Waits until the job is done, one way or the other.
    pub async fn final_job(&self, id: &str) -> Answer {
        self.job_in(id, &["succeeded", "dead", "cancelled"]).await
    }

    /// The mails to an address.
    pub async fn mails_to(&self, address: &str) -> Vec<Value> {
        let answer = self.ask(self.http.get(format!("{}/messages", self.mailbox)).query(&[("to", address)])).await;
        answer.body["messages"].as_array().cloned().unwrap_or_default()
    }

    /// How many mails of a campaign the mailbox has accepted for each address.
    pub async fn mails_of(&self, campaign: &str) -> Vec<(String, u64)> {
        let tag = format!("campaign:{campaign}");
        let url = format!("{}/messages/counts", self.mailbox);
        let answer = self.ask(self.http.get(url).query(&[("tag", tag)])).await;
        let counts = answer.body["by_recipient"].as_object().cloned().unwrap_or_default();
        counts.into_iter().map(|(address, count)| (address, count.as_u64().unwrap_or(0))).collect()
    }

    /// Calls a function as its schedule does, so that no test waits for the minute.
    ///
    /// # Errors
    /// When the function fails.
    pub async fn invoke(&self, function: &str) -> anyhow::Result<Value> {
        self.invoke_with(function, &json!({})).await
    }

    /// Calls a function with an event.
    ///
    /// # Errors
    /// When the function fails.
    pub async fn invoke_with(&self, function: &str, event: &Value) -> anyhow::Result<Value> {
        let endpoint = variable("AWS_ENDPOINT_URL")?;
        let name = format!("{}-{function}", self.name);
        let url = format!("{endpoint}/2015-03-31/functions/{name}/invocations");
        let answer = self.ask(self.http.post(url).header("authorization", credential("lambda")).json(event)).await;
        if !answer.status.is_success() || answer.headers.contains_key("x-amz-function-error") {
            bail!("{name}: {} {}", answer.status, answer.text);
        }
        Ok(answer.body)
    }

    /// How the functions' AWS calls are disturbed from now on; `{}` ends it.
    ///
    /// # Panics
    /// When there is no proxy.
    pub async fn faults(&self, faults: &Value) {
        let url = format!("{}/_proxy/faults", variable("MILLRACE_PROXY_URL").expect("a proxy"));
        let answer = self.ask(self.http.put(url).json(faults)).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    }

    /// How many of the functions' AWS calls were disturbed so far.
    ///
    /// # Panics
    /// When there is no proxy.
    pub async fn disturbed(&self) -> u64 {
        let url = format!("{}/_proxy/calls", variable("MILLRACE_PROXY_URL").expect("a proxy"));
        let functions = self.ask(self.http.get(url)).await.body;
        let operations =
            functions.as_object().into_iter().flatten().filter_map(|(_, calls)| calls.as_object()).flatten();
        let number = |count: &Value, name: &str| count[name].as_u64().unwrap_or(0);
        operations.map(|(_, count)| number(count, "throttled") + number(count, "answers_lost")).sum()
    }

    /// What goes wrong with mails and their events from now on; `{}` ends it.
    ///
    /// # Panics
    /// When the mailbox knows no such fault.
    pub async fn mail_faults(&self, faults: &Value) {
        let answer = self.ask(self.http.post(format!("{}/faults", self.mailbox)).json(faults)).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    }

    /// Has a mail of the mailbox opened (`open`), or a link of it followed (`click`); gives the mailbox's answer.
    pub async fn hit(&self, mail: &Value, what: &str, body: &Value) -> StatusCode {
        let id = mail["id"].as_str().unwrap_or_default();
        self.ask(self.http.post(format!("{}/messages/{id}/{what}", self.mailbox)).json(body)).await.status
    }

    /// How often each fault of mails has happened since they were asked for.
    pub async fn mail_faults_happened(&self) -> Value {
        self.ask(self.http.get(format!("{}/faults", self.mailbox))).await.body["happened"].take()
    }

    /// What a deployed function has counted as this metric, by the lines of its log in CloudWatch's embedded format.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub async fn counted(&self, function: &str, metric: Metric) -> u64 {
        let url = variable("AWS_ENDPOINT_URL").expect("a stack that is up");
        let (mut sum, mut next) = (0, Value::Null);
        loop {
            let mut asked = json!({"logGroupName": format!("/aws/lambda/{}-{function}", self.name)});
            if next.is_string() {
                asked["nextToken"] = next;
            }
            let request = self.http.post(&url).header("authorization", credential("logs"));
            let request = request.header("x-amz-target", "Logs_20140328.FilterLogEvents").json(&asked);
            let page = self.ask(request.header("content-type", "application/x-amz-json-1.1")).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            let lines =
                page.body["events"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
            let metrics = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let of_stack = metrics.filter(|line| {
                let described = &line["_aws"]["CloudWatchMetrics"][0];
                described["Namespace"] == Metric::NAMESPACE
                    && described["Metrics"][0]["Name"] == metric.name()
                    && described["Dimensions"] == json!([["Stack"]])
                    && line["Stack"] == self.name.as_str()
            });
            sum += of_stack.filter_map(|line| line[metric.name()].as_u64()).sum::<u64>();
            next = page.body["nextToken"].clone();
            if next.is_null() {
                return sum;
            }
        }
    }

    /// A request to the API of a service of AWS, as an operator makes it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn control(&self, service: &str, method: &str, url: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.request(method.parse()?, url).header("authorization", credential(service));
        let answer = self.ask(if body.is_null() { request } else { request.json(body) }).await;
        if !answer.status.is_success() {
            bail!("{method} {url}: {} {}", answer.status, answer.text);
        }
        Ok(answer.body)
    }
}

/// The stack's tables and queues, beside its API.
pub struct Inside {
    /// Configuration and clients.
    pub aws: Aws,
    sqs: aws_sdk_sqs::Client,
    stack: String,
    endpoint: String,
}

impl Inside {
    /// The inside of the stack of the environment.
    ///
    /// # Panics
    /// When there is none.
    pub async fn from_env() -> Self {
        let aws = Aws::load().await;
        Self {
            sqs: aws_sdk_sqs::Client::new(aws.config()),
            aws,
            stack: variable("MILLRACE_STACK").expect("a stack that is up"),
            endpoint: variable("AWS_ENDPOINT_URL").expect("a stack that is up"),
        }
    }

    /// The name of the table that the template calls so. The engine of a test holds one stack.
    ///
    /// # Panics
    /// When there is none.
    pub async fn table(&self, logical: &str) -> String {
        let tables = self.aws.dynamodb().list_tables().send().await.expect("the tables");
        let mut names = tables.table_names().iter().filter(|name| !name.starts_with("copy-of-"));
        let found = names.find(|name| name.contains(logical));
        found.unwrap_or_else(|| panic!("no {logical} among {:?}", tables.table_names())).clone()
    }

    /// A new, empty table made as the one that the template calls so. No worker reads it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn copy_of(&self, logical: &str) -> String {
        let dynamodb = self.aws.dynamodb();
        let original = self.table(logical).await;
        let description = dynamodb.describe_table().table_name(&original).send().await.expect("the table");
        let description = description.table.expect("the table");
        let name = format!("copy-of-{logical}-{}", jiff::Timestamp::now().as_nanosecond());
        let mut create = dynamodb
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(description.key_schema)
            .set_attribute_definitions(description.attribute_definitions);
        for index in description.global_secondary_indexes.unwrap_or_default() {
            let index = GlobalSecondaryIndex::builder()
                .set_index_name(index.index_name)
                .set_key_schema(index.key_schema)
                .set_projection(index.projection)
                .build();
            create = create.global_secondary_indexes(index.expect("an index"));
        }
        create.send().await.expect("a table");
        name
    }

    /// A new, empty bucket.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new_bucket(&self) -> S3Blobs {
        let name = format!("test-{}", jiff::Timestamp::now().as_nanosecond());
        let s3 = aws_sdk_s3::Client::new(self.aws.config());
        s3.create_bucket().bucket(&name).send().await.expect("a bucket");
        self.aws.bucket(name)
    }

    /// The stack's keys.
    pub async fn keys(&self) -> Keys {
        Keys::new(self.aws.dynamodb(), self.table("KeysTable").await)
    }

    fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{}-{name}", self.endpoint, self.stack)
    }

    /// The queue of this name.
    #[must_use]
    pub fn queue(&self, name: &str) -> SqsQueue {
        SqsQueue::new(self.sqs.clone(), self.queue_url(name))
    }

    /// The bodies of at most ten messages that are visible on the queue of this name.
    ///
    /// # Panics
    /// When the queue cannot be read.
    pub async fn messages(&self, name: &str) -> Vec<String> {
        let received = self.sqs.receive_message().queue_url(self.queue_url(name)).max_number_of_messages(10);
        let received = received.visibility_timeout(0).send().await.expect("the queue's messages");
        received.messages().iter().filter_map(|message| message.body.clone()).collect()
    }
}

/// The engine asks for a credential and takes any; it tells services apart by it.
fn credential(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential=test/20270101/us-east-1/{service}/aws4_request")
}

/// Tries until it gives something.
///
/// # Panics
/// When that takes longer than [`PATIENCE`].
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}
