//! Newsletters: what one subscribes to.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::fields::{Line, Lines, nullable, present};
use crate::problem::{Answer, BodyProblems, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::query::{self, Page};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use millrace::domain::address::{MAX_NAME_CHARS, Mailbox};
use millrace::domain::id::{NewsletterId, Tenant};
use millrace::domain::local_time::{SendTime, Weekdays, Zone};
use millrace::domain::people::{Newsletter, NewsletterChange};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A newsletter to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "name": "The Mill Wheel", "from": "The Mill Wheel <news@example.com>", "postal_address": "1 Mill Lane, Watermouth",
    "time_zone": "Europe/Berlin", "send_at": "10:00", "days": ["tue", "thu"]
}))]
pub struct NewsletterRequest {
    /// The title readers know; 1 to 200 characters.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Line<MAX_NAME_CHARS>,
    /// The sender: an address, or `Name <address>`. SES must have verified it.
    #[schema(value_type = String)]
    from: Mailbox,
    /// Where replies go, when not to `from`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    reply_to: Option<Mailbox>,
    /// The sender's postal address, which the law wants in every letter; 1 to 500 characters.
    #[schema(value_type = String, min_length = 1, max_length = 500)]
    postal_address: Lines<500>,
    /// The IANA time zone of those who gave none.
    #[schema(value_type = String)]
    time_zone: Zone,
    /// The time of day letters go out, `HH:MM`.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    send_at: SendTime,
    /// The weekdays letters may go out, `mon` to `sun`; every day when absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    days: Option<Weekdays>,
    /// Whether its letters are shown to everybody, at `/archive/{newsletter}` and in a feed; not when absent. Letters to a
    /// segment are not.
    #[serde(default)]
    archive: bool,
    /// Whether opens and clicks of its campaigns are counted, by SES's pixel and links; not when absent. A campaign takes this
    /// when it is started.
    #[serde(default)]
    tracking: bool,
}

/// What is to be changed of a newsletter. What is left out stays as it is. Campaigns that are under way keep what they took from
/// the newsletter when they were started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"send_at": "08:30", "days": null}))]
pub struct NewsletterPatch {
    /// The title readers know; 1 to 200 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    name: Option<Line<MAX_NAME_CHARS>>,
    /// The sender: an address, or `Name <address>`. SES must have verified it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    from: Option<Mailbox>,
    /// Where replies go; `null`: to `from`.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    reply_to: Option<Option<Mailbox>>,
    /// The sender's postal address; 1 to 500 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500)]
    postal_address: Option<Lines<500>>,
    /// The IANA time zone of those who gave none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Zone>,
    /// The time of day letters go out, `HH:MM`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    send_at: Option<SendTime>,
    /// The weekdays letters may go out, `mon` to `sun`; `null`: every day.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    days: Option<Option<Weekdays>>,
    /// Whether its letters are shown to everybody. This goes at once for those that were sent, too.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    archive: Option<bool>,
    /// Whether opens and clicks of its campaigns are counted, for those that are started from now on.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    tracking: Option<bool>,
}

impl From<NewsletterPatch> for NewsletterChange {
    fn from(patch: NewsletterPatch) -> Self {
        Self {
            name: patch.name.map(|name| name.0),
            from: patch.from,
            reply_to: patch.reply_to,
            postal_address: patch.postal_address.map(|address| address.0),
            time_zone: patch.time_zone,
            send_at: patch.send_at,
            days: patch.days,
            archive: patch.archive,
            tracking: patch.tracking,
            sequence: None,
        }
    }
}

