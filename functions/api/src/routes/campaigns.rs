//! Campaigns: one letter to a newsletter's subscribers.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::compose::{self, BodyFields, LetterBody};
use crate::extract::{Body, Id};
use crate::fields::Tags;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::query;
use crate::routes::campaign_view::{CampaignAnswer, LetterView};
use crate::routes::{newsletters, preflight};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{Timestamp, civil::Date};
use millrace::domain::campaign::{Campaign, CampaignState, Counts, Draft, Rules, StartRefused};
use millrace::domain::chunk::Uncertain;
use millrace::domain::id::{CampaignId, NewsletterId, Tenant};
use millrace::domain::letter::{Letterhead, Manuscript, StoredLetter};
use millrace::domain::local_time::{Past, Timing, When, Whose};
use millrace::domain::pace::{InvalidRate, SendRate};
use millrace::domain::people::{Newsletter, Segment};
use millrace::jobs::CampaignHint;
use millrace::letters;
use millrace::ports::{CampaignView, PortError, Written};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How often a start is tried while somebody else changes the campaign.
pub(crate) const TRIES: usize = 5;

/// A letter to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "newsletter": "nl_0197b3f2a4c87d0e9b61f2c35a7e4d18", "subject": "News from the mill, {{ name or \"reader\" }}",
    "body": {"html": "<h1>The wheel turns</h1><p>{{ newsletter.postal_address }}</p><a href=\"{{ unsubscribe_url }}\">Unsubscribe</a>"},
    "segment": {"tags_any": ["early"]}, "send": {"when": "next", "zone": "recipient"}
}))]
pub struct CampaignRequest {
    /// Whose subscribers get it.
    #[schema(value_type = String)]
    newsletter: NewsletterId,
    /// The subject, a template.
    subject: String,
    /// The letter. Templates may use `name` (empty when unknown), `email`, `tags`, `unsubscribe_url`, `archive_url` (empty
    /// unless the letter is shown in the newsletter's archive), `newsletter.name` and `newsletter.postal_address`; the tags
    /// are `if`, `for`, `set`, `with` and `raw`. A letter must show `unsubscribe_url` and `newsletter.postal_address`.
    #[schema(value_type = BodyFields)]
    body: LetterBody,
    /// The text part, a template; made from the body when absent.
    #[serde(default)]
    text: Option<String>,
    /// Whom of the active subscribers it is for; all when absent.
    #[serde(default)]
    segment: Option<SegmentRequest>,
    /// When it goes out, once it is started.
    send: SendRequest,
    /// What becomes of a mail of which nobody knows whether it was accepted, when no event has told in time: `retry`
    /// (default) sends it once more, `hold` leaves it `unknown` for you to decide.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    uncertain: Uncertain,
    /// The most mails a second, from 0.001 to 10000; as fast as all campaigns together may when absent.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0.001, maximum = 10000)]
    rate: Option<RateField>,
}

/// Mails per second.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct RateField(pub(crate) SendRate);

impl TryFrom<f64> for RateField {
    type Error = InvalidRate;

    fn try_from(mails: f64) -> Result<Self, InvalidRate> {
        SendRate::per_second(mails).map(Self)
    }
}

/// Whom a letter is for. An empty or absent list asks for nothing.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SegmentRequest {
    /// At least one of these tags; at most 20.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20)]
    tags_any: Tags,
    /// All of these tags; at most 20.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20)]
    tags_all: Tags,
}

impl From<SegmentRequest> for Segment {
    fn from(request: SegmentRequest) -> Self {
        Self { tags_any: request.tags_any.0, tags_all: request.tags_all.0 }
    }
}

/// When a letter goes out.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SendRequest {
    /// `now`: when it is started. `next`: at the newsletter's next time of day. Or a date, `YYYY-MM-DD`: at that time of
    /// day then.
    #[schema(value_type = String)]
    when: WhenText,
    /// Whose clock that is: `recipient` (default) or `newsletter`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    zone: Option<Whose>,
    /// With a date: what becomes of recipients whose hour is past when the campaign opens. `now` (default): they get it at
    /// once. `next_day`: at their hour the day after. `skip`: not at all; they are listed as `skipped`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    past: Past,
    /// A start that is late by more hours than this, 1 to 168, waits for a person: the campaign is `paused`. 6 by default.
    #[serde(default)]
    #[schema(value_type = Option<u8>, minimum = 1, maximum = 168)]
    late_hours: Option<LateHours>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u8")]
