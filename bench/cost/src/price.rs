//! What a job comes to in dollars.

use crate::usage::Usage;
use millrace::testing::prices;

/// An invocation is taken to last so long, in seconds, at so many GB. Programs for arm64 cannot be timed on any machine, so
/// these are round figures over what the x86_64 release programs take.
const LAMBDA_SECONDS: f64 = 0.010;
const LAMBDA_GB: f64 = 0.25;

/// Dollars for a million jobs that use so much each.
pub(crate) fn dollars(usage: &Usage) -> f64 {
    let invocation = prices::INVOCATION + prices::LAMBDA_GB_SECOND * LAMBDA_GB * LAMBDA_SECONDS;
    let job = usage.api_requests * prices::API_REQUEST
        + usage.lambda_requests * invocation
        + usage.sqs_requests * prices::SQS_REQUEST
        + usage.write_units * prices::WRITE_UNIT
        + usage.read_units * prices::READ_UNIT
        + usage.s3_requests * prices::S3_REQUEST;
    job * 1e6
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
