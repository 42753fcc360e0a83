//! The account's suppression list: SES sends nothing to who is on it. It is kept in memory, for as long as the mailbox runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::App;
use crate::mail::{check_address, now};
use crate::ses::Refused;

/// What one page of the list holds when no size is asked for, and at most.
const PAGE: usize = 1_000;

/// Why an address is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Reason {
    Bounce,
    Complaint,
}

/// The list, by addresses in lower case.
#[derive(Default)]
pub(crate) struct Suppressed(Mutex<BTreeMap<String, (Reason, Timestamp)>>);

impl Suppressed {
    pub(crate) fn put(&self, address: &str, reason: Reason) {
        self.lock().insert(address.to_ascii_lowercase(), (reason, now()));
    }

    pub(crate) fn reason(&self, address: &str) -> Option<Reason> {
        self.lock().get(&address.to_ascii_lowercase()).map(|(reason, _)| *reason)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Reason, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operations, relative to `/v2`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/email/suppression/addresses", put(put_one).get(list))
        .route("/email/suppression/addresses/{address}", get(get_one).delete(delete_one))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutSuppressed {
    email_address: String,
    reason: Reason,
}

async fn put_one(
    State(app): State<App>,
    request: Result<Json<PutSuppressed>, JsonRejection>,
) -> Result<Json<Value>, Refused> {
    let Ok(Json(PutSuppressed { email_address, reason })) = request else {
        return Err(Refused::bad_request("The body needs an EmailAddress and a Reason, BOUNCE or COMPLAINT"));
    };
    check_address(&email_address).map_err(Refused::bad_request)?;
    app.suppressed.put(&email_address, reason);
    Ok(Json(json!({})))
}

fn entry((address, (reason, at)): (&String, &(Reason, Timestamp))) -> Value {
    json!({ "EmailAddress": address, "Reason": reason, "LastUpdateTime": at.as_second() })
}

async fn get_one(State(app): State<App>, Path(address): Path<String>) -> Result<Json<Value>, Refused> {
    let listed = app.suppressed.lock();
    let found = listed.get_key_value(&address.to_ascii_lowercase()).ok_or_else(not_listed)?;
    Ok(Json(json!({ "SuppressedDestination": entry(found) })))
}

async fn delete_one(State(app): State<App>, Path(address): Path<String>) -> Result<Json<Value>, Refused> {
    app.suppressed.lock().remove(&address.to_ascii_lowercase()).ok_or_else(not_listed)?;
    Ok(Json(json!({})))
}

fn not_listed() -> Refused {
    Refused {
        status: StatusCode::NOT_FOUND,
        kind: "NotFoundException",
        message: "The address is not on the suppression list".to_owned(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListSuppressed {
    reason: Option<Reason>,
    page_size: Option<usize>,
    /// The last address of the page before.
    next_token: Option<String>,
}

/// `ListSuppressedDestinations`, by at most one reason and for all times.
async fn list(
    State(app): State<App>,
    query: Result<Query<ListSuppressed>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Ok(Query(ListSuppressed { reason, page_size, next_token })) = query else {
        return Err(Refused::bad_request("The query takes one Reason, a PageSize and a NextToken"));
    };
    let size = page_size.unwrap_or(PAGE).clamp(1, PAGE);
    let listed = app.suppressed.lock();
    let after = |address: &String| next_token.as_ref().is_none_or(|token| address > token);
    let mut matching = listed
        .iter()
        .filter(|(address, (why, _))| after(address) && reason.is_none_or(|reason| reason == *why))
        .peekable();
    let (mut page, mut last) = (Vec::new(), None);
    for found in matching.by_ref().take(size) {
        last = Some(found.0.clone());
        page.push(entry(found));
    }
    let mut answer = json!({ "SuppressedDestinationSummaries": page });
    if matching.peek().is_some() {
        answer["NextToken"] = json!(last);
    }
    Ok(Json(answer))
}
