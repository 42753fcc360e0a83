//! The JSON side: for tests and scripts.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::store::{Counts, Filter};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/messages", get(list).delete(clear))
        .route("/messages/counts", get(counts))
        .route("/messages/{id}", get(one))
        .route("/health", get(health))
}

/// A problem document (RFC 9457).
pub(crate) struct Problem(pub(crate) StatusCode, pub(crate) &'static str);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let kind = HeaderValue::from_static("application/problem+json");
        let body = Json(json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail }));
        (status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

const BAD_QUERY: Problem = Problem(
    StatusCode::BAD_REQUEST,
    "The query takes to=<address>, tag=<name>:<value>, limit=<1 to 1000> and cursor=<next_cursor of an answer>",
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    to: Option<String>,
    tag: Option<String>,
    limit: Option<usize>,
    cursor: Option<u64>,
}

async fn list(State(app): State<App>, query: Result<Query<ListQuery>, QueryRejection>) -> Result<Response, Problem> {
    let Ok(Query(query)) = query else { return Err(BAD_QUERY) };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(BAD_QUERY);
    }
    let filter = Filter { to: query.to, tag: tag(query.tag)?, ..Filter::default() };
    let (messages, next) = app.store.page(&filter, query.cursor, limit);
    let messages: Vec<_> = messages.iter().map(|mail| &**mail).collect();
    let mut answer = json!({ "messages": messages });
    if let Some(next) = next {
        answer["next_cursor"] = Value::String(next.to_string());
    }
    Ok(fresh(Json(answer)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsQuery {
    tag: Option<String>,
}

async fn counts(
    State(app): State<App>,
    query: Result<Query<CountsQuery>, QueryRejection>,
) -> Result<Json<Counts>, Problem> {
    let Ok(Query(query)) = query else {
        return Err(Problem(StatusCode::BAD_REQUEST, "The query takes tag=<name>:<value>"));
    };
    Ok(Json(app.store.counts(&Filter { tag: tag(query.tag)?, ..Filter::default() })))
}

async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let mail = app.store.get(&id).ok_or(NO_SUCH_MAIL)?;
    Ok(fresh(Json(&*mail)))
}

pub(crate) const NO_SUCH_MAIL: Problem = Problem(StatusCode::NOT_FOUND, "There is no mail with this id");

async fn clear(State(app): State<App>) -> Result<StatusCode, Problem> {
    app.store.clear().map_err(|error| {
        tracing::error!(%error, "the state file could not be emptied");
        Problem(StatusCode::INTERNAL_SERVER_ERROR, "The state file could not be emptied; no mail was dropped")
    })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn health(State(app): State<App>) -> Json<Value> {
    Json(json!({ "status": "ok", "messages": app.store.count(&Filter::default()) }))
}

/// `<name>:<value>`, as SES allows them: neither has a colon.
pub(crate) fn tag(given: Option<String>) -> Result<Option<(String, String)>, Problem> {
    let Some(given) = given else { return Ok(None) };
    match given.split_once(':') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Some((name.to_owned(), value.to_owned()))),
        _ => Err(Problem(StatusCode::BAD_REQUEST, "tag is <name>:<value>")),
    }
}

fn fresh(answer: impl IntoResponse) -> Response {
    let kept = (HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    ([kept], answer).into_response()
}
