//! Signing up to a newsletter by a public form (double opt-in). Whatever the address, the answer is the same and so are the
//! steps that lead to it: whether the address is known is only looked at by the worker that sends the mail.

use crate::app::Api;
use crate::extract::{Body, read};
use crate::fields::Name;
use crate::pages;
use crate::problem::{Answer, Fault, Problem, ProblemBody};
use crate::source::Source;
use axum::Json;
use axum::extract::{Form, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace::accept;
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{JobId, NewsletterId};
use millrace::domain::local_time::Zone;
use millrace::domain::people::SubscriberKey;
use millrace::domain::sign_up::SignUp;
use millrace::domain::throttle::{SIGN_UPS_OF_ADDRESS, SIGN_UPS_OF_SOURCE};
use millrace::job::Job as _;
use millrace::jobs::ConfirmSubscription;
use millrace::own_job::own_job;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// The fields of a sign-up. A form may send others: buttons have names too.
const FIELDS: [&str; 5] = ["email", "newsletter", "name", "time_zone", "website"];

/// Somebody who wants a newsletter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"email": "ada@example.com", "newsletter": "nl_0197b3f2a4c87d0e9b61f2c35a7e4d18", "name": "Ada"}))]
pub struct SubscribeRequest {
    /// The address. Case makes no difference.
    #[schema(value_type = String, format = Email)]
    email: EmailAddress,
    /// The newsletter.
    #[schema(value_type = String)]
    newsletter: NewsletterId,
    /// The name.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<Name>,
    /// The IANA time zone. Letters come by this clock; without it, by the newsletter's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Zone>,
    /// Leave it empty, and in a form out of sight: whoever fills it in is a program, and gets the answer and no mail.
    #[serde(default)]
    website: Option<String>,
}

/// The answer to every sign-up.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SubscribeAnswer {
    /// What happens next, for the reader.
    pub detail: String,
}

/// Sign up to a newsletter.
///
/// A mail with a link goes to the address, and only who confirms by that link is subscribed; the link is valid for seven
/// days. The answer is the same for every address, also for one that is subscribed, that has been asked within the last ten
/// minutes, or that signs up too often: six times at once, then once in four hours. One network address may sign up 60
/// times at once, then once a minute. A form is answered by a page, JSON by JSON.
#[utoipa::path(
    post, path = "/subscribe", operation_id = "subscribe", tag = "people",
    request_body(content((SubscribeRequest = "application/json"), (SubscribeRequest = "application/x-www-form-urlencoded"))),
    responses(
        (status = 202, content((SubscribeAnswer = "application/json"), (String = "text/html")),
         description = "If the address can be subscribed, a mail is on its way"),
        (status = 400, content((ProblemBody = "application/problem+json"), (String = "text/html")),
         description = "The body is not what it is said to be"),
        (status = 413, content((ProblemBody = "application/problem+json"), (String = "text/html")),
         description = "The body is too large"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json",
         description = "The body is neither a form nor JSON"),
        (status = 422, content((ProblemBody = "application/problem+json"), (String = "text/html")),
         description = "A field is unknown, missing or not as it must be"),
        (status = 500, content((ProblemBody = "application/problem+json"), (String = "text/html")),
         description = "A fault of the service itself"),
        (status = 503, content((ProblemBody = "application/problem+json"), (String = "text/html")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn subscribe(State(api): State<Arc<Api>>, source: Source, request: Request) -> Response {
    let form = is_form(&request);
    match taken(&api, source, form, request).await {
        Ok(()) if form => pages::page(StatusCode::ACCEPTED, "Please look into your mail", DETAIL, None),
        Ok(()) => (StatusCode::ACCEPTED, Json(SubscribeAnswer { detail: DETAIL.to_owned() })).into_response(),
        Err(problem) if form => pages::refusal(problem),
        Err(problem) => problem.into_response(),
    }
}

const DETAIL: &str = "If this address can be subscribed, we have sent a mail to it. Please open the link in it to confirm. \
                      Until then you are not subscribed.";

async fn taken(api: &Api, source: Source, form: bool, request: Request) -> Answer<()> {
    let request = if form { sent_by_form(request).await? } else { Body::from_request(request, &()).await?.value };
    let SubscribeRequest { email, newsletter, name, time_zone, website } = request;
    let unknown = || Problem::invalid(vec![Fault::at("/newsletter", "there is no such newsletter")]);
    let tenant = api.newsletters.get(&newsletter).await?.ok_or_else(unknown)?.tenant;
    let now = api.now();
    if website.is_some_and(|text| !text.is_empty()) {
        tracing::info!(%newsletter, "a sign-up was dropped: it filled in what people do not see");
        return Ok(());
    }
    for (limit, subject) in [(SIGN_UPS_OF_SOURCE, source.network()), (SIGN_UPS_OF_ADDRESS, email.normalised())] {
        if !api.throttle.take(limit, &tenant, &subject, now).await? {
            tracing::info!(%newsletter, limit = limit.name, "a sign-up was dropped: there were too many");
            return Ok(());
        }
    }
    let sign_up = SignUp {
        key: SubscriberKey::of(&newsletter, &email),
        tenant,
        email,
        name: name.and_then(|name| name.0),
        time_zone,
        ip: source.0.map(|ip| ip.to_string()),
        first_at: now,
        at: now,
    };
    let asked = api.sign_ups.ask(&sign_up).await?;
    // Its id follows from the sign-up that is stored: a repeat within ten minutes is the same job, and brings it on its way
    // again when it has not run yet.
    let job = ConfirmSubscription { subscriber: asked.key.id(), asked_at: asked.at };
    let id = JobId::derived(&[ConfirmSubscription::KIND, job.subscriber.as_str(), &asked.at.to_string()]);
    accept::submit(&api.intake, own_job(id, &sign_up.tenant, &job, None), now).await?;
    Ok(())
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// A form sends empty fields for what was not filled in.
async fn sent_by_form(request: Request) -> Answer<SubscribeRequest> {
    let Form(pairs) = Form::<Vec<(String, String)>>::from_request(request, &()).await.map_err(|rejection| {
        match rejection.into_response().status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("A form is not that large."),
            _ => Problem::garbled_form(),
        }
    })?;
    let fields = pairs.into_iter().filter(|(name, value)| FIELDS.contains(&name.as_str()) && !value.is_empty());
    let fields: Map<String, Value> = fields.map(|(name, value)| (name, Value::String(value))).collect();
    read(&Value::Object(fields)).map_err(Problem::invalid)
}
