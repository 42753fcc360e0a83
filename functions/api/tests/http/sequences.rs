use crate::site::{Site, subscriber};
use axum::body::Body;
use axum::http::{Request, header};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::NewsletterId;
use millrace::domain::people::SubscriberKey;
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::jobs::{JobMessage, SequenceStep};
use millrace::ports::{SignUps as _, Subscribers as _, TokenKeys as _};
use serde_json::{Value, json};
use std::time::Duration;

fn step(after: &str, subject: &str) -> Value {
    let markdown = "Hello {{ name }}\n\n{{ newsletter.postal_address }} [unsubscribe]({{ unsubscribe_url }})";
    json!({"after": after, "subject": subject, "body": {"markdown": markdown}})
}

fn week() -> Value {
    json!({"steps": [step("0d", "Welcome"), step("3d", "More"), step("7d", "Bye")]})
}

/// The steps on their way, by their queue.
fn steps(site: &Site) -> Vec<SequenceStep> {
    let messages = site.queues.get("email-low").all().into_iter().map(|message| message.body);
    let payloads = messages.map(|body| JobMessage::parse(&body).unwrap().payload.unwrap());
    payloads.map(|payload| serde_json::from_value(payload).unwrap()).collect()
}

#[tokio::test]
async fn a_sequence_is_put_seen_changed_and_deleted() {
    let site = Site::new();
    let path = format!("/v1/newsletters/{}/sequence", site.newsletter().await);
    site.get(&path).await.expect(404);
    site.delete(&path).await.expect(404);
    let mut wanted = week();
    wanted["steps"][1]["at"] = json!("10:00");
    wanted["steps"][2]["text"] = json!("Bye {{ name }}");
    let made = site.put(&path, wanted.clone()).await.expect(201).json();
    let seen = site.get(&path).await.expect(200).json();
    assert_eq!(made, seen);
    assert_eq!((&seen["steps"], &seen["current"]), (&wanted["steps"], &json!(true)), "it is as it was put");
    assert_eq!(site.put(&path, wanted.clone()).await.expect(200).json()["edition"], made["edition"]);

    let other = site.put(&path, json!({"steps": [step("48h", "Other")]})).await.expect(200).json();
    assert_eq!(other["steps"][0]["after"], "2d");
    let before = format!("{path}?edition={}", made["edition"].as_str().unwrap());
    let old = site.get(&before).await.expect(200).json();
    assert_eq!((&old["steps"], &old["current"]), (&wanted["steps"], &json!(false)));
    site.delete(&path).await.expect(204);
    site.get(&path).await.expect(404);
    site.get(&before).await.expect(200);

    for wrong in ["edition=x", "edition=../../payloads/x", "version=1"] {
        site.get(&format!("{path}?{wrong}")).await.expect(422);
    }
    site.get(&format!("{path}?edition={}", "0".repeat(32))).await.expect(404);
    for path in [&path, &before] {
        site.get_as(&site.rival, path).await.expect(404);
    }
    site.delete_as(&site.rival, &path).await.expect(404);
    let foreign = Request::put(&path).header(header::AUTHORIZATION, format!("Bearer {}", site.rival));
    let foreign = foreign.header(header::CONTENT_TYPE, "application/json").body(Body::from(week().to_string()));
    site.send(foreign.unwrap()).await.expect(404);
}

#[tokio::test]
async fn every_letter_is_checked_at_the_door() {
    let site = Site::new();
    let path = format!("/v1/newsletters/{}/sequence", site.newsletter().await);
    let with = |change: fn(&mut Value)| {
        let mut request = week();
        change(&mut request);
        request
    };
    for (request, pointers) in [
        (json!({"steps": []}), &["/steps"][..]),
        (json!({"steps": vec![step("0d", "x"); 21]}), &["/steps"]),
        (json!({}), &["/steps"]),
        (with(|it| it["steps"][1]["subject"] = json!("{{ nobody }}")), &["/steps/1/subject"]),
        (with(|it| it["steps"][2]["body"] = json!({"html": "<p>no link</p>"})), &["/steps/2/body/html"]),
        (with(|it| it["steps"][0]["after"] = json!("3 days")), &["/steps/0/after"]),
        (with(|it| it["steps"][0]["at"] = json!("25:00")), &["/steps/0/at"]),
        (with(|it| it["steps"][2]["after"] = json!("2d")), &["/steps/2/after"]),
        (with(|it| it["steps"][2]["after"] = json!("367d")), &["/steps/2/after"]),
        (with(|it| it["steps"][0]["days"] = json!(1)), &["/steps/0/days"]),
    ] {
        assert_eq!(site.put(&path, request.clone()).await.pointers(), pointers, "{request}");
    }
    let twice = with(|it| {
        it["steps"][0]["subject"] = json!("{{ nobody }}");
        it["steps"][2]["after"] = json!("1d");
    });
    assert_eq!(site.put(&path, twice).await.pointers(), ["/steps/0/subject", "/steps/2/after"], "all at once");
    site.get(&path).await.expect(404);
    assert!(site.blobs.keys().is_empty(), "nothing is stored of what is refused");
}

