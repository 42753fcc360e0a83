use crate::site::{Site, newsletter, subscriber, tenant};
use millrace::domain::id::UserId;
use millrace::domain::people::SubscriberKey;
use millrace::domain::{address::EmailAddress, id::NewsletterId};
use millrace::ports::{Subscribers, Users};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_registration_stores_the_user_and_welcomes_once() {
    let site = Site::new();
    let request = json!({"email": " Ada@Example.COM ", "name": "Ada", "time_zone": "europe/london"});
    let reply = site.post("/v1/users", request).await.expect(202);
    let registration = reply.json();
    let (user, job) = (&registration["user"], &registration["job"]);
    assert_eq!((&user["email"], &user["name"]), (&json!("Ada@example.com"), &json!("Ada")));
    assert_eq!(user["time_zone"], "Europe/London");
    assert!(user.get("welcomed_at").is_none());
    assert_eq!((&job["kind"], &job["state"]), (&json!("welcome"), &json!("queued")));
    let path = format!("/v1/users/{}", user["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(path.as_str()));
    assert_eq!(&site.get(&path).await.expect(200).json(), user);

    // The message names the user and holds nothing of theirs.
    let message = &site.email.all()[0].body;
    assert!(message.contains(user["id"].as_str().unwrap()) && !message.to_lowercase().contains("ada"), "{message}");

    let again = site.post("/v1/users", json!({"email": "ADA@example.com", "name": "Eve"})).await.expect(200).json();
    assert_eq!((&again["user"], &again["job"]["id"]), (user, &job["id"]));
    assert_eq!(site.jobs.all().len(), 1);
}

#[tokio::test]
async fn a_welcomed_user_is_not_welcomed_again() {
    let site = Site::new();
    let first = site.post("/v1/users", json!({"email": "ada@example.com"})).await.expect(202).json();
    let id = UserId::parse(first["user"]["id"].as_str().unwrap()).unwrap();
    site.users.welcomed(&id, site.now()).await.unwrap();
    let queued = site.email.all().len();
    let again = site.post("/v1/users", json!({"email": "ada@example.com"})).await.expect(200).json();
    assert_eq!(again["user"]["welcomed_at"], site.now().to_string());
    assert_eq!(again["job"]["id"], first["job"]["id"]);
    assert_eq!(site.email.all().len(), queued, "nothing is sent again");
}

#[tokio::test]
async fn a_registration_that_was_cut_off_is_completed_when_it_comes_again() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let request = json!({"email": "ada@example.com", "subscribe": [newsletter, newsletter]});
    site.users.faults.lose_next_answer("add");
    site.post("/v1/users", request.clone()).await.expect(503);
    site.subscribers.faults.refuse_next("add");
    site.post("/v1/users", request.clone()).await.expect(503);
    site.jobs.faults.refuse_next("create");
    site.post("/v1/users", request.clone()).await.expect(503);
    site.email.faults.refuse_next("send");
    site.post("/v1/users", request.clone()).await.expect(503);
    assert!(site.email.all().is_empty());
    site.post("/v1/users", request).await.expect(200);
    assert_eq!((site.jobs.all().len(), site.email.all().len()), (1, 1));
    let key = key_of(&newsletter, "ada@example.com");
    assert!(site.subscribers.get(&[key]).await.unwrap()[0].is_some());
}

fn key_of(newsletter: &str, email: &str) -> SubscriberKey {
    SubscriberKey::of(&NewsletterId::parse(newsletter).unwrap(), &EmailAddress::parse(email).unwrap())
}

#[tokio::test]
async fn a_registration_subscribes() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let unknown = json!({"email": "ada@example.com", "subscribe": [newsletter, "nl_unknown"]});
    assert_eq!(site.post("/v1/users", unknown).await.pointers(), ["/subscribe/1"]);
    assert!(site.jobs.all().is_empty(), "nothing is written before all is known");
    let many = json!({"email": "ada@example.com", "subscribe": vec![&newsletter; 21]});
    assert_eq!(site.post("/v1/users", many).await.pointers(), ["/subscribe"]);

    let request = json!({"email": "ada@example.com", "name": "Ada", "subscribe": [newsletter]});
    site.post("/v1/users", request.clone()).await.expect(202);
    let key = key_of(&newsletter, "ada@example.com");
    let seen = site.get(&format!("/v1/subscribers/{}", key.id())).await.expect(200).json();
    assert_eq!((&seen["name"], &seen["consent"]["source"]), (&json!("Ada"), &json!("registration")));

    site.subscribers.unsubscribe(&key, site.now()).await.unwrap();
    site.post("/v1/users", request).await.expect(200);
    let seen = site.get(&format!("/v1/subscribers/{}", key.id())).await.expect(200).json();
    assert_eq!(seen["status"], "unsubscribed", "registering again does not undo it");
}

