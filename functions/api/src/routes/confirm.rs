//! Confirming a sign-up by the link in the mail. `GET` shows a page with a button and changes nothing: mail scanners follow
//! every link. `POST` confirms.

use crate::app::Api;
use crate::pages;
use crate::problem::{Problem, ProblemBody};
use crate::source::Source;
use axum::extract::{Form, FromRequest, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::domain::sign_up::SignUp;
use millrace::domain::suppression::Reason;
use millrace::domain::token::Claim;
use millrace::sequences;
use serde::Deserialize;
use std::sync::Arc;

/// What is agreed to by pressing the button. Whoever changes it gives
/// [`CONSENT_TEXT`](millrace::domain::sign_up::CONSENT_TEXT) a new version.
const QUESTION: &str = "Subscribe to";
const PROMISE: &str = "You will get its letters by mail. Every letter has a link to unsubscribe.";
const CONFIRM: &str = "Confirm";

/// What the link says, in its query or in a form's field.
#[derive(Debug, Default, Deserialize)]
pub struct Link {
    token: Option<String>,
}

/// What a link is about.
enum Found {
    /// A sign-up to be confirmed.
    Waiting(Box<SignUp>),
    /// It is confirmed, or was subscribed already.
    Subscribed,
    /// It was asked for too long ago, or was confirmed and ended again.
    Over,
    /// It is not one of ours.
    Broken,
}

/// A page that asks whether to subscribe. It changes nothing.
#[utoipa::path(
    get, path = "/confirm", operation_id = "confirm_page", tag = "people",
    params(("token" = String, Query, description = "The token of the link in the mail")),
    responses(
        (status = 200, body = String, content_type = "text/html"),
        (status = 400, body = String, content_type = "text/html", description = "The link is not whole or no longer valid"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn page(State(api): State<Arc<Api>>, request: Request) -> Response {
    let token = from_query(&request);
    let shown = async {
        let sign_up = match found(&api, token).await? {
            Found::Waiting(sign_up) => sign_up,
            other => return Ok(answer(&other)),
        };
        let newsletter = api.newsletters.get(sign_up.key.newsletter()).await?;
        let newsletter = newsletter.filter(|one| one.tenant == sign_up.tenant);
        let name = newsletter.map_or("this newsletter".to_owned(), |one| one.name);
        Ok(pages::page(StatusCode::OK, &format!("{QUESTION} {name}?"), PROMISE, Some(CONFIRM)))
    };
    shown.await.unwrap_or_else(trouble)
}

/// Confirm a sign-up. Done before is as good.
#[utoipa::path(
    post, path = "/confirm", operation_id = "confirm", tag = "people",
    params(("token" = Option<String>, Query, description = "The token of the link in the mail; or a form's field `token`")),
    request_body(
        content = Option<String>, content_type = "application/x-www-form-urlencoded",
        description = "What the page's form sends; its field `token` counts when the query has none"
    ),
    responses(
        (status = 200, body = String, content_type = "text/html", description = "Subscribed, now or before"),
        (status = 400, body = String, content_type = "text/html", description = "The link is not whole or no longer valid"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn confirm(State(api): State<Arc<Api>>, source: Source, request: Request) -> Response {
    let token = match from_query(&request) {
        Some(token) => Some(token),
        None => Form::<Link>::from_request(request, &()).await.ok().and_then(|Form(link)| link.token),
    };
    let done = async {
        let found = found(&api, token).await?;
        let Found::Waiting(sign_up) = found else { return Ok(answer(&found)) };
        // Their own wish ends what they wished before. Until the subscription itself is written, the link goes on working.
        api.suppressions.lift(&sign_up.tenant, &sign_up.email, &Reason::BY_OWNER).await?;
        let now = api.now();
        let newsletter = api.newsletters.get(sign_up.key.newsletter()).await?;
        let confirmed = Subscriber {
            sequence: newsletter.and_then(|newsletter| newsletter.enrol(sign_up.time_zone.as_ref(), now)),
            ..sign_up.confirmed(now, source.0.map(|ip| ip.to_string()))
        };
        let subscriber = api.subscribers.confirm(&confirmed).await?;
        sequences::begin(&api.intake, &subscriber, now).await?;
        api.sign_ups.forget(&sign_up.key).await?;
        Ok(answer(&Found::Subscribed))
    };
    done.await.unwrap_or_else(trouble)
}

fn from_query(request: &Request) -> Option<String> {
    Query::<Link>::try_from_uri(request.uri()).ok().and_then(|Query(link)| link.token)
}

async fn found(api: &Api, token: Option<String>) -> Result<Found, Problem> {
    let Some(token) = token else { return Ok(Found::Broken) };
    let Ok(Claim::Confirm { subscriber, asked_at, .. }) = api.tokens.get().await?.open(&token) else {
        return Ok(Found::Broken);
    };
    let Ok(key) = SubscriberKey::try_from(&subscriber) else { return Ok(Found::Broken) };
    match api.sign_ups.get(&key).await? {
        Some(sign_up) if sign_up.confirmed_by(asked_at, api.now()) => Ok(Found::Waiting(Box::new(sign_up))),
        _ => subscribed(api, &key).await,
    }
}

/// What to say of a link that confirms nothing any more.
async fn subscribed(api: &Api, key: &SubscriberKey) -> Result<Found, Problem> {
    let subscriber = api.subscribers.get(std::slice::from_ref(key)).await?.pop().flatten();
    let active = subscriber.is_some_and(|subscriber| subscriber.status == SubscriberStatus::Active);
    Ok(if active { Found::Subscribed } else { Found::Over })
}

fn answer(found: &Found) -> Response {
    match found {
        Found::Waiting(_) | Found::Subscribed => {
            let text = "Thank you. Every letter has a link to unsubscribe.";
            pages::page(StatusCode::OK, "You are subscribed", text, None)
        }
        Found::Over => {
            let text = "It was asked for more than seven days ago, or it has been used. To subscribe, please fill in the form \
                        once more.";
            pages::page(StatusCode::BAD_REQUEST, "This link is no longer valid", text, None)
        }
        Found::Broken => {
            let text = "Some mail programs cut long links. Please open the link in the mail again, or copy all of it.";
            pages::page(StatusCode::BAD_REQUEST, "This link is not whole", text, None)
        }
    }
}

fn trouble(problem: Problem) -> Response {
    pages::trouble(problem, "You are not subscribed yet. Please open the link in the mail again in a minute.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace::domain::id::digest_hex;
    use millrace::domain::sign_up::CONSENT_TEXT;

    /// What people agree to is part of their proof of consent: see the test of the same name beside the mail.
    #[test]
    fn the_text_that_is_agreed_to_has_a_version() {
        let digest = digest_hex(&[QUESTION, PROMISE, CONFIRM]);
        assert_eq!((CONSENT_TEXT, digest.as_str()), ("2026-11-1", "82a9a5b9e8c0662c3bd3c05e5c86cbb8"));
    }
}
