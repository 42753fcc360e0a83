//! A newsletter's welcome sequence: letters that whoever is subscribed gets, each some time after that.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::compose::{self, BodyFields, LetterBody};
use crate::extract::{Body, Id};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::query;
use crate::routes::newsletters::find;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use futures::future::try_join_all;
use millrace::domain::id::NewsletterId;
use millrace::domain::letter::{Body as Written, Letterhead, Manuscript, StoredLetter};
use millrace::domain::local_time::SendTime;
use millrace::domain::people::{Newsletter, NewsletterChange};
use millrace::domain::sequence::{After, MAX_STEPS, Sequence, Step};
use millrace::{letters, sequences};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// One letter of a sequence, to be written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct StepRequest {
    /// How long after the subscription began: a number and a unit (`s`, `m`, `h`, `d`), as `0d` or `3d`; at most `366d`. No
    /// step comes before the one that it follows.
    #[schema(value_type = String, pattern = "^[0-9]{1,8}[smhd]$", example = "3d")]
    after: After,
    /// Then at the next such time of day, `HH:MM`, on the subscriber's clock; on the newsletter's for those without a zone. At
    /// once when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    at: Option<SendTime>,
    /// The subject, a template.
    subject: String,
    /// The letter, a template: what `CampaignRequest` says of one holds here too. `archive_url` is empty.
    #[schema(value_type = BodyFields)]
    body: LetterBody,
    /// The text part, a template; made from the body when absent.
    #[serde(default)]
    text: Option<String>,
}

/// A sequence to be put.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"steps": [
    {"after": "0d", "subject": "Welcome to the mill, {{ name or \"reader\" }}",
     "body": {"markdown": "# Welcome\n\nThe wheel turns.\n\n{{ newsletter.postal_address }}, [unsubscribe]({{ unsubscribe_url }})"}},
    {"after": "3d", "at": "10:00", "subject": "How a wheel turns",
     "body": {"markdown": "By water.\n\n{{ newsletter.postal_address }}, [unsubscribe]({{ unsubscribe_url }})"}}
]}))]
pub struct SequenceRequest {
    /// The letters in their order, 1 to 20.
    #[schema(min_items = 1, max_items = 20)]
    steps: Vec<StepRequest>,
}

/// One letter of a sequence.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// How long after the subscription began.
    #[schema(example = "3d")]
    pub after: String,
    /// Then at the next such time of day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10:00")]
    pub at: Option<String>,
    /// The subject, a template.
    pub subject: String,
    /// The body, in one language.
    #[schema(value_type = BodyFields)]
    pub body: Written,
    /// The text part, a template; made from the body when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A sequence.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SequenceView {
    /// What these steps are known by. It stays readable when the sequence is changed.
    #[schema(example = "5f2b9c0d7e1a4836b0c9d8e7f6a5b4c3")]
    pub edition: String,
    /// Whether it is the edition that is given to who is subscribed now.
    pub current: bool,
    /// The letters in their order.
    pub steps: Vec<StepView>,
}

impl SequenceView {
    fn new(edition: String, current: bool, steps: &[Step], written: Vec<StoredLetter>) -> Self {
        let view = |(step, letter): (&Step, StoredLetter)| {
            let Manuscript { subject, body, text } = letter.manuscript;
            StepView { after: step.after.to_string(), at: step.at.map(|at| at.to_string()), subject, body, text }
        };
        Self { edition, current, steps: steps.iter().zip(written).map(view).collect() }
    }
}

/// Put a newsletter's sequence.
///
/// Makes it, or replaces it. Whoever is subscribed from now on gets it, once: by the link in a confirmation, by `POST
/// /v1/subscribers` or by registering. Those who are subscribed already do not, and neither do those who are imported.
/// Whoever is in the sequence stays in the edition that they began with. It ends for who unsubscribes, is suppressed or
/// erased, and does not begin again. Every letter is checked as a campaign's is.
#[utoipa::path(
    put, path = "/v1/newsletters/{id}/sequence", operation_id = "put_sequence", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The newsletter")),
    request_body = SequenceRequest,
    responses(
        (status = 200, body = SequenceView, description = "It is replaced"),
        (status = 201, body = SequenceView, description = "It is made"),
        NotFound, BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn put(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<NewsletterId>,
    Body { value: request, .. }: Body<SequenceRequest>,
) -> Answer<(StatusCode, Json<SequenceView>)> {
    let newsletter = find(&api, &caller.tenant, &id).await?.ok_or_else(Problem::not_found)?;
    let (mut steps, written) = composed(&newsletter, request.steps)?;
    // What is named before who names it: the letters, the edition, the newsletter.
    let blobs = &*api.intake.blobs;
    let versions = try_join_all(written.iter().map(|letter| letters::store(blobs, &id, letter))).await?;
    for (step, version) in steps.iter_mut().zip(versions) {
        step.letter = version;
    }
    let since = newsletter.sequence.as_ref().map_or_else(|| api.now(), |before| before.since);
    let sequence = Sequence { since, steps };
    sequences::store(blobs, &id, &sequence).await?;
    let change = NewsletterChange { sequence: Some(Some(sequence.clone())), ..NewsletterChange::default() };
    api.newsletters.change(&id, &change).await?.ok_or_else(Problem::not_found)?;
    let status = if newsletter.sequence.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(SequenceView::new(sequence.edition(), true, &sequence.steps, written))))
}

