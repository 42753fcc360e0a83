//! Events, against a tiny SQS endpoint that is away, then refuses, then takes them.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it as its body does")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use millrace_mailbox::{App, Feedback, Store, router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct FakeQueue {
    calls: Arc<Mutex<usize>>,
    taken: Arc<Mutex<Vec<Value>>>,
    sizes: Arc<Mutex<Vec<usize>>>,
}

/// Does not exist at the first two calls; then fails the first entry of one batch for its own reasons.
async fn sqs(State(queue): State<FakeQueue>, headers: HeaderMap, request: String) -> Response {
    let request: Value = serde_json::from_str(&request).unwrap();
    assert_eq!(headers["x-amz-target"], "AmazonSQS.SendMessageBatch");
    assert_eq!(request["QueueUrl"], "http://127.0.0.1:1/000000000000/feedback");
    let call = {
        let mut calls = queue.calls.lock().unwrap();
        *calls += 1;
        *calls
    };
    if call <= 2 {
        let kind = (HeaderName::from_static("x-amzn-errortype"), "QueueDoesNotExist");
        let body = json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no" });
        return (StatusCode::BAD_REQUEST, [kind], Json(body)).into_response();
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    let entries = request["Entries"].as_array().unwrap();
    queue.sizes.lock().unwrap().push(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        if call == 3 && index == 0 {
            failed.push(json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError" }));
            continue;
        }
        let body = entry["MessageBody"].as_str().unwrap();
        queue.taken.lock().unwrap().push(serde_json::from_str(body).unwrap());
        let sum = "00000000000000000000000000000000";
        successful.push(json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": sum }));
    }
    Json(json!({ "Successful": successful, "Failed": failed })).into_response()
}

#[tokio::test]
async fn each_mail_gives_each_of_its_events_once_however_late_the_queue_comes() {
    let queue = FakeQueue::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = format!("http://{}", listener.local_addr().unwrap());
    let served = Router::new().route("/", post(sqs)).with_state(queue.clone());
    let server = tokio::spawn(async { axum::serve(listener, served).await });

    let (feedback, task) = Feedback::start(&engine, "http://127.0.0.1:1/000000000000/feedback").unwrap();
    let mailbox = router(App::new(Store::in_memory(100), Some(feedback)));
    let mut ids = Vec::new();
    for n in 0..26 {
        let mut body = json!({
            "FromEmailAddress": "News <news@example.com>",
            "Destination": { "ToAddresses": [format!("Zed <a{n}@example.com>")] },
            "Content": { "Simple": {
                "Subject": { "Data": "Grüße", "Charset": "UTF-8" },
                "Body": { "Text": { "Data": "x" } },
                "Headers": [{ "Name": "List-Unsubscribe", "Value": "<https://example.com/u>" }],
            } },
            "EmailTags": [{ "Name": "campaign", "Value": "cmp_1" }, { "Name": "recipient", "Value": format!("sub_{n}") }],
            "ConfigurationSetName": "letters",
        });
        let told = n < 25;
        if !told {
            // SES tells nothing of a mail that no configuration set was named for.
            body["ConfigurationSetName"] = Value::Null;
        }
        let request = Request::post("/v2/email/outbound-emails").body(Body::from(body.to_string())).unwrap();
        let response = timeout(PATIENCE, mailbox.clone().oneshot(request)).await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let answer = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let id = serde_json::from_slice::<Value>(&answer).unwrap()["MessageId"].as_str().unwrap().to_owned();
        ids.extend(Some(id).filter(|_| told));
    }
    drop(mailbox);
    timeout(PATIENCE, task).await.expect("the task ends when all is sent").unwrap();
    server.abort();

    let taken = queue.taken.lock().unwrap();
    ids.sort();
    for kind in ["Send", "Delivery"] {
        let of = taken.iter().filter(|event| event["eventType"] == kind);
        let mut got: Vec<_> = of.map(|event| event["mail"]["messageId"].as_str().unwrap().to_owned()).collect();
        got.sort();
        assert_eq!(got, ids, "{kind}");
    }
    assert_eq!(taken.len(), 2 * ids.len());
    let sizes = queue.sizes.lock().unwrap();
    assert!(sizes.iter().all(|size| *size <= 10) && sizes.contains(&10), "{sizes:?}");

    let of = |kind: &str| {
        let is = |event: &&Value| event["eventType"] == kind && event["mail"]["tags"]["recipient"] == json!(["sub_7"]);
        taken.iter().find(is).unwrap().clone()
    };
    let delivery = of("Delivery");
    assert_eq!(delivery["delivery"]["recipients"], json!(["a7@example.com"]));
    assert_eq!(delivery["mail"], of("Send")["mail"]);
    let mut event = of("Send");
    let id = event["mail"]["messageId"].as_str().unwrap().to_owned();
    let at: String = serde_json::from_value(event["mail"]["timestamp"].take()).unwrap();
    assert!(at.ends_with('Z') && at.len() == "2026-01-01T00:00:00.000Z".len(), "{at}");
    let wanted = json!({
        "eventType": "Send",
        "mail": {
            "timestamp": null,
            "source": "News <news@example.com>",
            "sourceArn": "arn:aws:ses:us-east-1:000000000000:identity/news@example.com",
            "sendingAccountId": "000000000000",
            "messageId": id,
            "destination": ["a7@example.com"],
            "headersTruncated": false,
            "headers": [
                { "name": "From", "value": "News <news@example.com>" },
                { "name": "To", "value": "Zed <a7@example.com>" },
                { "name": "Subject", "value": "Grüße" },
                { "name": "MIME-Version", "value": "1.0" },
                { "name": "List-Unsubscribe", "value": "<https://example.com/u>" },
            ],
            "commonHeaders": {
                "from": ["News <news@example.com>"],
                "to": ["Zed <a7@example.com>"],
                "messageId": id,
                "subject": "Grüße",
            },
            "tags": {
                "campaign": ["cmp_1"],
                "recipient": ["sub_7"],
                "ses:caller-identity": ["mailbox"],
                "ses:configuration-set": ["letters"],
                "ses:from-domain": ["example.com"],
                "ses:operation": ["SendEmail"],
                "ses:source-ip": ["127.0.0.1"],
            },
        },
        "send": {},
    });
    assert_eq!(event, wanted);
}

#[tokio::test]
async fn an_engine_that_is_no_http_url_is_refused_at_start() {
    for bad in ["127.0.0.1:4566", "https://127.0.0.1:4566", "nothing"] {
        assert!(Feedback::start(bad, "http://127.0.0.1/q").is_err(), "{bad}");
    }
}
