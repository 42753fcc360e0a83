use crate::world::{World, tokens};
use millrace::domain::id::Tenant;
use millrace::domain::people::{Subscriber, SubscriberStatus};
use millrace::domain::sign_up::SignUp;
use millrace::domain::suppression::Reason;
use millrace::domain::token::Claim;
use millrace::jobs::ConfirmSubscription;
use millrace::ports::{
    Clock as _, MailError, MailLedger as _, Newsletters as _, SignUps as _, Subscribers as _, Suppressions as _,
};
use millrace::testing::builders::{reader, tenant};
use serde_json::{Value, json};
use std::time::Duration;

/// Somebody under a name that an advertiser would choose.
async fn asked(world: &World) -> SignUp {
    let now = world.kit.clock.now();
    let Subscriber { key, tenant, email, .. } = reader(1);
    let name = Some("Buy at pills.example".into());
    let sign_up = SignUp { key, tenant, email, name, time_zone: None, ip: None, first_at: now, at: now };
    world.newsletters.add(&world.weekly()).await.unwrap();
    world.sign_ups.ask(&sign_up).await.unwrap()
}

/// Runs the job of a sign-up and gives what came of it.
async fn run(world: &World, sign_up: &SignUp) -> Value {
    let job = ConfirmSubscription { subscriber: sign_up.key.id(), asked_at: sign_up.at };
    let id = world.kit.submit_with(&job, |new| new.tenant = sign_up.tenant.clone()).await;
    world.kit.drain().await;
    world.kit.result(&id).await
}

async fn status(world: &World, sign_up: &SignUp) -> Option<SubscriberStatus> {
    let found = world.subscribers.get(std::slice::from_ref(&sign_up.key)).await.unwrap().remove(0);
    found.map(|subscriber| subscriber.status)
}

#[tokio::test(start_paused = true)]
async fn who_signs_up_is_asked_once_and_waits() {
    let world = World::new();
    let sign_up = asked(&world).await;
    for _ in 0..2 {
        assert_eq!(run(&world, &sign_up).await["asked"], true);
    }
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 1, "two jobs are one mail");
    let mail = &sent[0].1;
    assert_eq!((mail.to.as_str(), mail.subject.as_str()), (sign_up.email.as_str(), "Please confirm: The Wheel"));
    assert_eq!(mail.from, "\"The Wheel\" <news@example.com>");
    assert!(mail.headers.is_empty(), "it is no bulk mail");
    assert!(!format!("{mail:?}").contains("pills"), "nobody gets a stranger's words");
    let token =
        mail.text.split("https://mill.example/confirm?token=").nth(1).unwrap().split_whitespace().next().unwrap();
    let claim = Claim::Confirm { tenant: tenant(), subscriber: sign_up.key.id(), asked_at: sign_up.at };
    assert_eq!(tokens().open(token), Ok(claim));
    assert!(mail.html.contains(token));
    assert_eq!(status(&world, &sign_up).await, Some(SubscriberStatus::Pending));
}

#[tokio::test(start_paused = true)]
async fn who_is_subscribed_or_suppressed_is_not_written_to() {
    let world = World::new();
    let sign_up = asked(&world).await;
    for reason in Reason::BY_TENANT {
        let world = World::new();
        let sign_up = asked(&world).await;
        world.suppressions.suppress(&sign_up.tenant, &sign_up.email, reason, world.kit.clock.now()).await.unwrap();
        assert_eq!(run(&world, &sign_up).await["why"], "the address is suppressed");
        assert_eq!((world.mailer.sent().len(), status(&world, &sign_up).await), (0, None));
    }
    world.subscribers.confirm(&sign_up.confirmed(world.kit.clock.now(), None)).await.unwrap();
    assert_eq!(run(&world, &sign_up).await, json!({"asked": false, "why": "the address is subscribed"}));
    assert!(world.mailer.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_left_or_was_forgotten_may_come_back_by_confirming() {
    for reason in Reason::BY_OWNER {
        let world = World::new();
        let sign_up = asked(&world).await;
        let now = world.kit.clock.now();
        world.suppressions.suppress(&sign_up.tenant, &sign_up.email, reason, now).await.unwrap();
        world.subscribers.confirm(&sign_up.confirmed(now, None)).await.unwrap();
        world.subscribers.unsubscribe(&sign_up.key, now).await.unwrap();
        assert_eq!(run(&world, &sign_up).await["asked"], true);
        assert_eq!(world.mailer.sent().len(), 1);
        assert_eq!(status(&world, &sign_up).await, Some(SubscriberStatus::Unsubscribed), "nothing is undone yet");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_up_that_is_over_or_another_tenants_asks_nobody() {
    let world = World::new();
    let sign_up = asked(&world).await;
    let earlier = SignUp { at: sign_up.at - Duration::from_secs(3600), ..sign_up.clone() };
    assert_eq!(run(&world, &earlier).await["why"], "the sign-up is over");
    let rival = SignUp { tenant: Tenant::parse("rival").unwrap(), ..sign_up.clone() };
    assert_eq!(run(&world, &rival).await["why"], "the sign-up is over");
    world.sign_ups.forget(&sign_up.key).await.unwrap();
    assert_eq!(run(&world, &sign_up).await["why"], "the sign-up is over");
    assert!(world.mailer.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_mail_of_unknown_outcome_is_not_sent_again_once_its_event_came() {
    let world = World::new();
    let sign_up = asked(&world).await;
    world.mailer.fail_next(true, MailError::Unknown("time-out".into()));
    let job = world.kit.run(&ConfirmSubscription { subscriber: sign_up.key.id(), asked_at: sign_up.at }).await;
    assert!(!job.state.is_final());
    let (message_id, mail) = world.mailer.sent().remove(0);
    let name = mail.tags.iter().find(|(name, _)| name == "mail").unwrap().1.clone();
    world.ledger.accepted(&name, &message_id, world.kit.clock.now()).await.unwrap();
    world.kit.drain().await;
    assert_eq!(world.kit.result(&job.id).await["message_id"], message_id);
    assert_eq!(world.mailer.sent().len(), 1);
}
