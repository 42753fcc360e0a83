//! Double opt-in through the router; the mail itself is the worker's.

use crate::site::{Reply, Site, subscriber, tenant};
use axum::body::Body;
use axum::http::Request;
use lambda_http::request::LambdaRequest;
use millrace::domain::address::EmailAddress;
use millrace::domain::id::NewsletterId;
use millrace::domain::people::SubscriberKey;
use millrace::domain::suppression::Reason;
use millrace::domain::throttle::{SIGN_UPS_OF_ADDRESS, SIGN_UPS_OF_SOURCE};
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::jobs::JobMessage;
use millrace::ports::{SignUps as _, Subscribers as _, Suppressions as _, TokenKeys as _};
use serde_json::{Value, json};
use std::time::Duration;

const FORM: &str = "application/x-www-form-urlencoded";

/// A sign-up as API Gateway hands it over, from this network address.
async fn from(site: &Site, ip: &str, content_type: &str, body: &str) -> Reply {
    let mut event: Value = serde_json::from_str(include_str!("../../../../events/api.subscribe.json")).unwrap();
    event["requestContext"]["http"]["sourceIp"] = json!(ip);
    event["headers"]["content-type"] = json!(content_type);
    event["body"] = json!(body);
    let event: LambdaRequest = serde_json::from_value(event).unwrap();
    let request: lambda_http::Request = api::gateway::tidy(event).into();
    site.send(request.map(|body| Body::from(body.to_vec()))).await
}

async fn sign_up(site: &Site, ip: &str, newsletter: &str, email: &str) -> Reply {
    let body = json!({"newsletter": newsletter, "email": email, "name": "Ada", "time_zone": "Europe/London"});
    from(site, ip, "application/json", &body.to_string()).await
}

fn key_of(newsletter: &str, email: &str) -> SubscriberKey {
    SubscriberKey::of(&NewsletterId::parse(newsletter).unwrap(), &EmailAddress::parse(email).unwrap())
}

/// The link in the mail for the sign-up that waits.
async fn link(site: &Site, newsletter: &str, email: &str) -> String {
    let sign_up = site.sign_ups.get(&key_of(newsletter, email)).await.unwrap().unwrap();
    let keys = site.keys.ensure(&TokenKey::generate(&[5; TOKEN_KEY_BYTES])).await.unwrap();
    format!("/confirm?token={}", Tokens::new(keys).confirm(&tenant("acme"), &sign_up.key.id(), sign_up.at))
}

async fn open(site: &Site, link: &str) -> Reply {
    site.send(Request::get(link).body(Body::empty()).unwrap()).await
}

async fn press(site: &Site, link: &str) -> Reply {
    site.send(Request::post(link).header("content-type", FORM).body(Body::empty()).unwrap()).await
}

async fn seen(site: &Site, newsletter: &str, email: &str) -> Value {
    let path = format!("/v1/subscribers/{}", key_of(newsletter, email).id());
    let reply = site.get(&path).await;
    if reply.status == 404 { Value::Null } else { reply.expect(200).json() }
}

