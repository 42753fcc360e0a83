//! What surrounds every request: its id, the fence against a panic, its longest time, the headers of every answer, and the one log line.

use crate::prefer;
use crate::problem::Problem;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use lambda_http::request::RequestContext;
use millrace::ports::PortError;
use millrace::telemetry;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// The header that names a request, in the answer and in the log.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a request may take. API Gateway gives up after 30 s, and its answer would not say that asking again helps.
const LONGEST: Duration = Duration::from_secs(20);

/// What a request that wants to wait may take beyond its wait.
const AFTER_WAIT: Duration = Duration::from_secs(3);

/// Runs a request. The query is never logged: it may hold a token.
pub(crate) async fn around(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let trace = trace(&request);
    let span = tracing::info_span!("request", request_id = id.to_str().unwrap_or_default(), trace = trace.as_deref());
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let longest = prefer::wait(request.headers()).map_or(LONGEST, |wait| LONGEST.max(wait + AFTER_WAIT));
    let run = tokio::time::timeout(longest, AssertUnwindSafe(next.run(request)).catch_unwind());
    let mut response = match run.instrument(span.clone()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            span.in_scope(|| tracing::error!("the handler panicked"));
            Problem::internal().into_response()
        }
        Err(_) => {
            let late = PortError::Unavailable(anyhow::anyhow!("no answer within {longest:?}"));
            span.in_scope(|| Problem::from(late)).into_response()
        }
    };
    let status = response.status().as_u16();
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(%method, route = route.as_deref().unwrap_or("none"), status, ms, "answered"));

    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The trace of the invocation, which the messages that it sends carry on.
fn trace(request: &Request) -> Option<String> {
    let context = request.extensions().get::<lambda_http::Context>()?;
    telemetry::trace_id(context.xray_trace_id.as_deref()?).map(str::to_owned)
}

/// The id API Gateway gave the request; without one, the Lambda's; without that, a fresh one.
fn request_id(request: &Request) -> HeaderValue {
    let gateway = match request.extensions().get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.as_deref(),
        _ => None,
    };
    let lambda = request.extensions().get::<lambda_http::Context>().map(|context| context.request_id.as_str());
    [gateway, lambda]
        .into_iter()
        .flatten()
        .filter(|id| !id.is_empty())
        .find_map(|id| HeaderValue::from_str(id).ok())
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).ok())
        .unwrap_or(HeaderValue::from_static("unknown"))
}
