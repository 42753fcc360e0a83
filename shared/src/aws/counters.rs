//! Pages of counts, each an item that holds beside its counts up to where it has counted each shard. One update moves both,
//! so that no transaction is needed, and each page is right by itself whatever becomes of the others.
//!
//! An item is billed by its size, and a shard lives for some hours only; so a page is spread over [`SLOTS`] items by shard,
//! and forgets a shard when nothing of it can be told any more.

use super::batch_get::batch_get;
use super::item::{Item, n, optional_text, s, text};
use super::{item, port_error};
use crate::domain::change::{Sequence, Shard};
use crate::domain::id::{Tenant, digest_hex};
use crate::domain::stats::{Count, Counts, Entry, Minute, Page, after};
use crate::ports::{Counters, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use futures::future::try_join_all;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Items of a page.
const SLOTS: u8 = 4;
/// A stream tells nothing older than a day
/// ([AWS](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html)); what a page knows of a shard that
/// was silent for longer is of no use.
const FORGET: Duration = Duration::from_secs(26 * 3_600);
/// How long minutes are kept.
const KEEP_MINUTES: Duration = Duration::from_secs(14 * 24 * 3_600);
/// How often an item is read again that changes between the read and the write.
const TRIES: usize = 5;
/// What the name of an attribute begins with that holds how far a shard was counted: `<sequence> <seconds since 1970>`.
const MARK: char = '@';
/// The sort key of a page of states.
const STATES: &str = "STATES";

/// Pages in a DynamoDB table with the key `pk`, `sk`: `STATES#<tenant>#<slot>` and `MINUTES#<tenant>#<slot>`, the latter
/// by minute.
#[derive(Clone)]
pub struct DynamoCounters {
    client: Client,
    table: String,
}

fn states_pk(tenant: &Tenant, slot: u8) -> String {
    format!("STATES#{tenant}#{slot}")
}

fn minutes_pk(tenant: &Tenant, slot: u8) -> String {
    format!("MINUTES#{tenant}#{slot}")
}

/// `2027-01-15T08:00Z`: sorts by time.
fn minute_sk(minute: Minute) -> String {
    let start = minute.start().to_string();
    format!("{}Z", start.get(..16).unwrap_or(&start))
}

fn key(page: &Page, slot: u8) -> Item {
    let (pk, sk) = match page {
        Page::States(tenant) => (states_pk(tenant, slot), STATES.to_owned()),
        Page::Minute(tenant, minute) => (minutes_pk(tenant, slot), minute_sk(*minute)),
    };
    Item::from([("pk".into(), s(pk)), ("sk".into(), s(sk))])
}

/// The attribute that holds how far a shard was counted, and the slot that it is counted in.
fn place(shard: &Shard) -> (String, u8) {
    let digest = digest_hex(&[shard.as_str()]);
    let slot = u8::from_str_radix(&digest[..2], 16).unwrap_or(0) % SLOTS;
    (format!("{MARK}{}", &digest[..12]), slot)
}

fn mark(text: &str) -> Option<(Sequence, i64)> {
    let (sequence, seconds) = text.split_once(' ')?;
    Some((Sequence::parse(sequence).ok()?, seconds.parse().ok()?))
}

fn counts(item: &Item, into: &mut Counts) {
    for (name, value) in item {
        let number = value.as_n().ok().and_then(|text| text.parse::<i64>().ok());
        if let (Some(count), Some(number)) = (Count::parse(name), number) {
            *into.entry(count).or_default() += number;
        }
    }
}

impl DynamoCounters {
    /// Pages in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    async fn read(&self, key: &Item) -> Result<Item, PortError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key.clone())).consistent_read(true);
        Ok(get.send().await.map_err(port_error)?.item.unwrap_or_default())
    }
}

/// An update that adds counts and moves a shard's mark from where it was found.
struct Update {
    expression: String,
    condition: String,
    names: HashMap<String, String>,
    values: Item,
}

/// `None`: all of it was told before.
fn update(
    found: &Item,
    name: &str,
    page: &Page,
    entries: &[Entry],
    now: Timestamp,
) -> Result<Option<Update>, PortError> {
    let old = optional_text(found, name);
    let last = match old {
        Some(text) => Some(mark(text).ok_or_else(|| item::corrupt(name))?.0),
        None => None,
    };
    let Some((reached, counts)) = after(last.as_ref(), entries) else { return Ok(None) };
    let mut names = HashMap::from([("#mark".to_owned(), name.to_owned())]);
    let mut values = Item::from([(":mark".to_owned(), s(format!("{reached} {}", now.as_second())))]);
    let mut set = vec!["#mark = :mark".to_owned()];
    let condition = match old {
        Some(old) => {
            values.insert(":old".to_owned(), s(old));
            "#mark = :old".to_owned()
        }
        None => "attribute_not_exists(#mark)".to_owned(),
    };
    if let Page::Minute(_, minute) = page {
        names.insert("#expires".to_owned(), "expires_at".to_owned());
        values.insert(
            ":expires".to_owned(),
            n(minute.start().saturating_add(KEEP_MINUTES).unwrap_or(Timestamp::MAX).as_second()),
        );
        set.push("#expires = :expires".to_owned());
    }
    let mut expression = format!("SET {}", set.join(", "));
    let mut add = Vec::new();
    for (i, (count, by)) in counts.into_iter().enumerate() {
        names.insert(format!("#c{i}"), count.to_string());
        values.insert(format!(":c{i}"), n(by));
        add.push(format!("#c{i} :c{i}"));
    }
    if !add.is_empty() {
        expression.push_str(&format!(" ADD {}", add.join(", ")));
    }
    let forgotten = |text: &str| mark(text).is_none_or(|(_, at)| at < (now - FORGET).as_second());
    let stale = found.iter().filter(|(other, value)| {
        other.starts_with(MARK) && *other != name && value.as_s().is_ok_and(|text| forgotten(text))
    });
    let mut remove = Vec::new();
    for (i, (other, _)) in stale.enumerate() {
        names.insert(format!("#f{i}"), other.clone());
        remove.push(format!("#f{i}"));
    }
    if !remove.is_empty() {
        expression.push_str(&format!(" REMOVE {}", remove.join(", ")));
    }
    Ok(Some(Update { expression, condition, names, values }))
}

