//! A letter sent to one address, to see how it arrives.

use crate::app::Api;
use crate::auth::{AudienceWrite, Caller};
use crate::extract::{Body, Id};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ServiceProblems};
use crate::routes::campaign_preview::{newsletter, subscriber};
use crate::routes::campaigns::find;
use crate::routes::job_view::JobView;
use crate::routes::{jobs, preflight};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use millrace::accept::{self, NewJob};
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{CampaignId, SubscriberId};
use millrace::jobs::TestLetter;
use millrace::letters;
use millrace::own_job::own_job;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Where a test goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"to": "editor@example.com"}))]
pub struct TestRequest {
    /// The address.
    #[schema(value_type = String, format = Email)]
    to: EmailAddress,
    /// As which subscriber of the newsletter the letter is rendered. When absent: as `to` itself if it is subscribed, else
    /// as somebody without a name and tags.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    subscriber: Option<SubscriberId>,
}

/// Send a campaign's letter to one address.
///
/// It goes the way every letter goes, with the same headers and both parts, but for the word `[Test]` before its subject and
/// the tag `test`. It does not count in the campaign. Its link unsubscribes `to`, and nobody else. An `Idempotency-Key` makes
/// it safe to ask again.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/test", operation_id = "test_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(
        ("id" = String, Path, description = "The campaign"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
    ),
    request_body = TestRequest,
    responses(
        (status = 202, body = JobView, description = "The job that sends it", headers(
            ("Location" = String, description = "Where the job is to be seen"),
            ("Idempotency-Replayed" = String, description = "`true` when the job was accepted before"),
        )),
        NotFound, BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn send(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    headers: HeaderMap,
    Body { value: request, json }: Body<TestRequest>,
) -> Answer<Response> {
    let mut faults = Vec::new();
    let key = jobs::idempotency_key(&headers, &mut faults);
    let campaign = find(&api, &caller.tenant, &id).await?.campaign;
    if let Some(id) = &request.subscriber
        && subscriber(&api, &campaign, id).await?.is_none()
    {
        faults.push(Fault::at("/subscriber", "is no subscriber of this newsletter"));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let newsletter = newsletter(&api, &campaign).await?;
    let letter = preflight::current(&api, &campaign, &newsletter).await?.map_err(Problem::invalid)?;
    let letter = letters::store(&*api.intake.blobs, &campaign.id, &letter).await?;
    let job = jobs::job_id(&caller.tenant, key.as_deref());
    let test = TestLetter { campaign: campaign.id, letter, to: request.to, subscriber: request.subscriber };
    let new = NewJob {
        repeatable: key.is_some(),
        // What was asked, and not the letter's version: asked again after a change, it is still the same request.
        fingerprint: accept::fingerprint(&serde_json::json!([test.campaign, json])),
        ..own_job(job, &caller.tenant, &test, None)
    };
    jobs::answer(&api, &accept::submit(&api.intake, new, api.now()).await?).await
}
