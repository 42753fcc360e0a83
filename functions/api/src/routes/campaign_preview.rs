//! A letter as a reader would get it.

use crate::app::Api;
use crate::auth::{AudienceRead, Caller};
use crate::compose::{self, BodyFields, LetterBody};
use crate::extract::{Body, Id};
use crate::fields::nullable;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::query;
use crate::routes::campaigns::{find, stored};
use crate::routes::{newsletters, preflight};
use axum::Json;
use axum::extract::{Query, State};
use millrace::domain::address::EmailAddress;
use millrace::domain::campaign::Campaign;
use millrace::domain::id::{CampaignId, SubscriberId};
use millrace::domain::letter::{Letterhead, Manuscript, StoredLetter};
use millrace::domain::people::{Newsletter, Subscriber, SubscriberKey};
use millrace::letters::{self, Links, Reader, Ready};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What to try in place of what is stored. Nothing is stored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"subject": "Another subject, {{ name or \"reader\" }}"}))]
pub struct PreviewRequest {
    /// The subject, a template.
    #[serde(default)]
    subject: Option<String>,
    /// The body.
    #[serde(default)]
    #[schema(value_type = Option<BodyFields>)]
    body: Option<LetterBody>,
    /// The text part, a template; `null`: made from the body.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    text: Option<Option<String>>,
}

/// A header of a mail.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HeaderView {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A letter as a reader would get it. Its links to unsubscribe end no subscription.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// The sender.
    pub from: String,
    /// Where replies go, when not to `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The text part.
    pub text: String,
    /// Further headers.
    pub headers: Vec<HeaderView>,
}

/// See a campaign's letter as a reader would get it.
#[utoipa::path(
    get, path = "/v1/campaigns/{id}/preview", operation_id = "preview_campaign", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("id" = String, Path, description = "The campaign"),
        ("subscriber" = Option<String>, Query, description = "As this subscriber of its newsletter; as an invented one when absent"),
    ),
    responses(
        (status = 200, body = Preview),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "There is no such subscriber, or the letter cannot be rendered for it"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<Preview>> {
    let campaign = find(&api, &caller.tenant, &id).await?.campaign;
    let newsletter = newsletter(&api, &campaign).await?;
    let letter = preflight::current(&api, &campaign, &newsletter).await?.map_err(Problem::invalid)?;
    preview(&api, &campaign, letter, query.0).await
}

/// See what a campaign's letter would be like.
///
/// As `GET`, with another subject, body or text than is stored.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/preview", operation_id = "preview_letter", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("id" = String, Path, description = "The campaign"),
        ("subscriber" = Option<String>, Query, description = "As this subscriber of its newsletter; as an invented one when absent"),
    ),
    request_body = PreviewRequest,
    responses((status = 200, body = Preview), NotFound, BodyProblems, KeyProblems, ServiceProblems)
)]
pub async fn try_out(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    query: Query<Vec<(String, String)>>,
    Body { value: request, .. }: Body<PreviewRequest>,
) -> Answer<Json<Preview>> {
    let campaign = find(&api, &caller.tenant, &id).await?.campaign;
    let newsletter = newsletter(&api, &campaign).await?;
    let written = stored(&api, &campaign).await?.manuscript;
    let written = Manuscript {
        subject: request.subject.unwrap_or(written.subject),
        body: request.body.map_or(written.body, |body| body.0),
        text: request.text.unwrap_or(written.text),
    };
    let letter = compose::letter(written, Letterhead::of(&newsletter)).map_err(Problem::invalid)?;
    preview(&api, &campaign, letter, query.0).await
}

pub(crate) async fn newsletter(api: &Api, campaign: &Campaign) -> Answer<Newsletter> {
    let found = newsletters::find(api, &campaign.tenant, &campaign.newsletter).await?;
    found.ok_or_else(|| Problem::invalid(vec![Fault::at("/newsletter", "there is no such newsletter any more")]))
}

async fn preview(
    api: &Api,
    campaign: &Campaign,
    letter: StoredLetter,
    query: Vec<(String, String)>,
) -> Answer<Json<Preview>> {
    let mut wanted: Option<SubscriberId> = None;
    let take = |_: &str, value: String| {
        wanted = Some(value.parse().map_err(|_| "is no subscriber's identifier".to_owned())?);
        Ok(())
    };
    query::read(query, &["subscriber"], take).map_err(Problem::invalid)?;
    let subscriber = match &wanted {
        Some(id) => Some(subscriber(api, campaign, id).await?.ok_or_else(|| {
            Problem::invalid(vec![Fault::parameter("subscriber", "is no subscriber of this newsletter")])
        })?),
        None => None,
    };
    let nobody = EmailAddress::parse("ada@example.com").map_err(|_| Problem::internal())?;
    let reader = subscriber.as_ref().map_or(Reader { email: &nobody, name: Some("Ada"), tags: &[] }, Reader::from);
    let archive_url = letters::public_copy(&api.public_url, &letter.head, campaign);
    let unsubscribe_url = format!("{}/unsubscribe?token=preview", api.public_url);
    let links =
        Links { public_url: &api.public_url, unsubscribe_url: &unsubscribe_url, archive_url: archive_url.as_deref() };
    let written = letter.manuscript.clone();
    let mail = Ready::new(letter).and_then(|ready| ready.mail(reader, links, Vec::new()));
    let mail = mail.map_err(|error| Problem::invalid(vec![compose::render_fault(&written, &error)]))?;
    Ok(Json(Preview {
        from: mail.from,
        reply_to: mail.reply_to,
        to: mail.to,
        subject: mail.subject,
        html: mail.html,
        text: mail.text,
        headers: mail.headers.into_iter().map(|(name, value)| HeaderView { name, value }).collect(),
    }))
}

/// A subscriber of a campaign's newsletter.
pub(crate) async fn subscriber(api: &Api, campaign: &Campaign, id: &SubscriberId) -> Answer<Option<Subscriber>> {
    let Ok(key) = SubscriberKey::try_from(id) else { return Ok(None) };
    if *key.newsletter() != campaign.newsletter {
        return Ok(None);
    }
    let found = api.subscribers.get(&[key]).await?.pop().flatten();
    Ok(found.filter(|one| one.tenant == campaign.tenant))
}
