use crate::site::Site;
use axum::body::Body;
use millrace::domain::id::JobId;
use millrace::domain::job::{Event, JobError, Stored};
use millrace::jobs::JobMessage;
use millrace::ports::Jobs;
use serde_json::{Value, json};
use std::time::Duration;

async fn submitted(site: &Site, more: Value) -> String {
    let mut body = json!({"kind": "echo", "payload": {"message": "old"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    site.post("/v1/jobs", body).await.expect(202).json()["id"].as_str().unwrap().to_owned()
}

async fn apply(site: &Site, id: &str, event: Event) {
    let applied = site.jobs.apply(&JobId::parse(id).unwrap(), &event, site.now()).await.unwrap();
    assert!(matches!(applied, millrace::ports::Applied::Done(_)), "{applied:?}");
}

async fn claimed(site: &Site, id: &str) {
    apply(site, id, Event::Claim { lease_until: site.now() + Duration::from_secs(60), owner: 1 }).await;
}

async fn buried(site: &Site, id: &str) {
    claimed(site, id).await;
    apply(site, id, Event::Bury { fence: 1, error: JobError::new("permanent", "no", 1, site.now()) }).await;
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once() {
    let site = Site::new();
    for more in [json!({}), json!({"delay_seconds": 60}), json!({"delay_seconds": 86_400})] {
        let id = submitted(&site, more).await;
        let job = site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200).json();
        assert_eq!((&job["state"], job.get("cancel_requested")), (&json!("cancelled"), None));
        assert!(job["finished_at"].is_string());
        assert_eq!(site.get(&format!("/v1/jobs/{id}")).await.expect(200).json(), job);
        site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(409);
    }
    assert!(site.jobs.due(site.now() + Duration::from_secs(90_000), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_runs_is_asked_to_stop() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    claimed(&site, &id).await;
    for _ in 0..2 {
        let job = site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200).json();
        assert_eq!((&job["state"], &job["cancel_requested"]), (&json!("running"), &json!(true)));
    }
    apply(&site, &id, Event::Succeed { fence: 1, result: None }).await;
    site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(409);
}

#[tokio::test]
async fn a_dead_job_starts_anew() {
    let site = Site::new();
    let id = submitted(&site, json!({"expires_at": (site.now() + Duration::from_secs(60)).to_string()})).await;
    buried(&site, &id).await;
    let empty = site.post_text(&site.key, &format!("/v1/jobs/{id}/retry"), &[], Body::empty()).await;
    let job = empty.expect(202).json();
    assert_eq!((&job["state"], &job["attempt"]), (&json!("queued"), &json!(0)));
    assert!(job.get("finished_at").is_none() && job.get("expires_at").is_none());
    assert_eq!(JobMessage::parse(&site.echo.all()[1].body).unwrap().id.as_str(), id);
    site.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(409);
}

#[tokio::test]
async fn a_cancelled_job_is_retried_with_another_payload() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    let (cancel, retry) = (format!("/v1/jobs/{id}/cancel"), format!("/v1/jobs/{id}/retry"));
    site.post(&cancel, json!({})).await.expect(200);
    assert_eq!(site.post(&retry, json!({"payload": {"mesage": 1}})).await.pointers(), ["/payload"]);
    assert_eq!(site.post(&retry, json!({"payload": [], "more": 1})).await.pointers(), ["/more", "/payload"]);
    let huge = json!({"payload": {"message": "x".repeat(1024 * 1024)}});
    site.post(&retry, huge).await.expect(413);
    site.post_text(&site.key, &retry, &[("content-type", "text/plain")], "{}").await.expect(415);
    site.post_text(&site.key, &retry, &[("content-type", "application/json")], "{").await.expect(400);
    assert_eq!(site.jobs.all()[0].payload, Stored::Inline(json!({"message": "old"})), "nothing has changed");
    site.post(&retry, json!({"payload": {"message": "new"}})).await.expect(202);
    let seen = site.get(&format!("/v1/jobs/{id}?include=payload")).await.json();
    assert_eq!((&seen["state"], &seen["payload"]), (&json!("queued"), &json!({"message": "new"})));
}

#[tokio::test]
async fn what_succeeded_is_not_done_again() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    claimed(&site, &id).await;
    site.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(409);
    apply(&site, &id, Event::Succeed { fence: 1, result: None }).await;
    site.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(409);
}

#[tokio::test]
async fn another_tenants_job_is_out_of_reach() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    for what in ["cancel", "retry"] {
        site.post_as(&site.rival, &format!("/v1/jobs/{id}/{what}"), json!({})).await.expect(404);
        site.post(&format!("/v1/jobs/job_nobody/{what}"), json!({})).await.expect(404);
    }
    assert_eq!(site.jobs.all()[0].state.as_str(), "queued");
}

#[tokio::test]
async fn a_retried_welcome_is_about_the_tenants_own_users() {
    let site = Site::new();
    let user = site.post("/v1/users", json!({"email": "ada@example.com"})).await.expect(202).json();
    let id = user["job"]["id"].as_str().unwrap();
    site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    let theirs = site.post_as(&site.rival, "/v1/users", json!({"email": "eve@example.com"})).await.json();
    let edited = json!({"payload": {"user": theirs["user"]["id"]}});
    assert_eq!(site.post(&format!("/v1/jobs/{id}/retry"), edited).await.pointers(), ["/payload/user"]);
}

async fn get_waiting(site: &Site, id: &str, prefer: &str) -> crate::site::Reply {
    let request = axum::http::Request::get(format!("/v1/jobs/{id}"))
        .header("authorization", format!("Bearer {}", site.key))
        .header("prefer", prefer);
    site.send(request.body(Body::empty()).unwrap()).await.expect(200)
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_when_the_job_ends() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    claimed(&site, &id).await;
    let begun = tokio::time::Instant::now();
    let finish = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        apply(&site, &id, Event::Succeed { fence: 1, result: None }).await;
    };
    let (reply, ()) = tokio::join!(get_waiting(&site, &id, "wait=20"), finish);
    assert_eq!((&reply.json()["state"], reply.header("preference-applied")), (&json!("succeeded"), Some("wait=20")));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(4) && took <= Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_in_time_whatever_the_job_does() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    for (prefer, seconds, applied) in [
        ("wait=3", 3, Some("wait=3")),
        ("wait=600", 25, Some("wait=25")),
        ("wait=0", 0, Some("wait=0")),
        ("x", 0, None),
    ] {
        let begun = tokio::time::Instant::now();
        let reply = get_waiting(&site, &id, prefer).await;
        assert_eq!((&reply.json()["state"], reply.header("preference-applied")), (&json!("queued"), applied));
        assert_eq!(begun.elapsed().as_secs(), seconds, "{prefer}");
    }
}

#[tokio::test]
async fn a_table_that_is_away_is_503() {
    let site = Site::new();
    let id = submitted(&site, json!({})).await;
    site.jobs.faults.refuse_next("apply");
    site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(503);
    site.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    site.echo.faults.refuse_next("send");
    let job = site.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.expect(202).json();
    assert_eq!(job["state"], "scheduled", "the clock brings it");
}
