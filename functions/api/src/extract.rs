//! What handlers take from a request: a JSON body whose faults are named by JSON pointers, and identifiers in the path.

use crate::problem::{Fault, Problem};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use std::str::FromStr;

/// Largest body taken, in bytes: a payload of [`MAX_PAYLOAD`] and room for the fields around it.
pub const MAX_BODY: usize = MAX_PAYLOAD + 64 * 1024;

/// Largest payload of a job, in bytes of JSON text: 1 MiB.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// How many faults are named at once.
const MAX_FAULTS: usize = 20;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    /// The JSON itself.
    pub json: Value,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        Self::parse(&bytes(request, state).await?)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let said = is_json(request.headers());
        let bytes = bytes(request, state).await?;
        match (bytes.is_empty(), said) {
            (true, _) => Ok(None),
            (false, true) => Self::parse(&bytes).map(Some),
            (false, false) => Err(Problem::unsupported_media_type()),
        }
    }
}

impl<T: DeserializeOwned> Body<T> {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        // serde_json refuses what is nested deeper than 128.
        let json: Value = serde_json::from_slice(bytes).map_err(|error| Problem::not_json(error.to_string()))?;
        let value = read(&json).map_err(Problem::invalid)?;
        Ok(Self { value, json })
    }
}

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::too_large(format!("A body has at most {MAX_BODY} bytes."))
        } else {
            Problem::not_json("it could not be read")
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// Reads a `T`. On failure it leaves out what was refused and reads again, to find what else is wrong.
pub(crate) fn read<T: DeserializeOwned>(json: &Value) -> Result<T, Vec<Fault>> {
    let first = match serde_path_to_error::deserialize(json) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let mut rest = json.clone();
    let mut faults: Vec<Fault> = Vec::new();
    let mut error = first;
    loop {
        let path = pointer(error.path());
        let detail = error.inner().to_string();
        let missing = detail.strip_prefix("missing field `").and_then(|text| text.split('`').next());
        let place = missing.map_or_else(|| path.clone(), |name| format!("{path}/{}", escape(name)));
        // A field that was left out for a fault is missing now.
        if !faults.iter().any(|fault| fault.pointer.as_ref() == Some(&place)) {
            faults.push(Fault::at(place, &detail));
        }
        if missing.is_some() || faults.len() == MAX_FAULTS || !leave_out(&mut rest, &path) {
            return Err(faults);
        }
        match serde_path_to_error::deserialize::<_, T>(&rest) {
            Ok(_) => return Err(faults),
            Err(next) => error = next,
        }
    }
}

/// Takes out the member at `pointer`; inside an array, the member that holds the array, so that no element moves.
fn leave_out(json: &mut Value, pointer: &str) -> bool {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return false };
    match json.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&last.replace("~1", "/").replace("~0", "~")).is_some(),
        Some(_) => leave_out(json, parent),
        None => false,
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { variant } => format!("/{}", escape(variant)),
            Segment::Unknown => "/?".to_owned(),
        })
        .collect()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The identifier in the path. One that cannot exist is not found.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        text.parse().map(Self).map_err(|_| Problem::not_found())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading is tested")]
    struct Sample {
        name: String,
        count: u8,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        map: BTreeMap<String, u8>,
        #[serde(default)]
        list: Vec<u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading is tested")]
    struct Inner {
        at: u8,
    }

    #[track_caller]
    fn check(json: Value, expected: &[&str]) {
        let faults = read::<Sample>(&json).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_deref().unwrap()).collect();
        assert_eq!(pointers, expected, "{faults:?}");
    }

    #[test]
    fn faults_are_pointed_at() {
        check(json!([]), &[""]);
        check(json!({}), &["/name"]);
        check(json!({"name": 1, "count": 300}), &["/count", "/name"]);
        check(json!({"name": "a", "count": 1, "x": 1, "y/z~": 2}), &["/x", "/y~1z~0"]);
        check(json!({"name": "a", "count": 1, "inner": {"at": "x"}}), &["/inner/at"]);
        check(json!({"name": "a", "count": 1, "inner": {"more": 1}}), &["/inner/more", "/inner/at"]);
        check(json!({"name": "a", "count": 1, "map": {"a/b": "x"}}), &["/map/a~1b"]);
        check(json!({"name": "a", "count": 1, "list": [1, "x"], "z": 1}), &["/list/1", "/z"]);
    }

    #[test]
    fn not_more_faults_than_one_can_read() {
        let many: serde_json::Map<String, Value> = (0..100).map(|i| (format!("f{i}"), json!(1))).collect();
        assert_eq!(read::<Sample>(&Value::Object(many)).unwrap_err().len(), MAX_FAULTS);
    }
}
