//! Changing a draft.

use crate::app::Api;
use crate::auth::{AudienceWrite, Caller};
use crate::compose::{self, BodyFields, LetterBody};
use crate::extract::{Body, Id};
use crate::fields::nullable;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::campaign_preview::newsletter;
use crate::routes::campaign_view::CampaignAnswer;
use crate::routes::campaigns::{SegmentRequest, SendRequest, TRIES, find, sentence, stored};
use axum::Json;
use axum::extract::State;
use millrace::domain::campaign::{Campaign, CampaignState, Rules, WrongState};
use millrace::domain::id::CampaignId;
use millrace::domain::letter::{Letterhead, Manuscript};
use millrace::letters;
use millrace::ports::{CampaignView, PortError, Written};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What is to be changed of a draft. What is left out stays as it is.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"subject": "News from the mill", "segment": null}))]
pub struct CampaignPatch {
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
    /// Whom of the active subscribers it is for; `null`: all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<SegmentRequest>)]
    segment: Option<Option<SegmentRequest>>,
    /// When it goes out.
    #[serde(default)]
    send: Option<SendRequest>,
}

/// Change a draft.
///
/// A campaign that was started does not change: that is answered 409.
#[utoipa::path(
    patch, path = "/v1/campaigns/{id}", operation_id = "change_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    request_body = CampaignPatch,
    responses(
        (status = 200, body = CampaignAnswer),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is no draft any more"),
        NotFound, BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn change(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    Body { value: patch, .. }: Body<CampaignPatch>,
) -> Answer<Json<CampaignAnswer>> {
    for _ in 0..TRIES {
        let view = find(&api, &caller.tenant, &id).await?;
        let after = changed(&api, &view.campaign, patch.clone()).await?;
        match api.campaigns.update(&view.campaign, &after).await? {
            Written::Done => {
                return Ok(Json(CampaignAnswer::new(&CampaignView { campaign: after, counts: view.counts })));
            }
            Written::Stale => (),
        }
    }
    Err(PortError::Throttled(anyhow::anyhow!("the campaign kept changing while it was changed")).into())
}

/// The draft after the change. Its letter is in the bucket then.
async fn changed(api: &Api, draft: &Campaign, patch: CampaignPatch) -> Answer<Campaign> {
    let wrong_state = |why: WrongState| Problem::conflict(sentence(&why.to_string()));
    if draft.state != CampaignState::Draft {
        return Err(wrong_state(WrongState(draft.state)));
    }
    let newsletter = newsletter(api, draft).await?;
    let before = stored(api, draft).await?.manuscript;
    let written = Manuscript {
        subject: patch.subject.unwrap_or(before.subject),
        body: patch.body.map_or(before.body, |body| body.0),
        text: patch.text.unwrap_or(before.text),
    };
    let late_hours = patch.send.as_ref().map_or(draft.rules.late_hours, SendRequest::late_hours);
    let rules = Rules { late_hours, ..draft.rules };
    let timing = patch.send.map_or_else(|| draft.timing.clone(), |send| send.timing(&newsletter));
    let mut faults = Vec::new();
    if timing != draft.timing
        && let Err(why) = timing.opens(api.now())
    {
        faults.push(Fault::at("/send/when", why.to_string()));
    }
    let letter = match compose::letter(written, Letterhead::of(&newsletter)) {
        Ok(letter) if faults.is_empty() => letter,
        Ok(_) => return Err(Problem::invalid(faults)),
        Err(more) => return Err(Problem::invalid([faults, more].concat())),
    };
    let version = letters::store(&*api.intake.blobs, &draft.id, &letter).await?;
    let segment =
        patch.segment.map_or_else(|| draft.segment.clone(), |wanted| wanted.map(Into::into).unwrap_or_default());
    draft.revised(letter.manuscript.subject, version, timing, segment, rules).map_err(wrong_state)
}
