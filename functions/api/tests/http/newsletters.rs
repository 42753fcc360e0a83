use crate::site::{Site, newsletter};
use serde_json::json;

#[tokio::test]
async fn a_newsletter_is_changed_field_by_field() {
    let site = Site::new();
    let mut request = newsletter();
    request["days"] = json!(["mon"]);
    request["reply_to"] = json!("editor@example.com");
    let made = site.post("/v1/newsletters", request).await.expect(201).json();
    let path = format!("/v1/newsletters/{}", made["id"].as_str().unwrap());
    assert_eq!(made["tracking"], false);
    assert_eq!(site.patch(&path, json!({})).await.expect(200).json(), made);

    let patch = json!({
        "name": "The Wheel", "from": "Wheel <w@example.com>", "postal_address": "2 Mill Lane", "time_zone": "Asia/Tokyo",
        "send_at": "07:30", "days": ["tue", "wed"], "archive": true, "tracking": true
    });
    let changed = site.patch(&path, patch.clone()).await.expect(200).json();
    for (field, value) in patch.as_object().unwrap() {
        assert_eq!(&changed[field], value);
    }
    assert_eq!((&changed["reply_to"], &changed["created_at"]), (&made["reply_to"], &made["created_at"]));
    let emptied = site.patch(&path, json!({"reply_to": null, "days": null})).await.expect(200).json();
    assert!(emptied.get("reply_to").is_none() && emptied.get("days").is_none());
    assert_eq!(site.get(&path).await.json(), emptied);

    for (field, bad) in [
        ("name", json!("")),
        ("name", json!(null)),
        ("from", json!("nobody")),
        ("days", json!([])),
        ("send_at", json!("25:00")),
        ("archive", json!(null)),
        ("tracking", json!(null)),
        ("id", json!("nl_1")),
    ] {
        assert_eq!(site.patch(&path, json!({field: bad})).await.pointers(), [format!("/{field}")]);
    }
    site.patch("/v1/newsletters/nl_unknown", json!({"name": "x"})).await.expect(404);
}

#[tokio::test]
async fn newsletters_are_listed_to_their_tenant() {
    let site = Site::new();
    assert_eq!(site.get("/v1/newsletters").await.expect(200).json(), json!({"newsletters": []}));
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(site.newsletter().await);
    }
    site.post_as(&site.rival, "/v1/newsletters", newsletter()).await.expect(201);
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/v1/newsletters?limit=2{query}")).await.expect(200).json();
        let ids = page["newsletters"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, all, "in the order of their creation");
    for bad in ["limit=0", "limit=101", "cursor=x", "colour=red", "limit=1&limit=2"] {
        site.get(&format!("/v1/newsletters?{bad}")).await.expect(422);
    }
}
