//! Welcome sequences on the deployed template, with steps of seconds.

use crate::campaigns::newsletter;
use jiff::Timestamp;
use millrace_tests::{Stack, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn step(after: &str, subject: &str) -> Value {
    let body = "Dear {{ name or 'reader' }},\n\n{{ newsletter.postal_address }} [unsubscribe]({{ unsubscribe_url }})";
    json!({"after": after, "subject": subject, "body": {"markdown": body}})
}

async fn put(stack: &Stack, path: &str, steps: Value) -> Value {
    let answer = stack.ask(stack.request(Method::PUT, path).json(&json!({ "steps": steps }))).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    answer.body
}

/// The subjects of the mails to an address, the first one first.
async fn subjects(stack: &Stack, email: &str) -> Vec<String> {
    let mails = stack.mails_to(email).await;
    mails.iter().rev().map(|mail| mail["subject"].as_str().expect("a subject").to_owned()).collect()
}

async fn subscriber(stack: &Stack, id: &str) -> Value {
    stack.get(&format!("/v1/subscribers/{id}")).await.body
}

#[tokio::test]
async fn a_sequence_reaches_who_stays_and_nobody_who_leaves() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (newsletter, run) = (newsletter(&stack, "Sequences").await, Timestamp::now().as_millisecond());
    let path = format!("/v1/newsletters/{newsletter}/sequence");
    let first = put(&stack, &path, json!([step("0d", "One"), step("8s", "Two"), step("10s", "Three")])).await;
    let [stays, leaves, confirms] = ["stays", "leaves", "confirms"].map(|name| format!("{name}-{run}@example.net"));
    let mut ids = Vec::new();
    for email in [&stays, &leaves] {
        let consent = json!({"source": "e2e", "at": "2026-01-01T00:00:00Z"});
        let body = json!({"newsletter": newsletter, "email": email, "name": "Ada", "consent": consent});
        ids.push(stack.post_ok("/v1/subscribers", &body, 201).await.str("/id").to_owned());
    }
    // By the link that the letter itself has, with one click.
    let mail = until("the first letter", async || stack.mails_to(&leaves).await.pop()).await;
    let headers = mail["headers"].as_array().expect("headers");
    let link = headers.iter().find(|header| header["name"] == "List-Unsubscribe").expect("a link")["value"].clone();
    let link = link.as_str().expect("text").trim_matches(['<', '>']).to_owned();
    let click = stack.anywhere(Method::POST, &link).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(stack.ask(click.body("List-Unsubscribe=One-Click")).await.status, StatusCode::OK);
    // Those who are in it already keep what they began with.
    put(&stack, &path, json!([step("0d", "Other")])).await;

    let body = json!({"newsletter": newsletter, "email": confirms});
    stack.post_ok("/subscribe", &body, 202).await;
    let mail = until("the question", async || stack.mails_to(&confirms).await.pop()).await;
    let text = mail["text"].as_str().expect("text");
    let link = text.split_whitespace().find(|word| word.contains("/confirm?token=")).expect("a link").to_owned();
    for _ in 0..2 {
        assert_eq!(stack.ask(stack.anywhere(Method::POST, &link)).await.status, StatusCode::OK);
    }

    until("the last letter", async || (subjects(&stack, &stays).await.len() == 3).then_some(())).await;
    assert_eq!(subjects(&stack, &stays).await, ["One", "Two", "Three"]);
    let stayed = until("the last step's record", async || {
        let stayed = subscriber(&stack, &ids[0]).await;
        (stayed["sequence"]["taken"] == 3).then_some(stayed)
    })
    .await;
    assert_eq!((&stayed["sequence"]["edition"], stayed["sequence"].get("ended")), (&first["edition"], None));
    let left = until("the end", async || {
        let left = subscriber(&stack, &ids[1]).await;
        left["sequence"]["ended"].is_string().then_some(left)
    })
    .await;
    assert_eq!((&left["sequence"]["ended"], &left["sequence"]["taken"]), (&json!("unsubscribed"), &json!(1)));
    until("the confirmed one's letter", async || (subjects(&stack, &confirms).await.len() == 2).then_some(())).await;
    assert_eq!(subjects(&stack, &confirms).await[1], "Other");

    // All of their jobs are over, and each letter was one mail.
    until("the jobs' end", async || {
        let jobs = stack.get(&format!("/v1/jobs?kind=sequence-step&tag={newsletter}&limit=100")).await;
        let jobs = jobs.body["jobs"].as_array().expect("jobs").clone();
        (jobs.len() == 6 && jobs.iter().all(|job| job["state"] == "succeeded")).then_some(())
    })
    .await;
    assert_eq!(subjects(&stack, &leaves).await, ["One"]);
    assert_eq!(subjects(&stack, &stays).await.len(), 3);
    let old = stack.get(&format!("{path}?edition={}", first["edition"].as_str().expect("an edition"))).await;
    assert_eq!(old.body["steps"], first["steps"]);
}
