use crate::site::Site;
use millrace::domain::id::Tenant;
use millrace::domain::schedule::ScheduleName;
use millrace::ports::Schedules;
use serde_json::{Value, json};
use std::time::Duration;

fn nightly() -> Value {
    json!({
        "cron": "30  2 * * *", "time_zone": "europe/berlin",
        "job": {"kind": "echo", "payload": {"message": "good night"}, "max_attempts": 3, "timeout_seconds": 20, "tags": ["n"],
            "callback_url": "https://example.com/over"}
    })
}

#[tokio::test]
async fn a_schedule_is_put_seen_replaced_and_deleted() {
    // 2027-01-15 09:00 in Berlin.
    let site = Site::new();
    let made = site.put("/v1/schedules/nightly", nightly()).await.expect(201).json();
    let expected = json!({
        "name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin",
        "job": {
            "kind": "echo", "payload": {"message": "good night"}, "priority": "normal", "max_attempts": 3, "timeout_seconds": 20,
            "callback_url": "https://example.com/over", "tags": ["n"]
        },
        "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z", "next_run_at": "2027-01-16T01:30:00Z"
    });
    assert_eq!(made, expected);
    assert_eq!(site.get("/v1/schedules/nightly").await.expect(200).json(), made);
    assert_eq!(site.get("/v1/schedules").await.expect(200).json(), json!({"schedules": [made]}));

    site.clock.advance(Duration::from_secs(60));
    let mut other = nightly();
    other["cron"] = "0 12 * * *".into();
    let replaced = site.put("/v1/schedules/nightly", other).await.expect(200).json();
    assert_eq!(
        (&replaced["created_at"], &replaced["next_run_at"]),
        (&made["created_at"], &json!("2027-01-15T11:00:00Z"))
    );
    assert_eq!(replaced["updated_at"], "2027-01-15T08:01:00Z");

    site.get_as(&site.rival, "/v1/schedules/nightly").await.expect(404);
    assert_eq!(site.get_as(&site.rival, "/v1/schedules").await.expect(200).json(), json!({"schedules": []}));
    site.delete_as(&site.rival, "/v1/schedules/nightly").await.expect(404);
    assert_eq!(site.delete("/v1/schedules/nightly").await.expect(204).text(), "");
    site.delete("/v1/schedules/nightly").await.expect(404);
    site.get("/v1/schedules/nightly").await.expect(404);
}

#[tokio::test]
async fn what_ran_last_and_runs_next_is_shown() {
    let site = Site::new();
    site.put(
        "/v1/schedules/often",
        json!({"cron": "* * * * *", "time_zone": "UTC", "job": {"kind": "echo", "payload": {}}}),
    )
    .await
    .expect(201);
    let (tenant, name) = (Tenant::parse("acme").unwrap(), ScheduleName::parse("often").unwrap());
    for _ in 0..2 {
        let before = site.schedules.get(&tenant, &name).await.unwrap().unwrap();
        let after = before.ticked(before.next.unwrap(), site.now());
        site.schedules.put(Some(&before), &after).await.unwrap();
    }
    let ahead = site.get("/v1/schedules/often").await.expect(200).json();
    assert_eq!((&ahead["next_run_at"], ahead.get("last_run_at")), (&json!("2027-01-15T08:01:00Z"), None));
    site.clock.advance(Duration::from_secs(90));
    let later = site.get("/v1/schedules/often").await.expect(200).json();
    assert_eq!(
        (&later["next_run_at"], &later["last_run_at"]),
        (&json!("2027-01-15T08:02:00Z"), &json!("2027-01-15T08:01:00Z"))
    );
    assert!(later["last_job_id"].as_str().unwrap().starts_with("job_"));
}

#[tokio::test]
async fn what_is_wrong_is_pointed_at() {
    let site = Site::new();
    let pointers = async |change: &dyn Fn(&mut Value)| {
        let mut body = nightly();
        change(&mut body);
        site.put("/v1/schedules/nightly", body).await.pointers()
    };
    assert_eq!(pointers(&|body| body["cron"] = "every day".into()).await, ["/cron"]);
    assert_eq!(pointers(&|body| body["cron"] = "0 0 30 2 *".into()).await, ["/cron"]);
    assert_eq!(pointers(&|body| body["time_zone"] = "Mars/Olympus".into()).await, ["/time_zone"]);
    assert_eq!(pointers(&|body| body["zone"] = "UTC".into()).await, ["/zone"]);
    assert_eq!(pointers(&|body| body["job"]["kind"] = "nonsense".into()).await, ["/job/kind"]);
    assert_eq!(pointers(&|body| body["job"]["payload"] = json!({"mesage": 1})).await, ["/job/payload"]);
    assert_eq!(pointers(&|body| body["job"]["color"] = "red".into()).await, ["/job/color"]);
    assert_eq!(
        pointers(&|body| body["job"]["payload"] = json!({"message": "x".repeat(65_536)})).await,
        ["/job/payload"]
    );
    let timed = |body: &mut Value| {
        body["job"]["delay_seconds"] = 5.into();
        body["job"]["expires_at"] = "2027-02-01T00:00:00Z".into();
        body["job"]["max_attempts"] = 0.into();
    };
    assert_eq!(pointers(&timed).await, ["/job/delay_seconds", "/job/expires_at", "/job/max_attempts"]);
    assert_eq!(pointers(&|body| body["job"]["ordering_key"] = "k".into()).await, ["/job/ordering_key"]);
    let user = |body: &mut Value| body["job"] = json!({"kind": "welcome", "payload": {"user": "usr_1"}});
    assert_eq!(pointers(&user).await, ["/job/payload/user"]);
    for name in ["a%20b", "a%23b", &"x".repeat(65)] {
        let reply = site.put(&format!("/v1/schedules/{name}"), nightly()).await.expect(422);
        assert_eq!(reply.json()["errors"][0]["parameter"], "name");
        site.get(&format!("/v1/schedules/{name}")).await.expect(404);
    }
    assert_eq!(site.get("/v1/schedules").await.expect(200).json(), json!({"schedules": []}));
}

#[tokio::test]
async fn schedules_are_listed_page_by_page() {
    let site = Site::new();
    for i in 0..5 {
        site.put(&format!("/v1/schedules/n{i}"), nightly()).await.expect(201);
        site.clock.advance(Duration::from_millis(i % 2));
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/v1/schedules?limit=2&cursor={cursor}")).await.expect(200).json();
        let schedules = page["schedules"].as_array().unwrap();
        names.extend(schedules.iter().map(|schedule| schedule["name"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    names.sort();
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4"]);
    for wrong in ["limit=0", "limit=101", "cursor=nonsense", "colour=red"] {
        site.get(&format!("/v1/schedules?{wrong}")).await.expect(422);
    }
}