/// The steps without their letters' versions, and the letters.
fn composed(newsletter: &Newsletter, requests: Vec<StepRequest>) -> Answer<(Vec<Step>, Vec<StoredLetter>)> {
    if !(1..=MAX_STEPS).contains(&requests.len()) {
        return Err(Problem::invalid(vec![Fault::at("/steps", format!("there are 1 to {MAX_STEPS} steps"))]));
    }
    let (mut steps, mut written, mut faults) = (Vec::<Step>::new(), Vec::new(), Vec::new());
    for (place, StepRequest { after, at, subject, body, text }) in requests.into_iter().enumerate() {
        if steps.last().is_some_and(|before| before.after > after) {
            faults.push(Fault::at(format!("/steps/{place}/after"), "is not before the step that it follows"));
        }
        steps.push(Step { after, at, letter: String::new() });
        match compose::letter(Manuscript { subject, body: body.0, text }, Letterhead::of(newsletter)) {
            Ok(letter) => written.push(letter),
            Err(wrong) => {
                let below = Problem::invalid(wrong).below(&format!("/steps/{place}"));
                faults.extend_from_slice(below.faults());
            }
        }
    }
    if faults.is_empty() { Ok((steps, written)) } else { Err(Problem::invalid(faults)) }
}

/// See a newsletter's sequence, as it is or as it was.
#[utoipa::path(
    get, path = "/v1/newsletters/{id}/sequence", operation_id = "show_sequence", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("id" = String, Path, description = "The newsletter"),
        ("edition" = Option<String>, Query, description = "An edition that it had; the current one when absent")
    ),
    responses(
        (status = 200, body = SequenceView),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<NewsletterId>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<SequenceView>> {
    let mut wanted = None;
    let is_edition = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let edition = |_: &str, value: String| {
        wanted = Some(value).filter(|value| is_edition(value));
        wanted.as_ref().map(drop).ok_or_else(|| "is the `edition` of an earlier answer".to_owned())
    };
    query::read(query.0, &["edition"], edition).map_err(Problem::invalid)?;
    let newsletter = find(&api, &caller.tenant, &id).await?.ok_or_else(Problem::not_found)?;
    let current = newsletter.sequence.as_ref().map(Sequence::edition);
    let edition = wanted.or_else(|| current.clone()).ok_or_else(Problem::not_found)?;
    let blobs = &*api.intake.blobs;
    let steps = sequences::load(blobs, &id, &edition).await?.ok_or_else(Problem::not_found)?;
    let keys: Vec<String> = steps.iter().map(|step| letters::key(&id, &step.letter)).collect();
    let written = try_join_all(keys.iter().map(|key| letters::load(blobs, key))).await?;
    let current = current.as_ref() == Some(&edition);
    Ok(Json(SequenceView::new(edition, current, &steps, written)))
}

/// Delete a newsletter's sequence.
///
/// It ends for those who are in it: a step that is due later is not sent. Its editions stay readable.
#[utoipa::path(
    delete, path = "/v1/newsletters/{id}/sequence", operation_id = "delete_sequence", tag = "newsletters",
    security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The newsletter")),
    responses((status = 204, description = "It is deleted"), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn delete(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<NewsletterId>,
) -> Answer<StatusCode> {
    let newsletter = find(&api, &caller.tenant, &id).await?.filter(|newsletter| newsletter.sequence.is_some());
    newsletter.ok_or_else(Problem::not_found)?;
    let change = NewsletterChange { sequence: Some(None), ..NewsletterChange::default() };
    api.newsletters.change(&id, &change).await?.ok_or_else(Problem::not_found)?;
    Ok(StatusCode::NO_CONTENT)
}
