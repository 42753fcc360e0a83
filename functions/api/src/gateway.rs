//! The router behind API Gateway's HTTP API (payload format 2.0).

use axum::Router;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, LambdaEvent};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a query must not hold as it is (RFC 3986 section 3.4), apart from what is percent-encoded already.
const NOT_IN_A_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// Makes a request such that it can be read as an `http::Request`: `lambda_http` panics on a host, a protocol or a query
/// that no URI may hold, and all three are the caller's. Nothing here reads host and protocol, so they go.
#[must_use]
pub fn tidy(mut request: LambdaRequest) -> LambdaRequest {
    if let LambdaRequest::ApiGatewayV2(request) = &mut request {
        request.headers.remove("x-forwarded-proto");
        request.headers.remove("host");
        request.request_context.domain_name = None;
        if let Some(query) = &mut request.raw_query_string {
            *query = utf8_percent_encode(query, NOT_IN_A_QUERY).to_string();
        }
    }
    request
}

/// The service to give to `lambda_runtime::run`.
pub fn service(
    app: Router,
) -> impl tower::Service<
    LambdaEvent<LambdaRequest>,
    Response = impl serde::Serialize + Send,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    tower::util::MapRequest::new(Adapter::from(app), |event: LambdaEvent<LambdaRequest>| {
        LambdaEvent::new(tidy(event.payload), event.context)
    })
}
