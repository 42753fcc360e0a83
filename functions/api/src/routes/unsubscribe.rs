//! Unsubscribing by the link in a letter. `GET` shows a page with a button and changes nothing: mail scanners follow every
//! link. `POST` unsubscribes, from the button or by one click in a mail client (RFC 8058).

use crate::app::Api;
use crate::pages;
use crate::problem::{Problem, ProblemBody};
use axum::extract::{Query, State, rejection::QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::domain::token::{Claim, is_whole};
use millrace::ports::PortError;
use serde::Deserialize;
use std::sync::Arc;

/// The query of the link.
#[derive(Debug, Deserialize)]
pub struct Link {
    token: String,
}

type LinkQuery = Result<Query<Link>, QueryRejection>;

/// A page that asks whether to unsubscribe. It changes nothing.
#[utoipa::path(
    get, path = "/unsubscribe", operation_id = "unsubscribe_page", tag = "people",
    params(("token" = String, Query, description = "The token of the link in the letter")),
    responses(
        (status = 200, body = String, content_type = "text/html"),
        (status = 400, body = String, content_type = "text/html", description = "The link is not whole"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn page(State(api): State<Arc<Api>>, link: LinkQuery) -> Result<Response, Away> {
    let Some(key) = claimed(&api, link).await? else { return Ok(broken_link()) };
    let Some(subscriber) = active(&api, &key).await? else { return Ok(done()) };
    let newsletter = api.newsletters.get(key.newsletter()).await?;
    let name =
        newsletter.filter(|one| one.tenant == subscriber.tenant).map_or("this newsletter".to_owned(), |one| one.name);
    let title = format!("Unsubscribe from {name}?");
    Ok(pages::page(StatusCode::OK, &title, "You will get no more of its letters.", Some("Unsubscribe")))
}

/// Unsubscribe. Done before is as good. The body is not looked at: the token says it all.
///
/// A link that is whole and yet unknown, because its key is gone or it was made by somebody else, is answered 200 as well: a
/// mail client that unsubscribes by itself could do nothing about it (RFC 8058).
#[utoipa::path(
    post, path = "/unsubscribe", operation_id = "unsubscribe", tag = "people",
    params(("token" = String, Query, description = "The token of the link in the letter")),
    request_body(
        content = String, content_type = "application/x-www-form-urlencoded",
        description = "`List-Unsubscribe=One-Click` (RFC 8058), or what the page's form sends", example = "List-Unsubscribe=One-Click"
    ),
    responses(
        (status = 200, body = String, content_type = "text/html",
         description = "Unsubscribed, now or before; or there is no subscription behind the link"),
        (status = 400, body = String, content_type = "text/html", description = "The link is not whole"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn unsubscribe(State(api): State<Arc<Api>>, link: LinkQuery) -> Result<Response, Away> {
    let whole = link.as_ref().is_ok_and(|Query(link)| is_whole(&link.token));
    let Some(key) = claimed(&api, link).await? else {
        return Ok(if whole { unknown_link() } else { broken_link() });
    };
    // Nobody there any more: erased, and so unsubscribed.
    api.subscribers.unsubscribe(&key, api.now()).await?;
    Ok(done())
}

/// A service behind the page is away. People read it, so it is a page as well.
pub struct Away(Problem);

impl From<PortError> for Away {
    fn from(error: PortError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Away {
    fn into_response(self) -> Response {
        pages::trouble(self.0, "You are not unsubscribed yet. Please open the link in the letter again in a minute.")
    }
}

/// The subscription a link is about; `None` when its token is not one of ours.
async fn claimed(api: &Api, link: LinkQuery) -> Result<Option<SubscriberKey>, PortError> {
    let Ok(Query(Link { token })) = link else { return Ok(None) };
    let Ok(Claim::Unsubscribe { subscriber, .. }) = api.tokens.get().await?.open(&token) else { return Ok(None) };
    Ok(SubscriberKey::try_from(&subscriber).ok())
}

async fn active(api: &Api, key: &SubscriberKey) -> Result<Option<Subscriber>, PortError> {
    let found = api.subscribers.get(std::slice::from_ref(key)).await?.pop().flatten();
    Ok(found.filter(|subscriber| subscriber.status == SubscriberStatus::Active))
}

fn done() -> Response {
    pages::page(StatusCode::OK, "You are unsubscribed", "You will get no more letters of this newsletter.", None)
}

fn unknown_link() -> Response {
    let text = "This link is not one of ours, or it is so old that we no longer know it. If you still get letters, please use \
                the link in the latest one.";
    pages::page(StatusCode::OK, "There is no subscription behind this link", text, None)
}

fn broken_link() -> Response {
    let text = "Some mail programs cut long links. Please open the link in the letter again, or copy all of it. If that \
                does not help, reply to the letter and ask to be taken off the list.";
    pages::page(StatusCode::BAD_REQUEST, "This link is not whole", text, None)
}
