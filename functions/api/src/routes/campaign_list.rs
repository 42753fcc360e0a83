//! A tenant's campaigns, newest first.

use crate::app::Api;
use crate::auth::{AudienceRead, Caller};
use crate::problem::{Answer, KeyProblems, Problem, ProblemBody, ServiceProblems};
use crate::query::{self, Page};
use crate::routes::campaign_view::CampaignAnswer;
use axum::Json;
use axum::extract::{Query, State};
use futures::future::try_join_all;
use millrace::domain::campaign::CampaignState;
use millrace::domain::id::{CampaignId, NewsletterId};
use millrace::ports::Whose;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Campaigns that one request looks at. A filter that fits few of them is answered with a short page and the next cursor.
const LOOKED_AT: usize = 300;

/// Some of a tenant's campaigns.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CampaignPage {
    /// The campaigns, newest first.
    pub campaigns: Vec<CampaignAnswer>,
    /// What to send as `cursor` for the campaigns before these. Absent at the end. There may be no campaigns and yet a
    /// cursor: then the filter fits none of those that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// List campaigns, newest first.
#[utoipa::path(
    get, path = "/v1/campaigns", operation_id = "list_campaigns", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("newsletter" = Option<String>, Query, description = "Only this newsletter's"),
        ("state" = Option<String>, Query, description = "Only campaigns in this state"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 100; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, body = CampaignPage),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn list(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<CampaignPage>> {
    let (mut page, mut newsletter, mut state) = (Page::<CampaignId>::default(), None::<NewsletterId>, None);
    let take = |name: &str, value: String| match name {
        "newsletter" => {
            newsletter = Some(value.parse().map_err(|_| "is no newsletter's identifier".to_owned())?);
            Ok(())
        }
        "state" => {
            state = Some(CampaignState::parse(&value).ok_or_else(|| "is no state of a campaign".to_owned())?);
            Ok(())
        }
        _ => page.take(name, value),
    };
    query::read(query.0, &["newsletter", "state", "limit", "cursor"], take).map_err(Problem::invalid)?;
    let (limit, mut place, mut looked_at) = (page.limit(), page.after, 0);
    let whose = newsletter.as_ref().map_or(Whose::Tenant(&caller.tenant), Whose::Newsletter);
    let mut campaigns = Vec::new();
    while looked_at < LOOKED_AT {
        let ids = api.campaign_list.newest(whose, place.as_ref(), limit).await?;
        let last = ids.len() < limit;
        let views = try_join_all(ids.iter().map(|id| api.campaigns.get(id))).await?;
        for (id, view) in ids.into_iter().zip(views) {
            looked_at += 1;
            // One that is listed may never have been stored.
            let fits = view.filter(|view| view.campaign.tenant == caller.tenant);
            let fits = fits.filter(|view| state.is_none_or(|state| view.campaign.state == state));
            campaigns.extend(fits.map(|view| CampaignAnswer::new(&view)));
            place = Some(id);
            if campaigns.len() == limit {
                return Ok(Json(CampaignPage { campaigns, next_cursor: cursor(place.as_ref()) }));
            }
        }
        if last {
            return Ok(Json(CampaignPage { campaigns, next_cursor: None }));
        }
    }
    Ok(Json(CampaignPage { campaigns, next_cursor: cursor(place.as_ref()) }))
}

fn cursor(place: Option<&CampaignId>) -> Option<String> {
    place.map(|id| query::cursor(id.as_str()))
}
