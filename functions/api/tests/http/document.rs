use crate::site::{Site, subscriber};
use api::app::Api;
use axum::body::Body;
use axum::http::{Method, Request, header};
use millrace::domain::id::NewsletterId;
use millrace::domain::people::Newsletter;
use millrace::ports::Newsletters;
use serde_json::{Value, json};

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

#[tokio::test]
async fn routes_and_document_are_the_same() {
    let site = Site::new();
    let document = site.document().await.clone();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["servers"][0]["url"], "/");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 43, "{:?}", paths.keys());
    for (path, item) in paths {
        for method in METHODS {
            let documented = item.get(method.as_str().to_lowercase()).is_some();
            let request = Request::builder()
                .method(&method)
                .uri(
                    ["{id}", "{name}", "{newsletter}", "{campaign}"]
                        .iter()
                        .fold(path.clone(), |path, id| path.replace(id, "x")),
                )
                .header(header::AUTHORIZATION, format!("Bearer {}", site.key));
            let reply = site.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(reply.status != 405, documented, "{method} {path}: {}", reply.status);
            if !documented {
                let allowed: Vec<_> = reply.header("allow").unwrap().split(',').map(str::trim).collect();
                let expected: Vec<_> = METHODS.iter().map(Method::as_str).filter(|m| allowed.contains(m)).collect();
                let known: Vec<_> = item.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
                assert_eq!(expected.len(), known.len(), "{path}: {allowed:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let site = Site::new();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/jobs/",
        "/v1/nothing",
        "/health/",
        "//",
        "/v1/jobs/a/b",
        "/V1/jobs",
        "/v1/jobs/batch/x",
    ] {
        for method in METHODS {
            let request = Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
            site.send(request).await.expect(404);
        }
    }
    let odd = Request::builder().method("PURGE").uri("/health").body(Body::empty()).unwrap();
    site.send(odd).await.expect(405);
}

#[tokio::test]
async fn health_and_document_need_no_key() {
    let site = Site::new();
    let health = site.send(Request::get("/health").body(Body::empty()).unwrap()).await.expect(200);
    assert_eq!(health.json()["status"], "ok");
    site.send(Request::get("/v1/openapi.json").body(Body::empty()).unwrap()).await.expect(200);
}

/// Every reference leads somewhere, and everything is described.
#[tokio::test]
async fn the_document_is_whole() {
    let site = Site::new();
    let document = site.document().await;
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => (),
        }
    }
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(operation["tags"][0].is_string(), "{method} {path}");
            ids.push(operation["operationId"].as_str().unwrap());
            for (status, response) in operation["responses"].as_object().unwrap() {
                let page = ["/unsubscribe", "/confirm"].contains(&path.as_str()) && status == "400";
                let problem = status.starts_with(['4', '5']) && !page;
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema == "#/components/schemas/ProblemBody", problem, "{method} {path} {status}");
            }
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique: {ids:?}");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().unwrap() {
            let described =
                property["description"].is_string() || property["$ref"].is_string() || property["oneOf"].is_array();
            assert!(described, "{name}.{field} is not described");
        }
    }
}

