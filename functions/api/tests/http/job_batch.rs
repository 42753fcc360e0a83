use crate::site::Site;
use serde_json::{Value, json};

fn echo(message: &str) -> Value {
    json!({"kind": "echo", "payload": {"message": message}})
}

fn keyed(message: &str, key: &str) -> Value {
    let mut job = echo(message);
    job["idempotency_key"] = key.into();
    job
}

#[tokio::test]
async fn a_batch_is_accepted_whole() {
    let site = Site::new();
    let jobs: Vec<_> = (0..100).map(|i| echo(&i.to_string())).collect();
    let answer = site.post("/v1/jobs/batch", json!({ "jobs": jobs })).await.expect(202).json();
    let results = answer["results"].as_array().unwrap();
    for (index, result) in results.iter().enumerate() {
        assert_eq!((&result["index"], &result["status"]), (&json!(index), &json!(202)));
        assert_eq!(result["job"]["state"], "queued");
        let seen = site.get(&format!("/v1/jobs/{}?include=payload", result["job"]["id"].as_str().unwrap())).await;
        assert_eq!(seen.json()["payload"]["message"], index.to_string(), "the answers are in the request's order");
    }
    assert_eq!((results.len(), site.jobs.all().len(), site.echo.all().len()), (100, 100, 100));
}

#[tokio::test]
async fn each_job_is_refused_by_itself_with_its_place() {
    let site = Site::new();
    site.post_with("/v1/jobs", echo("first"), &[("idempotency-key", "used")]).await.expect(202);
    let jobs = json!([
        echo("fine"),
        {"kind": "echo"},
        keyed("other", "used"),
        keyed("x", "a b"),
        {"kind": "nonsense", "payload": {}, "tags": [""]},
        null,
        keyed("first", "used"),
        {"kind": "welcome", "payload": {"user": "usr_nobody"}},
    ]);
    let answer = site.post("/v1/jobs/batch", json!({ "jobs": jobs })).await.expect(207).json();
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 422, 422, 422, 422, 202, 422], "{answer:#}");
    let pointers = |i: usize| -> Vec<&str> {
        let errors = results[i]["problem"]["errors"].as_array().unwrap();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    };
    assert_eq!(pointers(1), ["/jobs/1/payload"]);
    assert_eq!(pointers(2), ["/jobs/2/idempotency_key"]);
    assert_eq!(pointers(3), ["/jobs/3/idempotency_key"]);
    assert_eq!(pointers(4), ["/jobs/4/kind", "/jobs/4/tags/0"]);
    assert_eq!(pointers(5), ["/jobs/5"]);
    assert_eq!(pointers(7), ["/jobs/7/payload/user"]);
    assert_eq!(site.jobs.all().len(), 2, "one key is one job, in a batch or alone");
}

#[tokio::test]
async fn a_batch_has_1_to_100_jobs() {
    let site = Site::new();
    for count in [0, 101] {
        let jobs = vec![echo("x"); count];
        assert_eq!(site.post("/v1/jobs/batch", json!({ "jobs": jobs })).await.pointers(), ["/jobs"]);
    }
    assert_eq!(site.post("/v1/jobs/batch", json!({})).await.pointers(), ["/jobs"]);
    assert_eq!(site.post("/v1/jobs/batch", json!({"jobs": {}, "more": 1})).await.pointers(), ["/jobs", "/more"]);
    assert!(site.jobs.all().is_empty());
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_not_accepted() {
    let site = Site::new();
    site.echo.faults.refuse_next("send");
    let jobs = json!({"jobs": [keyed("a", "a"), keyed("b", "b")]});
    let answer = site.post("/v1/jobs/batch", jobs.clone()).await.expect(207).json();
    assert_eq!((&answer["results"][0]["status"], &answer["results"][1]["status"]), (&json!(503), &json!(202)));
    let answer = site.post("/v1/jobs/batch", jobs).await.expect(202).json();
    assert_eq!(answer["results"].as_array().unwrap().len(), 2);
    assert_eq!(site.jobs.all().len(), 2);
}

#[tokio::test]
async fn a_batch_keeps_the_order_of_each_key() {
    let site = Site::new();
    let ordered = |name: &str, key: &str| {
        let mut job = keyed(name, name);
        job["ordering_key"] = key.into();
        job
    };
    let jobs = json!({"jobs": [ordered("a1", "a"), ordered("b1", "b"), ordered("a2", "a"), ordered("a3", "a")]});
    let queue = site.queues.get("echo-ordered.fifo");
    queue.faults.refuse_next("send");
    let answer = site.post("/v1/jobs/batch", jobs.clone()).await.expect(207).json();
    let statuses = answer["results"].as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap());
    assert_eq!(statuses.collect::<Vec<_>>(), [503, 202, 503, 503], "nothing overtakes what was refused");
    site.post("/v1/jobs/batch", jobs).await.expect(202);
    let sent: Vec<Value> = queue.all().iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect();
    let names: Vec<&str> = sent.iter().map(|body| body["payload"]["message"].as_str().unwrap()).collect();
    assert_eq!(names, ["b1", "a1", "a2", "a3"]);
}

#[tokio::test]
async fn kinds_tell_their_payloads() {
    let site = Site::new();
    let kinds = site.get("/v1/kinds").await.expect(200).json();
    let echo = kinds.as_array().unwrap().iter().find(|kind| kind["kind"] == "echo").unwrap();
    assert_eq!((&echo["max_attempts"], &echo["timeout_seconds"]), (&json!(5), &json!(28)));
    assert_eq!(echo["lanes"], json!(["high", "normal", "low", "ordered"]));
    assert_eq!(echo["schema"]["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(echo["schema"]["properties"]["sleep_ms"]["maximum"], 600_000);
}
