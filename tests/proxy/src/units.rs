//! What DynamoDB bills for a write: the larger of the item before and after, in whole KB, for the table and for each index
//! it stands in; a moved index entry is a deletion and a put
//! ([capacity](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html),
//! [indexes](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations)).

use serde_json::{Map, Value};

/// An item as DynamoDB's JSON has it: attributes with a type each.
pub(crate) type Item = Map<String, Value>;

/// A secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// Its key attributes.
    pub(crate) keys: Vec<String>,
    /// What else it holds.
    pub(crate) projected: Projected,
}

/// What an index holds beside keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Projected {
    /// Nothing but the table's key.
    Keys,
    /// These too.
    Some(Vec<String>),
    /// Everything.
    All,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table {
    /// Its key attributes.
    pub(crate) keys: Vec<String>,
    pub(crate) indexes: Vec<Index>,
}

impl Table {
    /// Reads the answer of DescribeTable.
    pub(crate) fn read(description: &Value) -> Self {
        let keys = |schema: &Value| -> Vec<String> {
            let names = schema.as_array().into_iter().flatten().filter_map(|key| key["AttributeName"].as_str());
            names.map(str::to_owned).collect()
        };
        let table = &description["Table"];
        let indexes = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"].into_iter();
        let indexes = indexes.flat_map(|kind| table[kind].as_array().into_iter().flatten()).map(|index| {
            let projection = &index["Projection"];
            let projected = match projection["ProjectionType"].as_str() {
                Some("KEYS_ONLY") => Projected::Keys,
                Some("INCLUDE") => {
                    let names = projection["NonKeyAttributes"].as_array().into_iter().flatten();
                    Projected::Some(names.filter_map(Value::as_str).map(str::to_owned).collect())
                }
                _ => Projected::All,
            };
            Index { keys: keys(&index["KeySchema"]), projected }
        });
        Self { keys: keys(&table["KeySchema"]), indexes: indexes.collect() }
    }

    /// The key of an item, or the key itself.
    pub(crate) fn key(&self, item: &Item) -> Item {
        self.keys.iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect()
    }

    /// The write units of a change from `before` to `after`.
    pub(crate) fn write_units(&self, before: Option<&Item>, after: Option<&Item>) -> u64 {
        let larger = [before, after].into_iter().flatten().map(size).max().unwrap_or(0);
        let indexes = self.indexes.iter().map(|index| self.index_units(index, before, after));
        kilobytes(larger) + indexes.sum::<u64>()
    }

    fn index_units(&self, index: &Index, before: Option<&Item>, after: Option<&Item>) -> u64 {
        let entry = |item: &Item| -> Option<Item> {
            if !index.keys.iter().all(|key| item.contains_key(key)) {
                return None;
            }
            let held = |name: &str| match &index.projected {
                Projected::All => true,
                Projected::Keys => false,
                Projected::Some(names) => names.iter().any(|held| held == name),
            };
            let stays = |name: &String| index.keys.contains(name) || self.keys.contains(name) || held(name);
            Some(
                item.iter()
                    .filter(|(name, _)| stays(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            )
        };
        match (before.and_then(entry), after.and_then(entry)) {
            (None, None) => 0,
            (Some(one), None) | (None, Some(one)) => kilobytes(size(&one)),
            (Some(before), Some(after)) if before == after => 0,
            (Some(before), Some(after)) => {
                let moved = index.keys.iter().any(|key| before.get(key) != after.get(key));
                let (before, after) = (size(&before), size(&after));
                if moved { kilobytes(before) + kilobytes(after) } else { kilobytes(before.max(after)) }
            }
        }
    }
}

fn kilobytes(bytes: usize) -> u64 {
    bytes.div_ceil(1_024).max(1) as u64
}

/// The size of an item as DynamoDB counts it
/// ([sizes](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html)).
pub(crate) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, content)) = value.as_object().and_then(|typed| typed.iter().next()) else { return 0 };
    let text = |content: &Value| content.as_str().map_or(0, str::len);
    // Two digits a byte, and one for the exponent.
    let number = |content: &Value| {
        let digits = content.as_str().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
        digits.div_ceil(2) + 1
    };
    let bytes = |content: &Value| text(content) * 3 / 4;
    let each = |of: &dyn Fn(&Value) -> usize| content.as_array().into_iter().flatten().map(of).sum::<usize>();
    match kind.as_str() {
        "S" => text(content),
        "N" => number(content),
        "B" => bytes(content),
        "SS" => each(&text),
        "NS" => each(&number),
        "BS" => each(&bytes),
        "L" => 3 + each(&|value| 1 + value_size(value)),
        "M" => {
            3 + content
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| 1 + name.len() + value_size(value))
                .sum::<usize>()
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(value: Value) -> Item {
        value.as_object().unwrap().clone()
    }

    fn table() -> Table {
        Table::read(&json!({"Table": {
            "KeySchema": [{"AttributeName": "pk"}],
            "GlobalSecondaryIndexes": [
                {"KeySchema": [{"AttributeName": "tenant"}, {"AttributeName": "created_at"}],
                 "Projection": {"ProjectionType": "KEYS_ONLY"}},
                {"KeySchema": [{"AttributeName": "due_shard"}, {"AttributeName": "due_at"}],
                 "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["kind"]}},
            ],
        }}))
    }

    #[test]
    fn a_write_costs_its_size_and_the_indexes_it_changes() {
        let table = table();
        let queued =
            item(json!({"pk": {"S": "JOB#1"}, "tenant": {"S": "t"}, "created_at": {"N": "1"}, "kind": {"S": "echo"}}));
        assert_eq!(table.write_units(None, Some(&queued)), 2, "the item, and its place in `recent`");
        let mut running = queued.clone();
        running.insert("state".into(), json!({"S": "running"}));
        assert_eq!(table.write_units(Some(&queued), Some(&running)), 1);
        let mut due = queued.clone();
        due.insert("due_shard".into(), json!({"S": "0"}));
        due.insert("due_at".into(), json!({"N": "5"}));
        assert_eq!(table.write_units(Some(&queued), Some(&due)), 2);
        let mut later = due.clone();
        later.insert("due_at".into(), json!({"N": "6"}));
        assert_eq!(table.write_units(Some(&due), Some(&later)), 3, "a moved entry is two writes");
        assert_eq!(table.write_units(Some(&due), Some(&queued)), 2);
        let mut large = queued.clone();
        large.insert("payload".into(), json!({"S": "x".repeat(1_024)}));
        assert_eq!(table.write_units(Some(&large), Some(&queued)), 2, "the larger of the two counts");
        assert_eq!(table.write_units(None, None), 1, "a condition that fails on nothing");
    }

    #[test]
    fn sizes_are_dynamodbs() {
        assert_eq!(size(&item(json!({"ab": {"S": "xyz"}}))), 5);
        assert_eq!(size(&item(json!({"a": {"N": "1700000000000"}}))), 1 + 8);
        assert_eq!(size(&item(json!({"a": {"BOOL": true}, "b": {"NULL": true}}))), 4);
        assert_eq!(size(&item(json!({"a": {"M": {"k": {"S": "v"}}}}))), 1 + 3 + 1 + 1 + 1);
        assert_eq!(size(&item(json!({"a": {"L": [{"S": "v"}]}}))), 1 + 3 + 1 + 1);
    }
}
