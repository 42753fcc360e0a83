//! Whatever a caller sends, the answer is the caller's fault in the API's own words, or what was asked for: never 5xx.

use crate::site::Site;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use std::cell::RefCell;

const POSTS: [&str; 8] = [
    "/v1/jobs",
    "/v1/jobs/batch",
    "/v1/users",
    "/v1/subscribers",
    "/v1/newsletters",
    "/v1/campaigns",
    "/v1/suppressions",
    "/subscribe",
];

const FIELDS: [&str; 36] = [
    "reason",
    "website",
    "jobs",
    "idempotency_key",
    "kind",
    "payload",
    "priority",
    "ordering_key",
    "run_at",
    "delay_seconds",
    "max_attempts",
    "timeout_seconds",
    "expires_at",
    "tags",
    "email",
    "name",
    "time_zone",
    "subscribe",
    "newsletter",
    "consent",
    "source",
    "at",
    "from",
    "reply_to",
    "postal_address",
    "send_at",
    "days",
    "subject",
    "body",
    "html",
    "text",
    "segment",
    "tags_any",
    "send",
    "when",
    "zone",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,30}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec![
            "echo",
            "welcome",
            "a@example.com",
            "Europe/Berlin",
            "10:00",
            "now",
            "next",
            "2027-02-01",
            "recipient",
            "nl_x",
            "-009999-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "2027-01-01T00:00:00Z",
            "{{ name }}",
            "{% raw %}",
            "mon",
        ])
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        let name = prop_oneof![select(FIELDS.to_vec()).prop_map(str::to_owned), any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A request that is right, with some of its fields put wrong.
fn nearly_right() -> impl Strategy<Value = Value> {
    let right = select(vec![
        json!({"kind": "echo", "payload": {"message": 1}, "delay_seconds": 1, "tags": ["a"]}),
        json!({"kind": "welcome", "payload": {"user": "usr_1"}, "max_attempts": 3}),
        json!({"jobs": [{"kind": "echo", "payload": {}, "idempotency_key": "k"}, {"kind": "x"}, null]}),
        json!({"email": "a@example.com", "name": "A", "time_zone": "UTC", "subscribe": []}),
        crate::site::subscriber("nl_x", "a@example.com"),
        crate::site::newsletter(),
        crate::campaigns::letter("nl_x"),
    ]);
    (right, prop::collection::vec((select(FIELDS.to_vec()), value()), 0..3)).prop_map(|(mut body, changes)| {
        let map: &mut Map<String, Value> = body.as_object_mut().unwrap();
        map.extend(changes.into_iter().map(|(field, value)| (field.to_owned(), value)));
        body
    })
}

thread_local! {
    static SITE: RefCell<Option<(tokio::runtime::Runtime, Site)>> = const { RefCell::new(None) };
}

/// Sends a request to a site that lives as long as the test.
fn send(request: Request<Body>) -> u16 {
    SITE.with_borrow_mut(|slot| {
        let (runtime, site) = slot.get_or_insert_with(|| {
            (tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(), Site::new())
        });
        let mut request = request;
        if !request.headers().contains_key(header::AUTHORIZATION) {
            let key = format!("Bearer {}", site.key).parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, key);
        }
        runtime.block_on(site.send(request)).status.as_u16()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json(path in select(POSTS.to_vec()), body in prop_oneof![value(), nearly_right()]) {
        let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string()));
        let status = send(request.unwrap());
        prop_assert!(status < 500, "{} {}: {}", path, body, status);
    }

    #[test]
    fn any_bytes(path in select(POSTS.to_vec()), body: Vec<u8>, kind in "[ -~]{0,40}") {
        let kind = if kind.len() > 20 { "application/json".to_owned() } else { kind };
        let status = send(Request::post(path).header("content-type", kind).body(Body::from(body)).unwrap());
        prop_assert!((400..500).contains(&status), "{}", status);
    }

    #[test]
    fn any_path(path in "(/v1)?/(jobs|users|campaigns|unsubscribe|health)?[!-;=?-~]{0,40}") {
        if let Ok(request) = Request::get(&path).body(Body::empty()) {
            let status = send(request);
            prop_assert!(status < 500, "{}: {}", path, status);
        }
    }

    #[test]
    fn any_query(
        path in select(vec!["/v1/jobs", "/unsubscribe", "/v1/jobs/job_x"]),
        name in select(vec!["cursor", "state", "kind", "tag", "limit", "token", "include", "x"]),
        value: Vec<u8>,
        readable: bool,
    ) {
        // Any bytes, or what is base64 of any bytes, as cursors and tokens are.
        let value = if readable { URL_SAFE_NO_PAD.encode(&value).into_bytes() } else { value };
        let value: String = value.iter().map(|byte| format!("%{byte:02x}")).collect();
        for method in ["GET", "POST"] {
            let request = Request::builder().method(method).uri(format!("{path}?{name}={value}"));
            let status = send(request.body(Body::empty()).unwrap());
            prop_assert!(status < 500, "{} {}?{}={}: {}", method, path, name, value, status);
        }
    }

    #[test]
    fn any_header(
        name in select(vec!["authorization", "idempotency-key", "content-type", "content-length", "accept", "x-request-id"]),
        value: Vec<u8>,
    ) {
        let (Ok(value), name) = (HeaderValue::from_bytes(&value), HeaderName::from_static(name)) else { return Ok(()) };
        let body = json!({"kind": "echo", "payload": {}}).to_string();
        let mut request = Request::post("/v1/jobs").header("content-type", "application/json").body(Body::from(body)).unwrap();
        request.headers_mut().insert(name, value);
        let status = send(request);
        prop_assert!(status < 500, "{}", status);
    }
}
