use super::*;
use crate::domain::id::{NewsletterId, Tenant};
use crate::domain::people::Newsletter;
use crate::domain::suppression::Reason;
use crate::lists::tests::{World, weekly};
use crate::ports::{Blobs as _, Clock as _};
use crate::testing::builders::{newsletter, tenant};

fn job(world: &World, existing: Existing) -> ImportSubscribers {
    let now = world.kit.clock.now();
    ImportSubscribers {
        newsletter: newsletter(),
        consent_source: "the fair".into(),
        consent_at: now,
        existing,
        created_at: now,
        upload_until: now + Duration::from_secs(3600),
    }
}

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

async fn subscriber(world: &World, address: &str) -> Option<Subscriber> {
    world.subscribers.get(&[SubscriberKey::of(&newsletter(), &email(address))]).await.unwrap().remove(0)
}

/// Uploads a file and runs its import to the end; gives the result and the report.
async fn import(world: &World, existing: Existing, file: &str) -> (Value, String) {
    let id = world.kit.submit(&job(world, existing)).await;
    world.kit.blobs.put(&upload_key(&id), file.into(), "text/csv").await.unwrap();
    world.run_to_the_end().await;
    let result = world.result(&id).await;
    let report = match result["file"].as_str() {
        Some(key) => String::from_utf8(world.kit.blobs.get(key).await.unwrap().unwrap()).unwrap(),
        None => String::new(),
    };
    (result, report)
}