/// Some of a tenant's newsletters.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewsletterPage {
    /// The newsletters, in the order of their creation.
    pub newsletters: Vec<NewsletterView>,
    /// What to send as `cursor` for those after these. Absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A newsletter.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewsletterView {
    /// The identifier.
    #[schema(example = "nl_0197b3f2a4c87d0e9b61f2c35a7e4d18")]
    pub id: String,
    /// The title readers know.
    pub name: String,
    /// The sender.
    pub from: String,
    /// Where replies go, when not to `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The sender's postal address.
    pub postal_address: String,
    /// The time zone of those who gave none.
    pub time_zone: String,
    /// The time of day letters go out.
    pub send_at: String,
    /// The weekdays letters may go out; every day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<String>>,
    /// Whether its letters are shown to everybody.
    pub archive: bool,
    /// Whether opens and clicks of its campaigns are counted.
    pub tracking: bool,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<Newsletter> for NewsletterView {
    fn from(newsletter: Newsletter) -> Self {
        Self {
            id: newsletter.id.to_string(),
            name: newsletter.name,
            from: newsletter.from.to_string(),
            reply_to: newsletter.reply_to.map(|mailbox| mailbox.to_string()),
            postal_address: newsletter.postal_address,
            time_zone: newsletter.time_zone.to_string(),
            send_at: newsletter.send_at.to_string(),
            days: newsletter.days.map(Into::into),
            archive: newsletter.archive,
            tracking: newsletter.tracking,
            created_at: newsletter.created_at,
        }
    }
}

/// The tenant's newsletter of this identifier, if there is one.
///
/// # Errors
/// When the table cannot be read.
pub async fn find(api: &Api, tenant: &Tenant, id: &NewsletterId) -> Answer<Option<Newsletter>> {
    Ok(api.newsletters.get(id).await?.filter(|newsletter| newsletter.tenant == *tenant))
}

/// Create a newsletter.
#[utoipa::path(
    post, path = "/v1/newsletters", operation_id = "create_newsletter", tag = "newsletters", security(("key" = ["audience:write"])),
    request_body = NewsletterRequest,
    responses(
        (status = 201, body = NewsletterView, headers(("Location" = String, description = "Where it is to be seen"))),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn create(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<NewsletterRequest>,
) -> Answer<Response> {
    let newsletter = Newsletter {
        id: NewsletterId::from_uuid(uuid::Uuid::now_v7()),
        tenant: caller.tenant,
        name: request.name.0,
        from: request.from,
        reply_to: request.reply_to,
        postal_address: request.postal_address.0,
        time_zone: request.time_zone,
        send_at: request.send_at,
        days: request.days,
        archive: request.archive,
        tracking: request.tracking,
        sequence: None,
        created_at: api.now(),
    };
    // The identifier is fresh: if one was there, it is from a first try of this very request.
    api.newsletters.add(&newsletter).await?;
    let location = format!("/v1/newsletters/{}", newsletter.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(NewsletterView::from(newsletter))).into_response())
}

/// See a newsletter.
#[utoipa::path(
    get, path = "/v1/newsletters/{id}", operation_id = "show_newsletter", tag = "newsletters", security(("key" = ["audience:read"])),
    params(("id" = String, Path, description = "The newsletter")),
    responses((status = 200, body = NewsletterView), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<NewsletterId>,
) -> Answer<Json<NewsletterView>> {
    let newsletter = find(&api, &caller.tenant, &id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(newsletter.into()))
}

/// List newsletters.
#[utoipa::path(
    get, path = "/v1/newsletters", operation_id = "list_newsletters", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 100; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, body = NewsletterPage),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn list(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<NewsletterPage>> {
    let mut page = Page::<NewsletterId>::default();
    query::read(query.0, &["limit", "cursor"], |name, value| page.take(name, value)).map_err(Problem::invalid)?;
    let limit = page.limit();
    let found = api.newsletters.list(&caller.tenant, page.after.as_ref(), limit).await?;
    let next_cursor = found.last().filter(|_| found.len() == limit).map(|last| query::cursor(last.id.as_str()));
    Ok(Json(NewsletterPage { newsletters: found.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Change a newsletter.
#[utoipa::path(
    patch, path = "/v1/newsletters/{id}", operation_id = "change_newsletter", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The newsletter")),
    request_body = NewsletterPatch,
    responses((status = 200, body = NewsletterView), NotFound, BodyProblems, KeyProblems, ServiceProblems)
)]
pub async fn change(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<NewsletterId>,
    Body { value: patch, .. }: Body<NewsletterPatch>,
) -> Answer<Json<NewsletterView>> {
    find(&api, &caller.tenant, &id).await?.ok_or_else(Problem::not_found)?;
    let changed = api.newsletters.change(&id, &patch.into()).await?;
    Ok(Json(changed.ok_or_else(Problem::not_found)?.into()))
}
