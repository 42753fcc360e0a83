use crate::site::{Site, newsletter, subscriber};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::NewsletterId;
use millrace::domain::people::SubscriberKey;
use millrace::domain::suppression::Reason;
use millrace::ports::{Subscribers as _, Suppressions as _};
use serde_json::{Value, json};

fn ada() -> EmailAddress {
    EmailAddress::parse("ada@example.com").unwrap()
}

/// Adds a subscriber and gives its path.
async fn added(site: &Site, newsletter: &str, email: &str) -> String {
    let added = site.post("/v1/subscribers", subscriber(newsletter, email)).await.expect(201).json();
    format!("/v1/subscribers/{}", added["id"].as_str().unwrap())
}

/// The addresses of a list, over all its pages.
async fn listed(site: &Site, query: &str) -> Vec<String> {
    let (mut found, mut more) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/v1/subscribers?{query}{more}")).await.expect(200).json();
        let emails =
            page["subscribers"].as_array().unwrap().iter().map(|one| one["email"].as_str().unwrap().to_owned());
        found.extend(emails);
        match page["next_cursor"].as_str() {
            Some(cursor) => more = format!("&cursor={cursor}"),
            None => break,
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn subscribers_are_listed_and_searched() {
    let site = Site::new();
    let (ours, other) = (site.newsletter().await, site.newsletter().await);
    let mut all: Vec<String> = (0..9).map(|i| format!("reader{i}@example.com")).collect();
    all.push("Zoe@example.com".into());
    for (i, email) in all.iter().enumerate() {
        let mut request = subscriber(&ours, email);
        request["tags"] = json!(if i % 2 == 0 { vec!["even"] } else { vec![] });
        site.post("/v1/subscribers", request).await.expect(201);
    }
    added(&site, &other, "reader1@example.com").await;
    all.sort();
    for limit in [1, 3, 10, 100] {
        assert_eq!(listed(&site, &format!("newsletter={ours}&limit={limit}")).await, all, "in pages of {limit}");
        let tagged = listed(&site, &format!("newsletter={ours}&tag=even&limit={limit}")).await;
        assert_eq!(tagged.len(), 5);
    }
    assert_eq!(listed(&site, &format!("newsletter={ours}&email_prefix=zo")).await, ["Zoe@example.com"]);
    assert_eq!(listed(&site, &format!("newsletter={ours}&email_prefix=READER1")).await, ["reader1@example.com"]);
    assert_eq!(listed(&site, &format!("newsletter={ours}&status=pending")).await.len(), 0);
    let key = SubscriberKey::of(&NewsletterId::parse(&ours).unwrap(), &EmailAddress::parse("zoe@example.com").unwrap());
    site.subscribers.unsubscribe(&key, site.now()).await.unwrap();
    assert_eq!(listed(&site, &format!("newsletter={ours}&status=unsubscribed")).await, ["Zoe@example.com"]);

    assert_eq!(listed(&site, "email=READER1@example.com").await.len(), 2, "on all newsletters");
    assert_eq!(listed(&site, &format!("email=reader1@example.com&newsletter={ours}")).await.len(), 1);
    assert_eq!(listed(&site, "email=nobody@example.com").await.len(), 0);
    for bad in [
        "",
        "newsletter=usr_1",
        "newsletter=nl_unknown",
        "email=x",
        "email=a@example.com&email_prefix=a",
        &format!("newsletter={ours}&status=happy"),
        &format!("newsletter={ours}&cursor=x"),
        &format!("newsletter={ours}&colour=red"),
    ] {
        site.get(&format!("/v1/subscribers?{bad}")).await.expect(422);
    }
    let rival = site.get_as(&site.rival, "/v1/subscribers?email=reader1@example.com").await.expect(200).json();
    assert_eq!(rival["subscribers"], json!([]));
    site.get_as(&site.rival, &format!("/v1/subscribers?newsletter={ours}")).await.expect(422);
}

#[tokio::test]
async fn a_subscriber_is_changed_field_by_field() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let mut request = subscriber(&newsletter, "ada@example.com");
    request["name"] = json!("Ada");
    let made = site.post("/v1/subscribers", request).await.expect(201).json();
    let path = format!("/v1/subscribers/{}", made["id"].as_str().unwrap());
    assert_eq!(site.patch(&path, json!({})).await.expect(200).json(), made);
    let changed = site.patch(&path, json!({"time_zone": "asia/tokyo", "tags": ["b", "a"]})).await.expect(200).json();
    assert_eq!((&changed["name"], &changed["time_zone"]), (&json!("Ada"), &json!("Asia/Tokyo")));
    assert_eq!(changed["tags"], json!(["a", "b"]));
    let emptied = site.patch(&path, json!({"name": null, "time_zone": null, "tags": []})).await.expect(200).json();
    assert!(emptied.get("name").is_none() && emptied.get("time_zone").is_none());
    assert_eq!(site.get(&path).await.json(), emptied);
    for (field, bad) in [
        ("name", json!("a\nb")),
        ("time_zone", json!("Mars/Base")),
        ("tags", json!(null)),
        ("email", json!("b@example.com")),
    ] {
        assert_eq!(site.patch(&path, json!({field: bad})).await.pointers(), [format!("/{field}")]);
    }
    site.patch("/v1/subscribers/sub_x", json!({"name": "x"})).await.expect(404);
}

#[tokio::test]
async fn the_tenant_may_end_a_subscription_and_not_begin_it_again() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let path = added(&site, &newsletter, "ada@example.com").await;
    site.patch(&path, json!({"status": "pending"})).await.expect(409);
    site.patch(&path, json!({"status": "active"})).await.expect(200);
    assert_eq!(site.patch(&path, json!({"status": "unsubscribed"})).await.expect(200).json()["status"], "unsubscribed");
    let refused = site.patch(&path, json!({"status": "active", "name": "Eve"})).await.expect(409);
    assert!(refused.text().contains("owner"));
    assert!(site.get(&path).await.json().get("name").is_none(), "nothing of it is done");
    assert_eq!(site.patch(&path, json!({"status": "gone"})).await.pointers(), ["/status"]);
}

