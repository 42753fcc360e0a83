//! The paths a job may take, each walked on the deployed template while the proxy counts.

use crate::poller::Poller;
use crate::usage::Usage;
use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use millrace_proxy::Counts;
use millrace_tests::stack::{Inside, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Jobs of a path that are submitted one by one.
const JOBS: usize = 10;
/// Entries of a batch submit.
const BATCH: usize = 100;
/// How long the outbox may take to be done with what happened.
const PATIENCE: Duration = Duration::from_secs(90);
/// It is done when it makes no call for so long.
const QUIET: Duration = Duration::from_secs(6);

/// What a path came to.
pub(crate) struct Walked {
    /// Its name in the contract.
    pub(crate) name: &'static str,
    /// What one job used, without the outbox.
    pub(crate) usage: Usage,
    /// What the outbox used for one job.
    pub(crate) outbox: Usage,
}

/// Walks paths.
pub(crate) struct Walker<'a> {
    stack: &'a Stack,
    inside: &'a Inside,
    proxy: String,
    jobs_table: String,
}

impl<'a> Walker<'a> {
    pub(crate) async fn new(stack: &'a Stack, inside: &'a Inside) -> anyhow::Result<Self> {
        let proxy = std::env::var("MILLRACE_PROXY_URL").context("MILLRACE_PROXY_URL: run it by `make bench-cost`")?;
        let jobs_table = inside.table("JobsTable").await;
        Ok(Self { stack, inside, proxy, jobs_table })
    }

    /// All paths, one after the other.
    pub(crate) async fn all(&self, told: impl Fn(&str)) -> anyhow::Result<Vec<Walked>> {
        // Connections, keys and everything else that is read once for a process.
        let mut warm = Poller::new(self.stack, self.inside)?;
        warm.take_over("echo").await?;
        warm.stop_the_clock().await?;
        self.submit(&json!({"kind": "echo", "payload": {}})).await?;
        warm.work("echo", "echo", 1).await?;
        self.set("measure", &json!(true)).await?;

        let mut walked = Vec::new();
        for name in NAMES {
            told(name);
            walked.push(self.walk(name).await.with_context(|| format!("path \"{name}\""))?);
        }
        Ok(walked)
    }

    async fn walk(&self, name: &'static str) -> anyhow::Result<Walked> {
        self.settled("before the path").await?;
        self.forget().await?;
        let mut poller = Poller::new(self.stack, self.inside)?;
        let (jobs, api_requests) = self.path(name, &mut poller).await?;
        let counts = self.settled("after the path").await?;
        let jobs = f64::from(u32::try_from(jobs)?);
        let count = |outbox: bool| {
            let mut usage = Usage::default();
            let ours =
                counts.iter().filter(|(function, ..)| !function.is_empty() && function.ends_with("-outbox") == outbox);
            for (_, operation, count) in ours {
                let calls = float(count.calls);
                match operation.split('.').next() {
                    Some("sqs") if operation != "sqs.GetQueueAttributes" => usage.sqs_requests += calls,
                    Some("s3") => usage.s3_requests += calls,
                    _ => {}
                }
                usage.write_units += float(count.write_units);
                usage.read_units += count.read_units;
            }
            usage
        };
        let mut usage = count(false);
        usage.api_requests += float(api_requests);
        usage.lambda_requests += float(api_requests + poller.invocations);
        usage.sqs_requests += float(poller.sqs_requests);
        Ok(Walked { name, usage: usage.divided(jobs), outbox: count(true).divided(jobs) })
    }

