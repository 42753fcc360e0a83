//! Logs: one JSON object a line on standard output, which CloudWatch Logs keeps.

use crate::env;
use tracing_subscriber::EnvFilter;

/// Starts logging. Call it first in `main`.
///
/// The SDK's own crates log at `warn` and above whatever the level: below that they log requests, and requests hold
/// personal data.
pub fn init() {
    let level = env::optional(env::LOG_LEVEL).unwrap_or_else(|| "info".to_owned());
    let quiet = "aws_config=warn,aws_runtime=warn,aws_sdk_dynamodb=warn,aws_sdk_s3=warn,aws_sdk_sesv2=warn,\
                 aws_sdk_sqs=warn,aws_sigv4=warn,aws_smithy_runtime=warn,aws_smithy_runtime_api=warn,hyper=warn,\
                 hyper_util=warn,rustls=warn,lambda_runtime=warn,lambda_http=warn";
    let filter = EnvFilter::try_new(format!("{level},{quiet}")).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .init();
}
