use crate::site::{Reply, Site, subscriber};
use axum::body::Body;
use axum::http::Request;
use base64::{Engine, engine::general_purpose::STANDARD};
use millrace::domain::id::SubscriberId;
use millrace::domain::people::SubscriberKey;
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::ports::TokenKeys;
use sha2::{Digest, Sha256};

const FORM: &str = "application/x-www-form-urlencoded";

/// A subscriber's path in the API and their link.
async fn reader(site: &Site) -> (String, String) {
    let newsletter = site.newsletter().await;
    let added = site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(201).json();
    let id = added["id"].as_str().unwrap();
    (format!("/v1/subscribers/{id}"), link(site, id).await)
}

async fn link(site: &Site, id: &str) -> String {
    let keys = site.keys.ensure(&TokenKey::generate(&[5; TOKEN_KEY_BYTES])).await.unwrap();
    let token = Tokens::new(keys).unsubscribe(&crate::site::tenant("acme"), &SubscriberId::parse(id).unwrap());
    format!("/unsubscribe?token={token}")
}

async fn open(site: &Site, link: &str) -> Reply {
    site.send(Request::get(link).body(Body::empty()).unwrap()).await
}

async fn press(site: &Site, link: &str, content_type: &str, body: &'static str) -> Reply {
    site.send(Request::post(link).header("content-type", content_type).body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn looking_changes_nothing_and_one_click_unsubscribes() {
    let site = Site::new();
    let (path, link) = reader(&site).await;
    for _ in 0..3 {
        let page = open(&site, &link).await.expect(200).text();
        assert!(page.contains("Unsubscribe from The Mill &amp; Wheel?"), "{page}");
        assert!(page.contains("<button") && page.contains("method=\"post\""));
        assert!(!page.contains("ada@"), "a page that anybody may open names no address");
    }
    assert_eq!(site.get(&path).await.json()["status"], "active");

    press(&site, &link, FORM, "List-Unsubscribe=One-Click").await.expect(200);
    let seen = site.get(&path).await.json();
    assert_eq!(seen["status"], "unsubscribed");

    site.clock.advance(std::time::Duration::from_secs(60));
    let again = press(&site, &link, FORM, "List-Unsubscribe=One-Click").await.expect(200).text();
    assert!(again.contains("You are unsubscribed"));
    assert_eq!(site.get(&path).await.json(), seen, "the first time stays");
    let page = open(&site, &link).await.expect(200).text();
    assert!(page.contains("You are unsubscribed") && !page.contains("<button"));
}

#[tokio::test]
async fn any_body_of_any_type_will_do() {
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    for (content_type, body) in [(FORM, ""), ("multipart/form-data; boundary=x", multipart), ("text/plain", "x")] {
        let site = Site::new();
        let (path, link) = reader(&site).await;
        press(&site, &link, content_type, body).await.expect(200);
        assert_eq!(site.get(&path).await.json()["status"], "unsubscribed", "{content_type}");
    }
}

#[tokio::test]
async fn a_link_that_is_not_whole_gets_help() {
    let site = Site::new();
    let (path, link) = reader(&site).await;
    let cut = &link[..link.len() - 3];
    for link in ["/unsubscribe", "/unsubscribe?token=", "/unsubscribe?token=x&token=y", "/unsubscribe?token=%ff", cut] {
        let page = open(&site, link).await.expect(400).text();
        assert!(page.contains("not whole") && !page.contains("<button"), "{link}");
        press(&site, link, FORM, "List-Unsubscribe=One-Click").await.expect(400);
    }
    let stranger = Tokens::new(TokenKey::generate(&[9; TOKEN_KEY_BYTES]).into());
    let token = stranger.unsubscribe(&crate::site::tenant("acme"), &SubscriberId::parse("sub_1").unwrap());
    let unknown = format!("/unsubscribe?token={token}");
    open(&site, &unknown).await.expect(400);
    // A mail client that unsubscribes by itself could do nothing about an error.
    let page = press(&site, &unknown, FORM, "List-Unsubscribe=One-Click").await.expect(200).text();
    assert!(page.contains("no subscription behind this link"), "{page}");
    assert_eq!(site.get(&path).await.json()["status"], "active");
}

#[tokio::test]
async fn who_is_no_longer_there_is_unsubscribed() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let newsletter = millrace::domain::id::NewsletterId::parse(newsletter).unwrap();
    let gone = SubscriberKey::new(newsletter, "0123456789abcdef0123456789abcdef").unwrap();
    let link = link(&site, gone.id().as_str()).await;
    assert!(open(&site, &link).await.expect(200).text().contains("You are unsubscribed"));
    press(&site, &link, FORM, "").await.expect(200);
}

#[tokio::test]
async fn pages_are_locked_down() {
    let site = Site::new();
    let (_, link) = reader(&site).await;
    for reply in [open(&site, &link).await, open(&site, "/unsubscribe").await, press(&site, &link, FORM, "").await] {
        let policy = reply.header("content-security-policy").unwrap().to_owned();
        for rule in ["default-src 'none'", "style-src 'sha256-", "form-action 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        let page = reply.text();
        let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        assert!(policy.contains(&format!("'sha256-{hash}'")), "the policy allows the style as it was sent");
        assert!(!page.contains("<script") && !page.contains("http"), "nothing is loaded");
    }
}

#[tokio::test]
async fn a_table_that_is_away_is_503_and_asked_again() {
    let site = Site::new();
    let (path, link) = reader(&site).await;
    site.keys.faults.refuse_next("ensure");
    let page = press(&site, &link, FORM, "").await.expect(503).text();
    assert!(page.contains("You are not unsubscribed yet"), "{page}");
    site.subscribers.faults.refuse_next("unsubscribe");
    press(&site, &link, FORM, "").await.expect(503);
    site.subscribers.faults.refuse_next("get");
    open(&site, &link).await.expect(503);
    press(&site, &link, FORM, "").await.expect(200);
    assert_eq!(site.get(&path).await.json()["status"], "unsubscribed");
}