#[tokio::test]
async fn a_sign_up_is_confirmed_by_its_owner_and_the_proof_is_kept() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let answer = sign_up(&site, "192.0.2.7", &newsletter, "Ada@example.com").await.expect(202).json();
    assert!(answer["detail"].as_str().unwrap().contains("mail"));
    let message = JobMessage::parse(&site.email.all()[0].body).unwrap();
    assert_eq!(message.kind, "confirm-subscription");
    assert!(!site.email.all()[0].body.to_lowercase().contains("ada@"), "no queue holds the address");
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await, Value::Null, "whether it is there is for the worker");

    let asked_at = site.now();
    let link = link(&site, &newsletter, "ada@example.com").await;
    assert!(!link.contains("ada"));
    site.clock.advance(Duration::from_secs(90));
    for _ in 0..3 {
        let page = open(&site, &link).await.expect(200).text();
        assert!(page.contains("Subscribe to The Mill &amp; Wheel?") && page.contains("<button"), "{page}");
        assert!(!page.contains("ada@"), "a page that anybody may open names no address");
    }
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await, Value::Null, "looking changes nothing");

    let confirmed_at = site.now();
    assert!(press(&site, &link).await.expect(200).text().contains("You are subscribed"));
    let subscriber = seen(&site, &newsletter, "ada@example.com").await;
    assert_eq!((&subscriber["status"], &subscriber["name"]), (&json!("active"), &json!("Ada")));
    assert_eq!(subscriber["time_zone"], "Europe/London");
    let consent = &subscriber["consent"];
    assert_eq!((&consent["source"], &consent["ip"]), (&json!("double opt-in"), &json!("192.0.2.7")));
    assert_eq!((&consent["at"], &consent["confirmed_at"]), (&json!(asked_at), &json!(confirmed_at)));
    assert!(consent["text"].is_string());

    site.clock.advance(Duration::from_secs(90));
    for _ in 0..2 {
        assert!(press(&site, &link).await.expect(200).text().contains("You are subscribed"), "done before is as good");
        assert!(open(&site, &link).await.expect(200).text().contains("You are subscribed"));
    }
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await, subscriber, "the first time stays");
}

#[tokio::test]
async fn whoever_asks_for_whatever_address_gets_the_same_answer_by_the_same_steps() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let tenant = tenant("acme");
    let emails = ["new", "active", "left", "suppressed", "erased", "bot"].map(|name| format!("{name}@example.com"));
    let address = |i: usize| EmailAddress::parse(&emails[i]).unwrap();
    for email in &emails[1..3] {
        site.post("/v1/subscribers", subscriber(&newsletter, email)).await.expect(201);
    }
    site.subscribers.unsubscribe(&key_of(&newsletter, &emails[2]), site.now()).await.unwrap();
    site.suppressions.suppress(&tenant, &address(3), Reason::HardBounce, site.now()).await.unwrap();
    site.suppressions.suppress(&tenant, &address(4), Reason::Erased, site.now()).await.unwrap();
    // Nothing about the address is looked at before the answer.
    site.subscribers.faults.at_random(1.0, 0.0, |_| 0.0);
    site.suppressions.faults.at_random(1.0, 0.0, |_| 0.0);
    let mut answers = Vec::new();
    for email in &emails[..5] {
        let jobs = site.jobs.all().len();
        let reply = sign_up(&site, "192.0.2.7", &newsletter, email).await.expect(202);
        answers.push(reply.text());
        assert_eq!(site.jobs.all().len(), jobs + 1, "{email}");
    }
    let body = json!({"newsletter": newsletter, "email": emails[5], "website": "https://pills.example"});
    answers.push(from(&site, "192.0.2.7", "application/json", &body.to_string()).await.expect(202).text());
    assert!(site.sign_ups.get(&key_of(&newsletter, &emails[5])).await.unwrap().is_none(), "a program is not believed");
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn who_signs_up_again_and_again_is_asked_now_and_then() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    for _ in 0..3 {
        sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
        site.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(site.jobs.all().len(), 1, "within ten minutes it is one mail");
    // However long it goes on and wherever it comes from, an address is asked a few times a day.
    for i in 0..100 {
        site.clock.advance(Duration::from_secs(700));
        sign_up(&site, &format!("192.0.2.{i}"), &newsletter, "ada@example.com").await.expect(202);
    }
    let hours = 100 * 700 / 3600;
    let most = SIGN_UPS_OF_ADDRESS.burst as usize + hours / 4 + 1;
    assert!(site.jobs.all().len() <= most, "{} mails in {hours} hours", site.jobs.all().len());
    sign_up(&site, "192.0.2.7", &newsletter, "grace@example.com").await.expect(202);
}

