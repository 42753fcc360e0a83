//! Subscribers: one address on one newsletter each.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::fields::{ConsentRequest, Name, Tags};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::newsletters;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{NewsletterId, SubscriberId};
use millrace::domain::local_time::Zone;
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::ports::Added;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A subscriber to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "newsletter": "nl_0197b3f2a4c87d0e9b61f2c35a7e4d18", "email": "ada@example.com", "name": "Ada",
    "time_zone": "Europe/London", "tags": ["early"],
    "consent": {"source": "https://example.com/subscribe", "at": "2026-03-01T09:30:00Z"}
}))]
pub struct SubscriberRequest {
    /// The newsletter.
    #[schema(value_type = String)]
    newsletter: NewsletterId,
    /// The address. Case makes no difference.
    #[schema(value_type = String, format = Email)]
    email: EmailAddress,
    /// The name.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<Name>,
    /// The IANA time zone. Letters come by this clock; without it, by the newsletter's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Zone>,
    /// Tags, at most 20 of 1 to 64 characters each.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20)]
    tags: Tags,
    /// The proof that the reader wants this newsletter.
    consent: ConsentRequest,
}

/// The proof of consent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConsentView {
    /// Where it was given.
    pub source: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A subscriber.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SubscriberView {
    /// The identifier.
    #[schema(example = "sub_0197b3f2a4c87d0e9b61f2c35a7e4d18_5f2b9c0d7e1a4836b0c9d8e7f6a5b4c3")]
    pub id: String,
    /// The newsletter.
    pub newsletter: String,
    /// The address.
    #[schema(format = Email)]
    pub email: String,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// `active` or `unsubscribed`.
    #[schema(example = "active")]
    pub status: String,
    /// The proof of consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ConsentView>,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it unsubscribed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub unsubscribed_at: Option<Timestamp>,
}

impl From<Subscriber> for SubscriberView {
    fn from(subscriber: Subscriber) -> Self {
        Self {
            id: subscriber.id().to_string(),
            newsletter: subscriber.key.newsletter().to_string(),
            email: subscriber.email.into(),
            name: subscriber.name,
            time_zone: subscriber.time_zone.map(|zone| zone.to_string()),
            tags: subscriber.tags,
            status: subscriber.status.as_str().to_owned(),
            consent: subscriber.consent.map(|consent| ConsentView { source: consent.source, at: consent.at }),
            created_at: subscriber.created_at,
            unsubscribed_at: subscriber.unsubscribed_at,
        }
    }
}

/// Add a subscriber.
///
/// An address that is on the newsletter already is answered 200 and left as it is. One that unsubscribed is answered 409:
/// it does not come back without its owner's doing.
#[utoipa::path(
    post, path = "/v1/subscribers", operation_id = "add_subscriber", tag = "people", security(("key" = ["audience:write"])),
    request_body = SubscriberRequest,
    responses(
        (status = 201, body = SubscriberView, description = "It is added",
         headers(("Location" = String, description = "Where it is to be seen"))),
        (status = 200, body = SubscriberView, description = "It was there already, and is unchanged"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "The address unsubscribed from this newsletter"),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn add(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<SubscriberRequest>,
) -> Answer<Response> {
    let now = api.now();
    let mut faults = Vec::new();
    if newsletters::find(&api, &caller.tenant, &request.newsletter).await?.is_none() {
        faults.push(Fault::at("/newsletter", "there is no such newsletter"));
    }
    let consent = request.consent.consent(now);
    if consent.is_none() {
        faults.push(Fault::at("/consent/at", "may not be in the future"));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let subscriber = Subscriber {
        key: SubscriberKey::of(&request.newsletter, &request.email),
        tenant: caller.tenant,
        email: request.email,
        name: request.name.and_then(|name| name.0),
        time_zone: request.time_zone,
        tags: request.tags.0,
        status: SubscriberStatus::Active,
        consent,
        created_at: now,
        unsubscribed_at: None,
    };
    let (status, subscriber) = match api.subscribers.add(&subscriber).await? {
        Added::New => (StatusCode::CREATED, subscriber),
        Added::Exists(old) if old.status == SubscriberStatus::Active => (StatusCode::OK, *old),
        Added::Exists(_) => {
            let why = "This address unsubscribed from this newsletter. Only its owner can undo that.";
            return Err(Problem::conflict(why));
        }
    };
    let location = format!("/v1/subscribers/{}", subscriber.id());
    Ok((status, [(header::LOCATION, location)], Json(SubscriberView::from(subscriber))).into_response())
}

/// See a subscriber.
#[utoipa::path(
    get, path = "/v1/subscribers/{id}", operation_id = "show_subscriber", tag = "people", security(("key" = ["audience:read"])),
    params(("id" = String, Path, description = "The subscriber")),
    responses((status = 200, body = SubscriberView), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<SubscriberId>,
) -> Answer<Json<SubscriberView>> {
    let key = SubscriberKey::try_from(&id).map_err(|_| Problem::not_found())?;
    let found = api.subscribers.get(&[key]).await?.pop().flatten();
    let subscriber = found.filter(|one| one.tenant == caller.tenant).ok_or_else(Problem::not_found)?;
    Ok(Json(subscriber.into()))
}
