//! What AWS asks for, us-east-1, on demand, without any free tier, in dollars.

use crate::usage::Usage;

/// A million requests of an [HTTP API](https://aws.amazon.com/api-gateway/pricing/).
const API: f64 = 1.00;
/// A million [Lambda](https://aws.amazon.com/lambda/pricing/) requests.
const LAMBDA_REQUESTS: f64 = 0.20;
/// A GB-second of Lambda on arm64.
const LAMBDA_GB_SECOND: f64 = 0.000_013_333_4;
/// A million requests of a standard [SQS](https://aws.amazon.com/sqs/pricing/) queue that are fair by `MessageGroupId`,
/// and of a FIFO queue: the dearer of the two that SQS knows, for every request.
const SQS: f64 = 0.50;
/// A million write units of [DynamoDB](https://aws.amazon.com/dynamodb/pricing/on-demand/).
const WRITES: f64 = 0.625;
/// A million read units.
const READS: f64 = 0.125;
/// A million [S3](https://aws.amazon.com/s3/pricing/) PUTs, the dearest of its requests.
const S3: f64 = 5.00;
/// A GB of [CloudWatch Logs](https://aws.amazon.com/cloudwatch/pricing/).
const LOGS_GB: f64 = 0.50;

/// An invocation is taken to last so long, in seconds, at so many GB. Programs for arm64 cannot be timed on any machine, so
/// these are round figures over what the x86_64 release programs take.
const LAMBDA_SECONDS: f64 = 0.010;
const LAMBDA_GB: f64 = 0.25;
/// Lines of one invocation: the platform's own and the function's, in bytes.
const LOG_BYTES: f64 = 700.0;

/// Dollars for a million jobs that use so much each.
pub(crate) fn dollars(usage: &Usage) -> f64 {
    let per_invocation =
        LAMBDA_REQUESTS + LAMBDA_GB_SECOND * LAMBDA_GB * LAMBDA_SECONDS * 1e6 + LOGS_GB * LOG_BYTES / 1e9 * 1e6;
    usage.api_requests * API
        + usage.lambda_requests * per_invocation
        + usage.sqs_requests * SQS
        + usage.write_units * WRITES
        + usage.read_units * READS
        + usage.s3_requests * S3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up() {
        let usage = Usage { api_requests: 1.0, sqs_requests: 3.0, write_units: 4.0, ..Usage::default() };
        assert!((dollars(&usage) - (1.0 + 1.5 + 2.5)).abs() < 1e-9);
        let usage = Usage { lambda_requests: 1.0, ..Usage::default() };
        assert!((0.2..0.7).contains(&dollars(&usage)), "{}", dollars(&usage));
    }
}
