//! A client of the HTTP API.

use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::Value;
use std::{fmt, path::PathBuf, time::Duration};
use tokio::time::sleep;

use crate::{local::env_file, project::Project};

/// How often a request is repeated that was throttled or came at a bad time.
const REPEATS: u32 = 5;
/// Longest wait that an answer's Retry-After is given.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Longest time for a file.
const LONGEST_TRANSFER: Duration = Duration::from_secs(3600);

/// Where the API is, and the key to it.
#[derive(Args, Clone)]
pub(crate) struct Connection {
    /// Base of the HTTP API [default: the local system's].
    #[arg(long, value_name = "URL", env = "MILLRACE_API_URL")]
    api_url: Option<String>,
    /// API key [default: the local system's].
    #[arg(long, value_name = "KEY", env = "MILLRACE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// State folder of the local system that is asked when no URL or key is given [default: .millrace in the clone].
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

impl Connection {
    /// The client.
    pub(crate) fn open(&self) -> anyhow::Result<Api> {
        let (url, key) = match (&self.api_url, &self.api_key) {
            (Some(url), Some(key)) => (url.clone(), key.clone()),
            (url, key) => {
                let mut local = self.local()?;
                let mut take = |given: &Option<String>, name: &str| {
                    given.clone().or_else(|| local.remove(name)).with_context(|| format!("{name} is not known"))
                };
                (take(url, "MILLRACE_API_URL")?, take(key, "MILLRACE_API_KEY")?)
            }
        };
        Api::new(&url, key)
    }

    /// The local system's local.env.
    fn env_file(&self) -> anyhow::Result<PathBuf> {
        let folder = match &self.state_dir {
            Some(folder) => folder.clone(),
            None => Project::find().context("set MILLRACE_API_URL and MILLRACE_API_KEY")?.state(),
        };
        Ok(folder.join("local.env"))
    }

    /// What the local system's local.env holds.
    pub(crate) fn local(&self) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
        let path = self.env_file()?;
        env_file::read(&path).with_context(|| {
            format!("{} cannot be read: `make up` starts the local system; for another one set MILLRACE_API_URL and MILLRACE_API_KEY", path.display())
        })
    }
}

/// The HTTP API, with one tenant's key.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    base: String,
    key: String,
}

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status, 2xx.
    pub(crate) status: StatusCode,
    /// Its body; null when there is none.
    pub(crate) body: Value,
}

impl Answer {
    /// A text of the body, by its JSON pointer.
    pub(crate) fn text(&self, pointer: &str) -> anyhow::Result<&str> {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .with_context(|| format!("the answer has no text at {pointer}"))
    }
}