#[tokio::test]
async fn users_are_checked() {
    let site = Site::new();
    for (body, expected) in [
        (json!({}), &["/email"][..]),
        (
            json!({"email": "nobody", "name": "a\nb", "time_zone": "Mars/Base", "age": 3}),
            &["/age", "/email", "/name", "/time_zone"],
        ),
        (json!({"email": "a@example.com\r\nBcc: b@example.com"}), &["/email"]),
        (json!({"email": "ä@example.com"}), &["/email"]),
        (json!({"email": "a@example.com", "time_zone": "+01:00"}), &["/time_zone"]),
        (json!({"email": "a@example.com", "name": "x".repeat(201)}), &["/name"]),
        (json!({"email": "a@example.com", "subscribe": ["nl_x", "usr_1"]}), &["/subscribe/1"]),
        (json!([]), &[""]),
        (json!("a@example.com"), &[""]),
    ] {
        let reply = site.post("/v1/users", body.clone()).await;
        assert_eq!(reply.pointers(), expected, "{body}");
        assert!(!reply.text().contains("Bcc"), "an address is not quoted");
    }
    assert!(site.jobs.all().is_empty());
}

#[tokio::test]
async fn a_subscriber_is_added_once() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let mut request = subscriber(&newsletter, "ada@example.com");
    request["tags"] = json!(["b", "a", "b"]);
    request["time_zone"] = json!("Asia/Kathmandu");
    let reply = site.post("/v1/subscribers", request).await.expect(201);
    let added = reply.json();
    assert_eq!((&added["tags"], &added["status"]), (&json!(["a", "b"]), &json!("active")));
    let path = format!("/v1/subscribers/{}", added["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(path.as_str()));
    assert_eq!(site.get(&path).await.expect(200).json(), added);

    site.clock.advance(Duration::from_secs(60));
    let again = site.post("/v1/subscribers", subscriber(&newsletter, "ADA@Example.com")).await.expect(200);
    assert_eq!(again.json(), added);
}

#[tokio::test]
async fn who_unsubscribed_does_not_come_back_by_itself() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(201);
    site.subscribers.unsubscribe(&key_of(&newsletter, "ada@example.com"), site.now()).await.unwrap();
    let refused = site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("unsubscribed"));
    let other = site.newsletter().await;
    site.post("/v1/subscribers", subscriber(&other, "ada@example.com")).await.expect(201);
}

#[tokio::test]
async fn subscribers_are_checked() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let later = (site.now() + Duration::from_secs(3600)).to_string();
    let check = async |change: Value, expected: &[&str]| {
        let mut body = subscriber(&newsletter, "ada@example.com");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(site.post("/v1/subscribers", body).await.pointers(), expected, "{change}");
    };
    check(json!({"newsletter": "nl_unknown"}), &["/newsletter"]).await;
    check(json!({"newsletter": "usr_x", "email": "x"}), &["/email", "/newsletter"]).await;
    check(json!({"consent": {"source": "", "at": "2026-01-01T00:00:00Z"}}), &["/consent/source"]).await;
    check(json!({"consent": {"source": "a"}}), &["/consent/at"]).await;
    check(json!({"consent": {"source": "a", "at": later, "by": "me"}}), &["/consent/by"]).await;
    check(json!({"consent": {"source": "a", "at": later}}), &["/consent/at"]).await;
    check(json!({"consent": null}), &["/consent"]).await;
    check(json!({"tags": ["x".repeat(65)]}), &["/tags"]).await;
    check(json!({"tags": (0..21).map(|i| i.to_string()).collect::<Vec<_>>()}), &["/tags"]).await;
    for id in ["sub_x", "sub_x_y", &format!("sub_x_{}", "a".repeat(32)), "sub__", &format!("sub__{}", "a".repeat(32))] {
        site.get(&format!("/v1/subscribers/{id}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_newsletter_reads_back() {
    let site = Site::new();
    let mut request = newsletter();
    request["days"] = json!(["thu", "mon"]);
    request["reply_to"] = json!("editor@example.com");
    let reply = site.post("/v1/newsletters", request).await.expect(201);
    let made = reply.json();
    assert_eq!((&made["days"], &made["send_at"]), (&json!(["mon", "thu"]), &json!("10:00")));
    assert_eq!(
        (&made["from"], &made["reply_to"]),
        (&json!("The Mill <news@example.com>"), &json!("editor@example.com"))
    );
    assert_eq!(site.get(reply.header("location").unwrap()).await.expect(200).json(), made);
    for (field, bad) in [
        ("name", json!("")),
        ("name", json!("a\r\nb")),
        ("from", json!("nobody")),
        ("from", json!("A\nBcc: x@example.com <a@example.com>")),
        ("reply_to", json!("")),
        ("postal_address", json!("  ")),
        ("postal_address", json!("a\u{0}")),
        ("time_zone", json!("Nowhere")),
        ("send_at", json!("24:00")),
        ("send_at", json!("9:00")),
        ("days", json!([])),
        ("days", json!(["monday"])),
    ] {
        let mut request = newsletter();
        request[field] = bad.clone();
        assert_eq!(site.post("/v1/newsletters", request).await.pointers(), [format!("/{field}")], "{field} {bad}");
    }
}

#[tokio::test]
async fn what_the_tables_do_not_take_is_503() {
    let site = Site::new();
    site.newsletters.faults.refuse_next("add");
    site.post("/v1/newsletters", newsletter()).await.expect(503);
    site.newsletters.faults.refuse_next("get");
    site.get("/v1/newsletters/nl_1").await.expect(503);
    site.users.faults.refuse_next("get");
    let id = millrace::domain::people::User::id_of(&tenant("acme"), &EmailAddress::parse("a@example.com").unwrap());
    let reply = site.get(&format!("/v1/users/{id}")).await.expect(503);
    assert!(!reply.text().contains("refused by the test"), "the cause is not part of the answer");
}
