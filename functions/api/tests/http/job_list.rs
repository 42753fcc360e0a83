use crate::site::Site;
use millrace::domain::id::JobId;
use millrace::domain::job::Event;
use millrace::ports::Jobs;
use serde_json::{Value, json};
use std::time::Duration;

/// Submits jobs, some of them within one millisecond; gives their ids, the newest first.
async fn submitted(site: &Site, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for i in 0..count {
        let body = json!({"kind": "echo", "payload": {}, "tags": [if i % 10 == 0 { "tenth" } else { "other" }]});
        ids.push(site.post("/v1/jobs", body).await.expect(202).json()["id"].as_str().unwrap().to_owned());
        if i % 3 == 0 {
            site.clock.advance(Duration::from_millis(1));
        }
    }
    ids.reverse();
    ids
}

fn ids(page: &Value) -> Vec<String> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// Every page of a list.
async fn pages(site: &Site, query: &str) -> Vec<Vec<String>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/v1/jobs?{query}&cursor={cursor}")).await.expect(200).json();
        all.push(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return all,
        }
    }
}

#[tokio::test]
async fn jobs_are_listed_page_by_page_and_each_once() {
    let site = Site::new();
    let made = submitted(&site, 25).await;
    site.post_as(&site.rival, "/v1/jobs", json!({"kind": "echo", "payload": {}})).await.expect(202);
    let page = site.get("/v1/jobs").await.expect(200).json();
    assert_eq!(page["jobs"].as_array().unwrap().len(), 25);
    assert!(page.get("next_cursor").is_none());
    let jobs = page["jobs"].as_array().unwrap().iter();
    let times: Vec<jiff::Timestamp> = jobs.map(|job| job["created_at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");

    let paged = pages(&site, "limit=10").await;
    assert_eq!(paged.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    let mut listed = paged.concat();
    let mut made = made;
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
}

#[tokio::test]
async fn a_filter_finds_what_fits() {
    let site = Site::new();
    let made = submitted(&site, 30).await;
    let cancelled = &made[17];
    site.post(&format!("/v1/jobs/{cancelled}/cancel"), json!({})).await.expect(200);
    assert_eq!(pages(&site, "state=cancelled").await.concat(), [cancelled.as_str()]);
    assert_eq!(pages(&site, "tag=tenth&limit=2").await.concat().len(), 3);
    assert_eq!(pages(&site, "kind=echo&state=queued").await.concat().len(), 29);
    assert_eq!(pages(&site, "kind=welcome").await.concat().len(), 0);
    let claim = Event::Claim { lease_until: site.now() + Duration::from_secs(60), owner: 1 };
    site.jobs.apply(&JobId::parse(made[0].clone()).unwrap(), &claim, site.now()).await.unwrap();
    assert_eq!(pages(&site, "state=running&kind=echo").await.concat(), [made[0].as_str()]);
}

#[tokio::test]
async fn one_request_looks_at_so_many_and_no_more() {
    let site = Site::new();
    let made = submitted(&site, 1_101).await;
    let page = site.get("/v1/jobs?state=dead").await.expect(200).json();
    assert!(page["jobs"].as_array().unwrap().is_empty() && page["next_cursor"].is_string());
    assert_eq!(pages(&site, "state=dead").await.len(), 2);
    assert_eq!(pages(&site, "limit=100").await.concat().len(), made.len());
}

#[tokio::test]
async fn parameters_are_checked() {
    let site = Site::new();
    let faults = async |query: &str| -> Vec<String> {
        let reply = site.get(&format!("/v1/jobs?{query}")).await.expect(422).json();
        let errors = reply["errors"].as_array().unwrap().iter();
        errors.map(|error| error["parameter"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(faults("state=done").await, ["state"]);
    assert_eq!(faults("limit=0&cursor=x").await, ["limit", "cursor"]);
    assert_eq!(faults("limit=101").await, ["limit"]);
    assert_eq!(faults("tags=x").await, ["tags"]);
    assert_eq!(faults("tag=x&tag=y").await, ["tag"]);
    site.get("/v1/jobs?state=&kind=&tag=&limit=&cursor=").await.expect(200);
    site.get("/v1/jobs?tag=%FF%00").await.expect(200);
}

#[tokio::test]
async fn another_tenants_cursor_opens_nothing() {
    let site = Site::new();
    submitted(&site, 3).await;
    let cursor = site.get("/v1/jobs?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    let page = site.get_as(&site.rival, &format!("/v1/jobs?cursor={cursor}")).await.expect(200).json();
    assert_eq!(ids(&page), [""; 0]);
}