impl Api {
    fn new(url: &str, key: String) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("{url} is no URL"))?;
        let mut http = Client::builder().timeout(Duration::from_secs(60));
        if parsed.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.")) {
            http = http.no_proxy();
        }
        Ok(Self { http: http.build()?, base: url.trim_end_matches('/').to_owned(), key })
    }

    /// The API's base address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether this is the key it asks with.
    pub(crate) fn uses(&self, key: &str) -> bool {
        self.key == key
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None, None).await
    }

    /// `POST path` with a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, Some(body), None).await
    }

    /// `PUT path` with a JSON body.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PUT, path, Some(body), None).await
    }

    /// `DELETE path`.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::DELETE, path, None, None).await
    }

    /// `POST path` with a JSON body, of which a repetition does no more.
    pub(crate) async fn post_once(&self, path: &str, body: &Value, key: &str) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, Some(body), Some(key)).await
    }

    /// Sends a file to a link of the API's, which needs no key.
    pub(crate) async fn upload(&self, url: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let answer = self.http.put(url).timeout(LONGEST_TRANSFER).body(body).send().await;
        // The link opens the object for whoever has it: it is not printed.
        let answer = answer.map_err(reqwest::Error::without_url).context("the file could not be sent")?;
        ensure!(answer.status().is_success(), "the file was answered {}", answer.status());
        Ok(())
    }

    /// Reads a file by a link of the API's, which needs no key.
    pub(crate) async fn download(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.http.get(url).timeout(LONGEST_TRANSFER).send().await;
        let answer = answer.map_err(reqwest::Error::without_url).context("the file could not be read")?;
        ensure!(answer.status().is_success(), "the file was answered {}", answer.status());
        Ok(answer.bytes().await.map_err(reqwest::Error::without_url).context("the file was cut off")?.to_vec())
    }

    /// Fills a form of a public page in, as a browser does: without the key. `url` is whole, or a path of the API.
    pub(crate) async fn submit(&self, url: &str, fields: &[(&str, Option<&str>)]) -> anyhow::Result<StatusCode> {
        let url = if url.starts_with('/') { format!("{}{url}", self.base) } else { url.to_owned() };
        let form = self.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(query(fields)?);
        // A link in a mail is good for whoever has it: it is not printed.
        let answer = form.send().await.map_err(reqwest::Error::without_url).context("the form could not be sent")?;
        ensure!(answer.status().is_success(), "the form was answered {}", answer.status());
        Ok(answer.status())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        idempotency: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut repeats = 0;
        loop {
            let mut request = self.http.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(&self.key);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = idempotency {
                request = request.header("Idempotency-Key", key);
            }
            let answer = request.send().await.map_err(|error| {
                let hint = "is it up? `make up` starts the local system";
                anyhow::Error::new(error.without_url()).context(format!("no answer from {}: {hint}", self.base))
            })?;
            let status = answer.status();
            let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if busy && repeats < REPEATS {
                repeats += 1;
                sleep(wait(answer.headers(), repeats)).await;
                continue;
            }
            let text = answer.text().await.context("the answer was cut off")?;
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            if status.is_success() {
                return Ok(Answer { status, body });
            }
            let problem = serde_json::from_value::<Problem>(body).unwrap_or_default();
            bail!("{method} {path} was answered {status}{problem}{}", hint(status));
        }
    }
}

/// A query of those that have a value.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
    let given = pairs.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    let url = Url::parse_with_params("http://query", given)?;
    Ok(url.query().unwrap_or_default().to_owned())
}

fn wait(headers: &HeaderMap, repeats: u32) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    asked.unwrap_or(Duration::from_millis(250) * 2_u32.pow(repeats)).min(LONGEST_WAIT)
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => " (the API does not know the key: `millrace keys create` makes one)",
        StatusCode::FORBIDDEN => " (the key lacks a scope: `millrace keys create --scope ...` makes another)",
        _ => "",
    }
}

/// An error answer, as far as a person wants to know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: Option<String>,
    errors: Vec<Flaw>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Flaw {
    pointer: Option<String>,
    parameter: Option<String>,
    header: Option<String>,
    detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        self.errors.iter().try_for_each(|flaw| {
            let place = flaw.pointer.as_ref().or(flaw.parameter.as_ref()).or(flaw.header.as_ref());
            write!(f, "\n  {}: {}", place.map_or("", String::as_str), flaw.detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_says_what_is_wrong_and_where() {
        let body = json!({"title": "x", "detail": "no", "errors": [{"pointer": "/kind", "detail": "unknown"}]});
        assert_eq!(serde_json::from_value::<Problem>(body).unwrap().to_string(), ": no\n  /kind: unknown");
        assert_eq!(Problem::default().to_string(), "");
    }

    #[test]
    fn a_query_cannot_lead_elsewhere() {
        let pairs = [("state", None), ("tag", Some("a&limit=1 ü/#")), ("limit", Some("5"))];
        assert_eq!(query(&pairs).unwrap(), "tag=a%26limit%3D1+%C3%BC%2F%23&limit=5");
    }

    #[test]
    fn waits_as_long_as_asked_within_reason() {
        let headers = |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(wait(&headers("3"), 1), Duration::from_secs(3));
        assert_eq!(wait(&headers("86400"), 1), LONGEST_WAIT);
        assert_eq!(wait(&headers("soon"), 2), Duration::from_secs(1));
    }
}
