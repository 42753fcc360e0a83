use jiff::Timestamp;
use millrace_tests::{Answer, Stack, stack::until};
use reqwest::Method;
use serde_json::json;

fn time(answer: &Answer, pointer: &str) -> Timestamp {
    answer.str(pointer).parse().expect("a time")
}

#[tokio::test]
async fn a_schedule_ticks_every_minute_and_its_job_starts_on_time() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let path = "/v1/schedules/e2e-often";
    let body = json!({
        "cron": "* * * * *", "time_zone": "Asia/Kathmandu",
        "job": {"kind": "echo", "payload": {"message": "tick"}, "tags": ["e2e-often"]}
    });
    let put = async || stack.ask(stack.request(Method::PUT, path).json(&body)).await;
    let made = put().await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.text);
    let tick = time(&made, "/next_run_at");
    assert_eq!(put().await.status.as_u16(), 200);
    let ran = until("the tick", async || {
        let schedule = stack.get(path).await;
        schedule.body["last_run_at"].is_string().then_some(schedule)
    })
    .await;
    assert!(time(&ran, "/last_run_at") >= tick && time(&ran, "/next_run_at") > time(&ran, "/last_run_at"));
    let job = stack.final_job(ran.str("/last_job_id")).await;
    assert_eq!(job.body["result"], json!({"message": "tick", "attempt": 1}));
    assert_eq!(job.body["tags"], json!(["e2e-often"]));
    let late = time(&job, "/started_at").duration_since(time(&job, "/run_at")).as_secs_f64();
    assert!((0.0..2.0).contains(&late), "it started {late} s after its time");

    let listed = stack.get("/v1/schedules?limit=100").await;
    let names = listed.body["schedules"].as_array().expect("schedules").iter().map(|schedule| &schedule["name"]);
    assert_eq!(names.filter(|name| **name == "e2e-often").count(), 1, "{}", listed.text);
    let gone = stack.ask(stack.request(Method::DELETE, path)).await;
    assert_eq!(gone.status.as_u16(), 204, "{}", gone.text);
    assert_eq!(stack.get(path).await.status.as_u16(), 404);
    // Each tick had one job, however often the clock looked at it.
    let jobs = stack.get("/v1/jobs?tag=e2e-often&limit=100").await;
    let mut ticks: Vec<&str> =
        jobs.body["jobs"].as_array().expect("jobs").iter().filter_map(|job| job["run_at"].as_str()).collect();
    let made = ticks.len();
    ticks.sort_unstable();
    ticks.dedup();
    assert_eq!(ticks.len(), made, "{ticks:?}");
}
