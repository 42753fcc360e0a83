use crate::site::{Site, tenant};
use jiff::SignedDuration;
use millrace::domain::change::{Sequence, Shard};
use millrace::domain::job::State;
use millrace::domain::stats::{BUCKETS, Count, Entry, Happened, Minute, Page, What};
use millrace::ports::{Counters as _, Depth};
use serde_json::json;
use std::time::Duration;

impl Site {
    async fn count(&self, sequence: u64, page: Page, what: What, by: i64) {
        let sequence = Sequence::parse(&sequence.to_string()).unwrap();
        let entry = Entry { sequence, count: Count { kind: "echo".into(), what }, by };
        self.counters.add(&Shard::new("one"), &page, &[entry], self.now()).await.unwrap();
    }
}

#[tokio::test]
async fn counts_are_of_the_tenant_and_depths_of_all() {
    let site = Site::new();
    site.count(1, Page::States(tenant("acme")), What::In(State::Queued), 7).await;
    site.count(2, Page::States(tenant("acme")), What::In(State::Dead), 2).await;
    site.count(3, Page::States(tenant("rival")), What::In(State::Queued), 99).await;
    site.depths.set("echo-high", Depth { visible: 3, in_flight: 2, delayed: 1 });
    site.depths.set("echo-dead", Depth { visible: 4, in_flight: 1, delayed: 0 });
    let stats = site.get("/v1/stats").await.expect(200).json();
    assert_eq!(stats["jobs"].as_array().unwrap().len(), 1);
    assert_eq!((&stats["jobs"][0]["queued"], &stats["jobs"][0]["dead"]), (&json!(7), &json!(2)));
    let queues = stats["queues"].as_array().unwrap();
    let high = queues.iter().find(|queue| queue["queue"] == "echo-high").unwrap();
    let expected = json!({"queue": "echo-high", "visible": 3, "in_flight": 2, "delayed": 1, "dead_lettered": 5});
    assert_eq!(high, &expected);
    assert!(queues.iter().any(|queue| queue["queue"] == "webhook") && stats["minutes"] == json!([]));
}

#[tokio::test]
async fn the_last_minutes_are_told_when_they_are_asked_for() {
    let site = Site::new();
    let page = |ago: i64| Page::Minute(tenant("acme"), Minute::of(site.now() - SignedDuration::from_mins(ago)));
    for (sequence, ago) in [(1, 10), (2, 9), (3, 0)] {
        site.count(sequence, page(ago), What::Happened(Happened::Started), 1).await;
    }
    site.count(4, page(0), What::Waited(15), 1).await;
    let told = site.get("/v1/stats?minutes=10").await.expect(200).json();
    let minutes = told["minutes"].as_array().unwrap();
    assert_eq!(minutes.len(), 2, "{minutes:?}");
    assert_eq!((&minutes[1]["kind"], &minutes[1]["started"]), (&json!("echo"), &json!(1)));
    assert_eq!(minutes[1]["wait"].as_array().unwrap().len(), BUCKETS);
    assert_eq!((&minutes[1]["wait"][15], told["bounds_ms"].as_array().unwrap().len()), (&json!(1), BUCKETS - 1));
    for wrong in ["-1", "1441", "many", ""] {
        assert_eq!(site.get(&format!("/v1/stats?minutes={wrong}")).await.expect(422).json()["status"], 422);
    }
}

#[tokio::test]
async fn the_queues_are_asked_every_few_seconds_only() {
    let site = Site::new();
    site.get("/v1/stats").await.expect(200);
    let asked = site.depths.asked();
    site.clock.advance(Duration::from_secs(4));
    site.get("/v1/stats").await.expect(200);
    assert_eq!(site.depths.asked(), asked);
    site.clock.advance(Duration::from_secs(1));
    site.get("/v1/stats").await.expect(200);
    assert_eq!(site.depths.asked(), 2 * asked);
}
