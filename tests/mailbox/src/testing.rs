//! What the tests share: a mail, an app in memory, and requests to its router.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::mail::{Mail, now};
use crate::{App, Store};

pub(crate) fn app() -> App {
    App::new(Store::in_memory(1000), None)
}

pub(crate) fn mail(id: &str, to: &str) -> Mail {
    Mail {
        id: id.to_owned(),
        received_at: now(),
        from: "News <news@example.com>".to_owned(),
        to: vec![to.to_owned()],
        cc: Vec::new(),
        bcc: Vec::new(),
        reply_to: Vec::new(),
        subject: format!("Subject {id}"),
        headers: Vec::new(),
        tags: Default::default(),
        configuration_set: None,
        text: Some("text".to_owned()),
        html: None,
        attachments: Vec::new(),
        raw: None,
        other: Default::default(),
    }
}

/// A `SendEmail` request that is accepted.
pub(crate) fn request(to: &str) -> Value {
    json!({
        "FromEmailAddress": "News <news@example.com>",
        "Destination": { "ToAddresses": [to] },
        "Content": { "Simple": { "Subject": { "Data": "Hello" }, "Body": { "Text": { "Data": "It works." } } } },
    })
}

pub(crate) async fn call(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) async fn get_as_host(router: &Router, host: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    call(router, Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap()).await
}

pub(crate) async fn get(router: &Router, path: &str) -> (StatusCode, HeaderMap, String) {
    get_as_host(router, "127.0.0.1:8025", path).await
}

pub(crate) async fn get_json(router: &Router, path: &str) -> Value {
    let (status, _, body) = get(router, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Posts a `SendEmail` request; gives the status, the error type and the answer.
pub(crate) async fn send(router: &Router, body: &Value) -> (StatusCode, String, Value) {
    let request = Request::post("/v2/email/outbound-emails").body(Body::from(body.to_string())).unwrap();
    let (status, headers, body) = call(router, request).await;
    let kind = headers.get("x-amzn-errortype").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    (status, kind, serde_json::from_str(&body).unwrap())
}

/// Posts a body of JSON; gives the status and the answer, `Null` when that is none.
pub(crate) async fn post(router: &Router, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::post(path).header(header::HOST, "127.0.0.1:8025");
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap();
    let (status, _, body) = call(router, request).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}
