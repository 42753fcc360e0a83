//! The addresses that get no newsletter. They are kept as keyed hashes, so they can be asked for and not listed.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::Body;
use crate::problem::{Answer, BodyProblems, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::query;
use crate::routes::subscriber_view::SuppressionView;
use crate::routes::subscribers::suppression;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use millrace::domain::address::EmailAddress;
use millrace::domain::suppression::Reason;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// An address that is to get no newsletter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"email": "eve@example.com", "reason": "manual"}))]
pub struct SuppressionRequest {
    /// The address. Case makes no difference.
    #[schema(value_type = String, format = Email)]
    email: EmailAddress,
    /// `manual` (default); or `unsubscribed`, as by another tool before: then its owner can come back by the public form.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    reason: Option<GivenReason>,
}

/// A reason that a caller may give.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GivenReason {
    Manual,
    Unsubscribed,
}

/// Suppress an address: it gets none of the tenant's newsletters, whatever list it is on.
#[utoipa::path(
    post, path = "/v1/suppressions", operation_id = "suppress", tag = "people", security(("key" = ["audience:write"])),
    request_body = SuppressionRequest,
    responses(
        (status = 200, body = SuppressionView, description = "It is suppressed; the reason that weighs most is shown"),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn add(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<SuppressionRequest>,
) -> Answer<Json<SuppressionView>> {
    let reason = match request.reason {
        Some(GivenReason::Unsubscribed) => Reason::Unsubscribed,
        Some(GivenReason::Manual) | None => Reason::Manual,
    };
    api.suppressions.suppress(&caller.tenant, &request.email, reason, api.now()).await?;
    let found = suppression(&api, &caller.tenant, &request.email).await?;
    Ok(Json(found.ok_or_else(Problem::not_found)?.into()))
}

/// See whether an address is suppressed.
#[utoipa::path(
    get, path = "/v1/suppressions", operation_id = "show_suppression", tag = "people", security(("key" = ["audience:read"])),
    params(("email" = String, Query, description = "The address")),
    responses(
        (status = 200, body = SuppressionView),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "`email` is no address"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<SuppressionView>> {
    let found = suppression(&api, &caller.tenant, &address(query)?).await?;
    Ok(Json(found.ok_or_else(Problem::not_found)?.into()))
}

/// Take an address off the list.
///
/// Bounces, complaints and what was put there by hand are taken back. What its owner wished is not: that they unsubscribed or
/// were erased.
#[utoipa::path(
    delete, path = "/v1/suppressions", operation_id = "lift_suppression", tag = "people", security(("key" = ["audience:write"])),
    params(("email" = String, Query, description = "The address")),
    responses(
        (status = 204, description = "It is not suppressed"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "It stays suppressed by its owner's own wish"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "`email` is no address"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn lift(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    query: Query<Vec<(String, String)>>,
) -> Answer<StatusCode> {
    let email = address(query)?;
    api.suppressions.lift(&caller.tenant, &email, &Reason::BY_TENANT).await?;
    match suppression(&api, &caller.tenant, &email).await? {
        None => Ok(StatusCode::NO_CONTENT),
        Some(_) => Err(Problem::conflict("It stays suppressed: its owner unsubscribed or was erased.")),
    }
}

fn address(Query(pairs): Query<Vec<(String, String)>>) -> Answer<EmailAddress> {
    let mut email = None;
    query::read(pairs, &["email"], |_, value| {
        email = Some(EmailAddress::parse(&value).map_err(|error| error.to_string())?);
        Ok(())
    })
    .map_err(Problem::invalid)?;
    let missing = || Problem::invalid(vec![crate::problem::Fault::parameter("email", "is needed")]);
    email.ok_or_else(missing)
}
