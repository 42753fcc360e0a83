//! What AWS asks for, in us-east-1, on demand, without any free tier, in dollars. For benchmarks.

/// One request of an [HTTP API](https://aws.amazon.com/api-gateway/pricing/).
pub const API_REQUEST: f64 = 1.00e-6;
/// One [Lambda](https://aws.amazon.com/lambda/pricing/) request.
pub const LAMBDA_REQUEST: f64 = 0.20e-6;
/// A GB-second of Lambda on arm64.
pub const LAMBDA_GB_SECOND: f64 = 0.000_013_333_4;
/// One request of a standard [SQS](https://aws.amazon.com/sqs/pricing/) queue that is fair by `MessageGroupId`, or of a FIFO
/// queue: the dearer of the two that SQS knows.
pub const SQS_REQUEST: f64 = 0.50e-6;
/// One write unit of [DynamoDB](https://aws.amazon.com/dynamodb/pricing/on-demand/).
pub const WRITE_UNIT: f64 = 0.625e-6;
/// One read unit.
pub const READ_UNIT: f64 = 0.125e-6;
/// One [S3](https://aws.amazon.com/s3/pricing/) PUT, the dearest of its requests.
pub const S3_REQUEST: f64 = 5.00e-6;
/// A byte of [CloudWatch Logs](https://aws.amazon.com/cloudwatch/pricing/).
pub const LOG_BYTE: f64 = 0.50e-9;
/// A mail of [SES](https://aws.amazon.com/ses/pricing/).
pub const MAIL: f64 = 0.10e-3;

/// Lines of one invocation: the platform's own and the function's, in bytes.
const LOG_BYTES: f64 = 700.0;

/// An invocation's request and its log, without the time it takes.
pub const INVOCATION: f64 = LAMBDA_REQUEST + LOG_BYTE * LOG_BYTES;
