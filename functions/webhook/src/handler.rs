//! The kind `webhook`: one signed call for each attempt.

use crate::secrets::SecretBox;
use anyhow::anyhow;
use async_trait::async_trait;
use millrace::domain::target::{CallbackUrl, Reach};
use millrace::domain::webhook::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use millrace::job::{Failure, Outcome};
use millrace::jobs::Webhook;
use millrace::worker::handlers::Attempt;
use serde_json::json;
use std::time::Duration;

/// Longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) url: CallbackUrl,
    pub(crate) headers: [(&'static str, String); 3],
    pub(crate) body: String,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// How long to wait before the next try, if it was said.
    pub(crate) retry_after: Option<Duration>,
    /// The beginning of the body, for a person to read.
    pub(crate) snippet: String,
}

/// Why there was no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The name leads to no public address.
    #[error("the name leads to no public address")]
    Forbidden,
    /// It was not reached, or did not answer in time.
    #[error("{0}")]
    Failed(String),
}

/// Makes calls. One call is one request: no implementation repeats it or follows it elsewhere.
#[async_trait]
pub(crate) trait Caller: Send + Sync {
    async fn call(&self, call: &Call) -> Result<Answered, NoAnswer>;
}

/// What the worker works with.
pub(crate) struct Webhooks {
    pub(crate) caller: Box<dyn Caller>,
    pub(crate) secrets: SecretBox,
    pub(crate) reach: Reach,
}

impl Webhooks {
    /// Safe to run twice: the receiver knows a repeat by its `webhook-id`.
    pub(crate) async fn handle(&self, job: Webhook, attempt: Attempt) -> Outcome {
        let url = CallbackUrl::parse(&job.url, self.reach).map_err(|why| Failure::Dead(anyhow!("the URL {why}")))?;
        let now = attempt.now();
        let secrets = self.secrets.get(&attempt.tenant, now).await?;
        let at = job.timestamp.unwrap_or(attempt.created_at);
        let body = json!({ "type": job.name, "timestamp": at, "data": job.data }).to_string();
        let headers = [
            (ID_HEADER, attempt.id.to_string()),
            (TIMESTAMP_HEADER, now.as_second().to_string()),
            (SIGNATURE_HEADER, secrets.signatures(attempt.id.as_str(), body.as_bytes(), now)),
        ];
        match self.caller.call(&Call { url, headers, body }).await {
            Ok(answered) => judge(&answered),
            Err(NoAnswer::Forbidden) => Err(Failure::Dead(anyhow!("{}", NoAnswer::Forbidden))),
            Err(failed) => Err(Failure::Retry(anyhow!("{failed}"))),
        }
    }
}

/// What an answer makes of the attempt. Whatever is neither good nor final may be the fault of a moment: a receiver that is
/// deployed anew answers 404 as well as 500. A redirect is not followed, because nobody has checked where it leads.
fn judge(answered: &Answered) -> Outcome {
    let Answered { status, retry_after, snippet } = answered;
    let why = if snippet.is_empty() { anyhow!("answered {status}") } else { anyhow!("answered {status}: {snippet}") };
    match status {
        200..=299 => Ok(json!({ "status": status })),
        410 => Err(Failure::Dead(why)),
        429 => Err(Failure::Throttled(retry_after.map(|wait| wait.min(LONGEST_WAIT)), why)),
        _ => match retry_after {
            Some(wait) => Err(Failure::Throttled(Some((*wait).min(LONGEST_WAIT)), why)),
            None => Err(Failure::Retry(why)),
        },
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
