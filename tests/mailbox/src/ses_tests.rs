//! The protocol, request by request.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::router;
use crate::testing::{app, call, get, get_json, post, request, send};

#[tokio::test]
async fn a_mail_is_kept_whole() {
    let router = router(app());
    let sent = json!({
        "FromEmailAddress": "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?= <news@example.com>",
        "Destination": {
            "ToAddresses": ["Zed <zed@example.com>"], "CcAddresses": ["c@example.com"], "BccAddresses": ["b@example.com"],
        },
        "ReplyToAddresses": ["r@example.com"],
        "Content": { "Simple": {
            "Subject": { "Data": "Grüße, 你好 👋", "Charset": "UTF-8" },
            "Body": {
                "Text": { "Data": "Hej då", "Charset": "UTF-8" },
                "Html": { "Data": "<p>Hej då</p>", "Charset": "UTF-8" },
            },
            "Headers": [
                { "Name": "List-Unsubscribe", "Value": "<https://example.com/unsubscribe?token=t>" },
                { "Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click" },
            ],
            "Attachments": [{
                "FileName": "a.pdf", "ContentType": "application/pdf", "RawContent": "JVBERg==",
                "ContentDisposition": "ATTACHMENT", "ContentTransferEncoding": "BASE64",
            }],
        } },
        "EmailTags": [{ "Name": "campaign", "Value": "cmp_1" }, { "Name": "attempt", "Value": "1" }],
        "ConfigurationSetName": "letters",
        "TenantName": "demo",
    });
    let (status, _, answer) = send(&router, &sent).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let id = answer["MessageId"].as_str().unwrap();

    let mut mail = get_json(&router, &format!("/messages/{id}")).await;
    let at: jiff::Timestamp = mail["received_at"].take().as_str().unwrap().parse().unwrap();
    assert_eq!(at.subsec_nanosecond() % 1_000_000, 0);
    let wanted = json!({
        "id": id,
        "received_at": null,
        "from": "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?= <news@example.com>",
        "to": ["Zed <zed@example.com>"],
        "cc": ["c@example.com"],
        "bcc": ["b@example.com"],
        "reply_to": ["r@example.com"],
        "subject": "Grüße, 你好 👋",
        "headers": [
            { "name": "List-Unsubscribe", "value": "<https://example.com/unsubscribe?token=t>" },
            { "name": "List-Unsubscribe-Post", "value": "List-Unsubscribe=One-Click" },
        ],
        "tags": { "campaign": "cmp_1", "attempt": "1" },
        "configuration_set": "letters",
        "text": "Hej då",
        "html": "<p>Hej då</p>",
        "attachments": [{
            "file_name": "a.pdf", "content_type": "application/pdf", "content_id": null, "disposition": "ATTACHMENT",
            "description": null, "content": "JVBERg==",
        }],
        "other": { "TenantName": "demo" },
    });
    assert_eq!(mail, wanted);
}