#[tokio::test(start_paused = true)]
async fn a_list_is_taken_in_and_what_is_not_is_reported() {
    let world = World::new().await;
    let now = world.kit.clock.now();
    for (address, reason) in [("bounced@example.com", Reason::HardBounce), ("erased@example.com", Reason::Erased)] {
        world.suppressions.suppress(&tenant(), &email(address), reason, now).await.unwrap();
    }
    world.add("here@example.com", SubscriberStatus::Active).await;
    world.add("left@example.com", SubscriberStatus::Unsubscribed).await;
    world.add("asked@example.com", SubscriberStatus::Pending).await;
    let file = "email;Name;time_zone;tags;points\r\n\
                Ada@example.com;\"Ada; Countess\";Europe/London;b;7\r\n\
                nobody;;;;\r\n\
                zone@example.com;;Mars/Base;;\r\n\
                \r\n\
                ADA@example.com;Again;;;\r\n\
                bounced@example.com;;;;\r\n\
                erased@example.com;;;;\r\n\
                here@example.com;Changed;;;\r\n\
                left@example.com;;;;\r\n\
                asked@example.com;;;;\r\n\
                =cmd@x;;;;\r\n";
    let (result, report) = import(&world, Existing::Keep, file).await;
    let expected = json!({
        "lines": 10, "added": 1, "updated": 0, "unchanged": 1, "duplicates": 1, "suppressed": 4, "refused": 3,
        "ignored_columns": ["points"], "file": result["file"]
    });
    assert_eq!(result, expected);
    let rows: Vec<&str> = report.lines().collect();
    assert_eq!(rows[0], "line,email,reason");
    for (row, begins) in rows[1..].iter().zip([
        "3,nobody,email: ",
        "4,zone@example.com,time_zone: ",
        "6,ADA@example.com,the address is on line 2",
        "7,bounced@example.com,suppressed: bounce",
        "8,,suppressed: erased",
        "10,left@example.com,the address unsubscribed",
        "11,asked@example.com,the address waits",
        "12,'=cmd@x,email: ",
    ]) {
        assert!(row.starts_with(begins), "{row} instead of {begins}");
    }
    assert_eq!(rows.len(), 9);

    let ada = subscriber(&world, "ada@example.com").await.unwrap();
    assert_eq!((ada.email.as_str(), ada.name.as_deref()), ("Ada@example.com", Some("Ada; Countess")));
    assert_eq!((ada.tags, ada.status), (vec!["b".to_owned()], SubscriberStatus::Active));
    let consent = ada.consent.unwrap();
    assert_eq!((consent.source.as_str(), consent.import.unwrap().line), ("the fair", 2));
    assert_eq!(subscriber(&world, "here@example.com").await.unwrap().name, None, "who is there stays as they were");
    assert!(subscriber(&world, "erased@example.com").await.is_none());
    assert!(
        !world.kit.blobs.keys().iter().any(|key| key.ends_with(".csv") && !key.ends_with("-report.csv")),
        "the upload is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_there_is_given_what_a_line_has_when_asked_for() {
    let world = World::new().await;
    world.add("here@example.com", SubscriberStatus::Active).await;
    world.add("left@example.com", SubscriberStatus::Unsubscribed).await;
    let file = "email,name,time_zone,tags\nhere@example.com,Grace,,x;y\nleft@example.com,Eve,,\n";
    let (result, _) = import(&world, Existing::Update, file).await;
    assert_eq!((&result["updated"], &result["suppressed"]), (&json!(1), &json!(1)));
    let here = subscriber(&world, "here@example.com").await.unwrap();
    assert_eq!((here.name.as_deref(), here.tags.len()), (Some("Grace"), 2));
    assert!(here.consent.is_none(), "the proof of consent is nobody's to replace");
    let (result, _) = import(&world, Existing::Update, "email\nhere@example.com\n").await;
    assert_eq!(result["unchanged"], 1, "an empty field empties nothing");
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_file_and_not_for_ever() {
    let world = World::new().await;
    let id = world.kit.submit(&job(&world, Existing::Keep)).await;
    let begun = world.kit.clock.now();
    while world.kit.clock.now().duration_since(begun) < SignedDuration::from_secs(600) {
        world.kit.deliver().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.kit.job(&id).await.attempt, 0, "waiting spends no attempt");
    world.kit.blobs.put(&upload_key(&id), b"email\na@example.com\n".to_vec(), "text/csv").await.unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.result(&id).await["added"], 1);

    let late = world.kit.submit(&job(&world, Existing::Keep)).await;
    world.run_to_the_end().await;
    let late = world.kit.job(&late).await;
    assert!(late.error.unwrap().message.contains("no file was uploaded"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_no_list_ends_its_job() {
    for (file, why) in [
        ("", "the file is empty"),
        ("ada@example.com,Ada\ngrace@example.com,Grace\n", "one of them is `email`"),
        ("email,email\n", "twice"),
    ] {
        let world = World::new().await;
        let id = world.kit.submit(&job(&world, Existing::Keep)).await;
        world.kit.blobs.put(&upload_key(&id), file.into(), "text/csv").await.unwrap();
        world.run_to_the_end().await;
        let error = world.kit.job(&id).await.error.unwrap();
        assert!(error.message.contains(why) && !error.message.contains("ada@"), "{}", error.message);
    }
}

#[tokio::test(start_paused = true)]
async fn another_tenants_newsletter_is_none() {
    let world = World::new().await;
    let theirs =
        Newsletter { id: NewsletterId::derived(&["theirs"]), tenant: Tenant::parse("rival").unwrap(), ..weekly() };
    crate::ports::Newsletters::add(&world.newsletters, &theirs).await.unwrap();
    let id = world.kit.submit(&ImportSubscribers { newsletter: theirs.id, ..job(&world, Existing::Keep) }).await;
    world.run_to_the_end().await;
    assert!(world.kit.job(&id).await.error.unwrap().message.contains("no such newsletter"));
}

/// Whatever is refused and whatever answer is lost: each line is counted once, and each address is there once.
#[tokio::test(start_paused = true)]
async fn a_list_is_exact_through_any_fault() {
    for seed in 0..40 {
        let world = World::new().await;
        let mut lines = vec!["email,name".to_owned()];
        lines.extend((0..1_500).map(|i| match i % 10 {
            3 => format!("broken{i}"),
            7 => format!("Reader{}@example.com,Again", i - 5),
            _ => format!("reader{i}@example.com,Reader {i}"),
        }));
        let id = world.kit.submit(&job(&world, Existing::Keep)).await;
        world.kit.blobs.put(&upload_key(&id), lines.join("\n").into_bytes(), "text/csv").await.unwrap();
        world.faults(seed, 0.002);
        world.run_to_the_end().await;
        let result = world.result(&id).await;
        let counts = ["lines", "added", "duplicates", "refused"].map(|name| result[name].as_u64().unwrap());
        assert_eq!(counts, [1_500, 1_200, 150, 150], "seed {seed}");
        let report = world.kit.blobs.get(result["file"].as_str().unwrap()).await.unwrap().unwrap();
        let mut numbers: Vec<u64> = String::from_utf8(report)
            .unwrap()
            .lines()
            .skip(1)
            .map(|row| row.split(',').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(numbers.len(), 300, "seed {seed}");
        numbers.dedup();
        assert_eq!(numbers.len(), 300, "seed {seed}: no line is reported twice");
        assert_eq!(world.count().await, 1_200, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ended_and_does_not_know_it_ends_again() {
    let world = World::new().await;
    let id = world.kit.submit(&job(&world, Existing::Keep)).await;
    world.kit.blobs.put(&upload_key(&id), b"email\na@example.com\nnobody\n".to_vec(), "text/csv").await.unwrap();
    world.kit.blobs.faults.lose_next_answer("remove");
    world.run_to_the_end().await;
    let result = world.result(&id).await;
    assert_eq!((&result["added"], &result["refused"]), (&json!(1), &json!(1)));
    assert_eq!(world.kit.job(&id).await.attempt, 2, "the upload was gone when it was done again");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_on_the_way_is_not_read_on() {
    let world = World::new().await;
    let list = |name: &str| {
        let lines: String = (0..3_000).map(|i| format!("{name}{i}@example.com\n")).collect();
        format!("email\n{lines}").into_bytes()
    };
    let id = world.kit.submit(&job(&world, Existing::Keep)).await;
    world.kit.blobs.put(&upload_key(&id), list("one"), "text/csv").await.unwrap();
    world.kit.deliver().await;
    let read = world.count().await;
    assert!(0 < read && read < 3_000, "it is not done in one slice: {read}");
    world.kit.blobs.put(&upload_key(&id), list("two"), "text/csv").await.unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.count().await, read);
    assert!(world.kit.job(&id).await.error.unwrap().message.contains("replaced"));
}

#[tokio::test(start_paused = true)]
async fn who_is_erased_while_their_line_is_read_is_not_left_behind() {
    let world = World::new().await;
    let id = world.kit.submit(&job(&world, Existing::Keep)).await;
    world.kit.blobs.put(&upload_key(&id), b"email\na@example.com\nb@example.com\n".to_vec(), "text/csv").await.unwrap();
    let erase = async {
        // The line was found free of suppressions, and adding it takes a second.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = world.kit.clock.now();
        world.suppressions.suppress(&tenant(), &email("a@example.com"), Reason::Erased, now).await.unwrap();
        world.subscribers.remove(&SubscriberKey::of(&newsletter(), &email("a@example.com"))).await.unwrap();
    };
    tokio::join!(world.kit.deliver(), erase);
    assert!(subscriber(&world, "a@example.com").await.is_none());
    let result = world.result(&id).await;
    assert_eq!((&result["added"], &result["suppressed"]), (&json!(1), &json!(1)));
}