#[tokio::test]
async fn what_is_held_on_a_person_is_shown_and_erased_for_good() {
    let site = Site::new();
    let (ours, other) = (site.newsletter().await, site.newsletter().await);
    let path = added(&site, &ours, "ada@example.com").await;
    let second = added(&site, &other, "Ada@example.com").await;
    let user = site.post("/v1/users", json!({"email": "ada@example.com", "name": "Ada"})).await.expect(202).json();
    let third = site.newsletter().await;
    let body = json!({"newsletter": third, "email": "ada@example.com", "name": "A. L."});
    site.post("/subscribe", body).await.expect(202);

    let export = site.get(&format!("{path}/export")).await.expect(200).json();
    assert_eq!((&export["email"], &export["user"]["name"]), (&json!("ada@example.com"), &json!("Ada")));
    assert_eq!(export["subscriptions"].as_array().unwrap().len(), 2);
    assert_eq!(export["subscriptions"][0]["consent"]["source"], "a form");
    assert_eq!(export["sign_ups"][0]["name"], "A. L.");
    assert!(export.get("suppressed").is_none());
    site.get_as(&site.rival, &format!("{path}/export")).await.expect(404);

    // Whatever fails on the way, the same request completes it.
    for call in ["forget", "suppress", "remove"] {
        match call {
            "forget" => site.sign_ups.faults.refuse_next(call),
            "suppress" => site.suppressions.faults.refuse_next(call),
            _ => site.subscribers.faults.lose_next_answer(call),
        }
        site.delete(&path).await.expect(503);
        site.get(&path).await.expect(200);
    }
    site.delete(&path).await.expect(204);
    for gone in [&path, &second, &format!("/v1/users/{}", user["user"]["id"].as_str().unwrap())] {
        site.get(gone).await.expect(404);
    }
    site.delete(&path).await.expect(404);
    let held = site.suppressions.check(&crate::site::tenant("acme"), &[ada()]).await.unwrap();
    assert_eq!(held[0].unwrap().reason, Reason::Erased);

    // It does not come back by anybody else's doing, on any newsletter, however it is written.
    for newsletter in [&ours, &other, &third] {
        let refused = site.post("/v1/subscribers", subscriber(newsletter, "ADA@example.com")).await.expect(409);
        assert!(refused.json()["detail"].as_str().unwrap().contains("erased"), "{}", refused.text());
    }
    let again = json!({"email": "ada@example.com", "subscribe": [ours]});
    let again = site.post("/v1/users", again).await.expect(202).json();
    assert_eq!(again["not_subscribed"], json!([ours]));
    assert_eq!(listed(&site, "email=ada@example.com").await.len(), 0);
    let rivals = site.post_as(&site.rival, "/v1/newsletters", newsletter()).await.expect(201).json();
    let theirs = subscriber(rivals["id"].as_str().unwrap(), "ada@example.com");
    site.post_as(&site.rival, "/v1/subscribers", theirs).await.expect(201);
}

#[tokio::test]
async fn the_list_of_suppressed_addresses_takes_and_gives_back() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let path = added(&site, &newsletter, "ada@example.com").await;
    let one = "/v1/suppressions?email=Ada@example.com";
    site.get(one).await.expect(404);
    let made = site.post("/v1/suppressions", json!({"email": "ada@example.com"})).await.expect(200).json();
    assert_eq!(made["reason"], "manual");
    assert_eq!(site.get(one).await.expect(200).json(), made);
    assert_eq!(site.get(&path).await.json()["suppressed"], made);
    site.get_as(&site.rival, one).await.expect(404);
    site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(409);
    site.delete(one).await.expect(204);
    site.post("/v1/subscribers", subscriber(&newsletter, "ada@example.com")).await.expect(200);

    site.post("/v1/suppressions", json!({"email": "ada@example.com", "reason": "unsubscribed"})).await.expect(200);
    site.delete(one).await.expect(409);
    assert_eq!(site.get(one).await.expect(200).json()["reason"], "unsubscribed");
    let wrong = json!({"email": "ada", "reason": "erased"});
    assert_eq!(site.post("/v1/suppressions", wrong).await.pointers(), ["/email", "/reason"]);
    for bad in ["", "email=x", "email=a@example.com&colour=red"] {
        site.get(&format!("/v1/suppressions?{bad}")).await.expect(422);
        site.delete(&format!("/v1/suppressions?{bad}")).await.expect(422);
    }
}

#[tokio::test]
async fn a_registration_tells_what_it_did_not_subscribe() {
    let site = Site::new();
    let (left, new) = (site.newsletter().await, site.newsletter().await);
    let path = added(&site, &left, "ada@example.com").await;
    site.patch(&path, json!({"status": "unsubscribed"})).await.expect(200);
    let request = json!({"email": "ada@example.com", "subscribe": [left, new]});
    let registered: Value = site.post("/v1/users", request).await.expect(202).json();
    assert_eq!(registered["not_subscribed"], json!([left]));
    assert_eq!(listed(&site, &format!("newsletter={new}")).await, ["ada@example.com"]);
}
