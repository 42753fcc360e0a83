//! The account of a campaign, recipient by recipient.

use crate::app::Api;
use crate::auth::{AudienceRead, Caller};
use crate::extract::Id;
use crate::problem::{Answer, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::campaigns::find;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::future::try_join;
use millrace::domain::campaign::{Campaign, CampaignState};
use millrace::domain::chunk::{Recipient, RecipientState};
use millrace::domain::hits::{By, ReaderHits, ReaderPlace};
use millrace::domain::id::CampaignId;
use millrace::domain::people::SubscriberKey;
use millrace::ports::PortError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Recipients of a page when the caller does not say.
const USUAL: usize = 100;
/// Most recipients of a page.
const MOST: usize = 1_000;
/// Chunks read together.
const TOGETHER: u32 = 20;
/// Chunks that one request looks at. A state that few are in is answered with a short page and the next cursor.
const LOOKED_AT: u32 = 400;
/// The states that may be asked for.
const STATES: [&str; 10] =
    ["pending", "sending", "sent", "unknown", "delivered", "bounced", "complained", "failed", "suppressed", "skipped"];

/// How one recipient stands.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RecipientView {
    /// The subscriber.
    pub subscriber: String,
    /// The address. Absent when the subscriber is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// `pending`, `sending`, `sent`, `unknown`, `delivered`, `bounced`, `complained`, `failed`, `suppressed` or `skipped`.
    #[schema(example = "delivered")]
    pub state: String,
    /// Why, where that needs a reason: SES's words for a bounce, why somebody is suppressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// SES's message id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Attempts that were begun.
    pub attempts: u8,
    /// Of a tracked campaign: who opened it, `people` or only `machines`. Absent when nobody is known to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "people")]
    pub opened: Option<String>,
    /// The same for clicks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clicked: Option<String>,
}

/// Some of a campaign's recipients.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RecipientPage {
    /// The recipients, in the order they were put down.
    pub recipients: Vec<RecipientView>,
    /// What to send as `cursor` for those after these. Absent at the end. There may be no recipients and yet a cursor: then
    /// none of those that were looked at is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What to list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    state: Option<String>,
    limit: Option<usize>,
    /// Chunk and place to begin with.
    from: (u32, usize),
}

impl Wanted {
    /// Reads a query. An empty value is none.
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Vec<Fault>> {
        let (mut wanted, mut faults) = (Self::default(), Vec::new());
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            let wrong = match name.as_str() {
                "state" if STATES.contains(&value.as_str()) => {
                    wanted.state = Some(value);
                    None
                }
                "state" => Some(format!("is one of {}", STATES.join(", "))),
                "limit" => {
                    wanted.limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    wanted.limit.is_none().then(|| format!("is 1 to {MOST}"))
                }
                "cursor" => match open(&value) {
                    Some(from) => {
                        wanted.from = from;
                        None
                    }
                    None => Some("is the `next_cursor` of an earlier answer".to_owned()),
                },
                _ => Some("is no parameter here: there are state, limit and cursor".to_owned()),
            };
            faults.extend(wrong.map(|wrong| Fault::parameter(&name, wrong)));
        }
        if faults.is_empty() { Ok(wanted) } else { Err(faults) }
    }
}

/// A place in the account as a cursor. It needs no signature: it names a place only, and the campaign is the caller's.
fn cursor((chunk, place): (u32, usize)) -> String {
    format!("{chunk}.{place}")
}

fn open(cursor: &str) -> Option<(u32, usize)> {
    let (chunk, place) = cursor.split_once('.')?;
    Some((chunk.parse().ok()?, place.parse().ok()?))
}

/// The state that is shown, and why: whoever was not begun when the campaign was cancelled is skipped, unless an earlier
/// attempt was perhaps accepted.
fn shown(campaign: &Campaign, one: &Recipient) -> (&'static str, Option<String>) {
    if campaign.state == CampaignState::Cancelled && one.state == RecipientState::Pending {
        let state = if one.doubtful { RecipientState::Unknown } else { RecipientState::Skipped };
        return (state.shown(), Some("cancelled".to_owned()));
    }
    (one.state.shown(), one.reason.clone())
}

