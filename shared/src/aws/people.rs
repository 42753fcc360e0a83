use super::batch_get::batch_get;
use super::changes::{changing, conditional};
use super::enrolments::{SEQUENCE_AT, write_enrolment};
use super::item::{Item, json, ms, s, text};
use super::mail_items::{
    LISTED, META, newsletter_changes, newsletter_pk, newsletters_pk, read_newsletter, read_subscriber, read_user,
    subscriber_changes, subscriber_pk, subscribers_pk, user_pk, write_newsletter, write_subscriber, write_user,
};
use super::{DynamoMail, port_error};
use crate::domain::id::{NewsletterId, Tenant, UserId};
use crate::domain::people::{
    Newsletter, NewsletterChange, Subscriber, SubscriberChange, SubscriberKey, SubscriberStatus, User,
};
use crate::domain::sequence::Enrolment;
use crate::ports::{Added, Newsletters, PortError, SubscriberPage, Subscribers, Users};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use std::collections::HashMap;

fn added<T>(old: Option<Item>, read: impl FnOnce(&Item) -> Result<T, PortError>) -> Result<Added<T>, PortError> {
    Ok(match old {
        None => Added::New,
        Some(old) => Added::Exists(Box::new(read(&old)?)),
    })
}

/// Whether the item was there to be updated.
async fn updated(call: UpdateItemFluentBuilder) -> Result<bool, PortError> {
    match call.condition_expression("attribute_exists(pk)").send().await {
        Ok(_) => Ok(true),
        Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(false),
        Err(error) => Err(port_error(error)),
    }
}

#[async_trait]
impl Users for DynamoMail {
    async fn add(&self, user: &User) -> Result<Added<User>, PortError> {
        added(self.put_new(&write_user(user)).await?, read_user)
    }

    async fn get(&self, id: &UserId) -> Result<Option<User>, PortError> {
        self.read(&user_pk(id), META).await?.as_ref().map(read_user).transpose()
    }

    async fn welcomed(&self, id: &UserId, at: Timestamp) -> Result<bool, PortError> {
        let call = self.client.update_item().table_name(&self.table).key("pk", s(user_pk(id))).key("sk", s(META));
        let call = call.update_expression("SET welcomed_at = if_not_exists(welcomed_at, :at)");
        updated(call.expression_attribute_values(":at", ms(at))).await
    }

    async fn remove(&self, id: &UserId) -> Result<(), PortError> {
        self.delete(&user_pk(id), META).await
    }
}

#[async_trait]
impl Newsletters for DynamoMail {
    async fn add(&self, newsletter: &Newsletter) -> Result<Added<Newsletter>, PortError> {
        // A place without a newsletter is passed over.
        self.place(newsletter).await?;
        added(self.put_new(&write_newsletter(newsletter)?).await?, read_newsletter)
    }

    async fn get(&self, id: &NewsletterId) -> Result<Option<Newsletter>, PortError> {
        let Some(item) = self.read(&newsletter_pk(id), META).await? else { return Ok(None) };
        let newsletter = read_newsletter(&item)?;
        if !item.contains_key(LISTED) {
            // Made before there was a list.
            self.place(&newsletter).await?;
            let call =
                self.client.update_item().table_name(&self.table).key("pk", s(newsletter_pk(id))).key("sk", s(META));
            let listed = ("listed", Some(AttributeValue::Bool(true)));
            changed(changing(call, &vec![listed], &[], &[])).await?;
        }
        Ok(Some(newsletter))
    }

