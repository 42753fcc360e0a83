//! Users: registering one sends the welcome mail, once.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::fields::Name;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ServiceProblems};
use crate::routes::job_view::JobView;
use crate::routes::newsletters;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use jiff::Timestamp;
use millrace::accept::{self, Accepted, NewJob};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{JobId, NewsletterId, Tenant, UserId};
use millrace::domain::lane::Priority;
use millrace::domain::local_time::Zone;
use millrace::domain::people::{Consent, Subscriber, SubscriberKey, SubscriberStatus, User};
use millrace::job::Job as _;
use millrace::jobs::{Welcome, kind};
use millrace::ports::Added;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most newsletters one registration subscribes to.
const MOST_NEWSLETTERS: usize = 20;

/// Somebody who registers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"email": "ada@example.com", "name": "Ada", "time_zone": "Europe/London"}))]
pub struct UserRequest {
    /// The address. Case makes no difference.
    #[schema(value_type = String, format = Email)]
    email: EmailAddress,
    /// The name.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<Name>,
    /// The IANA time zone.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Zone>,
    /// Newsletters to subscribe to, at most 20. The registration is the consent. Whoever unsubscribed from one stays so.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20)]
    subscribe: Vec<NewsletterId>,
}

/// A user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// The identifier.
    #[schema(example = "usr_5f2b9c0d7e1a4836b0c9d8e7f6a5b4c3")]
    pub id: String,
    /// The address.
    #[schema(format = Email)]
    pub email: String,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// When the user registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the welcome mail was accepted for delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub welcomed_at: Option<Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email.into(),
            name: user.name,
            time_zone: user.time_zone.map(|zone| zone.to_string()),
            created_at: user.created_at,
            welcomed_at: user.welcomed_at,
        }
    }
}

/// A registration: the user, and the job that sends the welcome mail.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Registration {
    /// The user.
    pub user: UserView,
    /// The job. Absent when the mail was sent so long ago that its job is no longer kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
}

/// Register a user.
///
/// Answered 202, the user is stored and the welcome mail is on its way. The same address again is answered 200 with the
/// user as first registered, and no second mail.
#[utoipa::path(
    post, path = "/v1/users", operation_id = "register_user", tag = "people", security(("key" = ["audience:write"])),
    request_body = UserRequest,
    responses(
        (status = 202, body = Registration, description = "The user is stored, the welcome mail is on its way",
         headers(("Location" = String, description = "Where the user is to be seen"))),
        (status = 200, body = Registration, description = "The address was registered already"),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn register(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<UserRequest>,
) -> Answer<Response> {
    let now = api.now();
    let wanted = wanted_newsletters(&api, &caller.tenant, &request.subscribe).await?;
    let user = User {
        id: User::id_of(&caller.tenant, &request.email),
        tenant: caller.tenant,
        email: request.email,
        name: request.name.and_then(|name| name.0),
        time_zone: request.time_zone,
        created_at: now,
        welcomed_at: None,
    };
    let (user, new) = match api.users.add(&user).await? {
        Added::New => (user, true),
        Added::Exists(old) => (*old, false),
    };
    // Every step is done again when the same registration comes again, so one that was cut off is completed then.
    let subscribers: Vec<_> = wanted.iter().map(|newsletter| subscriber(&user, newsletter, now)).collect();
    try_join_all(subscribers.iter().map(|subscriber| api.subscribers.add(subscriber))).await?;
    let (job, replayed) = welcome(&api, &user, now).await?;

    let status = if new || !replayed { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location = format!("/v1/users/{}", user.id);
    Ok((status, [(header::LOCATION, location)], Json(Registration { user: user.into(), job })).into_response())
}

/// The newsletters to subscribe to, all of them there: nothing is written before that is known.
async fn wanted_newsletters(api: &Api, tenant: &Tenant, ids: &[NewsletterId]) -> Answer<BTreeSet<NewsletterId>> {
    if ids.len() > MOST_NEWSLETTERS {
        let why = format!("there may be at most {MOST_NEWSLETTERS}");
        return Err(Problem::invalid(vec![Fault::at("/subscribe", why)]));
    }
    let found = try_join_all(ids.iter().map(|id| newsletters::find(api, tenant, id))).await?;
    let faults: Vec<_> = (0..)
        .zip(&found)
        .filter(|(_, newsletter)| newsletter.is_none())
        .map(|(index, _): (usize, _)| Fault::at(format!("/subscribe/{index}"), "there is no such newsletter"))
        .collect();
    if faults.is_empty() { Ok(ids.iter().cloned().collect()) } else { Err(Problem::invalid(faults)) }
}

fn subscriber(user: &User, newsletter: &NewsletterId, now: Timestamp) -> Subscriber {
    Subscriber {
        key: SubscriberKey::of(newsletter, &user.email),
        tenant: user.tenant.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
        time_zone: user.time_zone.clone(),
        tags: Vec::new(),
        status: SubscriberStatus::Active,
        consent: Some(Consent { source: "registration".to_owned(), at: now }),
        created_at: now,
        unsubscribed_at: None,
    }
}

/// The job that welcomes the user, and whether it had been accepted before. Its id follows from the user's: there is one.
async fn welcome(api: &Api, user: &User, now: Timestamp) -> Answer<(Option<JobView>, bool)> {
    let id = JobId::derived(&[Welcome::KIND, user.id.as_str()]);
    if user.welcomed_at.is_some() {
        // The job may be gone by now; made anew, it would welcome the user again.
        return Ok((api.intake.jobs.get(&id).await?.as_ref().map(JobView::of), true));
    }
    let payload = serde_json::json!(Welcome { user: user.id.clone() });
    let kind = kind(Welcome::KIND).ok_or_else(Problem::internal)?;
    let new = NewJob {
        id,
        repeatable: true,
        fingerprint: accept::fingerprint(&payload),
        tenant: user.tenant.clone(),
        kind,
        payload,
        priority: Priority::Normal,
        ordering_key: None,
        run_at: None,
        expires_at: None,
        max_attempts: None,
        timeout: None,
        callback_url: None,
        group: None,
        tags: Vec::new(),
    };
    let Accepted { job, replayed } = accept::submit(&api.intake, new, now).await?;
    Ok((Some(JobView::of(&job)), replayed))
}

/// See a user.
#[utoipa::path(
    get, path = "/v1/users/{id}", operation_id = "show_user", tag = "people", security(("key" = ["audience:read"])),
    params(("id" = String, Path, description = "The user")),
    responses((status = 200, body = UserView), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<UserId>,
) -> Answer<Json<UserView>> {
    let found = api.users.get(&id).await?.filter(|user| user.tenant == caller.tenant);
    Ok(Json(found.ok_or_else(Problem::not_found)?.into()))
}
