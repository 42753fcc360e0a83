//! Who called what how often.

use crate::call::Call;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The calls of one operation by one function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Count {
    /// Calls the engine got.
    pub calls: u64,
    /// Calls refused in its place.
    pub throttled: u64,
    /// Calls carried out whose answer was withheld.
    pub answers_lost: u64,
    /// DynamoDB write units, if they were measured.
    pub write_units: u64,
    /// DynamoDB read units, if they were measured; half a unit for each 4 KB of an eventually consistent read.
    pub read_units: f64,
}

/// All calls, by function and operation. What is no function's is under the empty name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<String, BTreeMap<String, Count>>);

impl Counts {
    pub(crate) fn of(&mut self, call: &Call) -> &mut Count {
        let function = self.0.entry(call.function.clone().unwrap_or_default()).or_default();
        function.entry(call.operation.clone()).or_default()
    }

    /// Each function, operation and count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Count)> {
        self.0.iter().flat_map(|(function, operations)| {
            operations.iter().map(move |(operation, count)| (function.as_str(), operation.as_str(), count))
        })
    }
}