    async fn change(&self, id: &NewsletterId, change: &NewsletterChange) -> Result<Option<Newsletter>, PortError> {
        let changes = newsletter_changes(change)?;
        if changes.is_empty() {
            return Newsletters::get(self, id).await;
        }
        let call = self.client.update_item().table_name(&self.table).key("pk", s(newsletter_pk(id))).key("sk", s(META));
        changed(changing(call, &changes, &[], &[])).await?.as_ref().map(read_newsletter).transpose()
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&NewsletterId>,
        limit: usize,
    ) -> Result<Vec<Newsletter>, PortError> {
        let mut after = after.map(|id| id.as_str().to_owned());
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = limit - found.len();
            let places = self.places(&newsletters_pk(tenant), after.as_deref(), wanted).await?;
            let keys =
                places.iter().map(|id| Item::from([("pk".into(), s(format!("NL#{id}"))), ("sk".into(), s(META))]));
            let items = match places.is_empty() {
                true => Vec::new(),
                false => batch_get(&self.client, &self.table, keys.collect(), true).await?,
            };
            let mut page = items.iter().map(read_newsletter).collect::<Result<Vec<_>, _>>()?;
            page.sort_by(|a, b| a.id.cmp(&b.id));
            found.extend(page.into_iter().filter(|newsletter| newsletter.tenant == *tenant));
            if places.len() < wanted {
                break;
            }
            after = places.into_iter().last();
        }
        Ok(found)
    }
}

/// The item after an update of one that was there.
async fn changed(call: UpdateItemFluentBuilder) -> Result<Option<Item>, PortError> {
    Ok(conditional(call.condition_expression("attribute_exists(pk)")).await?.ok())
}

fn subscriber_key(key: &SubscriberKey) -> Item {
    Item::from([("pk".into(), s(subscriber_pk(key))), ("sk".into(), s(key.digest()))])
}

impl DynamoMail {
    /// Puts a newsletter in its place in its tenant's list.
    async fn place(&self, newsletter: &Newsletter) -> Result<(), PortError> {
        let put = self.client.put_item().table_name(&self.table).item("pk", s(newsletters_pk(&newsletter.tenant)));
        put.item("sk", s(newsletter.id.as_str())).send().await.map(drop).map_err(port_error)
    }

    /// At most `limit` of the sort keys of a partition that come after `after`, in order. Fewer: there are no more.
    async fn places(&self, pk: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>, PortError> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
                .key_condition_expression("pk = :pk AND sk > :after")
                .expression_attribute_values(":pk", s(pk))
                // No sort key is lower than a blank.
                .expression_attribute_values(":after", s(after.unwrap_or(" ")))
                .set_exclusive_start_key(start);
            let answer = query.send().await.map_err(port_error)?;
            for item in answer.items() {
                found.push(text(item, "sk")?.to_owned());
            }
            start = answer.last_evaluated_key;
            if found.len() >= limit || start.is_none() {
                return Ok(found);
            }
        }
    }

    /// One page of one of a newsletter's partitions, and where the next begins.
    async fn partition(
        &self,
        pk: &str,
        after: Option<&str>,
        start: Option<HashMap<String, AttributeValue>>,
        limit: usize,
    ) -> Result<(Vec<Subscriber>, Option<HashMap<String, AttributeValue>>), PortError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .expression_attribute_values(":pk", s(pk));
        query = match after {
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk > :after")
                .expression_attribute_values(":after", s(after)),
            None => query.key_condition_expression("pk = :pk"),
        };
        let answer = query.send().await.map_err(port_error)?;
        let subscribers = answer.items().iter().map(read_subscriber).collect::<Result<_, _>>()?;
        Ok((subscribers, answer.last_evaluated_key))
    }
}

#[async_trait]
impl Subscribers for DynamoMail {
    async fn add(&self, subscriber: &Subscriber) -> Result<Added<Subscriber>, PortError> {
        added(self.put_new(&write_subscriber(subscriber)?).await?, read_subscriber)
    }