#[tokio::test]
async fn a_raw_message_is_read_and_kept() {
    let router = router(app());
    let mime = "From: n@example.com\r\nTo: a@example.com\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n\
                List-Unsubscribe: <https://example.com/u>\r\n\r\nHello\r\n";
    let raw = STANDARD.encode(mime);
    let tags = json!([{ "Name": "job", "Value": "job_1" }]);
    let (status, _, answer) = send(&router, &json!({ "Content": { "Raw": { "Data": raw } }, "EmailTags": tags })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mail = get_json(&router, &format!("/messages/{}", answer["MessageId"].as_str().unwrap())).await;
    assert_eq!((&mail["from"], &mail["to"]), (&json!("n@example.com"), &json!(["a@example.com"])));
    assert_eq!((&mail["subject"], &mail["raw"]), (&json!("Grüße"), &json!(raw)));
    assert_eq!(mail["tags"], json!({ "job": "job_1" }));
    assert_eq!(mail["headers"][3], json!({ "name": "List-Unsubscribe", "value": "<https://example.com/u>" }));

    let envelope =
        json!({ "Content": { "Raw": { "Data": raw } }, "Destination": { "BccAddresses": ["x@example.com"] } });
    let (_, _, answer) = send(&router, &envelope).await;
    let mail = get_json(&router, &format!("/messages/{}", answer["MessageId"].as_str().unwrap())).await;
    assert_eq!((&mail["to"], &mail["bcc"]), (&json!([]), &json!(["x@example.com"])));
}

/// A request that is accepted, changed at one place.
fn with(pointer: &str, value: Value) -> Value {
    let mut request = request("a@example.com");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[name] = value;
    request
}

#[tokio::test]
async fn what_ses_refuses_is_refused_in_its_form() {
    let router = router(app());
    let header = |name: &str, value: &str| json!([{ "Name": name, "Value": value }]);
    let headers: Vec<_> = (0..16).map(|n| json!({ "Name": format!("X-{n}"), "Value": "v" })).collect();
    let many = |n: usize| json!((0..n).map(|n| format!("a{n}@example.com")).collect::<Vec<_>>());
    let tag = |name: &str, value: &str| json!([{ "Name": name, "Value": value }]);
    let refused = [
        (with("/Destination/ToAddresses", json!([])), "BadRequestException", "at least one recipient"),
        (with("/Destination", Value::Null), "BadRequestException", "at least one recipient"),
        (with("/Destination/ToAddresses", many(51)), "MessageRejected", "exceeds 50"),
        (with("/Destination/ToAddresses", json!(["nobody"])), "BadRequestException", "Missing final '@domain'"),
        (with("/Destination/CcAddresses", json!(["ä@example.com"])), "BadRequestException", "CcAddresses"),
        (with("/ReplyToAddresses", json!(["x y@example.com"])), "BadRequestException", "ReplyToAddresses"),
        (with("/FromEmailAddress", Value::Null), "BadRequestException", "FromEmailAddress is required"),
        (with("/FromEmailAddress", json!("News")), "BadRequestException", "FromEmailAddress"),
        (with("/Content/Simple/Body", json!({})), "BadRequestException", "Body"),
        (with("/Content/Simple/Body", Value::Null), "BadRequestException", "Body"),
        (with("/Content/Simple/Subject", Value::Null), "BadRequestException", "Subject"),
        (with("/Content/Simple/Subject", json!({ "Data": "Grüße" })), "BadRequestException", "Charset"),
        (with("/Content/Simple/Headers", json!(headers)), "BadRequestException", "at most 15"),
        (with("/Content/Simple/Headers", header("X: y", "v")), "BadRequestException", "header's name"),
        (
            with("/Content/Simple/Headers", header("X", "a\r\nBcc: b@example.com")),
            "BadRequestException",
            "header's name",
        ),
        (with("/Content/Simple/Headers", header("X", &"v".repeat(996))), "BadRequestException", "995"),
        (with("/Content", json!({ "Template": { "TemplateName": "t" } })), "BadRequestException", "no templates"),
        (with("/Content", json!({})), "BadRequestException", "exactly one"),
        (with("/Content/Raw", json!({ "Data": "" })), "BadRequestException", "exactly one"),
        (with("/Content", json!({ "Raw": { "Data": "?" } })), "BadRequestException", "base64"),
        (with("/Content", json!({ "Raw": { "Data": "" } })), "MessageRejected", "no header"),
        (with("/EmailTags", tag("a b", "v")), "BadRequestException", "tag"),
        (with("/EmailTags", tag("n", "")), "BadRequestException", "tag"),
        (
            with("/EmailTags", json!([{"Name":"n","Value":"1"},{"Name":"n","Value":"2"}])),
            "BadRequestException",
            "Two tags",
        ),
        (json!([]), "SerializationException", "line 1"),
    ];
    for (request, kind, words) in refused {
        let (status, got, answer) = send(&router, &request).await;
        let message = answer["message"].as_str().unwrap();
        assert_eq!((status, &*got), (StatusCode::BAD_REQUEST, kind), "{request}: {message}");
        assert!(message.contains(words), "{request}: {message}");
        assert!(!message.contains("@example.com"), "an address is in {message}");
    }
    for request in [with("/Destination/ToAddresses", many(50)), with("/Content/Simple/Headers", json!(headers[..15]))] {
        assert_eq!(send(&router, &request).await.0, StatusCode::OK);
    }
    assert_eq!(get_json(&router, "/messages/counts").await["total"], 2, "what is refused is not kept");
}

#[tokio::test]
async fn other_operations_are_unknown() {
    let router = router(app());
    for (method, path) in [
        ("POST", "/v2/email/outbound-bulk-emails"),
        ("GET", "/v2/email/outbound-emails"),
        ("PUT", "/v2/email/account/suppression"),
        ("POST", "/v2/email/suppression/addresses"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (status, headers, body) = call(&router, request).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(headers["x-amzn-errortype"], "UnknownOperationException");
        assert!(headers.contains_key("x-amzn-requestid"));
        assert!(body.contains("SendEmail"), "{body}");
    }
}

#[tokio::test]
async fn the_account_counts_recipients() {
    let router = router(app());
    let mut request = request("a@example.com");
    request["Destination"]["CcAddresses"] = json!(["b@example.com"]);
    send(&router, &request).await;
    let account = get_json(&router, "/v2/email/account").await;
    assert_eq!(account["SendQuota"]["SentLast24Hours"], 2);
    assert_eq!(account["SendingEnabled"], true);
}

#[tokio::test]
async fn tests_and_scripts_find_mails_by_recipient_tag_and_page() {
    let router = router(app());
    for n in 0..3 {
        let mut request = request(&format!("a{n}@example.com"));
        request["EmailTags"] = json!([{ "Name": "campaign", "Value": format!("cmp_{}", n % 2) }]);
        send(&router, &request).await;
    }
    let page = get_json(&router, "/messages?limit=2").await;
    assert_eq!(page["messages"][0]["to"][0], "a2@example.com");
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = get_json(&router, &format!("/messages?limit=2&cursor={cursor}")).await;
    assert_eq!(page["messages"][0]["to"][0], "a0@example.com");
    assert!(page.get("next_cursor").is_none());

    let found = get_json(&router, "/messages?to=A1@example.com").await;
    assert_eq!(found["messages"].as_array().unwrap().len(), 1);
    assert_eq!(get_json(&router, "/messages?to=1@example.com").await["messages"], json!([]));
    let counts = get_json(&router, "/messages/counts?tag=campaign:cmp_0").await;
    assert_eq!(counts, json!({ "total": 2, "by_recipient": { "a0@example.com": 1, "a2@example.com": 1 } }));

    for bad in ["?limit=0", "?limit=1001", "?limit=x", "?tag=campaign", "?cursor=x", "?form=a", "/counts?to=a", "/none"]
    {
        let (status, headers, body) = get(&router, &format!("/messages{bad}")).await;
        assert!(status.is_client_error(), "{bad}: {status} {body}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    assert_eq!(get_json(&router, "/health").await, json!({ "status": "ok", "messages": 3 }));
    let empty = Request::delete("/messages").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(call(&router, empty).await.0, StatusCode::NO_CONTENT);
    assert_eq!(get_json(&router, "/messages").await, json!({ "messages": [] }));
}

#[tokio::test]
async fn sends_fail_on_request_and_only_a_dropped_answer_has_a_mail() {
    let router = router(app());
    post(&router, "/faults", "{\"throttle\": {\"next\": 1}, \"refuse\": {\"next\": 1}}").await;
    let (status, kind, answer) = send(&router, &request("a@example.com")).await;
    assert_eq!((status, kind.as_str()), (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"));
    assert_eq!(answer["message"], "Maximum sending rate exceeded.");
    let (status, kind, _) = send(&router, &request("a@example.com")).await;
    assert_eq!((status, kind.as_str()), (StatusCode::BAD_REQUEST, "MessageRejected"));
    assert_eq!(get_json(&router, "/health").await["messages"], 0);
    let (status, _, answer) = send(&router, &request("a@example.com")).await;
    assert!(status == StatusCode::OK && answer["MessageId"].is_string());

    post(&router, "/faults", "{\"drop_answer\": {\"next\": 1}}").await;
    let sent =
        Request::post("/v2/email/outbound-emails").body(Body::from(request("b@example.com").to_string())).unwrap();
    let broken = tower::ServiceExt::oneshot(router.clone(), sent).await.unwrap();
    assert!(axum::body::to_bytes(broken.into_body(), 1_000).await.is_err(), "no answer can be read");
    assert_eq!(
        get_json(&router, "/messages/counts").await["by_recipient"],
        json!({"a@example.com": 1, "b@example.com": 1})
    );
}

async fn suppression(router: &axum::Router, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("/v2/email/suppression/addresses{path}"));
    let request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
    let (status, _, body) = call(router, request).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn the_suppression_list_is_written_read_and_paged() {
    let router = router(app());
    for (address, reason) in [("A@example.com", "BOUNCE"), ("b@example.com", "COMPLAINT"), ("c@example.com", "BOUNCE")]
    {
        let body = json!({ "EmailAddress": address, "Reason": reason });
        assert_eq!(suppression(&router, "PUT", "", &body).await.0, StatusCode::OK);
    }
    let bad = json!({ "EmailAddress": "a@example.com", "Reason": "WHIM" });
    assert_eq!(suppression(&router, "PUT", "", &bad).await.0, StatusCode::BAD_REQUEST);
    let (_, one) = suppression(&router, "GET", "/a@example.com", &Value::Null).await;
    assert_eq!(one["SuppressedDestination"]["Reason"], "BOUNCE");
    let addresses = |page: &Value| {
        let listed = page["SuppressedDestinationSummaries"].as_array().unwrap();
        listed.iter().map(|one| one["EmailAddress"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_, page) = suppression(&router, "GET", "?PageSize=2", &Value::Null).await;
    assert_eq!(addresses(&page), ["a@example.com", "b@example.com"]);
    let next = format!("?PageSize=2&NextToken={}", page["NextToken"].as_str().unwrap());
    let (_, page) = suppression(&router, "GET", &next, &Value::Null).await;
    assert_eq!((addresses(&page), page.get("NextToken")), (vec!["c@example.com".to_owned()], None));
    let (_, page) = suppression(&router, "GET", "?Reason=COMPLAINT", &Value::Null).await;
    assert_eq!(addresses(&page), ["b@example.com"]);
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        assert_eq!(suppression(&router, "DELETE", "/b@example.com", &Value::Null).await.0, status);
    }
    assert_eq!(suppression(&router, "GET", "/b@example.com", &Value::Null).await.0, StatusCode::NOT_FOUND);
}