    /// Walks a path; says how many jobs went it, and how many requests were made of the API for them.
    async fn path(&self, name: &str, poller: &mut Poller<'_>) -> anyhow::Result<(usize, u64)> {
        let echo = json!({"kind": "echo", "payload": {"message": "hello"}});
        let with = |more: Value| {
            let mut job = echo.clone();
            for (name, value) in more.as_object().into_iter().flatten() {
                job[name] = value.clone();
            }
            job
        };
        match name {
            SINGLE => {
                for _ in 0..JOBS {
                    self.submit(&echo).await?;
                    poller.work("echo", "echo", 1).await?;
                }
                Ok((JOBS, JOBS as u64))
            }
            TENS => {
                for _ in 0..JOBS {
                    self.submit(&echo).await?;
                }
                poller.work("echo", "echo", JOBS).await?;
                Ok((JOBS, JOBS as u64))
            }
            BATCHED => {
                let jobs: Vec<&Value> = (0..BATCH).map(|_| &echo).collect();
                self.stack.post_ok("/v1/jobs/batch", &json!({ "jobs": jobs }), 202).await;
                for _ in 0..BATCH / 10 {
                    poller.work("echo", "echo", 10).await?;
                }
                Ok((BATCH, 1))
            }
            RETRIED => {
                let failing = with(json!({"payload": {"message": "hello", "fail": "transient", "fail_attempts": 1}}));
                for _ in 0..JOBS {
                    self.submit(&failing).await?;
                    poller.work("echo", "echo", 1).await?;
                    poller.work("echo", "echo", 1).await?;
                }
                Ok((JOBS, JOBS as u64))
            }
            DELAYED => {
                for _ in 0..JOBS {
                    let job = self.submit(&with(json!({"delay_seconds": 3_600}))).await?;
                    self.make_due(&job).await?;
                    poller.call("clock").await?;
                    poller.work("echo", "echo", 1).await?;
                }
                Ok((JOBS, JOBS as u64))
            }
            ORDERED => {
                for _ in 0..JOBS {
                    self.submit(&with(json!({"ordering_key": "customer-1"}))).await?;
                    poller.work("echo-ordered.fifo", "echo", 1).await?;
                }
                Ok((JOBS, JOBS as u64))
            }
            CANCELLED => {
                for _ in 0..JOBS {
                    let job = self.submit(&with(json!({"delay_seconds": 3_600}))).await?;
                    self.stack.post_ok(&format!("/v1/jobs/{job}/cancel"), &json!({}), 200).await;
                }
                Ok((JOBS, 2 * JOBS as u64))
            }
            other => anyhow::bail!("there is no path {other}"),
        }
    }

    async fn submit(&self, job: &Value) -> anyhow::Result<String> {
        let answer = self.stack.ask(self.stack.request(Method::POST, "/v1/jobs").json(job)).await;
        ensure!(answer.status.as_u16() == 202, "{}", answer.text);
        Ok(answer.str("/id").to_owned())
    }

    /// Lets an hour pass for a job, past the proxy.
    async fn make_due(&self, job: &str) -> anyhow::Result<()> {
        let due = (Timestamp::now().as_millisecond() + 1_500).to_string();
        let update = self
            .inside
            .aws
            .dynamodb()
            .update_item()
            .table_name(&self.jobs_table)
            .key("pk", AttributeValue::S(format!("JOB#{job}")))
            .update_expression("SET due_at = :due, run_at = :due")
            .condition_expression("attribute_exists(due_at)")
            .expression_attribute_values(":due", AttributeValue::N(due));
        update.send().await.map(drop).context("a job that waits for the clock")
    }

    /// Waits until the outbox has seen what happened. The counts then.
    async fn settled(&self, when: &str) -> anyhow::Result<Counts> {
        let end = Instant::now() + PATIENCE;
        let (mut last, mut since) = (self.counts().await?, Instant::now());
        while since.elapsed() < QUIET {
            ensure!(Instant::now() < end, "the functions do not come to rest {when}");
            sleep(Duration::from_millis(500)).await;
            let now = self.counts().await?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    async fn counts(&self) -> anyhow::Result<Counts> {
        let answer = self.stack.ask(self.stack.anywhere(Method::GET, &format!("{}/_proxy/calls", self.proxy))).await;
        serde_json::from_value(answer.body).context("the proxy's counts")
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.stack.ask(self.stack.anywhere(Method::DELETE, &format!("{}/_proxy/calls", self.proxy))).await;
        Ok(())
    }

    async fn set(&self, what: &str, value: &Value) -> anyhow::Result<()> {
        let request = self.stack.anywhere(Method::PUT, &format!("{}/_proxy/{what}", self.proxy)).json(value);
        let answer = self.stack.ask(request).await;
        ensure!(answer.status.is_success(), "{}", answer.text);
        Ok(())
    }
}

const SINGLE: &str = "single, worked alone";
const TENS: &str = "single, worked in tens";
const BATCHED: &str = "batch of 100, worked in tens";
const RETRIED: &str = "one retry";
const DELAYED: &str = "delayed by more than 15 minutes";
const ORDERED: &str = "ordered";
const CANCELLED: &str = "delayed, then cancelled";
/// Every path, in the order of the table.
pub(crate) const NAMES: [&str; 7] = [SINGLE, TENS, BATCHED, RETRIED, DELAYED, ORDERED, CANCELLED];

#[allow(clippy::cast_precision_loss, reason = "counts of a bench are small")]
fn float(count: u64) -> f64 {
    count as f64
}
