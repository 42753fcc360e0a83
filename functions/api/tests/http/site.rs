//! The API with everything around it in memory. Every answer is held against the promises that all answers share, and
//! against the OpenAPI document.

use api::app::{Api, TokenBox, app};
use api::auth::KeyRing;
use api::routes::stats::Depths;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use millrace::accept::Intake;
use millrace::domain::id::Tenant;
use millrace::domain::key::Scope;
use millrace::domain::target::Reach;
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey};
use millrace::ports::Clock;
use millrace::queues::JobQueues;
use millrace::testing::{
    ManualClock, MemoryAccount, MemoryBlobs, MemoryCampaignList, MemoryCampaigns, MemoryCounters, MemoryDepths,
    MemoryGroups, MemoryHits, MemoryJobs, MemoryKeys, MemoryNewsletters, MemoryQueue, MemoryQueues, MemorySchedules,
    MemorySignUps, MemorySubscribers, MemorySuppressions, MemoryUsers,
};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tower::ServiceExt;

pub(crate) struct Site {
    pub(crate) clock: ManualClock,
    pub(crate) jobs: MemoryJobs,
    pub(crate) blobs: MemoryBlobs,
    pub(crate) queues: MemoryQueues,
    pub(crate) echo: MemoryQueue,
    pub(crate) email: MemoryQueue,
    pub(crate) run: MemoryQueue,
    pub(crate) operations: MemoryQueue,
    pub(crate) schedules: MemorySchedules,
    pub(crate) groups: MemoryGroups,
    pub(crate) counters: MemoryCounters,
    pub(crate) depths: MemoryDepths,
    pub(crate) users: MemoryUsers,
    pub(crate) newsletters: MemoryNewsletters,
    pub(crate) subscribers: MemorySubscribers,
    pub(crate) sign_ups: MemorySignUps,
    pub(crate) suppressions: MemorySuppressions,
    pub(crate) campaigns: MemoryCampaigns,
    pub(crate) hits: MemoryHits,
    pub(crate) campaign_list: MemoryCampaignList,
    pub(crate) account: MemoryAccount,
    pub(crate) keys: MemoryKeys,
    /// A key of the tenant `acme` that opens everything.
    pub(crate) key: String,
    /// The same of the tenant `rival`.
    pub(crate) rival: String,
    pub(crate) app: Router,
    document: OnceLock<Value>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The pointers of a 422, sorted.
    pub(crate) fn pointers(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", self.text());
        let json = self.json();
        let errors = json["errors"].as_array().expect("a 422 names errors").iter();
        let mut pointers: Vec<_> = errors.filter_map(|e| e["pointer"].as_str().map(str::to_owned)).collect();
        pointers.sort();
        pointers
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// A site whose API is changed before it starts.
    pub(crate) fn with(change: impl FnOnce(&mut Api)) -> Self {
        let clock = ManualClock::default();
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let queues = MemoryQueues::new(Arc::clone(&shared));
        let (jobs, blobs, echo, email, run) = (
            MemoryJobs::default(),
            MemoryBlobs::default(),
            queues.get("echo"),
            queues.get("email"),
            queues.get("newsletter-run"),
        );
        let (groups, counters, depths) = (MemoryGroups::default(), MemoryCounters::default(), MemoryDepths::default());
        let (users, newsletters) = (MemoryUsers::default(), MemoryNewsletters::default());
        let (subscribers, campaigns) = (MemorySubscribers::default(), MemoryCampaigns::default());
        let (sign_ups, suppressions) = (MemorySignUps::default(), MemorySuppressions::default());
        let (keys, schedules) = (MemoryKeys::default(), MemorySchedules::default());
        let operations = queues.get("operations");
        let hits = MemoryHits::default();
        let (campaign_list, account) = (MemoryCampaignList::default(), MemoryAccount::default());
        let key = keys.seed(1, &tenant("acme"), &[Scope::Admin]);
        let rival = keys.seed(2, &tenant("rival"), &[Scope::Admin]);
        let job_queues = JobQueues::open(|name| queues.open(name));
        let mut api = Api {
            intake: Intake { jobs: Arc::new(jobs.clone()), blobs: Arc::new(blobs.clone()), queues: job_queues },
            schedules: Arc::new(schedules.clone()),
            groups: Arc::new(groups.clone()),
            counters: Arc::new(counters.clone()),
            depths: Depths::new(Arc::new(depths.clone())),
            users: Arc::new(users.clone()),
            newsletters: Arc::new(newsletters.clone()),
            subscribers: Arc::new(subscribers.clone()),
            sign_ups: Arc::new(sign_ups.clone()),
            throttle: Arc::new(sign_ups.clone()),
            suppressions: Arc::new(suppressions.clone()),
            files: Arc::new(blobs.clone()),
            campaigns: Arc::new(campaigns.clone()),
            chunks: Arc::new(campaigns.clone()),
            hits: Arc::new(hits.clone()),
            campaign_list: Arc::new(campaign_list.clone()),
            account: Arc::new(account.clone()),
            identities: Arc::new(account.clone()),
            public_url: "https://api.example.com".to_owned(),
            run: Arc::new(run.clone()),
            keys: KeyRing::new(Arc::new(keys.clone())),
            tokens: TokenBox::new(Arc::new(keys.clone()), TokenKey::generate(&[5; TOKEN_KEY_BYTES])),
            reach: Reach::Public,
            longest_attempt: Duration::from_secs(28),
            clock: shared,
        };
        change(&mut api);
        let app = app(Arc::new(api));
        let document = OnceLock::new();
        Self {
            clock,
            jobs,
            blobs,
            queues,
            echo,
            email,
            run,
            operations,
            schedules,
            groups,
            counters,
            depths,
            users,
            newsletters,
            subscribers,
            sign_ups,
            suppressions,
            campaigns,
            hits,
            campaign_list,
            account,
            keys,
            key,
            rival,
            app,
            document,
        }
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// Sends a request and checks what every answer promises, except that none is 5xx.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let reply = Reply { status: parts.status, headers: parts.headers, body };
        self.check(&method, &path, &reply).await;
        reply
    }

    async fn check(&self, method: &Method, path: &str, reply: &Reply) {
        let (status, said) = (reply.status, format!("{method} {path} -> {}", reply.status));
        assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()), "{said}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{said}");
        let public = path.starts_with("/archive/") && status.is_success();
        let cached = if public { "public, max-age=300" } else { "no-store" };
        assert_eq!(reply.header("cache-control"), Some(cached), "{said}");
        let content_type = reply.header("content-type").unwrap_or_default();
        let is_page = content_type.starts_with("text/html");
        if (status.is_client_error() || status.is_server_error()) && !is_page && *method != Method::HEAD {
            assert_eq!(content_type, "application/problem+json", "{said}");
            let problem = reply.json();
            assert_eq!(problem["status"], status.as_u16(), "{said}");
            for field in ["type", "title", "detail"] {
                assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{said}: {field}");
            }
            let errors = problem.get("errors").and_then(Value::as_array);
            assert_eq!(errors.is_some_and(|errors| !errors.is_empty()), status == 422, "{said}");
        }
        assert_eq!(reply.header("allow").is_some(), status == 405, "{said}");
        assert_eq!(reply.header("retry-after").is_some(), status == 503, "{said}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401 || status == 403, "{said}");
        if let Some(operation) = operation(self.document().await, method, path) {
            let documented = &operation["responses"][status.as_str()];
            assert!(documented.is_object(), "{said} is not in the document");
            let media = content_type.split(';').next().unwrap_or_default();
            if status == StatusCode::NO_CONTENT {
                assert!(documented.get("content").is_none() && reply.body.is_empty(), "{said} has no body");
            } else {
                assert!(documented["content"].get(media).is_some(), "{said} as {media} is not in the document");
            }
        } else {
            assert!(status == 404 || status == 405 || *method == Method::HEAD, "{said} is not in the document");
        }
    }

