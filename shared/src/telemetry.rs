//! Logs, metrics and traces. All of them leave as one JSON object a line on standard output, which CloudWatch Logs keeps.

use crate::env;
use serde_json::json;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Crates that log requests below `warn`, and requests hold personal data.
const QUIET: [&str; 10] = [
    "aws_config",
    "aws_runtime",
    "aws_sdk",
    "aws_sigv4",
    "aws_smithy",
    "hyper",
    "hyper_util",
    "rustls",
    "lambda_runtime",
    "lambda_http",
];

/// Starts logging at the level that [`env::LOG_LEVEL`] names. Call it first in `main`.
pub fn init() {
    let level = env::optional(env::LOG_LEVEL).and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false);
    tracing_subscriber::registry().with(filter(level)).with(lines).init();
}

/// `Targets` and not `EnvFilter`, whose regular expressions no function needs.
fn filter(level: LevelFilter) -> Targets {
    Targets::new().with_default(level).with_targets(QUIET.map(|target| (target, level.min(LevelFilter::WARN))))
}

/// What is counted, for the alarms and the dashboard of the template. A tenant is never a dimension: each would be a metric to
/// pay for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Jobs that became dead.
    JobsDead,
    /// Recipients of campaigns of whom it is not known, and will not be, whether SES took their mail.
    RecipientsUnknown,
    /// Percent of SES's daily quota that the account has used, while a campaign is under way.
    MailQuotaUsed,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::JobsDead, Self::RecipientsUnknown, Self::MailQuotaUsed];
    /// CloudWatch's namespace of the metrics; their only dimension is `Stack`.
    pub const NAMESPACE: &'static str = "Millrace";

    /// Its name in CloudWatch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JobsDead => "JobsDead",
            Self::RecipientsUnknown => "RecipientsUnknown",
            Self::MailQuotaUsed => "MailQuotaUsed",
        }
    }

    /// CloudWatch's name of its unit.
    fn unit(self) -> &'static str {
        match self {
            Self::JobsDead | Self::RecipientsUnknown => "Count",
            Self::MailQuotaUsed => "Percent",
        }
    }
}

/// Counts, by a line in CloudWatch's [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html):
/// no call is made. Nothing is written of zero, nor outside a deployed function.
pub fn count(metric: Metric, number: u64) {
    if number == 0 {
        return;
    }
    if let Some(stack) = env::optional(env::STACK) {
        println!("{}", metric_line(metric, number, &stack, jiff::Timestamp::now()));
    }
}

fn metric_line(metric: Metric, number: u64, stack: &str, at: jiff::Timestamp) -> serde_json::Value {
    json!({
        "_aws": {
            "Timestamp": at.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": Metric::NAMESPACE,
                "Dimensions": [["Stack"]],
                "Metrics": [{ "Name": metric.name(), "Unit": metric.unit() }],
            }],
        },
        // Lambda drops the lines below the function's log level, and a metric must not depend on that.
        "level": "ERROR",
        "timestamp": at.to_string(),
        "message": "metric",
        "Stack": stack,
        metric.name(): number,
    })
}

/// The trace that an X-Ray header (`Root=1-...;Parent=...;Sampled=1`) belongs to: what the log lines of one request and of its
/// jobs have in common.
#[must_use]
pub fn trace_id(header: &str) -> Option<&str> {
    let root = header.split(';').find_map(|part| part.trim().strip_prefix("Root="))?;
    let fits = root.len() <= 64 && root.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (fits && !root.is_empty()).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_a_line_that_cloudwatch_reads() {
        let at = jiff::Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        for metric in Metric::ALL {
            let line = metric_line(metric, 3, "millrace", at);
            let told = &line["_aws"]["CloudWatchMetrics"][0];
            let name = told["Metrics"][0]["Name"].as_str().unwrap();
            assert_eq!(line[name], 3);
            assert_eq!(line[told["Dimensions"][0][0].as_str().unwrap()], "millrace");
            assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
            assert!(!line.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_trace_is_named_by_its_root() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(trace_id(header), Some("1-5759e988-bd862e3fe1be46a994272793"));
        assert_eq!(trace_id("Parent=1; Root=1-a"), Some("1-a"));
        for other in ["", "Root=", "Root=a b", "Root=\"}", "Sampled=1", &format!("Root={}", "a".repeat(65))] {
            assert_eq!(trace_id(other), None, "{other}");
        }
    }
    use tracing::Level;

    #[test]
    fn what_logs_requests_is_quiet_at_every_level() {
        let filter = filter(LevelFilter::TRACE);
        for target in
            ["aws_sdk_dynamodb::operation", "aws_smithy_runtime::client", "hyper_util::client", "lambda_runtime"]
        {
            assert!(!filter.would_enable(target, &Level::INFO), "{target}");
            assert!(filter.would_enable(target, &Level::WARN), "{target}");
        }
        assert!(filter.would_enable("millrace::worker", &Level::TRACE));
        assert!(!super::filter(LevelFilter::ERROR).would_enable("aws_sdk_s3", &Level::WARN));
    }
}
