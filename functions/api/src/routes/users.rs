//! Users: registering one sends the welcome mail, once.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::fields::Name;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ServiceProblems};
use crate::routes::job_view::JobView;
use crate::routes::newsletters;
use crate::routes::subscribers::suppression;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use jiff::Timestamp;
use millrace::accept::{self, Accepted};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{JobId, NewsletterId, Tenant, UserId};
use millrace::domain::local_time::Zone;
use millrace::domain::people::{Consent, Newsletter, Subscriber, SubscriberKey, SubscriberStatus, User};
use millrace::job::Job as _;
use millrace::jobs::Welcome;
use millrace::own_job::own_job;
use millrace::ports::Added;
use millrace::sequences;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// Newsletters that were asked for and are not subscribed, because the address unsubscribed or is suppressed. Absent when
    /// there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_subscribed: Vec<String>,
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
    let not_subscribed = subscribe(&api, &user, &wanted, now).await?;
    let (job, replayed) = welcome(&api, &user, now).await?;

    let status = if new || !replayed { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location = format!("/v1/users/{}", user.id);
    Ok((status, [(header::LOCATION, location)], Json(Registration { user: user.into(), job, not_subscribed }))
        .into_response())
}

/// The newsletters to subscribe to, all of them there: nothing is written before that is known.
async fn wanted_newsletters(
    api: &Api,
    tenant: &Tenant,
    ids: &[NewsletterId],
) -> Answer<BTreeMap<NewsletterId, Newsletter>> {
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
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    Ok(found.into_iter().flatten().map(|newsletter| (newsletter.id.clone(), newsletter)).collect())
}

/// Subscribes the user. Gives the newsletters that they do not get all the same: nobody but the owner of an address takes back
/// that it unsubscribed.
async fn subscribe(
    api: &Api,
    user: &User,
    wanted: &BTreeMap<NewsletterId, Newsletter>,
    now: Timestamp,
) -> Answer<Vec<String>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    if suppression(api, &user.tenant, &user.email).await?.is_some() {
        return Ok(wanted.keys().map(ToString::to_string).collect());
    }
    let subscribers: Vec<_> = wanted.values().map(|newsletter| subscriber(user, newsletter, now)).collect();
    let records = api.records();
    let added = try_join_all(subscribers.iter().map(|subscriber| records.add(subscriber))).await?;
    let (mut lost, mut subscribed) = (Vec::new(), Vec::new());
    for (subscriber, added) in subscribers.into_iter().zip(added) {
        match added {
            Some(Added::New) => subscribed.push(subscriber),
            Some(Added::Exists(old)) if old.status == SubscriberStatus::Active => subscribed.push(*old),
            Some(Added::Exists(_)) | None => lost.push(subscriber.key.newsletter().to_string()),
        }
    }
    let begun = subscribed.iter().map(|subscriber| sequences::begin(&api.intake, subscriber, now));
    try_join_all(begun).await?;
    Ok(lost)
}

fn subscriber(user: &User, newsletter: &Newsletter, now: Timestamp) -> Subscriber {
    Subscriber {
        key: SubscriberKey::of(&newsletter.id, &user.email),
        tenant: user.tenant.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
        time_zone: user.time_zone.clone(),
        tags: Vec::new(),
        status: SubscriberStatus::Active,
        consent: Some(Consent::told("registration", now)),
        created_at: now,
        unsubscribed_at: None,
        sequence: newsletter.enrol(user.time_zone.as_ref(), now),
    }
}

/// The job that welcomes the user, and whether it had been accepted before. Its id follows from the user's: there is one.
async fn welcome(api: &Api, user: &User, now: Timestamp) -> Answer<(Option<JobView>, bool)> {
    let id = JobId::derived(&[Welcome::KIND, user.id.as_str()]);
    if user.welcomed_at.is_some() {
        // The job may be gone by now; made anew, it would welcome the user again.
        return Ok((api.intake.jobs.get(&id).await?.as_ref().map(JobView::of), true));
    }
    let new = own_job(id, &user.tenant, &Welcome { user: user.id.clone() }, None);
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
