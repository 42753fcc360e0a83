use crate::site::{Site, tenant};
use millrace::domain::job::Stored;
use millrace::jobs::JobMessage;
use serde_json::{Value, json};

#[tokio::test]
async fn an_operation_is_accepted_and_queued() {
    let site = Site::new();
    let filter = json!({"state": "dead", "kind": "echo", "tag": "t", "error_contains": "refused", "limit": 5});
    let reply = site.post("/v1/jobs/retry", filter).await.expect(202);
    let job = reply.json();
    assert_eq!((&job["kind"], &job["state"]), (&json!("retry-jobs"), &json!("queued")));
    assert_eq!(reply.header("location").unwrap(), format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    let stored = site.jobs.all().remove(0);
    let expected = json!({"kind": "echo", "tag": "t", "error_contains": "refused", "limit": 5});
    assert_eq!((stored.tenant, stored.payload), (tenant("acme"), Stored::Inline(expected.clone())));
    let message = JobMessage::parse(&site.operations.all()[0].body).unwrap();
    assert_eq!((message.kind.as_str(), message.payload), ("retry-jobs", Some(expected)));
    site.get_as(&site.rival, &format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await.expect(404);
}

#[tokio::test]
async fn the_same_key_gives_the_same_operation() {
    let site = Site::new();
    let ask = async |body: Value| site.post_with("/v1/jobs/retry", body, &[("idempotency-key", "k")]).await;
    let first = ask(json!({"state": "dead"})).await.expect(202).json();
    let again = ask(json!({"state": "dead"})).await.expect(202);
    assert_eq!((again.header("idempotency-replayed"), again.json()["id"].clone()), (Some("true"), first["id"].clone()));
    ask(json!({"state": "dead", "limit": 1})).await.expect(422);
    let job = json!({"kind": "echo", "payload": {}});
    site.post_with("/v1/jobs", job, &[("idempotency-key", "k")]).await.expect(422);
}

#[tokio::test]
async fn what_is_wrong_is_pointed_at() {
    let site = Site::new();
    let pointers = async |body: Value| site.post("/v1/jobs/retry", body).await.pointers();
    assert_eq!(pointers(json!({})).await, ["/state"]);
    assert_eq!(pointers(json!({"state": "running"})).await, ["/state"]);
    assert_eq!(pointers(json!({"state": "dead", "kinds": "echo"})).await, ["/kinds"]);
    assert_eq!(pointers(json!({"state": "dead", "kind": "nonsense"})).await, ["/kind"]);
    assert_eq!(pointers(json!({"state": "dead", "kind": "retry-jobs"})).await, ["/kind"]);
    let wrong = json!({"state": "dead", "tag": "", "error_contains": "x".repeat(301), "limit": 0});
    assert_eq!(pointers(wrong).await, ["/error_contains", "/limit", "/tag"]);
    site.post("/v1/jobs/retry", json!([])).await.expect(422);
    assert!(site.jobs.all().is_empty());
}

#[tokio::test]
async fn nobody_else_submits_an_internal_kind() {
    let site = Site::new();
    let reply = site.post("/v1/jobs", json!({"kind": "retry-jobs", "payload": {}})).await.expect(422);
    assert!(!reply.json()["errors"][0]["detail"].as_str().unwrap().contains("retry-jobs"), "{}", reply.text());
    let batch = json!({"jobs": [{"kind": "retry-jobs", "payload": {}}]});
    site.post("/v1/jobs/batch", batch).await.expect(207);
    let schedule = json!({"cron": "* * * * *", "time_zone": "UTC", "job": {"kind": "retry-jobs", "payload": {}}});
    site.put("/v1/schedules/x", schedule).await.expect(422);
    let kinds = site.get("/v1/kinds").await.expect(200).json();
    assert!(kinds.as_array().unwrap().iter().all(|kind| kind["kind"] != "retry-jobs"), "{kinds}");
}
