use crate::site::Site;
use axum::body::Body;
use millrace::domain::id::JobId;
use millrace::domain::job::{Event, State, Stored};
use millrace::jobs::JobMessage;
use millrace::ports::{Blobs, Group, Jobs};
use serde_json::{Value, json};
use std::time::Duration;

fn echo() -> Value {
    json!({"kind": "echo", "payload": {"message": "hello"}})
}

#[tokio::test]
async fn an_accepted_job_is_recorded_and_queued() {
    let site = Site::new();
    let reply = site.post("/v1/jobs", echo()).await.expect(202);
    let job = reply.json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    assert_eq!((&job["kind"], &job["state"], &job["attempt"]), (&json!("echo"), &json!("queued"), &json!(0)));
    assert!(job.get("payload").is_none());

    let messages = site.echo.all();
    let [message] = messages.as_slice() else { panic!("one message, not {}", messages.len()) };
    assert_eq!(JobMessage::parse(&message.body).unwrap().id.as_str(), id);

    let seen = site.get(&format!("/v1/jobs/{id}")).await.expect(200).json();
    assert_eq!(seen, job);
    let seen = site.get(&format!("/v1/jobs/{id}?include=payload")).await.expect(200).json();
    assert_eq!(seen["payload"], json!({"message": "hello"}));
    site.get(&format!("/v1/jobs/{id}?include=everything")).await.expect(422);
    site.get(&format!("/v1/jobs/{id}?include=payload&include=payload")).await.expect(422);
    site.get(&format!("/v1/jobs/{id}?other=1")).await.expect(200);
}

