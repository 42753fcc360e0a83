//! A list of a million lines, on virtual time, with workers that are killed. `MILLRACE_LINES` sets how many lines; a test run
//! takes fewer, as the time goes by their number.

use super::import::upload_key;
use super::tests::World;
use crate::jobs::{Existing, ImportSubscribers};
use crate::ports::{Blobs as _, Clock as _};
use crate::testing::builders::newsletter;
use std::io::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Workers that are ended in the middle of a slice.
const KILLS: u64 = 4;

/// Of ten lines one is broken and one repeats an address.
fn list(lines: u64) -> Vec<u8> {
    let mut list = b"email,name,time_zone\n".to_vec();
    for i in 0..lines {
        match i % 10 {
            3 => writeln!(list, "broken{i},,"),
            7 => writeln!(list, "Reader{}@example.com,Again,", i - 5),
            _ => writeln!(list, "reader{i}@example.com,\"Reader, {i}\",Asia/Tokyo"),
        }
        .unwrap();
    }
    list
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_taken_in_slice_by_slice_each_within_its_time() {
    let lines: u64 = std::env::var("MILLRACE_LINES").map_or(20_000, |text| text.parse().expect("a number of lines"));
    assert!(lines >= 10_000 && lines.is_multiple_of(10), "MILLRACE_LINES is at least 10,000, in tens");
    let world = World::new().await;
    let now = world.kit.clock.now();
    let job = ImportSubscribers {
        newsletter: newsletter(),
        consent_source: "the fair".into(),
        consent_at: now,
        existing: Existing::Keep,
        created_at: now,
        upload_until: now + Duration::from_secs(3600),
    };
    let id = world.kit.submit(&job).await;
    world.kit.blobs.put(&upload_key(&id), list(lines), "text/csv").await.unwrap();
    world.faults(7, 0.000_02);

    let (began, mut slices, mut killed, mut longest) = (Instant::now(), 0_u64, 0, Duration::ZERO);
    let mut dice = fastrand::Rng::with_seed(7);
    // A slice takes at least a thousand lines.
    let between = lines / 1_000 / (KILLS + 1);
    while !world.kit.job(&id).await.state.is_final() {
        if killed < KILLS && slices / between > killed {
            killed += 1;
            world.kit.kill_after(Duration::from_millis(dice.u64(1_000..20_000))).await;
            slices += 1;
            continue;
        }
        let slice = Instant::now();
        match world.kit.deliver().await {
            // A killed worker's message is hidden.
            0 => sleep(Duration::from_secs(5)).await,
            _ => {
                slices += 1;
                longest = longest.max(slice.elapsed());
            }
        }
    }
    let took = began.elapsed();
    world.run_to_the_end().await;

    let result = world.result(&id).await;
    let counts = ["lines", "added", "duplicates", "refused"].map(|name| result[name].as_u64().unwrap());
    assert_eq!(counts, [lines, lines / 10 * 8, lines / 10, lines / 10]);
    assert_eq!(world.count().await as u64, lines / 10 * 8);
    let report = world.kit.blobs.get(result["file"].as_str().unwrap()).await.unwrap().unwrap();
    let rows = report.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(rows, lines / 10 * 2 + 1, "each line that is not in the list is reported once");
    assert_eq!(killed, KILLS);
    assert!(longest <= world.kit.timeout, "a slice took {longest:?}");
    let report = format!(
        "import of {lines} lines: {slices} slices of at most {longest:.1?}, {killed} killed, {took:.0?} when each write takes a second"
    );
    // Past the test runner, which keeps what passing tests print.
    writeln!(std::io::stderr(), "{report}").unwrap();
}
