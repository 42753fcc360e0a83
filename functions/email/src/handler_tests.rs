use crate::world::World;
use jiff::Timestamp;
use millrace::domain::address::EmailAddress;
use millrace::domain::id::Tenant;
use millrace::domain::people::User;
use millrace::domain::suppression::Reason;
use millrace::job::Job as _;
use millrace::jobs::{JobMessage, Welcome};
use millrace::ports::{Clock as _, MailLedger as _, Suppressions as _, Users as _};
use millrace::testing::{Kit, MemoryUsers, builders};

fn ada(tenant: Tenant, now: Timestamp) -> User {
    let email = EmailAddress::parse("ada@example.com").unwrap();
    User {
        id: User::id_of(&tenant, &email),
        tenant,
        email,
        name: Some("Ada".into()),
        time_zone: None,
        created_at: now,
        welcomed_at: None,
    }
}

/// Registers Ada with a tenant, and gives the job that welcomes her.
async fn registered(kit: &Kit, users: &MemoryUsers, tenant: Tenant) -> (User, Welcome) {
    let user = ada(tenant, kit.clock.now());
    users.add(&user).await.unwrap();
    let welcome = Welcome { user: user.id.clone() };
    (user, welcome)
}

#[tokio::test(start_paused = true)]
async fn a_user_is_welcomed_once_however_many_jobs_there_are() {
    let World { kit, users, mailer, .. } = &World::new();
    let (user, welcome) = registered(kit, users, builders::tenant()).await;
    let (first, second) = (kit.submit(&welcome).await, kit.submit(&welcome).await);
    // The two run side by side: the one that finds the other's intent looks again later.
    kit.drain().await;
    for id in [first, second] {
        assert!(kit.job(&id).await.state.is_final());
    }
    let sent = mailer.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].1.to.as_str(), sent[0].1.subject.as_str()), ("ada@example.com", "Welcome"));
    assert!(users.get(&user.id).await.unwrap().unwrap().welcomed_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_mail_whose_record_was_lost_is_not_sent_again_once_its_event_came() {
    let World { kit, users, ledger, mailer, .. } = &World::new();
    let (_, welcome) = registered(kit, users, builders::tenant()).await;
    ledger.faults.refuse_next("accepted");
    let job = kit.run(&welcome).await;
    let (message_id, mail) = mailer.sent().remove(0);
    assert!(mail.tags.contains(&("tenant".to_owned(), builders::tenant().to_string())), "a bounce finds the tenant");
    let name = mail.tags.iter().find(|(name, _)| name == "mail").unwrap().1.clone();
    ledger.accepted(&name, &message_id, kit.clock.now()).await.unwrap();
    kit.drain().await;
    assert_eq!(mailer.sent().len(), 1);
    assert!(kit.job(&job.id).await.state.is_final());
}

#[tokio::test(start_paused = true)]
async fn another_tenants_user_is_not_written_to() {
    let World { kit, users, mailer, .. } = &World::new();
    let (_, welcome) = registered(kit, users, Tenant::parse("other").unwrap()).await;
    let job = kit.run(&welcome).await;
    assert!(mailer.sent().is_empty());
    assert_eq!(job.error.unwrap().class, "permanent");
}

#[tokio::test(start_paused = true)]
async fn the_sample_event_is_a_message_of_this_worker() {
    let event = include_str!("../../../events/email.welcome.json");
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    let message = JobMessage::parse(event["Records"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(message.kind, Welcome::KIND);
    assert!(serde_json::from_value::<Welcome>(message.payload.unwrap()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_suppressed_address_is_not_welcomed() {
    let World { kit, users, suppressions, mailer, .. } = &World::new();
    let (user, welcome) = registered(kit, users, builders::tenant()).await;
    suppressions.suppress(&user.tenant, &user.email, Reason::HardBounce, kit.clock.now()).await.unwrap();
    let job = kit.run(&welcome).await;
    assert!(mailer.sent().is_empty());
    assert_eq!(kit.result(&job.id).await["why"], "the address is suppressed");
    assert!(users.get(&user.id).await.unwrap().unwrap().welcomed_at.is_none());
}
