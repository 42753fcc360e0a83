//! Calls over HTTP, to public addresses only.
//!
//! A name is looked up here, once for each call, and the connection goes to an address that was looked at: what the name
//! leads to a moment later does not matter. Addresses written in the URL are checked with the URL.

use crate::handler::{Answered, Call, Caller, NoAnswer};
use async_trait::async_trait;
use jiff::{Timestamp, fmt::rfc2822};
use millrace::domain::target::Reach;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, redirect};
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::lookup_host;

/// For a whole call. Receivers are to answer at once and work later.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For its connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of an answer's body, in bytes.
const MOST_READ: usize = 2_048;
/// What is kept of it, in characters.
const SNIPPET: usize = 200;

/// The name leads to no address that may be called.
#[derive(Debug, thiserror::Error)]
#[error("no address of this name may be called")]
struct NotAllowed;

/// Looks names up and gives only what may be called.
struct Guard(Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NotAllowed.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Calls by HTTP/1.1, each on a connection of its own.
pub(crate) struct Http(Client);

impl Http {
    /// A client that reaches so far. The TLS implementation must have been chosen.
    pub(crate) fn new(reach: Reach) -> reqwest::Result<Self> {
        let client = Client::builder()
            .dns_resolver(Arc::new(Guard(reach)))
            .https_only(reach == Reach::Public)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent("Millrace")
            .build()?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Caller for Http {
    async fn call(&self, call: &Call) -> Result<Answered, NoAnswer> {
        let mut request = self.0.post(call.url.as_str()).header(CONTENT_TYPE, "application/json");
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let response = request.body(call.body.clone()).send().await.map_err(no_answer)?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers(), Timestamp::now()));
        Ok(Answered { status, retry_after, snippet: snippet(response).await })
    }
}

fn no_answer(error: reqwest::Error) -> NoAnswer {
    // Its own text names the URL, which may be secret.
    let error = error.without_url();
    let mut causes = std::iter::successors(error.source(), |&error| error.source());
    if causes.clone().any(<dyn StdError>::is::<NotAllowed>) {
        return NoAnswer::Forbidden;
    }
    NoAnswer::Failed(if error.is_timeout() {
        format!("no answer within {} s", TIMEOUT.as_secs())
    } else {
        let cause = causes.by_ref().last().map_or_else(|| error.to_string(), ToString::to_string);
        format!("not reached: {cause}")
    })
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// The beginning of a body, on one line. The rest is not read.
async fn snippet(mut response: Response) -> String {
    let mut read = Vec::new();
    while read.len() < MOST_READ {
        // The status says it all; what becomes of the body does not matter.
        let Ok(Some(chunk)) = response.chunk().await else { break };
        read.extend_from_slice(&chunk[..chunk.len().min(MOST_READ - read.len())]);
    }
    let text = String::from_utf8_lossy(&read);
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(SNIPPET).collect::<String>().trim().to_owned()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
