//! Passing calls on to the engine, and weighing what they write.

use crate::call::{Call, Service};
use crate::units::{Item, Table, size};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Mutex;

/// The engine, which takes any credential; this one is allowed everything.
const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=test/20270101/us-east-1/dynamodb/aws4_request, Signature=none";
/// Said anew by each hop (RFC 9110, 7.6.1). `Host` is not: it is signed, and the engine looks at signatures.
const HOP: [header::HeaderName; 3] = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// What a call costs at DynamoDB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Units {
    pub(crate) write: u64,
    pub(crate) read: f64,
}

pub(crate) struct Engine {
    url: String,
    http: reqwest::Client,
    tables: Mutex<HashMap<String, Table>>,
}

/// One item that a call writes.
struct Write {
    table: Table,
    name: String,
    key: Item,
    before: Option<Item>,
}

impl Engine {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http, tables: Mutex::default() })
    }

    pub(crate) async fn pass(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Response {
        let mut headers = headers.clone();
        // The body stays as long as it is. Without its length, which is signed, an empty one would have none.
        let length = headers.get(header::CONTENT_LENGTH).cloned();
        HOP.iter().for_each(|name| drop(headers.remove(name)));
        headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
        let url = format!("{}{}", self.url, uri.path_and_query().map_or("/", |path| path.as_str()));
        match self.http.request(method.clone(), url).headers(headers).body(body).send().await {
            Ok(answer) => {
                let (status, mut headers) = (answer.status(), answer.headers().clone());
                let length = headers.get(header::CONTENT_LENGTH).cloned().filter(|_| method == Method::HEAD);
                HOP.iter().for_each(|name| drop(headers.remove(name)));
                // With no body to tell it, this is how long the object is.
                headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
                match answer.bytes().await {
                    Ok(body) => (status, headers, Body::from(body)).into_response(),
                    Err(error) => gone(&error),
                }
            }
            Err(error) => gone(&error),
        }
    }

    /// Passes a call on, with a look at what it writes before and after.
    pub(crate) async fn weigh(
        &self,
        call: &Call,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> (Response, Units) {
        if call.service != Service::DynamoDb {
            return (self.pass(method, uri, headers, body).await, Units::default());
        }
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let operation = call.operation.trim_start_matches("dynamodb.");
        let writes = self.writes(operation, &request).await;
        let answer = self.pass(method, uri, headers, body).await;
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let mut units = Units::default();
        for write in writes {
            let after = self.item(&write.name, &write.key).await;
            units.write += write.table.write_units(write.before.as_ref(), after.as_ref());
        }
        if operation == "TransactWriteItems" {
            units.write *= 2;
        }
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        units.read = read_units(operation, &request, &told);
        (Response::from_parts(parts, Body::from(body)), units)
    }

    async fn writes(&self, operation: &str, request: &Value) -> Vec<Write> {
        let mut found: Vec<(&Value, &Value)> = Vec::new();
        match operation {
            "PutItem" => found.push((&request["TableName"], &request["Item"])),
            "UpdateItem" | "DeleteItem" => found.push((&request["TableName"], &request["Key"])),
            "TransactWriteItems" => {
                for action in request["TransactItems"].as_array().into_iter().flatten() {
                    for (kind, action) in action.as_object().into_iter().flatten() {
                        found
                            .push((&action["TableName"], if kind == "Put" { &action["Item"] } else { &action["Key"] }));
                    }
                }
            }
            "BatchWriteItem" => {
                // The names are keys here, so they have no value to point to.
                let mut writes = Vec::new();
                for (name, requests) in request["RequestItems"].as_object().into_iter().flatten() {
                    for request in requests.as_array().into_iter().flatten() {
                        let item = request["PutRequest"]["Item"].as_object();
                        if let Some(item) = item.or_else(|| request["DeleteRequest"]["Key"].as_object()) {
                            writes.push(self.write(name, item).await);
                        }
                    }
                }
                return writes;
            }
            _ => {}
        }
        let mut writes = Vec::new();
        for (name, item) in found {
            if let (Some(name), Some(item)) = (name.as_str(), item.as_object()) {
                writes.push(self.write(name, item).await);
            }
        }
        writes
    }

    async fn write(&self, name: &str, item: &Item) -> Write {
        let table = self.table(name).await;
        let key = table.key(item);
        let before = self.item(name, &key).await;
        Write { table, name: name.to_owned(), key, before }
    }

    async fn table(&self, name: &str) -> Table {
        if let Some(table) = crate::locked(&self.tables).get(name) {
            return table.clone();
        }
        let table = Table::read(&self.ask("DescribeTable", &json!({ "TableName": name })).await);
        crate::locked(&self.tables).insert(name.to_owned(), table.clone());
        table
    }

    async fn item(&self, table: &str, key: &Item) -> Option<Item> {
        let request = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
        self.ask("GetItem", &request).await["Item"].as_object().cloned()
    }

    async fn ask(&self, operation: &str, request: &Value) -> Value {
        let call = self
            .http
            .post(&self.url)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
            .header(header::AUTHORIZATION, CREDENTIAL)
            .body(request.to_string());
        match call.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

/// Half a unit for each 4 KB of an eventually consistent read, a whole one of a consistent one.
fn read_units(operation: &str, request: &Value, answer: &Value) -> f64 {
    let each = |items: &Value| items.as_array().into_iter().flatten().filter_map(Value::as_object).map(size).collect();
    let (sizes, consistent): (Vec<usize>, bool) = match operation {
        "GetItem" => {
            (vec![answer["Item"].as_object().map_or(0, size)], request["ConsistentRead"].as_bool().unwrap_or(false))
        }
        "Query" | "Scan" => {
            let sizes: Vec<usize> = each(&answer["Items"]);
            (vec![sizes.iter().sum()], request["ConsistentRead"].as_bool().unwrap_or(false))
        }
        "BatchGetItem" => {
            let mut sizes = Vec::new();
            for (_, items) in answer["Responses"].as_object().into_iter().flatten() {
                sizes.extend::<Vec<usize>>(each(items));
            }
            let tables = request["RequestItems"].as_object();
            (sizes, tables.into_iter().flatten().any(|(_, keys)| keys["ConsistentRead"].as_bool().unwrap_or(false)))
        }
        _ => return 0.0,
    };
    let units: usize = sizes.iter().map(|size| size.div_ceil(4_096).max(1)).sum();
    let units = u32::try_from(units).map_or(f64::MAX, f64::from);
    if consistent { units } else { units / 2.0 }
}

fn gone(error: &reqwest::Error) -> Response {
    (StatusCode::BAD_GATEWAY, format!("the engine does not answer: {error}")).into_response()
}
