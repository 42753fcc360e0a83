//! Reading and writing the attributes of DynamoDB items.

use crate::ports::PortError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use std::collections::HashMap;

/// An item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A string attribute.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A time attribute: milliseconds since 1970.
pub(crate) fn ms(at: Timestamp) -> AttributeValue {
    n(at.as_millisecond())
}

/// The attribute is missing or of another type.
pub(crate) fn corrupt(name: &str) -> PortError {
    PortError::Corrupt(anyhow::anyhow!("attribute {name} is missing or of the wrong type"))
}

/// The string attribute `name`.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, PortError> {
    optional_text(item, name).ok_or_else(|| corrupt(name))
}

/// The string attribute `name`, if there is one.
pub(crate) fn optional_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

/// The number attribute `name`.
pub(crate) fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, PortError> {
    optional_number(item, name).ok_or_else(|| corrupt(name))
}

/// The number attribute `name`, if there is one.
pub(crate) fn optional_number<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok())
}

/// The time attribute `name`.
pub(crate) fn time(item: &Item, name: &str) -> Result<Timestamp, PortError> {
    optional_time(item, name).ok_or_else(|| corrupt(name))
}

/// The time attribute `name`, if there is one.
pub(crate) fn optional_time(item: &Item, name: &str) -> Option<Timestamp> {
    optional_number(item, name).and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

/// Whether the attribute `name` is there and true.
pub(crate) fn flag(item: &Item, name: &str) -> bool {
    item.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
}

/// The attribute `name` read as an identifier or another parsed text.
pub(crate) fn parsed<T: TryFrom<String>>(item: &Item, name: &str) -> Result<T, PortError> {
    T::try_from(text(item, name)?.to_owned()).map_err(|_| corrupt(name))
}

/// The attribute `name` read as an identifier or another parsed text, if there is one.
pub(crate) fn optional_parsed<T: TryFrom<String>>(item: &Item, name: &str) -> Result<Option<T>, PortError> {
    item.contains_key(name).then(|| parsed(item, name)).transpose()
}

/// The attribute `name` as JSON text, if there is one.
pub(crate) fn optional_json<T: serde::de::DeserializeOwned>(item: &Item, name: &str) -> Result<Option<T>, PortError> {
    optional_text(item, name).map(serde_json::from_str).transpose().map_err(|_| corrupt(name))
}

/// A JSON text attribute.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<AttributeValue, PortError> {
    serde_json::to_string(value).map(AttributeValue::S).map_err(|error| PortError::Refused(error.into()))
}

/// How many shards the sparse index of due things has: each takes 1,000 writes a second.
pub(crate) const DUE_SHARDS: u8 = 4;

/// The shard of the `due` index for a key.
pub(crate) fn due_shard(key: &str) -> String {
    (hash(key) % u32::from(DUE_SHARDS)).to_string()
}

/// A number that spreads keys evenly.
pub(crate) fn hash(key: &str) -> u32 {
    // FNV-1a: any spread will do, but it must be the same in every build.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash as u32
}
