use crate::site::{Site, subscriber};
use millrace::campaigns::{Advanced, Planner, finish};
use millrace::domain::chunk::{Again, Sent, Verdict};
use millrace::domain::id::CampaignId;
use millrace::ports::{Chunks, Written};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn id(path: &str) -> CampaignId {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

impl Site {
    /// A campaign to so many readers that is under way, its audience frozen; gives its path.
    pub(crate) async fn running(&self, readers: usize) -> String {
        let newsletter = self.newsletter().await;
        self.running_of(&newsletter, readers).await
    }

    /// The same of this newsletter.
    pub(crate) async fn running_of(&self, newsletter: &str, readers: usize) -> String {
        for i in 0..readers {
            self.post("/v1/subscribers", subscriber(newsletter, &format!("reader{i}@example.com"))).await.expect(201);
        }
        let mut letter = crate::campaigns::letter(newsletter);
        letter["rate"] = json!(12.5);
        let campaign = self.post("/v1/campaigns", letter).await.expect(201).json();
        let path = format!("/v1/campaigns/{}", campaign["id"].as_str().unwrap());
        self.post(&format!("{path}/start"), json!({})).await.expect(202);
        let planner = Planner {
            campaigns: Arc::new(self.campaigns.clone()),
            chunks: Arc::new(self.campaigns.clone()),
            subscribers: Arc::new(self.subscribers.clone()),
            clock: Arc::new(self.clock.clone()),
            page: 100,
        };
        let deadline = self.now() + Duration::from_secs(60);
        assert_eq!(planner.advance(&id(&path), deadline).await.unwrap(), Advanced::Frozen);
        path
    }

    /// Sends it: every third mail is refused, the others are accepted.
    pub(crate) async fn finish_sent(&self, path: &str) {
        let (id, now) = (id(path), self.now());
        for chunk in self.campaigns.chunks_of(&id) {
            let places = chunk.pending();
            let verdicts: Vec<_> = places.iter().map(|place| (*place, Verdict::Send)).collect();
            let claimed = chunk.claim("worker", &verdicts, now, now + Duration::from_secs(60)).unwrap();
            assert_eq!(self.campaigns.update(&chunk, &claimed).await.unwrap(), Written::Done);
            let outcome = |place: usize| match place % 3 {
                0 => Sent::Refused("MessageRejected".into()),
                _ => Sent::Accepted(format!("ses-{place}")),
            };
            let outcomes: Vec<_> = places.iter().map(|place| (*place, outcome(*place))).collect();
            let done = claimed.record("worker", &outcomes, Again::At(now), now).unwrap();
            assert_eq!(self.campaigns.update(&claimed, &done).await.unwrap(), Written::Done);
        }
        assert!(finish(&self.campaigns, &id, now).await.unwrap());
    }

    async fn state(&self, path: &str) -> Value {
        self.get(path).await.expect(200).json()["state"].clone()
    }
}

fn sum(campaign: &Value) -> u64 {
    campaign["counts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

#[tokio::test]
async fn pause_resume_and_cancel() {
    let site = Site::new();
    let path = site.running(5).await;
    site.post(&format!("{path}/resume"), json!({})).await.expect(200);
    let hints = site.run.all().len();
    for _ in 0..2 {
        let paused = site.post(&format!("{path}/pause"), json!({})).await.expect(200).json();
        assert_eq!((&paused["state"], &paused["stopped"]["reason"]), (&json!("paused"), &json!("person")));
    }
    for _ in 0..2 {
        let resumed = site.post(&format!("{path}/resume"), json!({})).await.expect(200).json();
        assert_eq!((&resumed["state"], resumed.get("stopped")), (&json!("sending"), None));
    }
    assert!(site.run.all().len() > hints, "a hint has it dispatched at once");
    for _ in 0..2 {
        let cancelled = site.post(&format!("{path}/cancel"), json!({})).await.expect(200).json();
        assert_eq!((&cancelled["state"], &cancelled["counts"]["skipped"]), (&json!("cancelled"), &json!(5)));
        assert_eq!(sum(&cancelled), 5, "{cancelled}");
    }
    let page = site.get(&format!("{path}/recipients?state=skipped")).await.expect(200).json();
    assert_eq!(page["recipients"][0]["reason"], "cancelled");
    for action in ["pause", "resume", "start"] {
        site.post(&format!("{path}/{action}"), json!({})).await.expect(409);
        assert_eq!(site.state(&path).await, "cancelled");
    }
    let draft = site.newsletter().await;
    let draft = site.post("/v1/campaigns", crate::campaigns::letter(&draft)).await.json();
    let draft = format!("/v1/campaigns/{}", draft["id"].as_str().unwrap());
    site.post(&format!("{draft}/pause"), json!({})).await.expect(409);
    site.post(&format!("{draft}/cancel"), json!({})).await.expect(200);
}

#[tokio::test]
async fn another_rate() {
    let site = Site::new();
    let path = site.running(1).await;
    assert_eq!(site.get(&path).await.json()["rate"], 12.5);
    let changed = site.post(&format!("{path}/rate"), json!({"rate": 0.5})).await.expect(200).json();
    assert_eq!(changed["rate"], 0.5);
    let changed = site.post(&format!("{path}/rate"), json!({"rate": null})).await.expect(200).json();
    assert_eq!(changed.get("rate"), None);
    for bad in [json!(0), json!(-1), json!(20_000), json!("fast")] {
        assert_eq!(site.post(&format!("{path}/rate"), json!({"rate": bad})).await.pointers(), ["/rate"], "{bad}");
    }
}

#[tokio::test]
async fn the_account_lists_every_recipient_once() {
    let site = Site::new();
    let path = site.running(120).await;
    site.finish_sent(&path).await;
    let campaign = site.get(&path).await.json();
    assert_eq!((&campaign["state"], sum(&campaign)), (&json!("finished"), 120));
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("{path}/recipients?limit=50&cursor={cursor}")).await.expect(200).json();
        seen.extend(page["recipients"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let mut addresses: Vec<_> = seen.iter().map(|one| one["email"].as_str().unwrap().to_owned()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!((seen.len(), addresses.len()), (120, 120));
    let failed: Vec<_> = seen.iter().filter(|one| one["state"] == "failed").collect();
    assert_eq!(failed.len() as u64, campaign["counts"]["failed"].as_u64().unwrap());
    assert!(failed.iter().all(|one| one["reason"] == "MessageRejected" && one["attempts"] == 1));
    assert!(seen.iter().filter(|one| one["state"] == "sent").all(|one| one["message_id"].is_string()));
    let bad = site.get(&format!("{path}/recipients?state=lost&limit=0&cursor=x&foo=1")).await.expect(422);
    assert_eq!(bad.json()["errors"].as_array().unwrap().len(), 4);
    site.get_as(&site.rival, &format!("{path}/recipients")).await.expect(404);
}

#[tokio::test]
async fn the_account_as_csv() {
    let site = Site::new();
    let path = site.running(60).await;
    site.finish_sent(&path).await;
    let reply = site.get_csv(&format!("{path}/recipients?state=failed&limit=10")).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = reply.text();
    assert_eq!(text.lines().count(), 11);
    assert!(text.starts_with("subscriber,email,state,reason,message_id,attempts,opened,clicked\n"), "{text}");
    assert!(text.contains("@example.com,failed,MessageRejected,,1"), "{text}");
    let link = reply.header("link").unwrap();
    let next = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
    assert!(next.contains("state=failed") && next.contains("limit=10"), "{link}");
    assert!(site.get_csv(next).await.expect(200).text().lines().count() > 1);
}

#[tokio::test]
async fn send_to_the_rest() {
    let site = Site::new();
    let path = site.running(30).await;
    let failed = json!({"states": ["failed"]});
    site.post(&format!("{path}/resend"), failed.clone()).await.expect(409);
    site.finish_sent(&path).await;
    assert_eq!(site.post(&format!("{path}/resend"), json!({"states": []})).await.pointers(), ["/states"]);
    site.post(&format!("{path}/resend"), json!({"states": ["sent"]})).await.expect(422);
    let hints = site.run.all().len();
    let again = site.post(&format!("{path}/resend"), failed).await.expect(202).json();
    assert_eq!((&again["state"], again.get("finished_at")), (&json!("freezing"), None));
    assert_eq!(site.run.all().len(), hints + 1);
}
