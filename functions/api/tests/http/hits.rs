//! Opens and clicks of a campaign that is tracked.

use crate::site::Site;
use jiff::SignedDuration;
use millrace::domain::hits::{Hit, HitKind, ReaderHits};
use millrace::domain::id::CampaignId;
use millrace::ports::{HitChange, HitLedger};
use serde_json::{Value, json};

#[tokio::test]
async fn people_and_machines_are_shown_apart_and_only_when_the_newsletter_said_so_at_the_start() {
    let site = Site::new();
    let newsletter = site.newsletter().await;
    let home = format!("/v1/newsletters/{newsletter}");
    let untracked = site.running_of(&newsletter, 4).await;
    site.patch(&home, json!({"tracking": true})).await.expect(200);
    let tracked = site.running_of(&newsletter, 0).await;
    site.patch(&home, json!({"tracking": false})).await.expect(200);

    let none = json!({"people": 0, "machines": 0});
    let seen = site.get(&tracked).await.expect(200).json();
    assert_eq!((&seen["opens"], &seen["clicks"]), (&none, &none));
    let now = site.now();
    let later = |kind, known_machine| Hit { kind, at: now + SignedDuration::from_mins(5), known_machine, sent_at: now };
    let known = |place, hits: &[Hit]| HitChange { place, before: None, after: ReaderHits::default().with(hits) };
    let changes = [
        known(0, &[later(HitKind::Click(1), false)]),
        known(1, &[later(HitKind::Open, true)]),
        known(2, &[later(HitKind::Open, false), later(HitKind::Click(1), true)]),
    ];
    let id: CampaignId = tracked.rsplit('/').next().unwrap().parse().unwrap();
    site.hits.note_hits(&id, 0, &changes).await.unwrap();

    let seen = site.get(&tracked).await.expect(200).json();
    assert_eq!(seen["opens"], json!({"people": 2, "machines": 1}));
    assert_eq!(seen["clicks"], json!({"people": 1, "machines": 1}));
    let page = site.get(&format!("{tracked}/recipients")).await.expect(200).json();
    let by =
        |name: &str| page["recipients"].as_array().unwrap().iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(by("opened"), [json!("people"), json!("machines"), json!("people"), Value::Null]);
    assert_eq!(by("clicked"), [json!("people"), Value::Null, json!("machines"), Value::Null]);
    let csv = site.get_csv(&format!("{tracked}/recipients")).await.text();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].ends_with(",attempts,opened,clicked"), "{csv}");
    assert!(
        lines[1].ends_with(",people,people") && lines[2].ends_with(",machines,") && lines[4].ends_with(",,"),
        "{csv}"
    );

    let seen = site.get(&untracked).await.expect(200).json();
    assert!(seen.get("opens").is_none() && seen.get("clicks").is_none(), "{seen}");
}