struct LateHours(u8);

impl TryFrom<u8> for LateHours {
    type Error = &'static str;

    fn try_from(hours: u8) -> Result<Self, &'static str> {
        if (1..=Rules::MAX_LATE_HOURS).contains(&hours) { Ok(Self(hours)) } else { Err("is 1 to 168 hours") }
    }
}

impl SendRequest {
    /// How late a start may be.
    pub(crate) fn late_hours(&self) -> u8 {
        self.late_hours.map_or(Rules::default().late_hours, |hours| hours.0)
    }

    /// The time, by a newsletter's clock.
    pub(crate) fn timing(self, newsletter: &Newsletter) -> Timing {
        Timing {
            when: self.when.0,
            whose: self.zone.unwrap_or(Whose::Recipient),
            send_at: newsletter.send_at,
            time_zone: newsletter.time_zone.clone(),
            days: newsletter.days,
            past: self.past,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct WhenText(When);

impl TryFrom<String> for WhenText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let date = |text: &str| text.parse::<Date>().ok().filter(|date| date.to_string() == text);
        match text.as_str() {
            "now" => Ok(Self(When::Now)),
            "next" => Ok(Self(When::Next)),
            other => date(other).map(|date| Self(When::On(date))).ok_or("may be `now`, `next` or a date, `YYYY-MM-DD`"),
        }
    }
}

/// Create a campaign. It is a draft until it is started.
///
/// The letter is checked: every placeholder exists, and it shows the link that unsubscribes and the postal address. What it
/// takes from its newsletter it takes when it is started.
#[utoipa::path(
    post, path = "/v1/campaigns", operation_id = "create_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    request_body = CampaignRequest,
    responses(
        (status = 201, body = CampaignAnswer, headers(("Location" = String, description = "Where it is to be seen"))),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn create(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<CampaignRequest>,
) -> Answer<Response> {
    let now = api.now();
    let newsletter = newsletters::find(&api, &caller.tenant, &request.newsletter).await?;
    let newsletter =
        newsletter.ok_or_else(|| Problem::invalid(vec![Fault::at("/newsletter", "there is no such newsletter")]))?;
    let (draft, letter) = draft(caller.tenant, &newsletter, request, now)?;

    // The letter first, the list next: whoever finds the campaign finds its letter, and every campaign is listed.
    let version = letters::store(&*api.intake.blobs, &draft.id, &letter).await?;
    api.campaign_list.list(&draft.tenant, &draft.newsletter, &draft.id).await?;
    let campaign = Campaign::draft(Draft { letter: version, ..draft }, now);
    // The identifier is fresh: if one was there, it is from a first try of this very request.
    api.campaigns.create(&campaign).await?;
    let location = format!("/v1/campaigns/{}", campaign.id);
    let answer = CampaignAnswer::new(&CampaignView { campaign, counts: Counts::default() });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// The draft without its letter's version, and the letter.
fn draft(
    tenant: Tenant,
    newsletter: &Newsletter,
    request: CampaignRequest,
    now: Timestamp,
) -> Answer<(Draft, StoredLetter)> {
    let rules = Rules { late_hours: request.send.late_hours(), uncertain: request.uncertain };
    let timing = request.send.timing(newsletter);
    let mut faults = Vec::new();
    if let Err(why) = timing.opens(now) {
        faults.push(Fault::at("/send/when", why.to_string()));
    }
    let written = Manuscript { subject: request.subject.clone(), body: request.body.0, text: request.text };
    let letter = match compose::letter(written, Letterhead::of(newsletter)) {
        Ok(letter) if faults.is_empty() => letter,
        Ok(_) => return Err(Problem::invalid(faults)),
        Err(more) => return Err(Problem::invalid([faults, more].concat())),
    };
    let draft = Draft {
        id: CampaignId::from_uuid(uuid::Uuid::now_v7()),
        tenant,
        newsletter: newsletter.id.clone(),
        subject: request.subject,
        letter: String::new(),
        timing,
        segment: request.segment.map(Into::into).unwrap_or_default(),
        rules,
        rate: request.rate.map(|rate| rate.0),
    };
    Ok((draft, letter))
}

/// The tenant's campaign of this identifier.
///
/// # Errors
/// When there is none, or the table cannot be read.
pub(crate) async fn find(api: &Api, tenant: &Tenant, id: &CampaignId) -> Answer<CampaignView> {
    let found = api.campaigns.get(id).await?.filter(|view| view.campaign.tenant == *tenant);
    found.ok_or_else(Problem::not_found)
}

/// See a campaign and how far it is.
#[utoipa::path(
    get, path = "/v1/campaigns/{id}", operation_id = "show_campaign", tag = "newsletters", security(("key" = ["audience:read"])),
    params(
        ("id" = String, Path, description = "The campaign"),
        ("include" = Option<String>, Query, description = "`letter`: the letter as it was written too")
    ),
    responses(
        (status = 200, body = CampaignAnswer),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<CampaignAnswer>> {
    let mut letter = false;
    let include = |_: &str, value: String| match value.as_str() {
        "letter" => {
            letter = true;
            Ok(())
        }
        _ => Err("may be `letter`".to_owned()),
    };
    query::read(query.0, &["include"], include).map_err(Problem::invalid)?;
    let view = find(&api, &caller.tenant, &id).await?;
    let mut answer = CampaignAnswer::new(&view);
    if view.campaign.tracked {
        answer = answer.with_hits(api.hits.hit_counts(&id).await?);
    }
    if letter {
        answer.letter = Some(LetterView::from(stored(&api, &view.campaign).await?.manuscript));
    }
    Ok(Json(answer))
}

/// The letter of a campaign.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn stored(api: &Api, campaign: &Campaign) -> Answer<StoredLetter> {
    Ok(letters::load(&*api.intake.blobs, &letters::key(&campaign.id, &campaign.letter)).await?)
}

/// Start a campaign.
///
/// The draft takes what it takes from its newsletter now, and is looked at as `GET /v1/campaigns/{id}/preflight` does: with a
/// finding that is an error it does not start.
///
/// Starting one that is under way (`scheduled`, `freezing` or `sending`) changes nothing and is answered 202 like the first
/// start, so that a start whose answer was lost can be asked for again. A campaign that is over, or whose date has passed,
/// is answered 409.
#[utoipa::path(
    post, path = "/v1/campaigns/{id}/start", operation_id = "start_campaign", tag = "newsletters", security(("key" = ["audience:write"])),
    params(("id" = String, Path, description = "The campaign")),
    responses(
        (status = 202, body = CampaignAnswer, description = "It is under way"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "It is over, or its date has passed"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "The preflight found errors; each says what to do"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn start(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
) -> Answer<(StatusCode, Json<CampaignAnswer>)> {
    for _ in 0..TRIES {
        let now = api.now();
        let mut view = find(&api, &caller.tenant, &id).await?;
        let ready = match view.campaign.state {
            CampaignState::Draft => preflight::enforce(&api, &view.campaign).await?,
            _ => view.campaign.clone(),
        };
        match ready.start(now) {
            Ok(after) => match api.campaigns.update(&view.campaign, &after).await? {
                Written::Done => view.campaign = after,
                Written::Stale => continue,
            },
            Err(StartRefused::NotDraft(
                CampaignState::Scheduled | CampaignState::Freezing | CampaignState::Sending,
            )) => (),
            Err(why) => return Err(Problem::conflict(sentence(&why.to_string()))),
        }
        hint(&api, &view.campaign, now).await;
        return Ok((StatusCode::ACCEPTED, Json(CampaignAnswer::new(&view))));
    }
    Err(PortError::Throttled(anyhow::anyhow!("the campaign kept changing while it was started")).into())
}

pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    format!("{}{}.", first.map(String::from_iter).unwrap_or_default(), chars.as_str())
}

/// Has a campaign that can open now looked at now. Without the hint the clock finds it within a minute, so a hint that
/// fails is no fault of the request.
pub(crate) async fn hint(api: &Api, campaign: &Campaign, now: Timestamp) {
    if !matches!(campaign.attention_at, Some(at) if at <= now) {
        return;
    }
    let hint = CampaignHint::message(campaign.id.clone(), campaign.tenant.clone());
    if let Err(error) = api.run.send_one(hint).await {
        tracing::warn!("the hint to look at a started campaign was not sent: {error}");
    }
}
