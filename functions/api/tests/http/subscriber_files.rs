use crate::site::{Site, tenant};
use millrace::domain::id::JobId;
use millrace::domain::job::{Event, Stored};
use millrace::domain::key::Scope;
use millrace::jobs::JobMessage;
use millrace::ports::{Applied, Jobs as _};
use serde_json::{Value, json};
use std::time::Duration;

fn import(newsletter: &str) -> Value {
    json!({"newsletter": newsletter, "consent": {"source": "the fair", "at": "2026-01-02T03:04:05Z"}})
}

/// Ends a job as its worker would.
async fn succeed(site: &Site, id: &str, result: Value) {
    let (id, now) = (JobId::parse(id).unwrap(), site.now());
    let claim = Event::Claim { lease_until: now + Duration::from_secs(30), owner: 1 };
    let Applied::Done(job) = site.jobs.apply(&id, &claim, now).await.unwrap() else { panic!("not claimed") };
    let done = Event::Succeed { fence: job.fence, result: Some(Stored::Inline(result)) };
    assert!(matches!(site.jobs.apply(&id, &done, now).await.unwrap(), Applied::Done(_)));
}

#[tokio::test]
async fn an_import_tells_where_to_send_the_file_and_waits_for_it() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let reply = site.post("/v1/subscribers/import", import(&newsletter)).await.expect(202);
    let answer = reply.json();
    let id = answer["job"]["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    assert_eq!((&answer["job"]["kind"], &answer["upload"]["method"]), (&json!("import-subscribers"), &json!("PUT")));
    assert!(answer["upload"]["url"].as_str().unwrap().contains(&format!("imports/{id}.csv")));
    assert_eq!(answer["upload"]["expires_at"], json!(site.now() + Duration::from_secs(3600)));
    let message = JobMessage::parse(&site.queues.get("operations").all()[0].body).unwrap();
    assert_eq!(message.payload.unwrap()["existing"], "keep");
    let update = json!({"existing": "update"});
    let mut request = import(&newsletter);
    request.as_object_mut().unwrap().extend(update.as_object().unwrap().clone());
    site.post("/v1/subscribers/import", request).await.expect(202);
}

#[tokio::test]
async fn the_file_that_a_job_made_is_linked_when_it_is_seen() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let job = site.post("/v1/subscribers/export", json!({"newsletter": newsletter})).await.expect(202).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert!(site.get(&path).await.json().get("file_url").is_none());
    succeed(&site, job["id"].as_str().unwrap(), json!({"subscribers": 3, "file": "exports/x.csv"})).await;
    let seen = site.get(&path).await.expect(200).json();
    assert!(seen["file_url"].as_str().unwrap().contains("exports/x.csv?valid=3600"));
    let unread = site.keys.seed(7, &tenant("acme"), &[Scope::JobsRead]);
    let seen = site.get_as(&unread, &path).await.expect(200).json();
    assert!(seen.get("file_url").is_none(), "the file holds addresses, which a key for jobs does not open");

    // Nobody else's job can name a file.
    let echo = site.post("/v1/jobs", json!({"kind": "echo", "payload": {}})).await.json();
    succeed(&site, echo["id"].as_str().unwrap(), json!({"file": "payloads/secret.json"})).await;
    let seen = site.get(&format!("/v1/jobs/{}", echo["id"].as_str().unwrap())).await.json();
    assert!(seen.get("file_url").is_none());
}

#[tokio::test]
async fn imports_and_exports_are_checked() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    for (change, expected) in [
        (json!({"newsletter": "nl_unknown"}), "/newsletter"),
        (json!({"consent": {"source": "x", "at": "2999-01-01T00:00:00Z"}}), "/consent/at"),
        (json!({"consent": null}), "/consent"),
        (json!({"existing": "overwrite"}), "/existing"),
    ] {
        let mut request = import(&newsletter);
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(site.post("/v1/subscribers/import", request).await.pointers(), [expected]);
    }
    for (request, expected) in [
        (json!({"newsletter": "nl_unknown"}), "/newsletter"),
        (json!({"newsletter": newsletter, "status": "happy"}), "/status"),
        (json!({"newsletter": newsletter, "colour": "red"}), "/colour"),
    ] {
        assert_eq!(site.post("/v1/subscribers/export", request).await.pointers(), [expected]);
    }
    site.post_as(&site.rival, "/v1/subscribers/import", import(&newsletter)).await.expect(422);
    site.jobs.faults.refuse_next("create");
    site.post("/v1/subscribers/import", import(&newsletter)).await.expect(503);
}

/// Nobody gets round the door by giving a job that ended another payload.
#[tokio::test]
async fn a_job_of_millraces_own_is_tried_again_as_it_is() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let job = site.post("/v1/subscribers/export", json!({"newsletter": newsletter})).await.expect(202).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    site.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    let other = json!({"payload": {"newsletter": "nl_other"}});
    assert_eq!(site.post(&format!("{path}/retry"), other).await.pointers(), ["/payload"]);
    site.post(&format!("{path}/retry"), json!({})).await.expect(202);
}
