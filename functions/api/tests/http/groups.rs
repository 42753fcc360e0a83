use crate::site::Site;
use millrace::ports::Groups as _;
use serde_json::{Value, json};

fn request(n: usize) -> Value {
    let jobs: Vec<Value> = (0..n).map(|i| json!({"kind": "echo", "payload": {"message": i}})).collect();
    json!({"jobs": jobs, "on_complete": {"kind": "echo", "payload": {"message": "all"}}})
}

#[tokio::test]
async fn a_group_is_accepted_whole_and_seen_by_its_tenant() {
    let site = Site::new();
    let reply = site.post("/v1/groups", request(3)).await.expect(202);
    let location = reply.header("location").unwrap().to_owned();
    let group = reply.json();
    assert_eq!((&group["state"], group["open"].as_array().unwrap().len()), (&json!("open"), 3));
    assert_eq!(group["jobs"], group["open"]);
    assert_eq!(site.get(&location).await.expect(200).json(), group);
    site.get_as(&site.rival, &location).await.expect(404);
    let job = site.get(&format!("/v1/jobs/{}", group["jobs"][1].as_str().unwrap())).await.expect(200).json();
    assert_eq!(job["group"], group["id"]);
    assert_eq!(site.echo.all().len(), 3);
    site.groups.close(&group["id"].as_str().unwrap().parse().unwrap(), &[1]).await.unwrap();
    let open = site.get(&location).await.expect(200).json()["open"].clone();
    assert_eq!(open, json!([group["jobs"][0], group["jobs"][2]]));
}

#[tokio::test]
async fn the_same_key_gives_the_same_group() {
    let site = Site::new();
    let key = [("idempotency-key", "one")];
    let first = site.post_with("/v1/groups", request(2), &key).await.expect(202);
    let again = site.post_with("/v1/groups", request(2), &key).await.expect(202);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.json(), again.json());
    assert_eq!(site.echo.all().len(), 2);
    site.post_with("/v1/groups", request(3), &key).await.expect(422);
}

#[tokio::test]
async fn nothing_is_accepted_when_something_is_wrong() {
    let site = Site::new();
    let mut late = request(1);
    late["on_complete"]["delay_seconds"] = json!(5);
    let mut unknown = request(2);
    unknown["jobs"][1]["kind"] = json!("nope");
    let mut inner = request(1);
    inner["on_complete"]["callback_url"] = json!("https://10.0.0.1/");
    for (body, pointer) in [
        (request(0), "/jobs"),
        (request(101), "/jobs"),
        (late, "/on_complete/delay_seconds"),
        (unknown, "/jobs/1/kind"),
        (inner, "/on_complete/callback_url"),
    ] {
        assert_eq!(site.post("/v1/groups", body).await.pointers(), [pointer]);
    }
    assert!(site.jobs.all().is_empty());
}

#[tokio::test]
async fn what_was_not_taken_is_answered_503() {
    let site = Site::new();
    site.echo.faults.refuse_next("send");
    site.post("/v1/groups", request(2)).await.expect(503);
}

#[tokio::test]
async fn whom_to_call_is_checked_at_the_door() {
    let site = Site::new();
    let echo = |url: &str| json!({"kind": "echo", "payload": {}, "callback_url": url});
    let hook = |url: &str| json!({"kind": "webhook", "payload": {"url": url, "type": "a.b", "data": null}});
    for url in ["http://example.com/", "https://127.0.0.1/", "https://a:b@example.com/", "nowhere"] {
        assert_eq!(site.post("/v1/jobs", echo(url)).await.pointers(), ["/callback_url"], "{url}");
        let pointers = site.post("/v1/jobs", hook(url)).await.pointers();
        assert!(pointers[0].starts_with("/payload"), "{url}: {pointers:?}");
    }
    let job = site.post("/v1/jobs", echo("https://example.com/hook")).await.expect(202).json();
    assert_eq!(job["callback_url"], "https://example.com/hook");
    site.post("/v1/jobs", hook("https://example.com/hook")).await.expect(202);
}
