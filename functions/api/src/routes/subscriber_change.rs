//! Changing, exporting and erasing a subscriber.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::fields::{Name, Tags, nullable, present};
use crate::problem::{Answer, BodyProblems, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::subscriber_view::{SubscriberView, SuppressionView};
use crate::routes::subscribers::find;
use crate::routes::users::UserView;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use millrace::domain::id::SubscriberId;
use millrace::domain::local_time::Zone;
use millrace::domain::people::{SubscriberChange, SubscriberStatus};
use millrace::domain::sign_up::SignUp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is to be changed of a subscriber. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"name": "Ada Lovelace", "time_zone": null, "tags": ["early", "vip"]}))]
pub struct SubscriberPatch {
    /// The name; `null` or blank: none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<Option<Name>>,
    /// The IANA time zone; `null`: the newsletter's.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<Zone>>,
    /// All the tags, at most 20 of 1 to 64 characters each.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    tags: Option<Tags>,
    /// `unsubscribed`: no letters any more. Nobody but the owner of the address can go the other way.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    status: Option<SubscriberStatus>,
}

/// Change a subscriber.
#[utoipa::path(
    patch, path = "/v1/subscribers/{id}", operation_id = "change_subscriber", tag = "people", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The subscriber")),
    request_body = SubscriberPatch,
    responses(
        (status = 200, body = SubscriberView),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "The status can be changed so by nobody but the owner of the address"),
        NotFound, BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn change(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<SubscriberId>,
    Body { value: patch, .. }: Body<SubscriberPatch>,
) -> Answer<Json<SubscriberView>> {
    let subscriber = find(&api, &caller.tenant, &id).await?;
    match patch.status {
        Some(status) if status == subscriber.status => {}
        Some(SubscriberStatus::Unsubscribed) => {
            api.subscribers.unsubscribe(&subscriber.key, api.now()).await?;
        }
        Some(_) => {
            let why =
                "Only the owner of the address can subscribe it again, by the public form and the link in the mail.";
            return Err(Problem::conflict(why));
        }
        None => {}
    }
    let change = SubscriberChange {
        name: patch.name.map(|name| name.and_then(|name| name.0)),
        time_zone: patch.time_zone,
        tags: patch.tags.map(|tags| tags.0),
    };
    let changed = api.subscribers.change(&subscriber.key, &change).await?;
    Ok(Json(changed.ok_or_else(Problem::not_found)?.into()))
}

/// A sign-up that waits for its confirmation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SignUpView {
    /// The newsletter.
    pub newsletter: String,
    /// The name that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The time zone that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The network address it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<SignUp> for SignUpView {
    fn from(sign_up: SignUp) -> Self {
        Self {
            newsletter: sign_up.key.newsletter().to_string(),
            name: sign_up.name,
            time_zone: sign_up.time_zone.map(|zone| zone.to_string()),
            ip: sign_up.ip,
            at: sign_up.at,
        }
    }
}

/// Everything that is held on a person.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PersonExport {
    /// The address.
    #[schema(format = Email)]
    pub email: String,
    /// When this was put together.
    #[schema(value_type = String, format = DateTime)]
    pub exported_at: Timestamp,
    /// The registered user of this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserView>,
    /// The address on each newsletter, with the proof of consent.
    pub subscriptions: Vec<SubscriberView>,
    /// Sign-ups that wait for their confirmation.
    pub sign_ups: Vec<SignUpView>,
    /// Why the address gets no letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<SuppressionView>,
}

/// Export everything that is held on the person behind a subscriber, on all of the tenant's newsletters.
#[utoipa::path(
    get, path = "/v1/subscribers/{id}/export", operation_id = "export_subscriber", tag = "people", security(("key" = ["audience:read"])),
    params(("id" = String, Path, description = "The subscriber")),
    responses((status = 200, body = PersonExport), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn export(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<SubscriberId>,
) -> Answer<Json<PersonExport>> {
    let subscriber = find(&api, &caller.tenant, &id).await?;
    let held = api.records().held(&caller.tenant, &subscriber.email).await?;
    Ok(Json(PersonExport {
        email: subscriber.email.into(),
        exported_at: api.now(),
        user: held.user.map(Into::into),
        subscriptions: held.subscriptions.into_iter().map(Into::into).collect(),
        sign_ups: held.sign_ups.into_iter().map(Into::into).collect(),
        suppressed: held.suppression.map(Into::into),
    }))
}

/// Erase the person behind a subscriber.
///
/// Everything that is held on the address goes, on all of the tenant's newsletters: subscriptions with their proofs of
/// consent, sign-ups, the registered user. A keyed hash of the address stays, so that it stays suppressed: whoever adds or
/// imports it later is refused, and only its owner can come back, by the public form. To end one subscription only, set its
/// `status`.
#[utoipa::path(
    delete, path = "/v1/subscribers/{id}", operation_id = "erase_subscriber", tag = "people", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The subscriber")),
    responses((status = 204, description = "Erased"), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn erase(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<SubscriberId>,
) -> Answer<StatusCode> {
    let subscriber = find(&api, &caller.tenant, &id).await?;
    api.records().erase(&caller.tenant, &subscriber.email, &subscriber.key, api.now()).await?;
    tracing::info!(tenant = %caller.tenant, "a person was erased");
    Ok(StatusCode::NO_CONTENT)
}
