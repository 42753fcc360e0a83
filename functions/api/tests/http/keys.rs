use crate::site::{Site, tenant};
use axum::body::Body;
use axum::http::{Request, header};
use millrace::domain::key::{KeyId, Scope};
use serde_json::json;

async fn with_authorization(site: &Site, values: &[&str]) -> crate::site::Reply {
    let mut request = Request::get("/v1/jobs/job_1");
    for value in values {
        request = request.header(header::AUTHORIZATION, *value);
    }
    site.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn without_a_valid_key_nothing_opens() {
    let site = Site::new();
    let wrong_secret = format!("{}0", &site.key[..site.key.len() - 1]);
    let right = format!("Bearer {}", site.key);
    for values in [
        &[][..],
        &[""],
        &["Bearer"],
        &["Bearer "],
        &["Basic YTpi"],
        &["Bearer mr_1_2"],
        &[&format!("Bearer {wrong_secret}")],
        &[&format!("Bearer mr_ffffffffffffffff_{}", "0".repeat(64))],
        &[&format!("Bearer  {}x", site.key)],
        &[&right, &right],
    ] {
        with_authorization(&site, values).await.expect(401);
    }
    with_authorization(&site, &[&right]).await.expect(404);
    with_authorization(&site, &[&format!("bearer {}", site.key)]).await.expect(404);
}

#[tokio::test]
async fn a_disabled_key_opens_nothing() {
    let site = Site::new();
    site.keys.disable(&KeyId::parse("0101010101010101").unwrap());
    site.get("/v1/jobs/job_1").await.expect(401);
}

#[tokio::test]
async fn each_route_asks_for_its_scope_before_anything_else() {
    let site = Site::new();
    let document = site.document().await.clone();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(needed) = operation["security"][0]["key"][0].as_str() else {
                let open = ["/health", "/v1/openapi.json", "/unsubscribe", "/subscribe", "/confirm"];
                assert!(open.contains(&path.as_str()) || path.starts_with("/archive/"), "{method} {path}");
                continue;
            };
            let needed: Scope = needed.parse().unwrap();
            for (seed, scope) in (10..).zip(Scope::ALL) {
                let key = site.keys.seed(seed, &tenant("acme"), &[scope]);
                let request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(path.replace("{id}", "nothing").replace("{name}", "nothing"))
                    .header(header::AUTHORIZATION, format!("Bearer {key}"));
                let reply = site.send(request.body(Body::from("not json")).unwrap()).await;
                let opens = scope == needed || scope == Scope::Admin;
                assert_eq!(reply.status != 403, opens, "{method} {path} with {scope}: {}", reply.status);
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 50 * 5, "a route that needs a key was added or lost");
}

#[tokio::test]
async fn a_table_that_is_away_is_503() {
    let site = Site::new();
    site.keys.faults.refuse_next("find");
    site.get("/v1/jobs/job_1").await.expect(503);
    site.get("/v1/jobs/job_1").await.expect(404);
}

#[tokio::test]
async fn another_tenants_things_are_not_found() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let subscriber = site.post("/v1/subscribers", crate::site::subscriber(&newsletter, "a@example.com")).await.json();
    let campaign = site.post("/v1/campaigns", crate::campaigns::letter(&newsletter)).await.expect(201).json();
    let user = site.post("/v1/users", json!({"email": "a@example.com"})).await.expect(202).json();
    let paths = [
        format!("/v1/newsletters/{newsletter}"),
        format!("/v1/subscribers/{}", subscriber["id"].as_str().unwrap()),
        format!("/v1/campaigns/{}", campaign["id"].as_str().unwrap()),
        format!("/v1/users/{}", user["user"]["id"].as_str().unwrap()),
        format!("/v1/jobs/{}", user["job"]["id"].as_str().unwrap()),
    ];
    for path in &paths {
        site.get(path).await.expect(200);
        site.get_as(&site.rival, path).await.expect(404);
    }
    site.post_as(&site.rival, &format!("{}/start", paths[2]), json!({})).await.expect(404);

    let foreign =
        site.post_as(&site.rival, "/v1/subscribers", crate::site::subscriber(&newsletter, "b@example.com")).await;
    assert_eq!(foreign.pointers(), ["/newsletter"]);
    let foreign = site.post_as(&site.rival, "/v1/campaigns", crate::campaigns::letter(&newsletter)).await;
    assert_eq!(foreign.pointers(), ["/newsletter"]);
    let registration = json!({"email": "b@example.com", "subscribe": [newsletter]});
    assert_eq!(site.post_as(&site.rival, "/v1/users", registration).await.pointers(), ["/subscribe/0"]);

    let same = site.post_as(&site.rival, "/v1/users", json!({"email": "a@example.com"})).await.expect(202).json();
    assert_ne!(same["user"]["id"], user["user"]["id"], "one address is a user of each tenant");
}

#[tokio::test]
async fn one_idempotency_key_is_another_for_another_tenant() {
    let site = Site::new();
    let (job, headers) =
        (json!({"kind": "echo", "payload": {}}), [("idempotency-key", "k"), ("content-type", "application/json")]);
    let ours = site.post_text(&site.key, "/v1/jobs", &headers, job.to_string()).await.expect(202);
    let theirs = site.post_text(&site.rival, "/v1/jobs", &headers, job.to_string()).await.expect(202);
    assert_ne!(ours.json()["id"], theirs.json()["id"]);
    assert_eq!(theirs.header("idempotency-replayed"), None);
}