#[tokio::test]
async fn one_source_cannot_sign_up_the_world() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let most = SIGN_UPS_OF_SOURCE.burst as usize;
    for i in 0..most + 20 {
        sign_up(&site, "192.0.2.7", &newsletter, &format!("reader{i}@example.com")).await.expect(202);
    }
    assert_eq!(site.jobs.all().len(), most);
    sign_up(&site, "192.0.2.8", &newsletter, "ada@example.com").await.expect(202);
    assert_eq!(site.jobs.all().len(), most + 1, "somebody else is heard");
}

#[tokio::test]
async fn a_sign_up_that_was_cut_off_is_completed_when_it_comes_again() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let again = async || sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await;
    site.sign_ups.faults.refuse_next("take");
    again().await.expect(503);
    site.sign_ups.faults.lose_next_answer("ask");
    again().await.expect(503);
    site.jobs.faults.refuse_next("create");
    again().await.expect(503);
    site.email.faults.refuse_next("send");
    again().await.expect(503);
    assert!(site.email.all().is_empty());
    again().await.expect(202);
    assert_eq!((site.jobs.all().len(), site.email.all().len()), (1, 1));
}

#[tokio::test]
async fn a_form_is_answered_by_a_page() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let form = |fields: &str| format!("newsletter={newsletter}&{fields}");
    let good = form("email=ada%40example.com&name=&time_zone=&website=&send=Subscribe");
    let page = from(&site, "192.0.2.7", FORM, &good).await.expect(202);
    assert!(page.text().contains("Please look into your mail"), "{}", page.text());
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert_eq!(site.jobs.all().len(), 1);
    let page = from(&site, "192.0.2.7", FORM, &form("email=ada&time_zone=Mars")).await.expect(422).text();
    assert!(page.contains("email: an address has an @") && page.contains("time_zone: "), "{page}");
    let page = from(&site, "192.0.2.7", FORM, "email=ada%40example.com").await.expect(422).text();
    assert!(page.contains("newsletter"), "{page}");
    let page = from(&site, "192.0.2.7", FORM, &form("email=%3Cscript%3E%40x")).await.expect(422).text();
    assert!(!page.contains("<script"), "{page}");
    site.sign_ups.faults.refuse_next("ask");
    assert!(from(&site, "192.0.2.7", FORM, &good).await.expect(503).text().contains("try again"));
}

#[tokio::test]
async fn sign_ups_are_checked() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let body = |json: Value| json.to_string();
    for (json, expected) in [
        (json!({}), &["/email"][..]),
        (json!({"email": "ada@example.com", "newsletter": "nl_unknown"}), &["/newsletter"]),
        (
            json!({"email": "ada", "newsletter": newsletter, "name": "a\nb", "colour": "red"}),
            &["/colour", "/email", "/name"],
        ),
    ] {
        assert_eq!(from(&site, "192.0.2.7", "application/json", &body(json)).await.pointers(), expected);
    }
    let by_hand = json!({"kind": "confirm-subscription", "payload": {"subscriber": "sub_1", "asked_at": site.now()}});
    assert_eq!(site.post("/v1/jobs", by_hand).await.pointers(), ["/kind"], "nobody asks for a mail by hand");
    from(&site, "192.0.2.7", "application/json", "{").await.expect(400);
    from(&site, "192.0.2.7", "text/plain", "email=a").await.expect(415);
    assert!(site.jobs.all().is_empty());
}

#[tokio::test]
async fn a_link_expires_and_a_later_sign_up_has_its_own() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    let first = link(&site, &newsletter, "ada@example.com").await;
    site.clock.advance(Duration::from_secs(7 * 24 * 3600 - 1));
    assert!(open(&site, &first).await.expect(200).text().contains("<button"));
    site.clock.advance(Duration::from_secs(1));
    for page in [open(&site, &first).await, press(&site, &first).await] {
        assert!(page.expect(400).text().contains("no longer valid"));
    }
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    press(&site, &first).await.expect(400);
    let second = link(&site, &newsletter, "ada@example.com").await;
    press(&site, &second).await.expect(200);
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await["status"], "active");
}

