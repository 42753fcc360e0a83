//! Requests as API Gateway hands them to the Lambda.

use crate::site::{Reply, Site, tenant};
use api::auth::KeyRing;
use axum::body::Body;
use axum::http::Request;
use lambda_http::request::LambdaRequest;
use millrace::testing::MemoryKeys;
use serde_json::{Value, json};
use std::sync::Arc;

/// The event as the router gets it, with a valid key in place of the one in the file.
fn request(site: &Site, mut event: Value) -> Request<Body> {
    if let Some(key) = event["headers"].get_mut("authorization") {
        *key = json!(format!("Bearer {}", site.key));
    }
    let event: LambdaRequest = serde_json::from_value(event).unwrap();
    let request: lambda_http::Request = api::gateway::tidy(event).into();
    request.map(|body| Body::from(body.to_vec()))
}

async fn send(site: &Site, event: Value) -> Reply {
    site.send(request(site, event)).await
}

fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn health() -> Value {
    file(include_str!("../../../../events/api.health.json"))
}

#[tokio::test]
async fn the_sample_events_work() {
    let site = Site::new();
    let reply = send(&site, health()).await.expect(200);
    assert_eq!(reply.header("x-request-id"), health()["requestContext"]["requestId"].as_str());
    let registration = file(include_str!("../../../../events/api.register.json"));
    send(&site, registration.clone()).await.expect(202);
    send(&site, registration).await.expect(200);
    send(&site, file(include_str!("../../../../events/api.submit.json"))).await.expect(202);
    assert_eq!(site.jobs.all().len(), 2);
    let sign_up = file(include_str!("../../../../events/api.subscribe.json"));
    let page = send(&site, sign_up).await.expect(422).text();
    assert!(page.contains("newsletter: there is no such newsletter"), "{page}");
}

/// What a URI may not hold must not keep the caller from an answer.
#[tokio::test]
async fn requests_that_are_no_uri_are_answered() {
    let site = Site::new();
    for query in ["a=<b>", "a=\"b\"", "a b", "a#b", "a=%zz", "ü=é", "token=\u{1}", "&&==", "%"] {
        let mut event = health();
        event["rawQueryString"] = json!(query);
        send(&site, event).await.expect(200);
    }
    for host in ["", "a b", "[::1", "\u{e9}", "host:99999999"] {
        let mut event = health();
        event["headers"]["host"] = json!(host);
        event["headers"]["x-forwarded-proto"] = json!("a b");
        event["requestContext"]["domainName"] = json!(host);
        send(&site, event).await.expect(200);
    }
    for path in ["", "no-slash", "/a b", "/<>", "/\u{7f}", "/é", "/%zz", "/?x", "/#x", "/\\", "/a//b"] {
        let mut event = health();
        event["rawPath"] = json!(path);
        event["requestContext"]["http"]["path"] = json!(path);
        send(&site, event).await.expect(404);
    }
}

#[tokio::test]
async fn bodies_in_base64_are_read() {
    use base64::Engine;
    let site = Site::new();
    let mut event = file(include_str!("../../../../events/api.submit.json"));
    let body = event["body"].as_str().unwrap().to_owned();
    event["isBase64Encoded"] = json!(true);
    event["body"] = json!(base64::engine::general_purpose::STANDARD.encode(body));
    send(&site, event).await.expect(202);
}

/// A token that the gateway has checked, in place of a key.
#[tokio::test]
async fn a_checked_token_opens_what_its_claims_say() {
    let event = |claims: Value| {
        let mut event = file(include_str!("../../../../events/api.submit.json"));
        event["headers"]["authorization"] = json!("Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
        event["requestContext"]["authorizer"] = json!({ "jwt": { "claims": claims, "scopes": null } });
        let event: LambdaRequest = serde_json::from_value(event).unwrap();
        let request: lambda_http::Request = api::gateway::tidy(event).into();
        request.map(|body| Body::from(body.to_vec()))
    };
    let site = Site::with(|api| {
        api.keys =
            KeyRing::new(Arc::new(MemoryKeys::default())).with_tokens(Some("https://example.com/org".to_owned()));
    });
    let right =
        json!({ "https://example.com/org": "acme", "scope": "openid millrace/jobs:write", "exp": "1776855600" });
    site.send(event(right.clone())).await.expect(202);
    assert_eq!(site.jobs.all()[0].tenant, tenant("acme"));
    for (name, value) in
        [("scope", "jobs:read"), ("scope", ""), ("https://example.com/org", ""), ("https://example.com/org", "A b")]
    {
        let mut claims = right.clone();
        claims[name] = json!(value);
        site.send(event(claims)).await.expect(403);
    }
    site.send(event(json!({ "org": "acme", "scope": "admin" }))).await.expect(403);
    // Nobody said which claim is the tenant: then a token is none.
    Site::new().send(event(right)).await.expect(401);
}