/// The account of a campaign, recipient by recipient.
///
/// With `Accept: text/csv` the page is CSV, and the header `Link` names the next one. One request looks at 20,000 recipients
/// at most: go on by `next_cursor` until there is none.
#[utoipa::path(
    get, path = "/v1/campaigns/{id}/recipients", operation_id = "list_recipients", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("id" = String, Path, description = "The campaign"),
        ("state" = Option<String>, Query, description = "Only recipients in this state"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000; 100 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, content((RecipientPage = "application/json"), (String = "text/csv"))),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn list(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    query: Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let wanted = Wanted::read(query.0).map_err(Problem::invalid)?;
    let campaign = find(&api, &caller.tenant, &id).await?.campaign;
    let page = read(&api, &campaign, &wanted).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/csv") {
        return Ok(Json(page).into_response());
    }
    let mut answer = HeaderMap::new();
    if let Some(next) = &page.next_cursor {
        let state = wanted.state.map(|state| format!("&state={state}")).unwrap_or_default();
        let limit = wanted.limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let link = format!("</v1/campaigns/{id}/recipients?cursor={next}{state}{limit}>; rel=\"next\"");
        answer.extend(link.parse().ok().map(|link| (header::LINK, link)));
    }
    let csv = table(&page).map_err(|_| Problem::internal())?;
    Ok((answer, [(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv).into_response())
}

/// The attempts that were begun: the number of a recipient that is not sent to is that of the attempt to come.
fn begun(one: &Recipient) -> u8 {
    let unsent = matches!(one.state, RecipientState::Pending | RecipientState::Suppressed | RecipientState::Skipped);
    one.attempt.saturating_sub(u8::from(unsent))
}

/// A recipient of the page: where it is, how it stands, and why.
type Listed = (ReaderPlace, Recipient, &'static str, Option<String>);

/// The opens and clicks of a page's recipients, none when the campaign is not tracked.
async fn hits(api: &Api, campaign: &Campaign, some: &[Listed]) -> Result<Vec<Option<ReaderHits>>, PortError> {
    if !campaign.tracked {
        return Ok(vec![None; some.len()]);
    }
    let places: Vec<ReaderPlace> = some.iter().map(|(at, ..)| at.clone()).collect();
    api.hits.reader_hits(&places).await
}

async fn read(api: &Api, campaign: &Campaign, wanted: &Wanted) -> Result<RecipientPage, PortError> {
    let limit = wanted.limit.unwrap_or(USUAL);
    let (mut found, mut next) = (Vec::<Listed>::new(), wanted.from);
    let end = wanted.from.0.saturating_add(LOOKED_AT).min(campaign.next_chunk);
    'chunks: while next.0 < end {
        let to = next.0.saturating_add(TOGETHER).min(end);
        for chunk in api.chunks.range(&campaign.id, next.0..to).await? {
            let from = if chunk.number == next.0 { next.1 } else { 0 };
            for (place, one) in chunk.recipients.into_iter().enumerate().skip(from) {
                let (state, reason) = shown(campaign, &one);
                if wanted.state.as_ref().is_some_and(|wanted| wanted != state) {
                    continue;
                }
                if found.len() == limit {
                    next = (chunk.number, place);
                    break 'chunks;
                }
                let at = ReaderPlace { campaign: campaign.id.clone(), chunk: chunk.number, place };
                found.push((at, one, state, reason));
            }
        }
        next = (to, 0);
    }
    let mut recipients = Vec::with_capacity(found.len());
    for some in found.chunks(100) {
        let keys: Result<Vec<_>, _> = some
            .iter()
            .map(|(_, one, ..)| SubscriberKey::new(campaign.newsletter.clone(), one.digest.clone()))
            .collect();
        let keys = keys.map_err(|error| PortError::Corrupt(error.into()))?;
        let (subscribers, hits) = try_join(api.subscribers.get(&keys), hits(api, campaign, some)).await?;
        for ((((_, one, state, reason), key), subscriber), hits) in some.iter().zip(keys).zip(subscribers).zip(hits) {
            let by = |who: fn(&ReaderHits) -> By| hits.as_ref().and_then(|hits| who(hits).as_str()).map(str::to_owned);
            recipients.push(RecipientView {
                subscriber: key.id().to_string(),
                email: subscriber.map(|subscriber| subscriber.email.as_str().to_owned()),
                state: (*state).to_owned(),
                reason: reason.clone(),
                message_id: one.message_id.clone(),
                attempts: begun(one),
                opened: by(ReaderHits::opened),
                clicked: by(ReaderHits::clicked),
            });
        }
    }
    let next_cursor = (next.0 < campaign.next_chunk).then(|| cursor(next));
    Ok(RecipientPage { recipients, next_cursor })
}

fn table(page: &RecipientPage) -> Result<Vec<u8>, csv::Error> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["subscriber", "email", "state", "reason", "message_id", "attempts", "opened", "clicked"])?;
    for one in &page.recipients {
        let attempts = one.attempts.to_string();
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        csv.write_record([
            &one.subscriber,
            &or_empty(&one.email),
            &one.state,
            &or_empty(&one.reason),
            &or_empty(&one.message_id),
            &attempts,
            &or_empty(&one.opened),
            &or_empty(&one.clicked),
        ])?;
    }
    csv.into_inner().map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        assert_eq!(open(&cursor((7, 49))), Some((7, 49)));
        for text in ["", "1", "1.", ".1", "-1.0", "4294967296.0", "a.b"] {
            assert_eq!(open(text), None, "{text}");
        }
    }

    #[test]
    fn every_state_can_be_asked_for() {
        for state in RecipientState::ALL {
            assert!(STATES.contains(&state.shown()));
        }
    }
}