    async fn get(&self, keys: &[SubscriberKey]) -> Result<Vec<Option<Subscriber>>, PortError> {
        let mut unique: Vec<&SubscriberKey> = keys.iter().collect();
        unique.sort();
        unique.dedup();
        if unique.is_empty() {
            return Ok(Vec::new());
        }
        let items =
            batch_get(&self.client, &self.table, unique.into_iter().map(subscriber_key).collect(), true).await?;
        let mut found = HashMap::new();
        for item in &items {
            let subscriber = read_subscriber(item)?;
            found.insert(subscriber.key.clone(), subscriber);
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn change(&self, key: &SubscriberKey, change: &SubscriberChange) -> Result<Option<Subscriber>, PortError> {
        let changes = subscriber_changes(change)?;
        if changes.is_empty() {
            return Ok(Subscribers::get(self, std::slice::from_ref(key)).await?.pop().flatten());
        }
        let call = self.client.update_item().table_name(&self.table).set_key(Some(subscriber_key(key)));
        changed(changing(call, &changes, &[], &[])).await?.as_ref().map(read_subscriber).transpose()
    }

    async fn confirm(&self, confirmed: &Subscriber) -> Result<Subscriber, PortError> {
        let change = SubscriberChange {
            name: confirmed.name.clone().map(Some),
            time_zone: confirmed.time_zone.clone().map(Some),
            tags: None,
        };
        let mut changes = subscriber_changes(&change)?;
        changes.push(("consent", confirmed.consent.as_ref().map(json).transpose()?));
        changes.push(("tenant", Some(s(confirmed.tenant.as_str()))));
        changes.push(("email", Some(s(confirmed.email.as_str()))));
        changes.push(("status", Some(s(SubscriberStatus::Active.as_str()))));
        let call = self.client.update_item().table_name(&self.table).set_key(Some(subscriber_key(&confirmed.key)));
        let first = |name: &str| format!("{name} = if_not_exists({name}, :{name})");
        let mut firsts = vec![("created_at", ms(confirmed.created_at))];
        // Whoever was enrolled before stays in that, however far it came: it has all that an enrolment begins with.
        firsts.extend(confirmed.sequence.iter().flat_map(write_enrolment));
        let clauses: Vec<String> = firsts.iter().map(|(name, _)| first(name)).collect();
        let clauses: Vec<&str> = clauses.iter().map(String::as_str).collect();
        let mut call = changing(call, &changes, &clauses, &["unsubscribed_at", "expires_at"])
            .condition_expression("attribute_not_exists(pk) OR #status <> :status");
        for (name, value) in firsts {
            call = call.expression_attribute_values(format!(":{name}"), value);
        }
        let stored = match conditional(call).await? {
            Ok(new) => new,
            Err(active) => active.ok_or_else(|| super::item::corrupt("status"))?,
        };
        read_subscriber(&stored)
    }

    async fn advance(&self, key: &SubscriberKey, enrolment: &Enrolment) -> Result<(), PortError> {
        let further = match enrolment.ended {
            Some(_) => "#seq_taken <= :seq_taken",
            None => "#seq_taken < :seq_taken",
        };
        let changes = write_enrolment(enrolment).into_iter().map(|(name, value)| (name, Some(value))).collect();
        let call = self.client.update_item().table_name(&self.table).set_key(Some(subscriber_key(key)));
        let call = changing(call, &changes, &[], &[]);
        let call = call.condition_expression(format!(
            "#{SEQUENCE_AT} = :{SEQUENCE_AT} AND attribute_not_exists(seq_end) AND {further}"
        ));
        conditional(call).await.map(drop)
    }

    async fn remove(&self, key: &SubscriberKey) -> Result<(), PortError> {
        self.delete(&subscriber_pk(key), key.digest()).await
    }

    async fn unsubscribe(&self, key: &SubscriberKey, at: Timestamp) -> Result<bool, PortError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(subscriber_key(key)))
            .update_expression(
                "SET #status = :status, unsubscribed_at = if_not_exists(unsubscribed_at, :at) REMOVE expires_at",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", s(SubscriberStatus::Unsubscribed.as_str()))
            .expression_attribute_values(":at", ms(at));
        updated(call).await
    }

    async fn page(
        &self,
        newsletter: &NewsletterId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SubscriberPage, PortError> {
        let first = after.and_then(|after| after.chars().next()).unwrap_or('0');
        let mut page = SubscriberPage::default();
        for digit in "0123456789abcdef".chars().filter(|digit| *digit >= first) {
            let pk = subscribers_pk(newsletter, digit);
            let after = after.filter(|_| digit == first);
            let mut start = None;
            loop {
                let (some, rest) = self.partition(&pk, after, start, limit - page.subscribers.len()).await?;
                page.subscribers.extend(some);
                if page.subscribers.len() >= limit {
                    page.last = digit == 'f' && rest.is_none();
                    return Ok(page);
                }
                if rest.is_none() {
                    break;
                }
                start = rest;
            }
        }
        page.last = true;
        Ok(page)
    }
}
