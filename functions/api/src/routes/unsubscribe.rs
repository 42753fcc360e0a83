//! Unsubscribing by the link in a letter. `GET` shows a page with a button and changes nothing: mail scanners follow every
//! link. `POST` unsubscribes, from the button or by one click in a mail client (RFC 8058).

use crate::app::Api;
use crate::problem::{Problem, ProblemBody};
use axum::extract::{Query, State, rejection::QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use millrace::domain::people::{Subscriber, SubscriberKey, SubscriberStatus};
use millrace::domain::token::Claim;
use millrace::ports::PortError;
use minijinja::{Environment, Value, context};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

const STYLE: &str = include_str!("unsubscribe.css");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    // The ending of its name turns escaping on.
    pages.add_template("page.html", include_str!("unsubscribe.html")).expect("the template is part of the program");
    pages
});

/// Nothing is loaded, framed or run, and the one style is named by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 is ASCII")
});

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
    Ok(render(StatusCode::OK, &title, "You will get no more of its letters.", Some("Unsubscribe")))
}

/// Unsubscribe. Done before is as good. The body is not looked at: the token says it all.
#[utoipa::path(
    post, path = "/unsubscribe", operation_id = "unsubscribe", tag = "people",
    params(("token" = String, Query, description = "The token of the link in the letter")),
    request_body(
        content = String, content_type = "application/x-www-form-urlencoded",
        description = "`List-Unsubscribe=One-Click` (RFC 8058), or what the page's form sends", example = "List-Unsubscribe=One-Click"
    ),
    responses(
        (status = 200, body = String, content_type = "text/html", description = "Unsubscribed, now or before"),
        (status = 400, body = String, content_type = "text/html", description = "The link is not whole"),
        (status = 500, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "A fault of the service itself"),
        (status = 503, content((String = "text/html"), (ProblemBody = "application/problem+json")),
         description = "Ask again after `Retry-After` seconds")
    )
)]
pub async fn unsubscribe(State(api): State<Arc<Api>>, link: LinkQuery) -> Result<Response, Away> {
    let Some(key) = claimed(&api, link).await? else { return Ok(broken_link()) };
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
        let problem = self.0.into_response();
        let text = "You are not unsubscribed yet. Please open the link in the letter again in a minute.";
        let mut page = render(problem.status(), "That did not work", text, None);
        if let Some(after) = problem.headers().get(header::RETRY_AFTER) {
            page.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        page
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
    render(StatusCode::OK, "You are unsubscribed", "You will get no more letters of this newsletter.", None)
}

fn broken_link() -> Response {
    let text = "Some mail programs cut long links. Please open the link in the letter again, or copy all of it. If that \
                does not help, reply to the letter and ask to be taken off the list.";
    render(StatusCode::BAD_REQUEST, "This link is not whole", text, None)
}

fn render(status: StatusCode, title: &str, text: &str, button: Option<&str>) -> Response {
    // Quotes in CSS must stay as they are; the style is ours.
    let values = context! { title, text, button, style => Value::from_safe_string(STYLE.to_owned()) };
    let page = PAGES.get_template("page.html").and_then(|template| template.render(values));
    let Ok(page) = page else {
        tracing::error!("the page could not be rendered");
        return Problem::internal().into_response();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        // The address holds the token.
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (status, headers, Html(page)).into_response()
}
