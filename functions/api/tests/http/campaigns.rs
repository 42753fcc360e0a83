use crate::site::Site;
use millrace::domain::id::CampaignId;
use millrace::jobs::CampaignHint;
use millrace::letters;
use millrace::ports::{Campaigns, Written};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const HTML: &str =
    "<p>Hello {{ name }}</p><p>{{ newsletter.postal_address }}</p><a href=\"{{ unsubscribe_url }}\">Out</a>";

/// A campaign as a caller sends it, for now.
pub(crate) fn letter(newsletter: &str) -> Value {
    json!({"newsletter": newsletter, "subject": "News", "body": {"html": HTML}, "send": {"when": "now"}})
}

pub(crate) fn id(campaign: &Value) -> CampaignId {
    CampaignId::parse(campaign["id"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_campaign_is_a_draft_with_its_letter() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let mut request = letter(&newsletter);
    request["segment"] = json!({"tags_any": ["b", "a"]});
    request["send"] = json!({"when": "next", "zone": "newsletter"});
    let reply = site.post("/v1/campaigns", request).await.expect(201);
    let draft = reply.json();
    assert_eq!((&draft["state"], &draft["total"], &draft["frozen"]), (&json!("draft"), &json!(0), &json!(false)));
    assert_eq!(draft["segment"], json!({"tags_any": ["a", "b"], "tags_all": []}));
    assert_eq!(draft["send"], json!({"when": "next", "zone": "newsletter"}));
    assert_eq!(site.get(reply.header("location").unwrap()).await.expect(200).json(), draft);

    let campaign = site.campaigns.meta(&id(&draft)).await.unwrap().unwrap();
    let stored = letters::load(&site.blobs, &letters::key(&campaign.id, &campaign.letter)).await.unwrap();
    assert_eq!((stored.manuscript.body.source(), stored.head.name.as_str()), (HTML, "The Mill & Wheel"));
    assert!(stored.templates.html.contains("{{ newsletter.postal_address }}"), "{}", stored.templates.html);
    assert!(site.run.all().is_empty());
}

#[tokio::test]
async fn a_campaign_without_its_letter_is_not_created() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    site.blobs.faults.refuse_next("put_new");
    site.post("/v1/campaigns", letter(&newsletter)).await.expect(503);
    site.campaigns.faults.refuse_next("create");
    site.post("/v1/campaigns", letter(&newsletter)).await.expect(503);
}

#[tokio::test]
async fn letters_and_times_are_checked() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let check = async |change: Value, expected: &[&str]| {
        let mut body = letter(&newsletter);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(site.post("/v1/campaigns", body).await.pointers(), expected, "{change}");
    };
    check(json!({"newsletter": "nl_unknown"}), &["/newsletter"]).await;
    check(json!({"subject": ""}), &["/subject"]).await;
    check(json!({"subject": "{{ nmae }}"}), &["/subject"]).await;
    check(json!({"body": {}}), &["/body"]).await;
    check(json!({"body": {"html": HTML, "markdown": "x"}}), &["/body"]).await;
    check(json!({"body": {"mjml": "<mjml></mjml>"}}), &["/body/mjml"]).await;
    check(json!({"body": {"pdf": "x"}}), &["/body", "/body/pdf"]).await;
    check(json!({"body": {"markdown": "no link"}}), &["/body/markdown"]).await;
    check(json!({"body": {"html": "<p>no link</p>"}}), &["/body/html"]).await;
    check(json!({"body": {"html": "{% for %}"}}), &["/body/html"]).await;
    check(json!({"text": "{{ nobody }}"}), &["/text"]).await;
    check(json!({"segment": {"tags": ["a"]}}), &["/segment/tags"]).await;
    check(json!({"segment": {"tags_any": [""], "tags_all": [1]}}), &["/segment/tags_all/0", "/segment/tags_any"]).await;
    check(json!({"send": {}}), &["/send/when"]).await;
    check(json!({"send": {"when": "soon", "zone": "mine"}}), &["/send/when", "/send/zone"]).await;
    check(json!({"send": {"when": "2026-02-30"}}), &["/send/when"]).await;
    check(json!({"send": {"when": "2020-01-01"}, "subject": " "}), &["/send/when", "/subject"]).await;
    check(json!({"send": {"when": "9999-01-01"}}), &["/send/when"]).await;
}

#[tokio::test]
async fn a_start_can_be_asked_for_again() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let draft = site.post("/v1/campaigns", letter(&newsletter)).await.expect(201).json();
    let start = format!("/v1/campaigns/{}/start", id(&draft));
    let started = site.post_text(&site.key, &start, &[], "").await.expect(202).json();
    assert_eq!((&started["state"], &started["started_at"]), (&json!("freezing"), &json!(site.now().to_string())));
    let hints = site.run.all();
    assert_eq!(CampaignHint::parse(&hints[0].body).unwrap().campaign, id(&draft));

    site.clock.advance(Duration::from_secs(5));
    let again = site.post(&start, json!({})).await.expect(202).json();
    assert_eq!(again, started, "nothing changes");

    let before = site.campaigns.meta(&id(&draft)).await.unwrap().unwrap();
    let frozen = before.freeze(&[], true, site.now()).unwrap();
    assert_eq!(site.campaigns.freeze(&before, &frozen).await.unwrap(), Written::Done);
    let over = site.post(&start, json!({})).await.expect(409).json();
    assert!(over["detail"].as_str().unwrap().contains("finished"), "{over}");
}

#[tokio::test]
async fn a_start_for_later_is_scheduled_and_needs_no_hint() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let mut request = letter(&newsletter);
    let date = site.now().to_zoned(jiff::tz::TimeZone::UTC).date().saturating_add(jiff::Span::new().days(3));
    request["send"] = json!({"when": date.to_string()});
    let draft = site.post("/v1/campaigns", request).await.expect(201).json();
    assert_eq!(draft["send"]["zone"], "recipient");
    let start = format!("/v1/campaigns/{}/start", id(&draft));
    let started = site.post(&start, json!({})).await.expect(202).json();
    assert_eq!(started["state"], "scheduled");
    assert!(started["opens_at"].is_string());
    assert!(site.run.all().is_empty());
    assert_eq!(site.post(&start, json!({})).await.expect(202).json(), started);
}

#[tokio::test]
async fn a_draft_whose_date_has_passed_cannot_be_started() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let mut request = letter(&newsletter);
    let date = site.now().to_zoned(jiff::tz::TimeZone::UTC).date().saturating_add(jiff::Span::new().days(1));
    request["send"] = json!({"when": date.to_string()});
    let draft = site.post("/v1/campaigns", request).await.expect(201).json();
    site.clock.advance(Duration::from_secs(4 * 86_400));
    site.post(&format!("/v1/campaigns/{}/start", id(&draft)), json!({})).await.expect(409);
}

#[tokio::test]
async fn a_start_survives_a_lost_hint_and_a_lost_answer() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let draft = site.post("/v1/campaigns", letter(&newsletter)).await.expect(201).json();
    let start = format!("/v1/campaigns/{}/start", id(&draft));
    site.campaigns.faults.lose_next_answer("update");
    site.post(&start, json!({})).await.expect(503);
    site.run.faults.refuse_next("send");
    site.post(&start, json!({})).await.expect(202);
    assert!(site.run.all().is_empty(), "the clock finds it");
    site.post(&start, json!({})).await.expect(202);
    assert_eq!(site.run.all().len(), 1);
    site.post("/v1/campaigns/cmp_unknown/start", json!({})).await.expect(404);
}
