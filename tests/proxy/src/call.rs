//! Which function calls which operation.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// The services whose refusals differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    DynamoDb,
    Sqs,
    S3,
    Other,
}

/// A call, as its headers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) service: Service,
    /// `dynamodb.PutItem`, `sqs.SendMessage`, `s3.GET` and so on.
    pub(crate) operation: String,
    /// The name a function gives itself in its user agent. Absent: the caller is no function.
    pub(crate) function: Option<String>,
}

impl Call {
    pub(crate) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let target = text("x-amz-target").rsplit_once('.');
        let (service, operation) = match target {
            Some((service, operation)) if service.starts_with("DynamoDB_") => {
                (Service::DynamoDb, format!("dynamodb.{operation}"))
            }
            Some(("AmazonSQS", operation)) => (Service::Sqs, format!("sqs.{operation}")),
            Some((service, operation)) => (Service::Other, format!("{service}.{operation}")),
            // What signs as S3 has its operation in method and path.
            None if text("authorization").contains("/s3/aws4_request") => (Service::S3, format!("s3.{method}")),
            None => (Service::Other, format!("{method} {}", uri.path())),
        };
        // https://github.com/awslabs/aws-sdk-rust: `app/<name>` is the application's own name.
        let agent = format!("{} {}", text("x-amz-user-agent"), text("user-agent"));
        let function = agent.split_whitespace().find_map(|part| part.strip_prefix("app/")).map(str::to_owned);
        Self { service, operation, function }
    }
}

impl Service {
    /// What the service answers to whom it asks to slow down.
    pub(crate) fn throttled(self) -> Response {
        match self {
            Self::DynamoDb => json_error(
                StatusCode::BAD_REQUEST,
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            ),
            Self::Sqs => json_error(StatusCode::BAD_REQUEST, "com.amazonaws.sqs#RequestThrottled"),
            Self::S3 => xml_error("SlowDown"),
            Self::Other => json_error(StatusCode::BAD_REQUEST, "ThrottlingException"),
        }
    }

    /// What is heard in place of an answer that got lost.
    pub(crate) fn answer_lost(self) -> Response {
        match self {
            Self::S3 => xml_error("InternalError"),
            _ => json_error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        }
    }
}

fn json_error(status: StatusCode, kind: &str) -> Response {
    let code = kind.rsplit('#').next().unwrap_or(kind);
    let body = serde_json::json!({ "__type": kind, "message": "a fault that was asked for" }).to_string();
    let mut response = (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response();
    // SQS's clients look here for the code of old.
    if let Ok(value) = HeaderValue::from_str(&format!("{code};Sender")) {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}

fn xml_error(code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>a fault that was asked for</Message></Error>");
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(headers: &[(&'static str, &'static str)]) -> Call {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        Call::read(&Method::PUT, &Uri::from_static("/bucket/key"), &headers.collect())
    }

    #[test]
    fn a_call_tells_its_operation_and_its_function() {
        let put = call(&[
            ("x-amz-target", "DynamoDB_20120810.PutItem"),
            ("x-amz-user-agent", "aws-sdk-rust/1.3 api/dynamodb app/millrace-api lang/rust"),
        ]);
        assert_eq!((put.service, put.operation.as_str()), (Service::DynamoDb, "dynamodb.PutItem"));
        assert_eq!(put.function.as_deref(), Some("millrace-api"));
        let send = call(&[("x-amz-target", "AmazonSQS.SendMessageBatch")]);
        assert_eq!((send.operation.as_str(), send.function), ("sqs.SendMessageBatch", None));
        let object = call(&[("authorization", "AWS4-HMAC-SHA256 Credential=k/20261125/us-east-1/s3/aws4_request, x")]);
        assert_eq!((object.service, object.operation.as_str()), (Service::S3, "s3.PUT"));
    }
}
