//! Everything that is held on the person behind an address: to show it to them, and to erase it.

use crate::domain::address::EmailAddress;
use crate::domain::id::{NewsletterId, Tenant};
use crate::domain::people::{Subscriber, SubscriberKey, User};
use crate::domain::sign_up::SignUp;
use crate::domain::suppression::{Reason, Suppression};
use crate::ports::{Added, Newsletters, PortError, SignUps, Subscribers, Suppressions, Users};
use futures::future::try_join_all;
use jiff::Timestamp;
use std::sync::Arc;

/// Newsletters of one read.
const PAGE: usize = 100;
/// Calls at the same time.
const CONCURRENCY: usize = 16;

/// Where things about people are held.
#[derive(Clone)]
pub struct Records {
    /// The users.
    pub users: Arc<dyn Users>,
    /// The newsletters.
    pub newsletters: Arc<dyn Newsletters>,
    /// Their subscribers.
    pub subscribers: Arc<dyn Subscribers>,
    /// Sign-ups that wait for their confirmation.
    pub sign_ups: Arc<dyn SignUps>,
    /// Who gets no newsletter.
    pub suppressions: Arc<dyn Suppressions>,
}

/// What is held on a person, apart from the ledgers of mails.
pub struct Held {
    /// Whom the tenant registered under the address.
    pub user: Option<User>,
    /// The address on the tenant's newsletters.
    pub subscriptions: Vec<Subscriber>,
    /// What waits for a confirmation.
    pub sign_ups: Vec<SignUp>,
    /// Whether, and why, the address gets no newsletter.
    pub suppression: Option<Suppression>,
}

impl Records {
    /// What is held on the person behind the address.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn held(&self, tenant: &Tenant, email: &EmailAddress) -> Result<Held, PortError> {
        let keys = self.keys(tenant, email).await?;
        let mut subscriptions = Vec::new();
        for keys in keys.chunks(PAGE) {
            subscriptions.extend(self.subscribers.get(keys).await?.into_iter().flatten());
        }
        let mut sign_ups = Vec::new();
        for keys in keys.chunks(CONCURRENCY) {
            let found = try_join_all(keys.iter().map(|key| self.sign_ups.get(key))).await?;
            sign_ups.extend(found.into_iter().flatten());
        }
        Ok(Held {
            user: self.users.get(&User::id_of(tenant, email)).await?,
            subscriptions,
            sign_ups,
            suppression: self.suppressions.check(tenant, std::slice::from_ref(email)).await?.pop().flatten(),
        })
    }

    /// Adds a subscriber who is not suppressed. `None` when they were suppressed in the same moment: whoever is being erased is
    /// not to be left behind.
    ///
    /// # Errors
    /// When something cannot be reached.
    pub async fn add(&self, subscriber: &Subscriber) -> Result<Option<Added<Subscriber>>, PortError> {
        let added = self.subscribers.add(subscriber).await?;
        if matches!(added, Added::New) {
            let email = std::slice::from_ref(&subscriber.email);
            if self.suppressions.check(&subscriber.tenant, email).await?.into_iter().flatten().next().is_some() {
                self.subscribers.remove(&subscriber.key).await?;
                return Ok(None);
            }
        }
        Ok(Some(added))
    }

    /// Erases all that is held on the person behind the address, on all of the tenant's newsletters, and keeps a keyed hash
    /// of the address so that it stays suppressed. `last` goes last: while it is there, something may be left to erase, and
    /// the same call completes it.
    ///
    /// # Errors
    /// When something cannot be reached.
    pub async fn erase(
        &self,
        tenant: &Tenant,
        email: &EmailAddress,
        last: &SubscriberKey,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.suppressions.suppress(tenant, email, Reason::Erased, now).await?;
        let keys = self.keys(tenant, email).await?;
        for keys in keys.chunks(CONCURRENCY) {
            try_join_all(keys.iter().map(|key| self.sign_ups.forget(key))).await?;
            try_join_all(keys.iter().filter(|key| *key != last).map(|key| self.subscribers.remove(key))).await?;
        }
        self.users.remove(&User::id_of(tenant, email)).await?;
        self.subscribers.remove(last).await
    }

    /// The address's keys on all of the tenant's newsletters: it may be on any of them.
    pub async fn keys(&self, tenant: &Tenant, email: &EmailAddress) -> Result<Vec<SubscriberKey>, PortError> {
        let mut keys = Vec::new();
        let mut after = None::<NewsletterId>;
        loop {
            let page = self.newsletters.list(tenant, after.as_ref(), PAGE).await?;
            keys.extend(page.iter().map(|newsletter| SubscriberKey::of(&newsletter.id, email)));
            after = page.last().map(|newsletter| newsletter.id.clone());
            if page.len() < PAGE {
                return Ok(keys);
            }
        }
    }
}
