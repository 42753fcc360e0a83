//! Opens and clicks, on request: the mailbox shows a mail without telling of it.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;

use crate::App;
use crate::api::{NO_SUCH_MAIL, Problem};
use crate::events::hit;
use crate::feedback::tell_now;
use crate::mail::now;

/// A mail program of a person.
const READER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0";

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/messages/{id}/open", post(open)).route("/messages/{id}/click", post(click))
}

/// What opened or clicked, and when.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    user_agent: Option<String>,
    at: Option<Timestamp>,
    link: Option<String>,
}

type Body = Result<Json<Given>, JsonRejection>;

async fn open(State(app): State<App>, Path(id): Path<String>, body: Body) -> Result<StatusCode, Problem> {
    let Ok(Json(given @ Given { link: None, .. })) = body else {
        return Err(Problem(StatusCode::BAD_REQUEST, "The body is JSON: user_agent and at (a time), both as you like"));
    };
    report(&app, &id, &given)
}

async fn click(State(app): State<App>, Path(id): Path<String>, body: Body) -> Result<StatusCode, Problem> {
    let Ok(Json(given @ Given { link: Some(_), .. })) = body else {
        let detail = "The body is JSON: link, and user_agent and at (a time), both as you like";
        return Err(Problem(StatusCode::BAD_REQUEST, detail));
    };
    report(&app, &id, &given)
}

fn report(app: &App, id: &str, given: &Given) -> Result<StatusCode, Problem> {
    let mail = app.store.get(id).ok_or(NO_SUCH_MAIL)?;
    if app.tracked.is_none() || app.tracked.as_deref() != mail.configuration_set.as_deref() {
        return Err(Problem(StatusCode::CONFLICT, "SES does not track this mail: its configuration set is another"));
    }
    let agent = given.user_agent.as_deref().unwrap_or(READER);
    let event = hit(&mail, given.link.as_deref(), agent, given.at.unwrap_or_else(now));
    if !tell_now(app, event) {
        return Err(Problem(StatusCode::CONFLICT, "There is no feedback queue to be told"));
    }
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router;
    use crate::testing::{app, mail, post};

    #[tokio::test]
    async fn only_what_the_tracked_set_sent_is_opened_and_clicked() {
        let app = app().tracking(Some("letters-tracked".to_owned()));
        for (id, set) in [("none", None), ("plain", Some("letters")), ("tracked", Some("letters-tracked"))] {
            let mut one = mail(id, "a@example.com");
            one.configuration_set = set.map(str::to_owned);
            app.store.insert(one).unwrap();
        }
        let router = router(app);
        for (path, body, status) in [
            ("/messages/x/open", "{}", StatusCode::NOT_FOUND),
            ("/messages/none/open", "{}", StatusCode::CONFLICT),
            ("/messages/plain/open", "{}", StatusCode::CONFLICT),
            ("/messages/plain/click", r#"{"link": "https://example.com"}"#, StatusCode::CONFLICT),
            ("/messages/tracked/click", "{}", StatusCode::BAD_REQUEST),
            ("/messages/tracked/open", r#"{"link": "https://example.com"}"#, StatusCode::BAD_REQUEST),
            ("/messages/tracked/open", r#"{"at": "soon"}"#, StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(post(&router, path, body).await.0, status, "{path} {body}");
        }
    }

    #[test]
    fn the_events_have_the_form_of_ses() {
        let one = mail("m", "a@example.com");
        let at = "2026-11-01T10:00:00.123Z".parse().unwrap();
        let open = hit(&one, None, READER, at);
        assert_eq!((&open["eventType"], &open["open"]["userAgent"]), (&"Open".into(), &READER.into()));
        assert_eq!(open["open"]["timestamp"], "2026-11-01T10:00:00.123Z");
        assert!(open["open"].get("link").is_none() && open["mail"]["messageId"] == "m");
        let click = hit(&one, Some("https://example.com/?a=1"), READER, at);
        assert_eq!(
            (&click["eventType"], &click["click"]["link"]),
            (&"Click".into(), &"https://example.com/?a=1".into())
        );
    }
}