#[tokio::test]
async fn who_unsubscribed_comes_back_by_a_new_confirmation_only() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let (tenant, email) = (tenant("acme"), EmailAddress::parse("ada@example.com").unwrap());
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    let first = link(&site, &newsletter, "ada@example.com").await;
    press(&site, &first).await.expect(200);
    site.subscribers.unsubscribe(&key_of(&newsletter, "ada@example.com"), site.now()).await.unwrap();
    site.suppressions.suppress(&tenant, &email, Reason::Unsubscribed, site.now()).await.unwrap();
    assert!(
        press(&site, &first).await.expect(400).text().contains("no longer valid"),
        "a link is good for one sign-up"
    );

    site.clock.advance(Duration::from_secs(3600));
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    press(&site, &first).await.expect(400);
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await["status"], "unsubscribed");
    let second = link(&site, &newsletter, "ada@example.com").await;
    press(&site, &second).await.expect(200);
    let subscriber = seen(&site, &newsletter, "ada@example.com").await;
    assert_eq!(subscriber["status"], "active");
    assert!(subscriber.get("suppressed").is_none() && subscriber.get("unsubscribed_at").is_none());
    assert_eq!(subscriber["consent"]["at"], json!(site.now()));
}

#[tokio::test]
async fn a_confirmation_that_was_cut_off_is_completed_by_the_same_link() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    let link = link(&site, &newsletter, "ada@example.com").await;
    site.suppressions.faults.refuse_next("lift");
    assert!(press(&site, &link).await.expect(503).text().contains("not subscribed yet"));
    site.subscribers.faults.lose_next_answer("confirm");
    press(&site, &link).await.expect(503);
    site.sign_ups.faults.refuse_next("forget");
    press(&site, &link).await.expect(503);
    press(&site, &link).await.expect(200);
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await["status"], "active");
    assert!(site.sign_ups.get(&key_of(&newsletter, "ada@example.com")).await.unwrap().is_none());
}

#[tokio::test]
async fn only_our_whole_links_confirm() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    let good = link(&site, &newsletter, "ada@example.com").await;
    let key = key_of(&newsletter, "ada@example.com");
    let stranger = Tokens::new(TokenKey::generate(&[9; TOKEN_KEY_BYTES]).into());
    let keys = site.keys.ensure(&TokenKey::generate(&[5; TOKEN_KEY_BYTES])).await.unwrap();
    let unsubscribe = Tokens::new(keys).unsubscribe(&tenant("acme"), &key.id());
    let forged = stranger.confirm(&tenant("acme"), &key.id(), site.now());
    let bad = ["", "?token=", "?token=x&token=y", "?token=%ff"].map(|query| format!("/confirm{query}"));
    let bad = [
        bad.as_slice(),
        &[good[..good.len() - 3].to_owned()],
        &[forged, unsubscribe].map(|t| format!("/confirm?token={t}")),
    ];
    for link in bad.concat() {
        assert!(open(&site, &link).await.expect(400).text().contains("not whole"), "{link}");
        press(&site, &link).await.expect(400);
    }
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await, Value::Null);
    // The token may come in a form's field as well.
    let token = good.split('=').nth(1).unwrap();
    let request = Request::post("/confirm").header("content-type", FORM).body(Body::from(format!("token={token}")));
    site.send(request.unwrap()).await.expect(200);
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await["status"], "active");
}

#[tokio::test]
async fn an_active_subscriber_loses_nothing_by_a_sign_up() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let before = site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(201).json();
    sign_up(&site, "192.0.2.7", &newsletter, "ada@example.com").await.expect(202);
    let link = link(&site, &newsletter, "ada@example.com").await;
    press(&site, &link).await.expect(200);
    assert_eq!(seen(&site, &newsletter, "ada@example.com").await, before);
}
