use super::Faults;
use crate::domain::id::{NewsletterId, Tenant, UserId};
use crate::domain::people::{
    Newsletter, NewsletterChange, Subscriber, SubscriberChange, SubscriberKey, SubscriberStatus, User,
};
use crate::domain::sequence::Enrolment;
use crate::ports::{Added, Newsletters, PortError, SubscriberPage, Subscribers, Users};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

/// Things by their key.
struct Shelf<K, V>(Arc<Mutex<BTreeMap<K, V>>>);

impl<K, V> Clone for Shelf<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone, V: Clone> Shelf<K, V> {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<K, V>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, key: &K, value: &V) -> Added<V> {
        self.with(|all| match all.entry(key.clone()) {
            Entry::Occupied(old) => Added::Exists(Box::new(old.get().clone())),
            Entry::Vacant(free) => {
                free.insert(value.clone());
                Added::New
            }
        })
    }

    fn get(&self, key: &K) -> Option<V> {
        self.with(|all| all.get(key).cloned())
    }

    fn change(&self, key: &K, change: impl FnOnce(V) -> V) -> Option<V> {
        self.with(|all| {
            let value = all.get_mut(key)?;
            *value = change(value.clone());
            Some(value.clone())
        })
    }

    fn remove(&self, key: &K) {
        self.with(|all| all.remove(key));
    }
}

/// Users in memory.
#[derive(Clone, Default)]
pub struct MemoryUsers {
    all: Shelf<UserId, User>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

#[async_trait]
impl Users for MemoryUsers {
    async fn add(&self, user: &User) -> Result<Added<User>, PortError> {
        self.faults.before("add").await?;
        let added = self.all.add(&user.id, user);
        self.faults.after("add").await?;
        Ok(added)
    }

    async fn get(&self, id: &UserId) -> Result<Option<User>, PortError> {
        self.faults.before("get").await?;
        Ok(self.all.get(id))
    }

    async fn welcomed(&self, id: &UserId, at: Timestamp) -> Result<bool, PortError> {
        self.faults.before("welcomed").await?;
        let found = self.all.with(|all| {
            all.get_mut(id).map(|user| {
                user.welcomed_at.get_or_insert(at);
            })
        });
        self.faults.after("welcomed").await?;
        Ok(found.is_some())
    }

    async fn remove(&self, id: &UserId) -> Result<(), PortError> {
        self.faults.before("remove").await?;
        self.all.remove(id);
        self.faults.after("remove").await
    }
}

/// Newsletters in memory.
#[derive(Clone, Default)]
pub struct MemoryNewsletters {
    all: Shelf<NewsletterId, Newsletter>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryNewsletters {
    /// Changes a newsletter that is there.
    pub fn replace(&self, id: &NewsletterId, change: impl FnOnce(&mut Newsletter)) {
        self.all.with(|all| all.get_mut(id).map(change));
    }
}

#[async_trait]
impl Newsletters for MemoryNewsletters {
    async fn add(&self, newsletter: &Newsletter) -> Result<Added<Newsletter>, PortError> {
        self.faults.before("add").await?;
        let added = self.all.add(&newsletter.id, newsletter);
        self.faults.after("add").await?;
        Ok(added)
    }

    async fn get(&self, id: &NewsletterId) -> Result<Option<Newsletter>, PortError> {
        self.faults.before("get").await?;
        Ok(self.all.get(id))
    }