#[tokio::test]
async fn every_field_is_kept() {
    let site = Site::new();
    let expires = (site.now() + Duration::from_secs(7200)).to_string();
    let request = json!({
        "kind": "echo", "payload": {}, "delay_seconds": 60, "max_attempts": 3, "timeout_seconds": 30,
        "expires_at": expires, "tags": ["a", "ü"]
    });
    let job = site.post("/v1/jobs", request).await.expect(202).json();
    assert_eq!(job["state"], "scheduled");
    assert_eq!(job["run_at"], (site.now() + Duration::from_secs(60)).to_string());
    assert_eq!(
        (&job["max_attempts"], &job["tags"], &job["expires_at"]),
        (&json!(3), &json!(["a", "ü"]), &json!(expires))
    );
    assert_eq!(site.jobs.all()[0].timeout, Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn a_job_takes_the_lane_that_it_names() {
    let site = Site::new();
    for (lane, queue) in [("high", "echo-high"), ("normal", "echo"), ("low", "echo-low")] {
        let job =
            site.post("/v1/jobs", json!({"kind": "echo", "payload": {}, "priority": lane})).await.expect(202).json();
        assert_eq!((&job["priority"], job.get("ordering_key")), (&json!(lane), None));
        assert_eq!(site.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await.json(), job);
        assert_eq!(site.queues.get(queue).all().len(), 1, "{queue}");
    }
    let key = "customer 7 ü";
    let ordered = json!({"kind": "echo", "payload": {}, "ordering_key": key});
    let job = site.post("/v1/jobs", ordered.clone()).await.expect(202).json();
    assert_eq!(
        (&job["ordering_key"], &job["priority"], &job["state"]),
        (&json!(key), &json!("normal"), &json!("queued"))
    );
    assert_eq!(site.get("/v1/jobs?limit=1").await.json()["jobs"][0], job);
    site.post_as(&site.rival, "/v1/jobs", ordered).await.expect(202);
    let messages = site.queues.get("echo-ordered.fifo").all();
    let [Some(Group::Ordered { group, .. }), Some(Group::Ordered { group: other, .. })] =
        [&messages[0].group, &messages[1].group]
    else {
        panic!("{messages:?}")
    };
    assert_ne!(group, other, "a key is one tenant's");
}

#[tokio::test]
async fn a_lane_that_a_kind_does_not_have_is_refused_and_the_others_are_named() {
    let site = Site::new();
    let user = site.post("/v1/users", json!({"email": "ada@example.com"})).await.expect(202).json();
    let welcome = json!({"kind": "welcome", "payload": {"user": user["user"]["id"]}, "ordering_key": "a"});
    let refused = site.post("/v1/jobs", welcome).await.expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/ordering_key");
    let detail = refused["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("high, normal, low") && detail.ends_with("low"), "{detail}");
}

#[tokio::test]
async fn a_repeat_gives_the_same_job_and_another_request_is_refused() {
    let site = Site::new();
    let key = [("idempotency-key", "order-17!")];
    let first = site.post_with("/v1/jobs", echo(), &key).await.expect(202);
    assert_eq!(first.header("idempotency-replayed"), None);
    // The order of fields and white space are no difference.
    let text = r#" {"payload" : {"message":"hello"},"kind":"echo"}"#;
    let headers = [("content-type", "application/json; charset=utf-8"), key[0]];
    let again = site.post_text(&site.key, "/v1/jobs", &headers, text).await.expect(202);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(site.jobs.all().len(), 1);

    let other = json!({"kind": "echo", "payload": {"message": "bye"}});
    let refused = site.post_with("/v1/jobs", other, &key).await.expect(422);
    assert_eq!(refused.json()["errors"][0]["header"], "Idempotency-Key");
    let other_field = json!({"kind": "echo", "payload": {"message": "hello"}, "tags": ["x"]});
    site.post_with("/v1/jobs", other_field, &key).await.expect(422);
}

#[tokio::test]
async fn a_delay_is_the_same_request_later() {
    let site = Site::new();
    let (request, key) = (json!({"kind": "echo", "payload": {}, "delay_seconds": 600}), [("idempotency-key", "k")]);
    let first = site.post_with("/v1/jobs", request.clone(), &key).await.expect(202).json();
    site.clock.advance(Duration::from_secs(30));
    let again = site.post_with("/v1/jobs", request, &key).await.expect(202).json();
    assert_eq!(again["run_at"], first["run_at"]);
}

#[tokio::test]
async fn idempotency_keys_are_visible_ascii_once() {
    let site = Site::new();
    let long = "x".repeat(256);
    for bad in [
        &[("idempotency-key", "")][..],
        &[("idempotency-key", "a b")],
        &[("idempotency-key", &long)],
        &[("idempotency-key", "a"), ("idempotency-key", "a")],
    ] {
        let reply = site.post_with("/v1/jobs", echo(), bad).await.expect(422);
        assert_eq!(reply.json()["errors"][0]["header"], "Idempotency-Key");
    }
    site.post_with("/v1/jobs", echo(), &[("idempotency-key", &"x".repeat(255))]).await.expect(202);
}

#[tokio::test]
async fn what_is_wrong_is_pointed_at() {
    let site = Site::new();
    let past = (site.now() - Duration::from_secs(1)).to_string();
    let soon = (site.now() + Duration::from_secs(10)).to_string();
    let far = (site.now() + Duration::from_secs(366 * 86_400 + 1)).to_string();
    let check = async |change: Value, expected: &[&str]| {
        let mut body = echo();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let pointers = site.post("/v1/jobs", body).await.pointers();
        assert_eq!(pointers, expected, "{change}");
    };
    check(json!({"kind": "nonsense"}), &["/kind"]).await;
    check(json!({"kind": 1, "payload": []}), &["/kind", "/payload"]).await;
    check(json!({"payload": {"mesage": 1}}), &["/payload"]).await;
    check(json!({"payload": {"sleep_ms": 600_001}}), &["/payload"]).await;
    check(
        json!({"urgency": "high", "orderingKey": "a", "callback": "https://example.com"}),
        &["/callback", "/orderingKey", "/urgency"],
    )
    .await;
    check(json!({"priority": "urgent"}), &["/priority"]).await;
    check(json!({"ordering_key": ""}), &["/ordering_key"]).await;
    check(json!({"ordering_key": "x".repeat(129)}), &["/ordering_key"]).await;
    check(json!({"ordering_key": "a\nb"}), &["/ordering_key"]).await;
    for beside in [json!({"priority": "normal"}), json!({"delay_seconds": 0}), json!({"run_at": soon})] {
        let mut both = beside;
        both["ordering_key"] = json!("a");
        check(both, &["/ordering_key"]).await;
    }
    check(json!({"run_at": far}), &["/run_at"]).await;
    check(json!({"run_at": "tomorrow"}), &["/run_at"]).await;
    check(json!({"run_at": soon, "delay_seconds": 1}), &["/delay_seconds"]).await;
    check(json!({"delay_seconds": 366 * 86_400 + 1}), &["/delay_seconds"]).await;
    check(json!({"delay_seconds": u64::MAX}), &["/delay_seconds"]).await;
    check(json!({"delay_seconds": -1}), &["/delay_seconds"]).await;
    check(json!({"max_attempts": 0}), &["/max_attempts"]).await;
    check(json!({"max_attempts": 101, "timeout_seconds": 0}), &["/max_attempts", "/timeout_seconds"]).await;
    check(json!({"timeout_seconds": 901}), &["/timeout_seconds"]).await;
    check(json!({"expires_at": past}), &["/expires_at"]).await;
    check(json!({"expires_at": soon, "delay_seconds": 10}), &["/expires_at"]).await;
    check(json!({"tags": vec!["x"; 11]}), &["/tags"]).await;
    check(json!({"tags": ["ok", "", "x".repeat(65), "a\nb"]}), &["/tags/1", "/tags/2", "/tags/3"]).await;
    assert!(site.jobs.all().is_empty() && site.echo.all().is_empty());

    let known = site.post("/v1/jobs", json!({"kind": "x", "payload": {}})).await.json();
    assert!(known["errors"][0]["detail"].as_str().unwrap().contains("echo"));
    assert_eq!(site.post("/v1/jobs", json!({})).await.pointers(), ["/kind"]);
}

#[tokio::test]
async fn limits_are_inclusive() {
    let site = Site::new();
    let far = (site.now() + Duration::from_secs(366 * 86_400)).to_string();
    site.post("/v1/jobs", json!({"kind": "echo", "payload": {}, "run_at": far})).await.expect(202);
    let past = (site.now() - Duration::from_secs(1)).to_string();
    let now = site.post("/v1/jobs", json!({"kind": "echo", "payload": {}, "run_at": past})).await.expect(202);
    assert_eq!(now.json()["state"], "queued");
    let all = json!({
        "kind": "echo", "payload": {}, "delay_seconds": 366 * 86_400, "max_attempts": 100, "timeout_seconds": 900,
        "tags": vec!["ü".repeat(64); 10]
    });
    site.post("/v1/jobs", all).await.expect(202);
    let nothing = json!({"kind": "echo", "payload": {}, "run_at": null, "max_attempts": null});
    site.post("/v1/jobs", nothing).await.expect(202);
}

#[tokio::test]
async fn bodies_that_are_no_json_or_too_large_are_told_apart() {
    let site = Site::new();
    let json = ("content-type", "application/json");
    let post = async |headers: &[(&str, &str)], body: Body| site.post_text(&site.key, "/v1/jobs", headers, body).await;
    for text in ["", "{", "nonsense", "{\"kind\":\"echo\",}", "{\"a\":1}{}", "{\"kind\":\"\\ud800\"}"] {
        post(&[json], text.into()).await.expect(400);
    }
    post(&[json], Body::from(vec![0xff, 0xfe])).await.expect(400);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    post(&[json], deep.into()).await.expect(400);
    for headers in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/x-www-form-urlencoded")]]
    {
        post(headers, echo().to_string().into()).await.expect(415);
    }
    let sized = |bytes: usize| json!({"kind": "echo", "payload": {"message": "x".repeat(bytes)}}).to_string();
    let around = r#"{"message":""}"#.len();
    post(&[json], sized(1024 * 1024 - around).into()).await.expect(202);
    post(&[json], sized(1024 * 1024 - around + 1).into()).await.expect(413);
    post(&[json], sized(3 * 1024 * 1024).into()).await.expect(413);
}

#[tokio::test]
async fn large_payloads_and_results_are_linked() {
    let site = Site::new();
    let request = json!({"kind": "echo", "payload": {"message": "x".repeat(5000)}});
    let id = site.post("/v1/jobs", request).await.expect(202).json()["id"].as_str().unwrap().to_owned();
    let job = JobId::parse(&*id).unwrap();
    let event = Event::Claim { lease_until: site.now() + Duration::from_secs(60), owner: 7 };
    site.jobs.apply(&job, &event, site.now()).await.unwrap();
    site.blobs.put("results/x.json", b"1".to_vec(), "application/json").await.unwrap();
    let done = Event::Succeed { fence: 1, result: Some(Stored::Blob("results/x.json".into())) };
    site.jobs.apply(&job, &done, site.now()).await.unwrap();
    assert_eq!(site.jobs.all()[0].state, State::Succeeded);

    let seen = site.get(&format!("/v1/jobs/{id}?include=payload")).await.expect(200).json();
    assert!(seen["payload_url"].as_str().unwrap().contains("payloads/"));
    assert!(seen["result_url"].as_str().unwrap().contains("results/x.json"));
    assert!(seen.get("payload").is_none() && seen.get("result").is_none());
    assert!(site.get(&format!("/v1/jobs/{id}")).await.json().get("payload_url").is_none());
}

#[tokio::test]
async fn what_is_not_recorded_or_queued_is_not_accepted() {
    let site = Site::new();
    let key = [("idempotency-key", "k")];
    site.jobs.faults.refuse_next("create");
    site.post_with("/v1/jobs", echo(), &key).await.expect(503);
    site.echo.faults.refuse_next("send");
    site.post_with("/v1/jobs", echo(), &key).await.expect(503);
    site.jobs.faults.lose_next_answer("create");
    site.post_with("/v1/jobs", echo(), &key).await.expect(503);
    let job = site.post_with("/v1/jobs", echo(), &key).await.expect(202).json();
    assert_eq!(site.jobs.all().len(), 1);
    assert!(site.echo.all().iter().any(|m| m.body.contains(job["id"].as_str().unwrap())));
}

#[tokio::test]
async fn ids_that_cannot_be_are_not_found() {
    let site = Site::new();
    for id in ["x", "job_", "usr_1", "job_%00", "job_%ff", "job_a%2Fb", &format!("job_{}", "a".repeat(500))] {
        site.get(&format!("/v1/jobs/{id}")).await.expect(404);
    }
}

#[tokio::test]
async fn times_are_kept_to_the_millisecond_from_the_first_answer_on() {
    let site = Site::new();
    let at = "2027-06-01T10:00:00.123456789Z";
    let job = site.post("/v1/jobs", json!({"kind": "echo", "payload": {}, "run_at": at})).await.expect(202).json();
    assert_eq!(job["run_at"], "2027-06-01T10:00:00.123Z");
}

#[tokio::test]
async fn a_job_is_about_the_tenants_own_users() {
    let site = Site::new();
    let ours = site.post("/v1/users", json!({"email": "ada@example.com"})).await.expect(202).json();
    let job = json!({"kind": "welcome", "payload": {"user": ours["user"]["id"]}});
    site.post("/v1/jobs", job.clone()).await.expect(202);
    assert_eq!(site.post_as(&site.rival, "/v1/jobs", job).await.pointers(), ["/payload/user"]);
    let nobody = json!({"kind": "welcome", "payload": {"user": "usr_nobody"}});
    assert_eq!(site.post("/v1/jobs", nobody).await.pointers(), ["/payload/user"]);
}
