//! What an operator does to a campaign under way: pause it, resume it, cancel it, change its rate, send it to the rest.

use crate::app::Api;
use crate::auth::{AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::campaign_view::CampaignAnswer;
use crate::routes::campaigns::{RateField, TRIES, find, hint, sentence};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use millrace::domain::campaign::{Campaign, CampaignState, Resendable, StopReason};
use millrace::domain::id::{CampaignId, Tenant};
use millrace::ports::{CampaignView, PortError, Written};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Changes a campaign as it is at the moment of the write. `to` says what it becomes, `None` when it is so already, or why
/// it cannot.
async fn change(
    api: &Api,
    tenant: &Tenant,
    id: &CampaignId,
    to: impl Fn(&CampaignView) -> Result<Option<Campaign>, String>,
) -> Answer<CampaignView> {
    for _ in 0..TRIES {
        let mut view = find(api, tenant, id).await?;
        let Some(after) = to(&view).map_err(|why| Problem::conflict(sentence(&why)))? else { return Ok(view) };
        if api.campaigns.update(&view.campaign, &after).await? == Written::Done {
            view.campaign = after;
            return Ok(view);
        }
    }
    Err(PortError::Throttled(anyhow::anyhow!("the campaign kept changing")).into())
}

/// Pause a campaign.
///
/// Nothing more is dispatched, and workers leave what they have not begun within seconds: at most what is on its way to SES
/// goes out. A campaign that waits for the daily quota, and would go on by itself, waits for you then.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/pause", operation_id = "pause_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    responses(
        (status = 200, body = CampaignAnswer, description = "It is paused"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is not under way"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn pause(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
) -> Answer<Json<CampaignAnswer>> {
    let now = api.now();
    let view = change(&api, &caller.tenant, &id, |view| match view.campaign.pause(StopReason::Person, now) {
        Ok(paused) => Ok(Some(paused)),
        Err(_) if view.campaign.state == CampaignState::Paused => Ok(None),
        Err(why) => Err(why.to_string()),
    });
    Ok(Json(CampaignAnswer::new(&view.await?)))
}

/// Resume a campaign that is paused or halted.
///
/// It goes on where it was, within seconds. What halted it does not halt it again; what comes on top of that does.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/resume", operation_id = "resume_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    responses(
        (status = 200, body = CampaignAnswer, description = "It is under way"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It was not started, or is over"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn resume(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
) -> Answer<Json<CampaignAnswer>> {
    let now = api.now();
    let view = change(&api, &caller.tenant, &id, |view| match view.campaign.resume(&view.counts, now) {
        Ok(resumed) => Ok(Some(resumed)),
        Err(_) if view.campaign.state.sends() || view.campaign.state == CampaignState::Scheduled => Ok(None),
        Err(why) => Err(why.to_string()),
    });
    let view = view.await?;
    hint(&api, &view.campaign, now).await;
    Ok(Json(CampaignAnswer::new(&view)))
}

/// Cancel a campaign for good.
///
/// What is on its way is still accounted for; whoever was not begun is listed as `skipped`.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/cancel", operation_id = "cancel_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    responses(
        (status = 200, body = CampaignAnswer, description = "It is cancelled"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is finished"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn cancel(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
) -> Answer<Json<CampaignAnswer>> {
    let now = api.now();
    let view = change(&api, &caller.tenant, &id, |view| match view.campaign.cancel(now) {
        Ok(cancelled) => Ok(Some(cancelled)),
        Err(_) if view.campaign.state == CampaignState::Cancelled => Ok(None),
        Err(why) => Err(why.to_string()),
    });
    Ok(Json(CampaignAnswer::new(&view.await?)))
}

/// Another rate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"rate": 5}))]
pub struct RateRequest {
    /// The most mails a second, from 0.001 to 10000; `null` is as fast as all campaigns together may.
    #[schema(value_type = Option<f64>, minimum = 0.001, maximum = 10000)]
    rate: Option<RateField>,
}

/// Change the rate of a campaign.
///
/// Workers take it up within seconds, in the middle of what they send.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/rate", operation_id = "rate_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    request_body = RateRequest,
    responses(
        (status = 200, body = CampaignAnswer),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is over"),
        NotFound, BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn rate(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    Body { value: request, .. }: Body<RateRequest>,
) -> Answer<Json<CampaignAnswer>> {
    let rate = request.rate.map(|rate| rate.0);
    let view =
        change(&api, &caller.tenant, &id, |view| view.campaign.at_rate(rate).map(Some).map_err(|why| why.to_string()));
    Ok(Json(CampaignAnswer::new(&view.await?)))
}

/// To whom a finished campaign is sent once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"states": ["failed"]}))]
pub struct ResendRequest {
    /// `failed`: those whose mail SES refused. `unknown`: those of whom nobody knows; some of them may get it twice.
    #[schema(value_type = Vec<String>, min_items = 1)]
    states: Vec<Resendable>,
}

/// Send a finished campaign to the rest.
///
/// Goes through the account and sends once more to the recipients in the given states, as they are now: who unsubscribed
/// meanwhile gets nothing.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/resend", operation_id = "resend_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    request_body = ResendRequest,
    responses(
        (status = 202, body = CampaignAnswer, description = "It is under way again"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is not finished"),
        NotFound, BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn resend(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    Body { value: request, .. }: Body<ResendRequest>,
) -> Answer<(StatusCode, Json<CampaignAnswer>)> {
    if request.states.is_empty() {
        return Err(Problem::invalid(vec![Fault::at("/states", "is `failed`, `unknown` or both")]));
    }
    let now = api.now();
    let view = change(&api, &caller.tenant, &id, |view| {
        view.campaign.send_rest(&request.states, now).map(Some).map_err(|why| why.to_string())
    });
    let view = view.await?;
    hint(&api, &view.campaign, now).await;
    Ok((StatusCode::ACCEPTED, Json(CampaignAnswer::new(&view))))
}
