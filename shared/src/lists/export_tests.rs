use super::*;
use crate::domain::address::EmailAddress;
use crate::domain::people::SubscriberKey;
use crate::domain::people::{SubscriberChange, SubscriberStatus};
use crate::lists::tests::World;
use crate::ports::Blobs as _;
use crate::testing::builders::newsletter;
use std::collections::BTreeSet;

fn all() -> ExportSubscribers {
    ExportSubscribers { newsletter: newsletter(), status: None, tag: None }
}

/// Runs an export to its end and gives its rows.
async fn export(world: &World, job: &ExportSubscribers) -> Vec<csv::StringRecord> {
    let id = world.kit.submit(job).await;
    world.run_to_the_end().await;
    let result = world.result(&id).await;
    let file = world.kit.blobs.get(result["file"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!(result["bytes"], file.len());
    let rows: Vec<_> = csv::Reader::from_reader(file.as_slice()).records().map(Result::unwrap).collect();
    assert_eq!(result["subscribers"], rows.len());
    rows
}

#[tokio::test(start_paused = true)]
async fn a_list_is_written_whole_through_any_fault() {
    for seed in 0..5 {
        let world = World::new().await;
        for i in 0..9_000 {
            world.add(&format!("reader{i}@example.com"), SubscriberStatus::Active).await;
        }
        world.faults(seed, 0.02);
        let rows = export(&world, &all()).await;
        let emails: BTreeSet<_> = rows.iter().map(|row| row[0].to_owned()).collect();
        assert_eq!((rows.len(), emails.len()), (9_000, 9_000), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_say_what_is_known_and_nothing_a_spreadsheet_would_run() {
    let world = World::new().await;
    world.add("ada@example.com", SubscriberStatus::Active).await;
    world.add("left@example.com", SubscriberStatus::Unsubscribed).await;
    let key = SubscriberKey::of(&newsletter(), &EmailAddress::parse("ada@example.com").unwrap());
    let change = SubscriberChange {
        name: Some(Some("=HYPERLINK(\"http://x\")".into())),
        time_zone: Some(Some("Asia/Tokyo".to_owned().try_into().unwrap())),
        tags: Some(vec!["a".into(), "b c".into()]),
    };
    world.subscribers.change(&key, &change).await.unwrap();
    let rows = export(&world, &ExportSubscribers { tag: Some("b c".into()), ..all() }).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].iter().take(4).collect::<Vec<_>>(),
        ["ada@example.com", "'=HYPERLINK(\"http://x\")", "Asia/Tokyo", "a;b c"]
    );
    assert_eq!(&rows[0][5], "active");
    let rows = export(&world, &ExportSubscribers { status: Some(SubscriberStatus::Unsubscribed), ..all() }).await;
    assert_eq!(rows.iter().map(|row| row[0].to_owned()).collect::<Vec<_>>(), ["left@example.com"]);
    let rows = export(&world, &ExportSubscribers { tag: Some("nobody's".into()), ..all() }).await;
    assert!(rows.is_empty());
}
