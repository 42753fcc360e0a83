//! Double opt-in through the mailbox, and what becomes of those who leave.

use super::campaigns::newsletter;
use jiff::Timestamp;
use millrace_tests::{Stack, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";

/// An address of this run's own: the stack keeps what earlier runs did.
fn address(name: &str) -> String {
    format!("{name}-{}@example.net", Timestamp::now().as_millisecond())
}

async fn sign_up(stack: &Stack, newsletter: &str, email: &str) {
    let form = format!("email={}&newsletter={newsletter}&name=Ada&website=", email.replace('@', "%40"));
    let request = stack.open(Method::POST, "/subscribe").header("content-type", FORM);
    let answer = stack.ask(request.body(form)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert!(answer.text.contains("Please look into your mail"));
}

/// The link of the newest mail that asks for a confirmation.
async fn link(stack: &Stack, email: &str) -> String {
    let mail = until("the mail", async || stack.mails_to(email).await.pop()).await;
    let text = mail["text"].as_str().expect("text");
    let link = text.split_whitespace().find(|word| word.contains("/confirm?token="));
    link.expect("a link").to_owned()
}

async fn press(stack: &Stack, link: &str) -> StatusCode {
    let request = stack.anywhere(Method::POST, link).header("content-type", FORM);
    stack.ask(request.body("")).await.status
}

/// The subscribers of this address.
async fn subscribers(stack: &Stack, email: &str) -> Vec<Value> {
    let found = stack.get(&format!("/v1/subscribers?email={email}")).await;
    found.body["subscribers"].as_array().expect("subscribers").clone()
}

#[tokio::test]
async fn a_sign_up_is_asked_for_confirmed_and_ended() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (newsletter, email) = (newsletter(&stack, "Sign-ups").await, address("ada"));
    for _ in 0..5 {
        sign_up(&stack, &newsletter, &email).await;
    }
    let link = link(&stack, &email).await;
    let waiting = subscribers(&stack, &email).await;
    assert_eq!((waiting.len(), &waiting[0]["status"]), (1, &json!("pending")));

    // A link that is only looked at changes nothing: scanners open every link.
    let page = stack.ask(stack.anywhere(Method::GET, &link)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("<button") && page.headers.contains_key("content-security-policy"));
    assert_eq!(subscribers(&stack, &email).await[0]["status"], "pending");
    for _ in 0..2 {
        assert_eq!(press(&stack, &link).await, StatusCode::OK);
    }
    let active = subscribers(&stack, &email).await.remove(0);
    assert_eq!((&active["status"], &active["name"]), (&json!("active"), &json!("Ada")));
    let consent = &active["consent"];
    for proof in ["at", "ip", "text", "confirmed_at", "confirmed_ip"] {
        assert!(consent[proof].is_string(), "{proof} is missing: {consent}");
    }
    assert_eq!(stack.mails_to(&email).await.len(), 1, "five sign-ups within ten minutes are one mail");

    // Whoever left does not come back by the old link.
    let path = format!("/v1/subscribers/{}", active["id"].as_str().expect("an id"));
    let left = stack.ask(stack.request(Method::PATCH, &path).json(&json!({"status": "unsubscribed"}))).await;
    assert_eq!(left.str("/status"), "unsubscribed");
    assert_eq!(press(&stack, &link).await, StatusCode::BAD_REQUEST);
    assert_eq!(subscribers(&stack, &email).await[0]["status"], "unsubscribed");
    let refused =
        json!({"newsletter": newsletter, "email": email, "consent": {"source": "e2e", "at": "2026-01-01T00:00:00Z"}});
    assert_eq!(stack.post("/v1/subscribers", &refused).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn who_was_erased_stays_away_unless_they_come_back_themselves() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (newsletter, email) = (newsletter(&stack, "Erasures").await, address("grace"));
    let body =
        json!({"newsletter": newsletter, "email": email, "consent": {"source": "e2e", "at": "2026-01-01T00:00:00Z"}});
    let added = stack.post_ok("/v1/subscribers", &body, 201).await;
    let path = format!("/v1/subscribers/{}", added.str("/id"));
    let export = stack.get(&format!("{path}/export")).await;
    assert_eq!(export.str("/subscriptions/0/consent/source"), "e2e");

    let erased = stack.ask(stack.request(Method::DELETE, &path)).await;
    assert_eq!(erased.status, StatusCode::NO_CONTENT, "{}", erased.text);
    assert_eq!(stack.get(&path).await.status, StatusCode::NOT_FOUND);
    let refused = stack.post("/v1/subscribers", &body).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.str("/detail").contains("erased"));

    sign_up(&stack, &newsletter, &email).await;
    let link = link(&stack, &email).await;
    assert_eq!(press(&stack, &link).await, StatusCode::OK);
    let back = subscribers(&stack, &email).await.remove(0);
    assert_eq!(back["status"], "active");
    assert!(stack.get(&path).await.body.get("suppressed").is_none(), "their own wish ends it");
}

#[tokio::test]
async fn who_is_subscribed_already_gets_no_mail_and_nobody_sees_that() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (newsletter, email) = (newsletter(&stack, "Known").await, address("hedy"));
    let body =
        json!({"newsletter": newsletter, "email": email, "consent": {"source": "e2e", "at": "2026-01-01T00:00:00Z"}});
    stack.post_ok("/v1/subscribers", &body, 201).await;
    sign_up(&stack, &newsletter, &email).await;
    let job = until("the job's end", async || {
        let jobs = stack.get("/v1/jobs?kind=confirm-subscription&limit=100").await;
        let jobs = jobs.body["jobs"].as_array().expect("jobs").clone();
        jobs.into_iter().find(|job| job["result"]["why"] == "the address is subscribed")
    })
    .await;
    assert_eq!(job["state"], "succeeded");
    assert!(stack.mails_to(&email).await.is_empty());
}
