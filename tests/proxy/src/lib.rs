//! A proxy in front of the local AWS engine. The functions' calls go through it: it counts them, by function and
//! operation, weighs what DynamoDB would bill for their writes, and disturbs them when it is told to. The engine itself
//! never throttles and loses no answer, so without it no test would show what happens then.
//!
//! Its own routes are below `/_proxy`:
//!
//! - `GET /_proxy/calls` the counts, `DELETE /_proxy/calls` begins anew;
//! - `PUT /_proxy/faults` [`Faults`], `GET` shows them; `{}` ends them;
//! - `PUT /_proxy/measure` `true` or `false`: whether writes are weighed, which costs the engine two reads each.

mod call;
mod count;
mod faults;
mod forward;
mod units;

pub use count::{Count, Counts};
pub use faults::Faults;

use crate::call::Call;
use crate::faults::{Disturb, Fault};
use crate::forward::Engine;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest body it passes on. S3's own limit for one request is 5 GB; the functions send a few MB.
const MAX_BODY: usize = 64 * 1024 * 1024;

struct Proxy {
    engine: Engine,
    counts: Mutex<Counts>,
    disturb: Mutex<Disturb>,
    measure: AtomicBool,
}

/// The proxy in front of the engine at this address, such as `http://127.0.0.1:4566`.
///
/// # Errors
/// When the HTTP client cannot be built.
pub fn router(engine: &str) -> anyhow::Result<Router> {
    let proxy = Proxy {
        engine: Engine::new(engine)?,
        counts: Mutex::default(),
        disturb: Mutex::default(),
        measure: AtomicBool::new(false),
    };
    Ok(Router::new()
        .route("/_proxy/health", get(async || StatusCode::OK))
        .route("/_proxy/calls", get(calls).delete(forget))
        .route("/_proxy/faults", put(set_faults).get(faults))
        .route("/_proxy/measure", put(measure))
        .fallback(pass)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(proxy)))
}

/// A panic elsewhere does not make counts wrong.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn calls(State(proxy): State<Arc<Proxy>>) -> Json<Counts> {
    Json(locked(&proxy.counts).clone())
}

async fn forget(State(proxy): State<Arc<Proxy>>) -> StatusCode {
    *locked(&proxy.counts) = Counts::default();
    StatusCode::NO_CONTENT
}

async fn faults(State(proxy): State<Arc<Proxy>>) -> Json<Faults> {
    Json(locked(&proxy.disturb).faults())
}

async fn set_faults(State(proxy): State<Arc<Proxy>>, Json(faults): Json<Faults>) -> Response {
    match Disturb::new(faults) {
        Ok(disturb) => {
            *locked(&proxy.disturb) = disturb;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
    }
}

async fn measure(State(proxy): State<Arc<Proxy>>, Json(on): Json<bool>) -> StatusCode {
    proxy.measure.store(on, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

/// One call of a function: disturbed, or passed on and counted.
async fn pass(State(proxy): State<Arc<Proxy>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call::read(&method, &uri, &headers);
    let fault = call.function.as_ref().and_then(|_| locked(&proxy.disturb).draw());
    if fault == Some(Fault::Throttle) {
        locked(&proxy.counts).of(&call).throttled += 1;
        return call.service.throttled();
    }
    let weighed = proxy.measure.load(Ordering::Relaxed) && call.function.is_some();
    let answer = if weighed {
        let (answer, units) = proxy.engine.weigh(&call, &method, &uri, &headers, body).await;
        let mut counts = locked(&proxy.counts);
        counts.of(&call).write_units += units.write;
        counts.of(&call).read_units += units.read;
        answer
    } else {
        proxy.engine.pass(&method, &uri, &headers, body).await
    };
    let mut counts = locked(&proxy.counts);
    counts.of(&call).calls += 1;
    if fault == Some(Fault::LoseAnswer) {
        counts.of(&call).answers_lost += 1;
        return call.service.answer_lost();
    }
    answer
}
