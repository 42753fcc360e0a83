//! What Lambda is given of the stream of the jobs table, read at the door.

use super::item::Item;
use super::jobs::read;
use crate::domain::change::{Change, Sequence, Shard, Step};
use crate::outbox::Told;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// What Lambda gives
/// ([form](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-windows.html)). At the end of a window it has no
/// records.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    #[serde(rename = "Records", default)]
    records: Vec<Value>,
    /// Told only to an event source with a tumbling window.
    #[serde(rename = "shardId", default)]
    shard: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    dynamodb: Images,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Images {
    keys: HashMap<String, Value>,
    sequence_number: String,
    new_image: Option<HashMap<String, Value>>,
    old_image: Option<HashMap<String, Value>>,
}

impl StreamEvent {
    /// The shard of its records. The local engine has one and names none.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard::new(self.shard.as_deref().unwrap_or("the only one"))
    }

    /// Its records, in their order.
    #[must_use]
    pub fn told(self) -> Vec<Told> {
        self.records.into_iter().map(told).collect()
    }
}

fn told(record: Value) -> Told {
    match change(&record) {
        Ok(Some(change)) => Told::Change(Box::new(change)),
        Ok(None) => Told::Foreign,
        Err(why) => Told::Unreadable { why, record: record.to_string() },
    }
}

/// `None`: the item is no job.
fn change(record: &Value) -> Result<Option<Change>, String> {
    let place = |error: serde_json::Error| format!("not a record of a stream: {:?}", error.classify());
    let Record { dynamodb: images } = Record::deserialize(record).map_err(place)?;
    let is_job = |pk: &Value| pk["S"].as_str().is_some_and(|pk| pk.starts_with("JOB#"));
    if !images.keys.get("pk").is_some_and(is_job) {
        return Ok(None);
    }
    let sequence = Sequence::parse(&images.sequence_number).map_err(|error| error.to_string())?;
    let job = |image: HashMap<String, Value>| {
        let item = image.into_iter().map(|(name, value)| Some((name, attribute(value)?)));
        let item = item.collect::<Option<Item>>().ok_or("an attribute is of a type that is not known")?;
        read(&item).map(Box::new).map_err(|error| error.to_string())
    };
    let step = match (images.old_image.map(job).transpose()?, images.new_image.map(job).transpose()?) {
        (None, Some(new)) => Step::Created(new),
        (Some(old), Some(new)) if old.id == new.id => Step::Changed { old, new },
        (Some(_), Some(_)) => return Err("its images are of two jobs".to_owned()),
        (Some(old), None) => Step::Deleted(old),
        (None, None) => return Err("it has no image: the stream must have old and new ones".to_owned()),
    };
    Ok(Some(Change { sequence, step }))
}

/// An attribute from its JSON form, `{"S": "text"}`.
fn attribute(value: Value) -> Option<AttributeValue> {
    let Value::Object(form) = value else { return None };
    let mut form = form.into_iter();
    let (kind, value) = form.next().filter(|_| form.len() == 0)?;
    let texts = |value: Value| serde_json::from_value::<Vec<String>>(value).ok();
    let bytes = |text: &str| STANDARD.decode(text).ok().map(Blob::new);
    Some(match (kind.as_str(), value) {
        ("S", Value::String(text)) => AttributeValue::S(text),
        ("N", Value::String(text)) => AttributeValue::N(text),
        ("BOOL", Value::Bool(flag)) => AttributeValue::Bool(flag),
        ("NULL", Value::Bool(flag)) => AttributeValue::Null(flag),
        ("B", Value::String(text)) => AttributeValue::B(bytes(&text)?),
        ("SS", list) => AttributeValue::Ss(texts(list)?),
        ("NS", list) => AttributeValue::Ns(texts(list)?),
        ("BS", list) => AttributeValue::Bs(texts(list)?.iter().map(|text| bytes(text)).collect::<Option<_>>()?),
        ("L", Value::Array(list)) => AttributeValue::L(list.into_iter().map(attribute).collect::<Option<_>>()?),
        ("M", Value::Object(map)) => {
            let map = map.into_iter().map(|(name, value)| Some((name, attribute(value)?)));
            AttributeValue::M(map.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