#[async_trait]
impl Counters for DynamoCounters {
    async fn add(&self, shard: &Shard, page: &Page, entries: &[Entry], now: Timestamp) -> Result<(), PortError> {
        let (name, slot) = place(shard);
        let key = key(page, slot);
        for _ in 0..TRIES {
            let found = self.read(&key).await?;
            let Some(update) = update(&found, &name, page, entries, now)? else { return Ok(()) };
            let call = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .update_expression(update.expression)
                .condition_expression(update.condition)
                .set_expression_attribute_names(Some(update.names))
                .set_expression_attribute_values(Some(update.values));
            match call.send().await {
                Ok(_) => return Ok(()),
                // Written meanwhile, perhaps by this very call, which the SDK sent twice: the next read tells.
                Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {}
                Err(error) => return Err(port_error(error)),
            }
        }
        Err(PortError::Unavailable(anyhow::anyhow!("a page of counts changed at each of {TRIES} looks")))
    }

    async fn states(&self, tenant: &Tenant) -> Result<Counts, PortError> {
        let page = Page::States(tenant.clone());
        let keys = (0..SLOTS).map(|slot| key(&page, slot)).collect();
        let mut sums = Counts::new();
        for item in batch_get(&self.client, &self.table, keys, false).await? {
            counts(&item, &mut sums);
        }
        Ok(sums)
    }

    async fn minutes(
        &self,
        tenant: &Tenant,
        first: Minute,
        last: Minute,
    ) -> Result<BTreeMap<Minute, Counts>, PortError> {
        let slots = (0..SLOTS).map(|slot| async move {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":pk", s(minutes_pk(tenant, slot)))
                .expression_attribute_values(":first", s(minute_sk(first)))
                .expression_attribute_values(":last", s(minute_sk(last)));
            let items: Result<Vec<Item>, _> = query.into_paginator().items().send().collect().await;
            items.map_err(port_error)
        });
        let mut minutes: BTreeMap<Minute, Counts> = BTreeMap::new();
        for item in try_join_all(slots).await?.iter().flatten() {
            let start = text(item, "sk")?.trim_end_matches('Z');
            let start: Timestamp = format!("{start}:00Z").parse().map_err(|_| item::corrupt("sk"))?;
            counts(item, minutes.entry(Minute::of(start)).or_default());
        }
        Ok(minutes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stats::{Happened, What};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn entries() -> Vec<Entry> {
        let count = Count { kind: "echo".into(), what: What::Happened(Happened::Started) };
        vec![Entry { sequence: Sequence::parse("7").unwrap(), count, by: 1 }]
    }

    fn page() -> Page {
        Page::States(Tenant::parse("t").unwrap())
    }

    #[test]
    fn a_minute_is_named_by_its_start() {
        assert_eq!(minute_sk(Minute::of(at(59))), "2027-01-15T08:00Z");
    }

    #[test]
    fn a_shard_that_was_silent_for_long_is_forgotten_and_no_other() {
        let old = at(0) - FORGET - Duration::from_secs(1);
        let found = Item::from([
            ("@old".to_owned(), s(format!("9 {}", old.as_second()))),
            ("@fresh".to_owned(), s(format!("9 {}", (at(0) - FORGET).as_second()))),
            ("@own".to_owned(), s(format!("6 {}", old.as_second()))),
        ]);
        let update = update(&found, "@own", &page(), &entries(), at(0)).unwrap().unwrap();
        assert_eq!(update.names.values().filter(|name| name.starts_with(MARK)).count(), 2, "{:?}", update.names);
        assert!(update.names.values().any(|name| name == "@old") && update.expression.contains("REMOVE #f0"));
        assert_eq!(update.condition, "#mark = :old");
    }

    #[test]
    fn what_was_counted_is_not_written_again() {
        let found = Item::from([("@own".to_owned(), s(format!("7 {}", at(0).as_second())))]);
        assert!(update(&found, "@own", &page(), &entries(), at(0)).unwrap().is_none());
        let garbled = Item::from([("@own".to_owned(), s("seven"))]);
        assert!(update(&garbled, "@own", &page(), &entries(), at(0)).is_err(), "rather no count than a wrong one");
    }
}
