//! What a run of a million needs that does not keep a million of anything: readers made when they are asked for, a mail
//! service that only counts, and a ledger whose own memory is not the planner's.

use allocation_counter::opt_out;
use async_trait::async_trait;
use jiff::Timestamp;
use millrace::campaigns::Heard;
use millrace::domain::campaign::{Campaign, Frozen};
use millrace::domain::chunk::{EventKind, MailEvent};
use millrace::domain::id::{CampaignId, NewsletterId};
use millrace::domain::people::{Subscriber, SubscriberChange, SubscriberKey};
use millrace::domain::sequence::Enrolment;
use millrace::ports::{
    Added, CampaignView, Campaigns, Clock, DueItem, Mail, MailError, Mailer, PortError, SubscriberPage, Subscribers,
    Written,
};
use millrace::testing::builders::{newsletter, reader};
use millrace::testing::{Faults, MemoryCampaigns, VirtualClock};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// So many readers, whose digests are their numbers.
pub(crate) struct Crowd {
    size: usize,
    /// Where its calls are counted.
    pub(crate) faults: Faults,
}

impl Crowd {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, faults: Faults::default() }
    }

    fn number(digest: &str) -> usize {
        usize::from_str_radix(digest, 16).unwrap()
    }

    fn reader(number: usize) -> Subscriber {
        let key = SubscriberKey::new(newsletter(), format!("{number:032x}")).unwrap();
        Subscriber { key, ..reader(number) }
    }
}

#[async_trait]
impl Subscribers for Crowd {
    async fn get(&self, keys: &[SubscriberKey]) -> Result<Vec<Option<Subscriber>>, PortError> {
        self.faults.before("subscribers").await?;
        Ok(keys.iter().map(|key| Some(Self::reader(Self::number(key.digest())))).collect())
    }

    async fn page(&self, _: &NewsletterId, after: Option<&str>, limit: usize) -> Result<SubscriberPage, PortError> {
        self.faults.before("page").await?;
        // So long a page takes on the table, about; an invocation has no time for all.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let from = after.map_or(0, |digest| Self::number(digest) + 1);
        let to = (from + limit).min(self.size);
        Ok(SubscriberPage { subscribers: (from..to).map(Self::reader).collect(), last: to == self.size })
    }

    async fn add(&self, _: &Subscriber) -> Result<Added<Subscriber>, PortError> {
        unreachable!("a run adds nobody")
    }

    async fn change(&self, _: &SubscriberKey, _: &SubscriberChange) -> Result<Option<Subscriber>, PortError> {
        unreachable!("a run changes nobody")
    }

    async fn confirm(&self, _: &Subscriber) -> Result<Subscriber, PortError> {
        unreachable!("a run confirms nobody")
    }

    async fn advance(&self, _: &SubscriberKey, _: &Enrolment) -> Result<(), PortError> {
        unreachable!("a run is no sequence")
    }

    async fn remove(&self, _: &SubscriberKey) -> Result<(), PortError> {
        unreachable!("a run removes nobody")
    }

    async fn unsubscribe(&self, _: &SubscriberKey, _: Timestamp) -> Result<bool, PortError> {
        unreachable!("a run unsubscribes nobody")
    }
}

/// SES: takes a tenth of a second for a mail, and tells of each that it was sent and delivered.
#[derive(Clone)]
pub(crate) struct Post {
    clock: VirtualClock,
    inner: Arc<Mutex<Accepted>>,
}

#[derive(Default)]
struct Accepted {
    /// Mails to each reader.
    mails: Vec<u8>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    untold: VecDeque<Heard>,
    told: u64,
}

impl Post {
    pub(crate) fn new(readers: usize, clock: VirtualClock) -> Self {
        let mut inner = Accepted::default();
        inner.mails.resize(readers, 0);
        Self { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Takes events off the feedback queue.
    pub(crate) fn receive(&self, most: usize) -> Vec<Heard> {
        let mut inner = self.inner.lock().unwrap();
        let most = most.min(inner.untold.len());
        inner.told += most as u64;
        inner.untold.drain(..most).collect()
    }

    /// How many readers got exactly one mail, and how long it was from the first mail to the last.
    pub(crate) fn account(&self) -> (usize, Duration) {
        let inner = self.inner.lock().unwrap();
        let span = inner.last.unwrap().duration_since(inner.first.unwrap());
        (inner.mails.iter().filter(|mails| **mails == 1).count(), span.unsigned_abs())
    }

    /// How many events came.
    pub(crate) fn told(&self) -> u64 {
        self.inner.lock().unwrap().told
    }

    fn accept(&self, mail: &Mail) -> String {
        let now = self.clock.now();
        let to = mail.to.trim_start_matches("reader");
        let reader: usize = to.split('@').next().unwrap().parse().unwrap();
        let tag = |name: &str| mail.tags.iter().find(|(tag, _)| tag == name).unwrap().1.as_str();
        // As long as SES's.
        let message_id = format!("0100018f2c5d{reader:020x}-1f5e2c66-9d3b-4a3e-8c21-7b6b6f0a4d11-000000");
        let mut inner = self.inner.lock().unwrap();
        inner.mails[reader] += 1;
        inner.first.get_or_insert(now);
        inner.last = Some(now);
        for kind in [EventKind::Send, EventKind::Delivery] {
            let event = MailEvent {
                place: tag("recipient").parse().unwrap(),
                attempt: tag("attempt").parse().unwrap(),
                message_id: message_id.clone(),
                kind,
                reason: None,
            };
            inner.untold.push_back(Heard {
                campaign: tag("campaign").parse().unwrap(),
                chunk: tag("chunk").parse().unwrap(),
                event,
                sent_at: now,
                against: None,
            });
        }
        message_id
    }
}

#[async_trait]
impl Mailer for Post {
    async fn send(&self, mail: &Mail) -> Result<String, MailError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut message_id = String::new();
        opt_out(|| message_id = self.accept(mail));
        Ok(message_id)
    }
}

/// Work whose memory is not that of who asks for it.
struct Aside<F>(Pin<Box<F>>);

impl<F: Future> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut polled = Poll::Pending;
        opt_out(|| polled = self.0.as_mut().poll(context));
        polled
    }
}

/// Campaigns on a table that keeps what is frozen.
pub(crate) struct Ledger(pub(crate) Arc<MemoryCampaigns>);

#[async_trait]
impl Campaigns for Ledger {
    async fn create(&self, campaign: &Campaign) -> Result<Added<Campaign>, PortError> {
        self.0.create(campaign).await
    }

    async fn get(&self, id: &CampaignId) -> Result<Option<CampaignView>, PortError> {
        Campaigns::get(&*self.0, id).await
    }

    async fn meta(&self, id: &CampaignId) -> Result<Option<Campaign>, PortError> {
        self.0.meta(id).await
    }

    async fn update(&self, before: &Campaign, after: &Campaign) -> Result<Written, PortError> {
        Campaigns::update(&*self.0, before, after).await
    }

    async fn freeze(&self, before: &Campaign, page: &Frozen) -> Result<Written, PortError> {
        Aside(Box::pin(self.0.freeze(before, page))).await
    }

    async fn active(&self, limit: usize) -> Result<Vec<CampaignId>, PortError> {
        self.0.active(limit).await
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueItem>, PortError> {
        self.0.due(until, limit).await
    }
}