/// Every example of a request is accepted.
#[tokio::test]
async fn examples_work() {
    let site = Site::new();
    let document = site.document().await.clone();
    let schemas = &document["components"]["schemas"];
    let example = |name: &str| schemas[name]["example"].clone();
    let newsletter = site.post("/v1/newsletters", example("NewsletterRequest")).await.expect(201).json();
    let made = NewsletterId::parse(newsletter["id"].as_str().unwrap()).unwrap();
    let named = NewsletterId::parse(example("SubscriberRequest")["newsletter"].as_str().unwrap()).unwrap();
    let newsletter = Newsletter { id: named, ..site.newsletters.get(&made).await.unwrap().unwrap() };
    site.newsletters.add(&newsletter).await.unwrap();
    let mut tried = vec!["NewsletterRequest"];
    for (name, path) in [
        ("JobRequest", "/v1/jobs"),
        ("BatchRequest", "/v1/jobs/batch"),
        ("BulkRetryRequest", "/v1/jobs/retry"),
        ("GroupRequest", "/v1/groups"),
        ("UserRequest", "/v1/users"),
        ("SubscriberRequest", "/v1/subscribers"),
        ("CampaignRequest", "/v1/campaigns"),
        ("SubscribeRequest", "/subscribe"),
        ("SuppressionRequest", "/v1/suppressions"),
        ("ImportRequest", "/v1/subscribers/import"),
        ("ExportRequest", "/v1/subscribers/export"),
    ] {
        let reply = site.post(path, example(name)).await;
        assert!(reply.status.is_success(), "{name}: {}", reply.text());
        tried.push(name);
    }
    let sequence = format!("/v1/newsletters/{}/sequence", newsletter.id);
    site.put(&sequence, example("SequenceRequest")).await.expect(201);
    tried.push("SequenceRequest");
    site.put("/v1/schedules/x", example("ScheduleRequest")).await.expect(201);
    tried.push("ScheduleRequest");
    let job = site.post("/v1/jobs", json!({"kind": "echo", "payload": {}, "delay_seconds": 60})).await.json();
    let job = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    site.post(&format!("{job}/cancel"), json!({})).await.expect(200);
    site.post(&format!("{job}/retry"), example("RetryRequest")).await.expect(202);
    tried.push("RetryRequest");
    let subscribers = site.get("/v1/subscribers?email=ada@example.com").await.expect(200).json();
    let subscriber = subscribers["subscribers"][0]["id"].as_str().unwrap().to_owned();
    for (name, path) in [
        ("NewsletterPatch", format!("/v1/newsletters/{}", newsletter.id)),
        ("SubscriberPatch", format!("/v1/subscribers/{subscriber}")),
    ] {
        site.patch(&path, example(name)).await.expect(200);
        tried.push(name);
    }
    let campaign = site.running(20).await;
    site.post(&format!("{campaign}/rate"), example("RateRequest")).await.expect(200);
    site.finish_sent(&campaign).await;
    site.post(&format!("{campaign}/resend"), example("ResendRequest")).await.expect(202);
    tried.extend(["RateRequest", "ResendRequest"]);
    let draft = site.post("/v1/campaigns", example("CampaignRequest")).await.expect(201).json();
    let draft = format!("/v1/campaigns/{}", draft["id"].as_str().unwrap());
    site.patch(&draft, example("CampaignPatch")).await.expect(200);
    site.post(&format!("{draft}/preview"), example("PreviewRequest")).await.expect(200);
    site.post(&format!("{draft}/test"), example("TestRequest")).await.expect(202);
    tried.extend(["CampaignPatch", "PreviewRequest", "TestRequest"]);
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(schema) = schema.as_str() else { continue };
            assert!(tried.contains(&schema.rsplit('/').next().unwrap()), "the example of {path} was not tried");
        }
    }
}

