//! Logs: one JSON object a line on standard output, which CloudWatch Logs keeps.

use crate::env;
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

#[cfg(test)]
mod tests {
    use super::*;
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
