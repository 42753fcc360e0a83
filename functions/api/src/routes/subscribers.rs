//! Subscribers: one address on one newsletter each.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::fields::{ConsentRequest, Name, Tags};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::newsletters;
use crate::routes::subscriber_view::SubscriberView;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{NewsletterId, SubscriberId, Tenant};
use millrace::domain::local_time::Zone;
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::domain::suppression::{Reason, Suppression};
use millrace::ports::Added;
use millrace::sequences;
use serde::Deserialize;
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

/// Add a subscriber.
///
/// If the newsletter has a sequence, the subscriber gets it.
///
/// An address that is on the newsletter already is answered 200 and left as it is. One that unsubscribed, that has not
/// confirmed its sign-up, or that is suppressed is answered 409: it does not come back without its owner's doing.
#[utoipa::path(
    post, path = "/v1/subscribers", operation_id = "add_subscriber", tag = "people", security(("key" = ["audience:write"])),
    request_body = SubscriberRequest,
    responses(
        (status = 201, body = SubscriberView, description = "It is added",
         headers(("Location" = String, description = "Where it is to be seen"))),
        (status = 200, body = SubscriberView, description = "It was there already, and is unchanged"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "The address unsubscribed, has not confirmed its sign-up, or is suppressed; `detail` tells which"),
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
    let newsletter = newsletters::find(&api, &caller.tenant, &request.newsletter).await?;
    if newsletter.is_none() {
        faults.push(Fault::at("/newsletter", "there is no such newsletter"));
    }
    let consent = request.consent.consent(now);
    if consent.is_none() {
        faults.push(Fault::at("/consent/at", "may not be in the future"));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    if let Some(suppression) = suppression(&api, &caller.tenant, &request.email).await? {
        return Err(Problem::conflict(why_suppressed(suppression.reason)));
    }
    let enrolment = newsletter.and_then(|newsletter| newsletter.enrol(request.time_zone.as_ref(), now));
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
        sequence: enrolment,
    };
    let added = api.records().add(&subscriber).await?;
    let (status, subscriber) = match added.ok_or_else(|| Problem::conflict(why_suppressed(Reason::Erased)))? {
        Added::New => (StatusCode::CREATED, subscriber),
        Added::Exists(old) if old.status == SubscriberStatus::Active => (StatusCode::OK, *old),
        Added::Exists(old) => {
            return Err(Problem::conflict(match old.status {
                SubscriberStatus::Pending => "This address was signed up and waits for its owner to confirm that.",
                _ => "This address unsubscribed from this newsletter. Only its owner can undo that.",
            }));
        }
    };
    // Asked again after it was cut off, this is done then.
    sequences::begin(&api.intake, &subscriber, now).await?;
    let location = format!("/v1/subscribers/{}", subscriber.id());
    Ok((status, [(header::LOCATION, location)], Json(SubscriberView::from(subscriber))).into_response())
}

/// Whether the address is suppressed.
pub(crate) async fn suppression(api: &Api, tenant: &Tenant, email: &EmailAddress) -> Answer<Option<Suppression>> {
    Ok(api.suppressions.check(tenant, std::slice::from_ref(email)).await?.pop().flatten())
}

/// Why an address cannot be added, for the caller.
fn why_suppressed(reason: Reason) -> &'static str {
    match reason {
        Reason::Complaint => "This address is suppressed: its owner called a mail spam.",
        Reason::HardBounce => "This address is suppressed: there is no such mailbox.",
        Reason::SoftBounces => "This address is suppressed: too many mails were not taken.",
        Reason::Manual => "This address is suppressed: somebody put it on the list.",
        Reason::Erased => "This address was erased. Only its owner can bring it back, by the public form.",
        Reason::Unsubscribed => "This address unsubscribed from everything. Only its owner can undo that.",
    }
}

/// The tenant's subscriber of this identifier.
pub(crate) async fn find(api: &Api, tenant: &Tenant, id: &SubscriberId) -> Answer<Subscriber> {
    let key = SubscriberKey::try_from(id).map_err(|_| Problem::not_found())?;
    let found = api.subscribers.get(&[key]).await?.pop().flatten();
    found.filter(|one| one.tenant == *tenant).ok_or_else(Problem::not_found)
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
    let subscriber = find(&api, &caller.tenant, &id).await?;
    let suppression = suppression(&api, &caller.tenant, &subscriber.email).await?;
    Ok(Json(SubscriberView { suppressed: suppression.map(Into::into), ..subscriber.into() }))
}