    async fn change(&self, id: &NewsletterId, change: &NewsletterChange) -> Result<Option<Newsletter>, PortError> {
        self.faults.before("change").await?;
        let changed = self.all.change(id, |newsletter| change.of(newsletter));
        self.faults.after("change").await?;
        Ok(changed)
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&NewsletterId>,
        limit: usize,
    ) -> Result<Vec<Newsletter>, PortError> {
        self.faults.before("list").await?;
        let fits = |one: &&Newsletter| one.tenant == *tenant && after.is_none_or(|after| one.id > *after);
        Ok(self.all.with(|all| all.values().filter(fits).take(limit).cloned().collect()))
    }
}

/// Subscribers in memory.
#[derive(Clone, Default)]
pub struct MemorySubscribers {
    all: Shelf<SubscriberKey, Subscriber>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemorySubscribers {
    /// Erases a subscriber.
    pub fn erase(&self, key: &SubscriberKey) {
        self.all.remove(key);
    }
}

#[async_trait]
impl Subscribers for MemorySubscribers {
    async fn add(&self, subscriber: &Subscriber) -> Result<Added<Subscriber>, PortError> {
        self.faults.before("add").await?;
        let added = self.all.add(&subscriber.key, subscriber);
        self.faults.after("add").await?;
        Ok(added)
    }

    async fn get(&self, keys: &[SubscriberKey]) -> Result<Vec<Option<Subscriber>>, PortError> {
        self.faults.before("get").await?;
        Ok(keys.iter().map(|key| self.all.get(key)).collect())
    }

    async fn change(&self, key: &SubscriberKey, change: &SubscriberChange) -> Result<Option<Subscriber>, PortError> {
        self.faults.before("change").await?;
        let changed = self.all.change(key, |subscriber| change.of(subscriber));
        self.faults.after("change").await?;
        Ok(changed)
    }

    async fn confirm(&self, confirmed: &Subscriber) -> Result<Subscriber, PortError> {
        self.faults.before("confirm").await?;
        let stored = self.all.with(|all| match all.entry(confirmed.key.clone()) {
            Entry::Vacant(free) => free.insert(confirmed.clone()).clone(),
            Entry::Occupied(mut old) => {
                if old.get().status != SubscriberStatus::Active {
                    let before = old.get().clone();
                    old.insert(Subscriber {
                        name: confirmed.name.clone().or(before.name),
                        time_zone: confirmed.time_zone.clone().or(before.time_zone),
                        tags: before.tags,
                        created_at: before.created_at,
                        sequence: before.sequence.or_else(|| confirmed.sequence.clone()),
                        ..confirmed.clone()
                    });
                }
                old.get().clone()
            }
        });
        self.faults.after("confirm").await?;
        Ok(stored)
    }

    async fn advance(&self, key: &SubscriberKey, enrolment: &Enrolment) -> Result<(), PortError> {
        self.faults.before("advance").await?;
        self.all.with(|all| {
            let stored = all.get_mut(key).and_then(|subscriber| subscriber.sequence.as_mut());
            if let Some(stored) = stored.filter(|stored| enrolment.follows(stored)) {
                *stored = enrolment.clone();
            }
        });
        self.faults.after("advance").await
    }

    async fn remove(&self, key: &SubscriberKey) -> Result<(), PortError> {
        self.faults.before("remove").await?;
        self.all.remove(key);
        self.faults.after("remove").await
    }

    async fn unsubscribe(&self, key: &SubscriberKey, at: Timestamp) -> Result<bool, PortError> {
        self.faults.before("unsubscribe").await?;
        let found = self.all.with(|all| {
            all.get_mut(key).map(|subscriber| {
                subscriber.status = SubscriberStatus::Unsubscribed;
                subscriber.unsubscribed_at.get_or_insert(at);
            })
        });
        self.faults.after("unsubscribe").await?;
        Ok(found.is_some())
    }

    async fn page(
        &self,
        newsletter: &NewsletterId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SubscriberPage, PortError> {
        self.faults.before("page").await?;
        Ok(self.all.with(|all| {
            let mut rest = all
                .values()
                .filter(|one| one.key.newsletter() == newsletter && after.is_none_or(|after| one.key.digest() > after));
            let subscribers: Vec<_> = rest.by_ref().take(limit).cloned().collect();
            SubscriberPage { last: rest.next().is_none(), subscribers }
        }))
    }
}
