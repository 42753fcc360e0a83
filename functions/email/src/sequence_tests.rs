use crate::world::{World, tokens};
use jiff::{SignedDuration, Timestamp};
use millrace::domain::address::Mailbox;
use millrace::domain::id::Tenant;
use millrace::domain::job::State;
use millrace::domain::letter::StoredLetter;
use millrace::domain::local_time::SendTime;
use millrace::domain::people::{Newsletter, Subscriber};
use millrace::domain::sequence::{After, End, Enrolment, Sequence, Step};
use millrace::domain::suppression::Reason;
use millrace::domain::token::Claim;
use millrace::job::Job as _;
use millrace::jobs::{SequenceStep, kind};
use millrace::ports::{
    Clock as _, Mail, MailError, MailLedger as _, Newsletters as _, Subscribers as _, Suppressions as _,
};
use millrace::testing::Faults;
use millrace::testing::builders::{letter, newsletter, reader, tenant};
use millrace::{letters, operate, sequences};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const DAY: Duration = Duration::from_secs(86_400);

/// Puts a sequence of these letters and times, as the API does.
async fn put(world: &World, steps: &[(&str, Option<&str>, StoredLetter)]) -> Newsletter {
    let (blobs, mut stored) = (&world.kit.blobs, Vec::new());
    for (after, at, letter) in steps {
        let letter = letters::store(blobs, newsletter(), letter).await.unwrap();
        let at = at.map(|at| SendTime::parse(at).unwrap());
        stored.push(Step { after: After::parse(after).unwrap(), at, letter });
    }
    let sequence = Sequence { since: world.kit.clock.now(), steps: stored };
    sequences::store(blobs, &newsletter(), &sequence).await.unwrap();
    let weekly = Newsletter { sequence: Some(sequence.clone()), ..world.weekly() };
    world.newsletters.add(&weekly).await.unwrap();
    world.newsletters.replace(&weekly.id, |stored| stored.sequence = Some(sequence));
    weekly
}

/// Days 0, 3 and 7.
async fn week(world: &World) -> Newsletter {
    let steps = [("0d", None, letter("Welcome")), ("3d", None, letter("More")), ("7d", None, letter("Bye {{ name }}"))];
    put(world, &steps).await
}

/// Subscribes a reader, as the API does.
async fn subscribed(world: &World, weekly: &Newsletter, i: usize) -> Subscriber {
    let (now, reader) = (world.kit.clock.now(), reader(i));
    let reader = Subscriber { sequence: weekly.enrol(reader.time_zone.as_ref(), now), ..reader };
    world.subscribers.add(&reader).await.unwrap();
    sequences::begin(&world.kit.intake(), &reader, now).await.unwrap();
    reader
}

async fn enrolment(world: &World, reader: &Subscriber) -> Enrolment {
    world.subscribers.get(std::slice::from_ref(&reader.key)).await.unwrap().remove(0).unwrap().sequence.unwrap()
}

fn subjects(world: &World) -> Vec<String> {
    world.mailer.sent().into_iter().map(|(_, mail)| mail.subject).collect()
}

