use super::batch_get::batch_get;
use super::item::{Item, ms, s};
use super::mail_items::{
    META, newsletter_pk, read_newsletter, read_subscriber, read_user, subscriber_pk, subscribers_pk, user_pk,
    write_newsletter, write_subscriber, write_user,
};
use super::{DynamoMail, port_error};
use crate::domain::id::{NewsletterId, UserId};
use crate::domain::people::{Newsletter, Subscriber, SubscriberKey, SubscriberStatus, User};
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
}

#[async_trait]
impl Newsletters for DynamoMail {
    async fn add(&self, newsletter: &Newsletter) -> Result<Added<Newsletter>, PortError> {
        added(self.put_new(&write_newsletter(newsletter)?).await?, read_newsletter)
    }

    async fn get(&self, id: &NewsletterId) -> Result<Option<Newsletter>, PortError> {
        self.read(&newsletter_pk(id), META).await?.as_ref().map(read_newsletter).transpose()
    }
}

fn subscriber_key(key: &SubscriberKey) -> Item {
    Item::from([("pk".into(), s(subscriber_pk(key))), ("sk".into(), s(key.digest()))])
}

impl DynamoMail {
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

    async fn unsubscribe(&self, key: &SubscriberKey, at: Timestamp) -> Result<bool, PortError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(subscriber_key(key)))
            .update_expression("SET #status = :status, unsubscribed_at = if_not_exists(unsubscribed_at, :at)")
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
