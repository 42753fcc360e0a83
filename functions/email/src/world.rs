//! The mail worker with everything around it in memory.

use crate::confirm::Door;
use crate::handler::Desk;
use crate::letters::Letters;
use crate::sequence::Course;
use millrace::domain::people::Newsletter;
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::jobs::{ConfirmSubscription, SequenceStep, Welcome, Worker};
use millrace::ports::Clock as _;
use millrace::testing::builders::{newsletter, tenant};
use millrace::testing::{
    Kit, MemoryMailLedger, MemoryMailer, MemoryNewsletters, MemorySignUps, MemorySubscribers, MemorySuppressions,
    MemoryUsers,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) users: MemoryUsers,
    pub(crate) newsletters: MemoryNewsletters,
    pub(crate) subscribers: MemorySubscribers,
    pub(crate) sign_ups: MemorySignUps,
    pub(crate) suppressions: MemorySuppressions,
    pub(crate) ledger: MemoryMailLedger,
    pub(crate) mailer: MemoryMailer,
}

/// What signs the tokens in mails.
pub(crate) fn tokens() -> Tokens {
    Tokens::new(TokenKey::generate(&[5; TOKEN_KEY_BYTES]).into())
}

impl World {
    pub(crate) fn new() -> Self {
        let (users, ledger, mailer) = (MemoryUsers::default(), MemoryMailLedger::default(), MemoryMailer::default());
        let (newsletters, subscribers) = (MemoryNewsletters::default(), MemorySubscribers::default());
        let (sign_ups, suppressions) = (MemorySignUps::default(), MemorySuppressions::default());
        let door = Door {
            sign_ups: Arc::new(sign_ups.clone()),
            newsletters: Arc::new(newsletters.clone()),
            subscribers: Arc::new(subscribers.clone()),
            suppressions: Arc::new(suppressions.clone()),
            tokens: tokens(),
            public_url: "https://mill.example".into(),
        };
        let desk = Arc::new(Desk {
            users: Box::new(users.clone()),
            door,
            ledger: Box::new(ledger.clone()),
            mailer: Box::new(mailer.clone()),
            letters: Letters::new().unwrap(),
            sender: "Millrace <welcome@example.com>".into(),
            settle: Duration::from_secs(900),
        });
        let (door, own) = (desk.clone(), desk.clone());
        let kit = Kit::new(Worker::Email)
            .on::<Welcome, _, _>(move |job, attempt| {
                let desk = desk.clone();
                async move { desk.welcome(job, attempt).await }
            })
            .on::<ConfirmSubscription, _, _>(move |job, attempt| {
                let desk = door.clone();
                async move { desk.confirm_subscription(job, attempt).await }
            });
        let course = Arc::new(Course {
            desk: own,
            letters: Arc::new(millrace::letters::Letters::new(Arc::new(kit.blobs.clone()))),
            intake: kit.intake(),
        });
        let kit = kit.on::<SequenceStep, _, _>(move |job, attempt| {
            let course = course.clone();
            async move { course.step(job, attempt).await }
        });
        Self { kit, users, newsletters, subscribers, sign_ups, suppressions, ledger, mailer }
    }

    /// The newsletter that people are on here.
    pub(crate) fn weekly(&self) -> Newsletter {
        Newsletter {
            id: newsletter(),
            tenant: tenant(),
            name: "The Wheel".into(),
            from: "The Wheel <news@example.com>".to_owned().try_into().unwrap(),
            reply_to: None,
            postal_address: "1 Mill Lane".into(),
            time_zone: "Europe/Berlin".to_owned().try_into().unwrap(),
            send_at: "10:00".to_owned().try_into().unwrap(),
            days: None,
            archive: false,
            tracking: false,
            sequence: None,
            created_at: self.kit.clock.now(),
        }
    }
}