/// Lets this time pass and does what comes due in it.
async fn pass(world: &World, time: Duration) {
    let end = world.kit.clock.now() + time;
    while world.kit.clock.now() < end {
        let (intake, now) = (world.kit.intake(), world.kit.clock.now());
        millrace::release::release_due(&*intake.jobs, &intake.queues, now, 100).await.unwrap();
        while world.kit.deliver().await > 0 {}
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_letters_come_when_they_are_due_and_are_as_every_letter() {
    let world = World::new();
    let weekly = week(&world).await;
    let reader = subscribed(&world, &weekly, 1).await;
    pass(&world, DAY).await;
    assert_eq!(subjects(&world), ["Welcome"]);
    let after_one = enrolment(&world, &reader).await;
    assert_eq!((after_one.steps, after_one.taken), (3, 1));
    assert_eq!(after_one.next_at, Some(after_one.started_at + 3 * DAY));
    let next = world.kit.job(&sequences::next_job(&reader.id(), &after_one).unwrap()).await;
    assert_eq!(
        (next.state, next.run_at, next.tags),
        (State::Scheduled, after_one.next_at, vec![newsletter().to_string()])
    );
    pass(&world, DAY).await;
    assert_eq!(subjects(&world).len(), 1, "not before it is due");
    pass(&world, DAY + Duration::from_secs(120)).await;
    assert_eq!(subjects(&world), ["Welcome", "More"]);
    world.kit.drain().await;
    assert_eq!(subjects(&world), ["Welcome", "More", "Bye Reader 1"]);
    assert_eq!(world.kit.clock.now().duration_since(after_one.started_at).as_hours() / 24, 7);
    let done = enrolment(&world, &reader).await;
    assert_eq!((done.taken, done.next_at, done.ended), (3, None, None));

    let mail: Mail = world.mailer.sent().remove(0).1;
    let names: Vec<_> = mail.tags.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sequence", "job", "tenant", "mail"]);
    let link = mail.headers.iter().find(|(name, _)| name == "List-Unsubscribe").unwrap().1.clone();
    let token = link.trim_matches(['<', '>']).strip_prefix("https://mill.example/unsubscribe?token=").unwrap();
    assert_eq!(tokens().open(token), Ok(Claim::Unsubscribe { tenant: tenant(), subscriber: reader.id() }));
    assert!(mail.html.contains(token) && mail.text.contains(token));
    let names: Vec<_> = mail.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["List-Unsubscribe", "List-Unsubscribe-Post", "List-Id"]);
    assert!(!format!("{:?}", world.kit.jobs.all()).contains("example.com"), "no job holds an address");
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_the_readers_own() {
    let world = World::new();
    let weekly = put(&world, &[("1d", Some("10:00"), letter("Morning"))]).await;
    let readers = [subscribed(&world, &weekly, 0).await, subscribed(&world, &weekly, 3).await];
    world.kit.drain().await;
    assert_eq!(subjects(&world).len(), 2);
    for (reader, zone) in readers.iter().zip(["Europe/Berlin", "Asia/Tokyo"]) {
        let due = weekly.enrol(reader.time_zone.as_ref(), enrolment(&world, reader).await.started_at).unwrap().next_at;
        let local = due.unwrap().in_tz(zone).unwrap();
        assert_eq!((local.hour(), local.minute()), (10, 0), "{zone}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gets_no_more_whatever_the_reason() {
    for end in End::ALL {
        let world = World::new();
        let weekly = week(&world).await;
        let (reader, other) = (subscribed(&world, &weekly, 1).await, subscribed(&world, &weekly, 2).await);
        pass(&world, DAY).await;
        let now = world.kit.clock.now();
        match end {
            End::Unsubscribed => assert!(world.subscribers.unsubscribe(&reader.key, now).await.unwrap()),
            End::Suppressed => {
                world.suppressions.suppress(&tenant(), &reader.email, Reason::HardBounce, now).await.unwrap();
            }
            End::Deleted => world.newsletters.replace(&weekly.id, |weekly| weekly.sequence = None),
        }
        pass(&world, 3 * DAY).await;
        let ended = enrolment(&world, &reader).await;
        assert_eq!((ended.taken, ended.next_at, ended.ended.map(|(why, _)| why)), (1, None, Some(end)), "{end:?}");
        // What has ended does not go on, whatever they do then.
        if end == End::Unsubscribed {
            let back = Subscriber { sequence: weekly.enrol(None, now), ..reader.clone() };
            let back = world.subscribers.confirm(&back).await.unwrap();
            sequences::begin(&world.kit.intake(), &back, world.kit.clock.now()).await.unwrap();
        }
        if end == End::Deleted {
            week(&world).await;
        }
        world.kit.drain().await;
        let mails = world.mailer.sent();
        let to = |one: &Subscriber| mails.iter().filter(|(_, mail)| mail.to == one.email.as_str()).count();
        assert_eq!((to(&reader), to(&other)), (1, if end == End::Deleted { 1 } else { 3 }), "{end:?}");
        assert!(world.kit.jobs.all().iter().all(|job| job.state == State::Succeeded));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_erased_gets_no_more_and_begins_anew_when_they_come_back() {
    let world = World::new();
    let weekly = week(&world).await;
    let reader = subscribed(&world, &weekly, 1).await;
    pass(&world, DAY).await;
    world.subscribers.erase(&reader.key);
    pass(&world, DAY).await;
    let back = subscribed(&world, &weekly, 1).await;
    pass(&world, 2 * DAY).await;
    assert_eq!(subjects(&world), ["Welcome", "Welcome"], "the old step is not sent in the new subscription");
    world.kit.drain().await;
    assert_eq!(subjects(&world).len(), 4);
    assert_eq!(enrolment(&world, &back).await.taken, 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_for_those_who_come_after_it_but_sender_and_address_are_todays() {
    let world = World::new();
    let weekly = week(&world).await;
    let old = subscribed(&world, &weekly, 1).await;
    pass(&world, DAY).await;
    let since = weekly.sequence.as_ref().unwrap().since;
    put(&world, &[("0d", None, letter("Other"))]).await;
    world.newsletters.replace(&weekly.id, |weekly| {
        weekly.sequence.as_mut().unwrap().since = since;
        weekly.from = Mailbox::parse("New <new@example.com>").unwrap();
        weekly.postal_address = "2 Mill Lane".into();
    });
    let now = world.newsletters.get(&weekly.id).await.unwrap().unwrap();
    subscribed(&world, &now, 2).await;
    world.kit.drain().await;
    assert_eq!(subjects(&world), ["Welcome", "Other", "More", "Bye Reader 1"]);
    let last = world.mailer.sent().pop().unwrap().1;
    assert!(last.from.contains("new@example.com") && last.text.contains("2 Mill Lane"), "{}", last.text);
    let edition = enrolment(&world, &old).await.edition;
    let steps = sequences::load(&world.kit.blobs, &newsletter(), &edition).await.unwrap().unwrap();
    assert_eq!(steps, weekly.sequence.unwrap().steps, "what they began with stays readable");
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_rendered_is_dead_and_holds_up_none() {
    let world = World::new();
    let mut broken = letter("For {{ tags[0].x.y }}");
    broken.templates.subject = "For {{ tags[0].x.y }}".into();
    let steps = [("0d", None, letter("Welcome")), ("1d", None, broken), ("2d", None, letter("Bye"))];
    let weekly = put(&world, &steps).await;
    let reader = subscribed(&world, &weekly, 1).await;
    world.kit.drain().await;
    assert_eq!(subjects(&world), ["Welcome", "Bye"]);
    let dead: Vec<_> = world.kit.jobs.all().into_iter().filter(|job| job.state == State::Dead).collect();
    assert_eq!((dead.len(), dead[0].attempt, dead[0].kind.as_str()), (1, 1, SequenceStep::KIND));
    assert_eq!(dead[0].error.as_ref().unwrap().class, "permanent");
    assert_eq!(enrolment(&world, &reader).await.taken, 3);
    // It can be retried, and takes nothing back.
    operate::retry(&world.kit.intake(), &dead[0], kind(SequenceStep::KIND).unwrap(), None, world.kit.clock.now())
        .await
        .unwrap();
    world.kit.drain().await;
    assert_eq!(world.kit.job(&dead[0].id).await.state, State::Dead);
    assert_eq!((subjects(&world).len(), enrolment(&world, &reader).await.taken), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn another_tenants_subscriber_is_not_written_to() {
    let world = World::new();
    let weekly = week(&world).await;
    let now = world.kit.clock.now();
    let reader = Subscriber { sequence: weekly.enrol(None, now), ..reader(1) };
    world.subscribers.add(&reader).await.unwrap();
    let step = SequenceStep { subscriber: reader.id(), started_at: now, step: 0 };
    let id = world.kit.submit_with(&step, |new| new.tenant = Tenant::parse("rival").unwrap()).await;
    let unknown = world.kit.submit(&SequenceStep { step: 9, ..step }).await;
    world.kit.drain().await;
    assert!(world.mailer.sent().is_empty());
    assert_eq!(world.kit.result(&id).await, json!({ "sent": false, "why": "the subscriber is erased" }));
    assert_eq!(world.kit.job(&unknown).await.error.unwrap().class, "permanent");
}

/// What SES's events tell of what it accepted, until it is aborted.
fn events(world: &World) -> JoinHandle<()> {
    let (mailer, ledger) = (world.mailer.clone(), world.ledger.clone());
    tokio::spawn(async move {
        loop {
            for (id, mail) in mailer.sent() {
                let name = &mail.tags.iter().find(|(name, _)| name == "mail").unwrap().1;
                let _ = ledger.accepted(name, &id, Timestamp::UNIX_EPOCH).await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    })
}

/// Every step is one mail, wherever a worker ends or a call fails.
#[tokio::test(start_paused = true)]
async fn each_letter_is_sent_once_through_any_fault() {
    type Harm = fn(&Faults, &'static str, usize);
    let harms: [Harm; 4] = [
        |faults, call, nth| faults.die_before(call, nth),
        |faults, call, nth| faults.die_after(call, nth),
        |faults, call, _| faults.refuse_next(call),
        |faults, call, _| faults.lose_next_answer(call),
    ];
    type Port = fn(&World) -> Faults;
    let calls: [(Port, &'static str); 9] = [
        (|world| world.subscribers.faults.clone(), "get"),
        (|world| world.subscribers.faults.clone(), "advance"),
        (|world| world.newsletters.faults.clone(), "get"),
        (|world| world.suppressions.faults.clone(), "check"),
        (|world| world.kit.blobs.faults.clone(), "get"),
        (|world| world.kit.jobs.faults.clone(), "create"),
        (|world| world.kit.jobs.faults.clone(), "apply"),
        (|world| world.ledger.faults.clone(), "open"),
        (|world| world.ledger.faults.clone(), "accepted"),
    ];
    for (port, call) in calls {
        for harm in harms {
            for nth in 1..=3 {
                let world = World::new();
                let steps = ["0s", "1h", "3h"].map(|after| (after, None, letter(after)));
                let weekly = put(&world, &steps).await;
                let reader = subscribed(&world, &weekly, 1).await;
                harm(&port(&world), call, nth);
                let events = events(&world);
                // A worker that ends is followed by another one.
                while timeout(Duration::from_secs(20_000), world.kit.drain()).await.is_err() {}
                events.abort();
                assert_eq!(subjects(&world), ["0s", "1h", "3h"], "{call} {nth}");
                assert_eq!(enrolment(&world, &reader).await.taken, 3, "{call} {nth}");
                assert!(world.kit.jobs.all().iter().all(|job| job.state == State::Succeeded), "{call} {nth}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_service_that_refuses_for_a_day_delays_a_step_and_loses_none() {
    let world = World::new();
    let weekly = week(&world).await;
    for _ in 0..90 {
        world.mailer.fail_next(false, MailError::Quota("the day's".into()));
    }
    subscribed(&world, &weekly, 1).await;
    let began = world.kit.clock.now();
    world.kit.drain().await;
    assert_eq!(subjects(&world), ["Welcome", "More", "Bye Reader 1"]);
    assert!(world.kit.clock.now().duration_since(began) >= SignedDuration::from_hours(7 * 24));
}

#[tokio::test(start_paused = true)]
async fn to_begin_twice_is_to_begin_once() {
    let world = World::new();
    let weekly = week(&world).await;
    let reader = subscribed(&world, &weekly, 1).await;
    for _ in 0..3 {
        sequences::begin(&world.kit.intake(), &reader, world.kit.clock.now()).await.unwrap();
    }
    world.kit.drain().await;
    assert_eq!((subjects(&world).len(), world.kit.jobs.all().len()), (3, 3));
}