/// Every field of an answer is in its schema, and every field a schema requires is in the answer.
#[tokio::test]
async fn answers_are_as_described() {
    let site = Site::new();
    let document = site.document().await.clone();
    let newsletter = site.newsletter().await;
    let check = |name: &str, answer: &Value| {
        let schema = &document["components"]["schemas"][name];
        let (fields, properties) = (answer.as_object().unwrap(), schema["properties"].as_object().unwrap());
        for field in fields.keys() {
            assert!(properties.contains_key(field), "{name}.{field} is not described");
        }
        for field in schema["required"].as_array().unwrap() {
            assert!(fields.contains_key(field.as_str().unwrap()), "{name}.{field} is missing");
        }
    };
    check("Health", &site.get("/health").await.json());
    check("JobView", &site.post("/v1/jobs", json!({"kind": "echo", "payload": {}, "delay_seconds": 9})).await.json());
    let batch = json!({"jobs": [{"kind": "echo", "payload": {}}, {"kind": "nonsense", "payload": {}}]});
    let batch = site.post("/v1/jobs/batch", batch).await.expect(207).json();
    check("BatchAnswer", &batch);
    check("BatchResult", &batch["results"][0]);
    check("BatchResult", &batch["results"][1]);
    let page = site.get("/v1/jobs?limit=1").await.expect(200).json();
    check("JobPage", &page);
    check("JobView", &page["jobs"][0]);
    check("KindView", &site.get("/v1/kinds").await.expect(200).json()[0]);
    let registration = site.post("/v1/users", json!({"email": "a@example.com", "name": "A"})).await.json();
    check("Registration", &registration);
    check("UserView", &registration["user"]);
    check("NewsletterView", &site.get(&format!("/v1/newsletters/{newsletter}")).await.json());
    check("NewsletterPage", &site.get("/v1/newsletters?limit=1").await.json());
    let sequence = document["components"]["schemas"]["SequenceRequest"]["example"].clone();
    let sequence = site.put(&format!("/v1/newsletters/{newsletter}/sequence"), sequence).await.expect(201).json();
    check("SequenceView", &sequence);
    let added = site.post("/v1/subscribers", subscriber(&newsletter, "b@example.com")).await.json();
    check("SubscriberView", &added);
    check("EnrolmentView", &added["sequence"]);
    check("ConsentView", &added["consent"]);
    check("SubscriberPage", &site.get(&format!("/v1/subscribers?newsletter={newsletter}&limit=1")).await.json());
    let export = site.get(&format!("/v1/subscribers/{}/export", added["id"].as_str().unwrap())).await.json();
    check("PersonExport", &export);
    let consent = json!({"source": "a list", "at": "2026-01-01T00:00:00Z"});
    let import = json!({"newsletter": newsletter, "consent": consent});
    let import = site.post("/v1/subscribers/import", import).await.json();
    check("ImportAnswer", &import);
    check("UploadView", &import["upload"]);
    check("SuppressionView", &site.post("/v1/suppressions", json!({"email": "c@example.com"})).await.json());
    check(
        "SubscribeAnswer",
        &site.post("/subscribe", json!({"newsletter": newsletter, "email": "d@example.com"})).await.json(),
    );
    let campaign = site.post("/v1/campaigns", crate::campaigns::letter(&newsletter)).await.json();
    check("CampaignAnswer", &campaign);
    check("CountsView", &campaign["counts"]);
    let draft = format!("/v1/campaigns/{}", campaign["id"].as_str().unwrap());
    check("LetterView", &site.get(&format!("{draft}?include=letter")).await.json()["letter"]);
    check("CampaignPage", &site.get("/v1/campaigns?limit=1").await.expect(200).json());
    let preview = site.get(&format!("{draft}/preview")).await.expect(200).json();
    check("Preview", &preview);
    check("HeaderView", &preview["headers"][0]);
    let campaign = site.running(3).await;
    let paused = site.post(&format!("{campaign}/pause"), json!({})).await.expect(200).json();
    check("CampaignAnswer", &paused);
    check("StopView", &paused["stopped"]);
    let page = site.get(&format!("{campaign}/recipients?limit=1")).await.expect(200).json();
    check("RecipientPage", &page);
    check("RecipientView", &page["recipients"][0]);
    site.account.know("example.com", None);
    site.account.know("news@example.com", None);
    let preflight = site.get(&format!("{draft}/preflight")).await.expect(200).json();
    check("PreflightAnswer", &preflight);
    check("FindingView", &preflight["findings"][0]);
    let problem = site.post("/v1/users", json!({})).await.json();
    check("ProblemBody", &problem);
    check("Fault", &problem["errors"][0]);
}

/// The API is shared between requests that run at the same time.
#[test]
fn the_api_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Api>();
}
