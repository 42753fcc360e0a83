//! A development mailbox: an SES v2 endpoint that keeps every mail whole, shows it as an inbox in the browser and as
//! JSON to tests, and tells the feedback queue what becomes of each mail as SES would: with the addresses of SES's
//! simulator, the account's suppression list, and faults on request.
//!
//! It is a stand-in for a laptop and for tests: it checks no signature, delivers nothing, and shows mails on loopback only.
//!
//! ```text
//! ses.rs       the protocol: what SendEmail accepts, refuses and answers      raw.rs  MIME messages
//! identities.rs  the senders it knows
//! store.rs     the mails kept, and their file
//! api.rs       JSON for tests and scripts
//! pages.rs     the inbox
//! fate.rs      what becomes of a mail at its recipient            suppression.rs  the account's suppression list
//! events.rs    SES's events about a mail
//! hits.rs      opens and clicks, on request
//! feedback.rs  the events on their way to an SQS queue
//! faults.rs    what goes wrong on request
//! ```

mod api;
mod events;
mod fate;
mod faults;
mod feedback;
mod hits;
mod identities;
mod mail;
mod pages;
mod raw;
mod ses;
mod store;
mod suppression;
#[cfg(test)]
mod testing;

pub use faults::{Amount, Faults};
pub use feedback::Feedback;
pub use mail::{Attachment, Header, Mail};
pub use store::{Filter, Store};

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    store: Arc<Store>,
    feedback: Option<Feedback>,
    tracked: Option<Arc<str>>,
    suppressed: Arc<suppression::Suppressed>,
    disturbance: Arc<faults::Disturbance>,
    pages: Arc<pages::Pages>,
}

impl App {
    /// A mailbox that keeps its mails in `store` and, when `feedback` is given, tells there what becomes of them.
    pub fn new(store: Store, feedback: Option<Feedback>) -> Self {
        Self {
            store: Arc::new(store),
            feedback,
            tracked: None,
            suppressed: Arc::default(),
            disturbance: Arc::default(),
            pages: Arc::new(pages::Pages::new()),
        }
    }

    /// The mailbox with the configuration set, if there is one, of the mails whose opens and clicks it tells.
    #[must_use]
    pub fn tracking(self, set: Option<String>) -> Self {
        Self { tracked: set.map(Into::into), ..self }
    }
}

/// The protocol of SES alone, for who may send mails and not read them.
pub fn ses_router(app: App) -> Router {
    Router::new().nest("/v2", ses::routes()).with_state(app)
}

/// Every route of the mailbox.
pub fn router(app: App) -> Router {
    // SES itself is left out of the guard: a client may reach it under another name, and it gives nothing away.
    let guarded = api::routes()
        .merge(hits::routes())
        .merge(faults::routes())
        .merge(pages::routes())
        .layer(middleware::from_fn(only_loopback_names));
    Router::new().merge(guarded).nest("/v2", ses::routes()).with_state(app)
}

/// Refuses requests that name another host: a web page whose own name was made to resolve to 127.0.0.1 (DNS rebinding)
/// would otherwise read the mails as its own origin.
async fn only_loopback_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost") {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "The mailbox answers to 127.0.0.1 and localhost only.\n").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{app, get_as_host};

    #[tokio::test]
    async fn pages_and_json_answer_to_loopback_names_only() {
        for host in ["127.0.0.1", "127.0.0.1:8025", "localhost", "LOCALHOST:1"] {
            for path in ["/", "/messages", "/messages/counts", "/health"] {
                assert_eq!(get_as_host(&router(app()), host, path).await.0, StatusCode::OK, "{host} {path}");
            }
        }
        for host in ["evil.example", "evil.example:8025", "127.0.0.1.evil.example", "localhost:evil", ""] {
            for path in ["/", "/messages", "/messages/x", "/messages/x/html", "/messages/counts", "/health"] {
                assert_eq!(get_as_host(&router(app()), host, path).await.0, StatusCode::FORBIDDEN, "{host} {path}");
            }
        }
    }
}
