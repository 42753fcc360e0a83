//! The operations' worker with everything around its lists in memory.

use super::{Exporter, Importer};
use crate::domain::address::EmailAddress;
use crate::domain::id::{JobId, NewsletterId};
use crate::domain::people::{Newsletter, Subscriber, SubscriberChange, SubscriberKey, SubscriberStatus};
use crate::domain::sequence::Enrolment;
use crate::job::Job as _;
use crate::jobs::{ExportSubscribers, ImportSubscribers, Worker};
use crate::large_file::Store;
use crate::ports::{Added, Newsletters as _, PortError, SubscriberPage, Subscribers};
use crate::testing::builders::{newsletter, tenant};
use crate::testing::{Faults, Kit, MemoryCheckpoints, MemoryNewsletters, MemorySubscribers, MemorySuppressions};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Subscribers that take their time, so that a list takes more than one slice.
struct Slow(MemorySubscribers);

#[async_trait]
impl Subscribers for Slow {
    async fn add(&self, subscriber: &Subscriber) -> Result<Added<Subscriber>, PortError> {
        sleep(Duration::from_secs(1)).await;
        self.0.add(subscriber).await
    }

    async fn get(&self, keys: &[SubscriberKey]) -> Result<Vec<Option<Subscriber>>, PortError> {
        self.0.get(keys).await
    }

    async fn change(&self, key: &SubscriberKey, change: &SubscriberChange) -> Result<Option<Subscriber>, PortError> {
        self.0.change(key, change).await
    }

    async fn confirm(&self, confirmed: &Subscriber) -> Result<Subscriber, PortError> {
        self.0.confirm(confirmed).await
    }

    async fn advance(&self, key: &SubscriberKey, enrolment: &Enrolment) -> Result<(), PortError> {
        self.0.advance(key, enrolment).await
    }

    async fn remove(&self, key: &SubscriberKey) -> Result<(), PortError> {
        self.0.remove(key).await
    }

    async fn unsubscribe(&self, key: &SubscriberKey, at: Timestamp) -> Result<bool, PortError> {
        self.0.unsubscribe(key, at).await
    }

    async fn page(&self, of: &NewsletterId, after: Option<&str>, limit: usize) -> Result<SubscriberPage, PortError> {
        sleep(Duration::from_secs(8)).await;
        self.0.page(of, after, limit).await
    }
}

pub(super) struct World {
    pub(super) kit: Kit,
    pub(super) newsletters: MemoryNewsletters,
    pub(super) subscribers: MemorySubscribers,
    pub(super) suppressions: MemorySuppressions,
    checkpoints: MemoryCheckpoints,
}

pub(super) fn weekly() -> Newsletter {
    Newsletter {
        id: newsletter(),
        tenant: tenant(),
        name: "The Wheel".into(),
        from: "news@example.com".to_owned().try_into().unwrap(),
        reply_to: None,
        postal_address: "1 Mill Lane".into(),
        time_zone: "Europe/Berlin".to_owned().try_into().unwrap(),
        send_at: "10:00".to_owned().try_into().unwrap(),
        days: None,
        created_at: Timestamp::UNIX_EPOCH,
        archive: false,
        tracking: false,
        sequence: None,
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let kit = Kit::new(Worker::Operations);
        let (newsletters, subscribers) = (MemoryNewsletters::default(), MemorySubscribers::default());
        let (suppressions, checkpoints) = (MemorySuppressions::default(), MemoryCheckpoints::default());
        newsletters.add(&weekly()).await.unwrap();
        let store = Store { files: Arc::new(kit.blobs.clone()), blobs: Arc::new(kit.blobs.clone()) };
        let importer = Arc::new(Importer {
            newsletters: Arc::new(newsletters.clone()),
            subscribers: Arc::new(Slow(subscribers.clone())),
            suppressions: Arc::new(suppressions.clone()),
            store: store.clone(),
            checkpoints: Arc::new(checkpoints.clone()),
        });
        let exporter = Arc::new(Exporter {
            newsletters: Arc::new(newsletters.clone()),
            subscribers: Arc::new(Slow(subscribers.clone())),
            store,
            checkpoints: Arc::new(checkpoints.clone()),
        });
        let kit = kit
            .on::<ImportSubscribers, _, _>(move |job, attempt| {
                let importer = importer.clone();
                async move { importer.run(job, attempt).await }
            })
            .on::<ExportSubscribers, _, _>(move |job, attempt| {
                let exporter = exporter.clone();
                async move { exporter.run(job, attempt).await }
            });
        Self { kit, newsletters, subscribers, suppressions, checkpoints }
    }

    /// Part `share` of all calls are refused, and of as many the answer is lost.
    pub(super) fn faults(&self, seed: u64, share: f64) {
        let all: [&Faults; 4] =
            [&self.subscribers.faults, &self.suppressions.faults, &self.kit.blobs.faults, &self.checkpoints.faults];
        for (i, faults) in (0..).zip(all) {
            let mut dice = fastrand::Rng::with_seed(seed * 10 + i);
            faults.at_random(share, share, move |_| dice.f64());
        }
    }

    /// Adds a subscriber.
    pub(super) async fn add(&self, address: &str, status: SubscriberStatus) {
        let email = EmailAddress::parse(address).unwrap();
        let subscriber = Subscriber {
            key: SubscriberKey::of(&newsletter(), &email),
            tenant: tenant(),
            email,
            name: None,
            time_zone: None,
            tags: Vec::new(),
            status,
            consent: None,
            created_at: Timestamp::UNIX_EPOCH,
            unsubscribed_at: None,
            sequence: None,
        };
        self.subscribers.add(&subscriber).await.unwrap();
    }

    /// How many subscribers there are.
    pub(super) async fn count(&self) -> usize {
        self.subscribers.page(&newsletter(), None, 1_000_000).await.unwrap().subscribers.len()
    }

    /// Lets the worker work until all jobs are done.
    pub(super) async fn run_to_the_end(&self) {
        self.kit.drain().await;
        for faults in [&self.subscribers.faults, &self.kit.blobs.faults] {
            faults.none();
        }
    }

    /// What came of a job that is done.
    pub(super) async fn result(&self, id: &JobId) -> Value {
        let job = self.kit.job(id).await;
        assert_eq!(job.state.as_str(), "succeeded", "{:?}", job.error);
        self.kit.result(id).await
    }
}

#[test]
fn the_kinds_are_of_the_operations_worker_and_internal() {
    for name in [ImportSubscribers::KIND, ExportSubscribers::KIND] {
        let kind = crate::jobs::kind(name).unwrap();
        assert!(kind.internal && kind.worker == Worker::Operations);
    }
}