#[tokio::test]
async fn who_is_added_or_registers_begins_and_who_was_there_does_not() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let before = site.post("/v1/subscribers", subscriber(&newsletter, "old@example.com")).await.expect(201).json();
    let path = format!("/v1/newsletters/{newsletter}/sequence");
    let edition = site.put(&path, week()).await.expect(201).json()["edition"].clone();
    site.post("/v1/subscribers", subscriber(&newsletter, "old@example.com")).await.expect(200);
    assert!(before.get("sequence").is_none() && steps(&site).is_empty());

    // The queue is away: asked again, it is made good, and once only.
    site.queues.get("email-low").faults.refuse_next("send");
    site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(503);
    assert!(steps(&site).is_empty());
    let added = site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(200).json();
    assert_eq!((steps(&site).len(), site.jobs.all().len()), (1, 1));
    let sequence = &added["sequence"];
    assert_eq!((&sequence["edition"], &sequence["steps"], &sequence["taken"]), (&edition, &json!(3), &json!(0)));
    let job = site.get(&format!("/v1/jobs/{}", sequence["next_job"].as_str().unwrap())).await.expect(200).json();
    assert_eq!(
        (&job["kind"], &job["priority"], &job["tags"]),
        (&json!("sequence-step"), &json!("low"), &json!([newsletter]))
    );
    assert_eq!(steps(&site)[0].subscriber.as_str(), added["id"].as_str().unwrap());

    let registration = json!({"email": "bo@example.com", "subscribe": [newsletter]});
    for status in [202, 200] {
        site.post("/v1/users", registration.clone()).await.expect(status);
    }
    assert_eq!(site.jobs.all().iter().filter(|job| job.kind == "sequence-step").count(), 2);
}

#[tokio::test]
async fn a_first_step_that_is_due_later_waits() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    site.put(&format!("/v1/newsletters/{newsletter}/sequence"), json!({"steps": [step("3d", "Late")]}))
        .await
        .expect(201);
    let added = site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(201).json();
    let due = (site.now() + Duration::from_secs(3 * 86_400)).to_string();
    assert_eq!(added["sequence"]["next_at"], due);
    let job = &site.jobs.all()[0];
    assert_eq!((job.run_at.unwrap().to_string(), steps(&site).len()), (due, 0));
    let export = site.get(&format!("/v1/subscribers/{}/export", added["id"].as_str().unwrap())).await.json();
    assert_eq!(export["subscriptions"][0]["sequence"], added["sequence"], "it is told to whom it is about");
}

/// What the link in the mail does.
async fn press(site: &Site, newsletter: &str, email: &str) -> u16 {
    let key = SubscriberKey::of(&NewsletterId::parse(newsletter).unwrap(), &EmailAddress::parse(email).unwrap());
    let sign_up = site.sign_ups.get(&key).await.unwrap().unwrap();
    let keys = site.keys.ensure(&TokenKey::generate(&[5; TOKEN_KEY_BYTES])).await.unwrap();
    let token = Tokens::new(keys).confirm(&sign_up.tenant, &key.id(), sign_up.at);
    let request = Request::post(format!("/confirm?token={token}")).body(Body::empty()).unwrap();
    site.send(request).await.status.as_u16()
}

#[tokio::test]
async fn a_confirmation_begins_it_once_however_often_they_come_back() {
    let site = Site::new();
    let (newsletter, email) = (site.newsletter().await, "ada@example.com");
    site.put(&format!("/v1/newsletters/{newsletter}/sequence"), week()).await.expect(201);
    let sign_up = json!({"newsletter": newsletter, "email": email});
    site.post("/subscribe", sign_up.clone()).await.expect(202);
    assert!(steps(&site).is_empty(), "nobody has confirmed anything");
    site.jobs.faults.refuse_next("create");
    assert_eq!(press(&site, &newsletter, email).await, 503);
    assert_eq!(press(&site, &newsletter, email).await, 200, "the link works until all is done");
    assert_eq!(steps(&site).len(), 1);

    let key = SubscriberKey::of(&NewsletterId::parse(&newsletter).unwrap(), &EmailAddress::parse(email).unwrap());
    let begun = site.subscribers.get(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap().sequence.unwrap();
    let gone_on = begun.after(0, Some(site.now()));
    site.subscribers.advance(&key, &gone_on).await.unwrap();
    site.subscribers.unsubscribe(&key, site.now()).await.unwrap();
    site.clock.advance(Duration::from_secs(3_600));
    site.post("/subscribe", sign_up).await.expect(202);
    assert_eq!(press(&site, &newsletter, email).await, 200);
    let back = site.subscribers.get(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap();
    assert_eq!(back.sequence, Some(gone_on));
    assert_eq!(site.jobs.all().iter().filter(|job| job.kind == "sequence-step").count(), 1);
}