    /// The OpenAPI document, as the API gives it.
    pub(crate) async fn document(&self) -> &Value {
        if self.document.get().is_none() {
            let request = Request::get("/v1/openapi.json").body(Body::empty()).unwrap();
            let response = self.app.clone().oneshot(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let _ = self.document.set(serde_json::from_slice(&body).unwrap());
        }
        self.document.get().unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.get_as(&self.key, path).await
    }

    pub(crate) async fn get_as(&self, key: &str, path: &str) -> Reply {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_csv(&self, path: &str) -> Reply {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        self.send(request.header(header::ACCEPT, "text/csv").body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_as(&self, key: &str, path: &str, body: Value) -> Reply {
        self.post_text(key, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        let request = Request::patch(path).header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: Value, headers: &[(&str, &str)]) -> Reply {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.post_text(&self.key, path, &headers, body.to_string()).await
    }

    pub(crate) async fn post_text(
        &self,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        let request = Request::put(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.delete_as(&self.key, path).await
    }

    pub(crate) async fn delete_as(&self, key: &str, path: &str) -> Reply {
        let request = Request::delete(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Creates a newsletter and gives its id.
    pub(crate) async fn newsletter(&self) -> String {
        let reply = self.post("/v1/newsletters", newsletter()).await.expect(201);
        reply.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A newsletter as a caller sends it.
pub(crate) fn newsletter() -> Value {
    json!({
        "name": "The Mill & Wheel", "from": "The Mill <news@example.com>", "postal_address": "1 Mill Lane\nWatermouth",
        "time_zone": "Europe/Berlin", "send_at": "10:00"
    })
}

/// A subscriber as a caller sends it.
pub(crate) fn subscriber(newsletter: &str, email: &str) -> Value {
    json!({"newsletter": newsletter, "email": email, "consent": {"source": "a form", "at": "2026-01-02T03:04:05Z"}})
}

/// What the document says of a path and method.
pub(crate) fn operation<'a>(document: &'a Value, method: &Method, path: &str) -> Option<&'a Value> {
    let fits = |template: &str| {
        let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
    };
    let paths = document["paths"].as_object().unwrap();
    // Of two that fit, the one with fewer names in braces.
    let (_, item) = paths.iter().filter(|(template, _)| fits(template)).min_by_key(|(t, _)| t.matches('{').count())?;
    item.get(method.as_str().to_lowercase())
}
