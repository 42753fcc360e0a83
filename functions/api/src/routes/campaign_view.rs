//! A campaign as the API shows it.

use crate::compose::BodyFields;
use jiff::Timestamp;
use millrace::domain::campaign::{CampaignState, Stop};
use millrace::domain::hits::HitCounts;
use millrace::domain::letter::{Body, Manuscript};
use millrace::domain::local_time::{When, Whose};
use millrace::domain::pace::SendRate;
use millrace::ports::CampaignView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whom a letter is for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SegmentView {
    /// At least one of these tags; all subscribers when empty.
    pub tags_any: Vec<String>,
    /// All of these tags.
    pub tags_all: Vec<String>,
}

/// When a letter goes out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SendView {
    /// `now`, `next` or a date.
    #[schema(example = "next")]
    pub when: String,
    /// `recipient` or `newsletter`.
    #[schema(example = "recipient")]
    pub zone: String,
}

/// A letter as it was written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LetterView {
    /// The subject, a template.
    pub subject: String,
    /// The body, in one language.
    #[schema(value_type = BodyFields)]
    pub body: Body,
    /// The text part, a template; made from the body when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl From<Manuscript> for LetterView {
    fn from(written: Manuscript) -> Self {
        Self { subject: written.subject, body: written.body, text: written.text }
    }
}

/// How many recipients are in which state.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CountsView {
    /// To be sent.
    pub pending: u64,
    /// In the hands of a worker.
    pub sending: u64,
    /// Accepted by SES, and no more is known yet.
    pub sent: u64,
    /// Perhaps accepted: no clear answer yet.
    pub unknown: u64,
    /// Taken by the recipient's mail server.
    pub delivered: u64,
    /// Given back.
    pub bounced: u64,
    /// Called spam.
    pub complained: u64,
    /// Refused by SES, or not to be rendered.
    pub failed: u64,
    /// Unsubscribed since the audience was put down, or on the suppression list: not sent.
    pub suppressed: u64,
    /// Erased since the audience was put down, or their hour was past, or the campaign was cancelled: not sent.
    pub skipped: u64,
}

/// How many readers opened, or clicked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HitsView {
    /// Readers who did so themselves, as far as can be told.
    pub people: u64,
    /// Readers for whom only programs did: mail programs that fetch pictures ahead, scanners that try links.
    pub machines: u64,
}

/// Why a campaign is paused or halted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StopView {
    /// `person`, `late`, `quota`, `bounces`, `complaints`, `failures`, `sender` or `account`.
    #[schema(example = "quota")]
    pub reason: String,
    /// What it means and what to do.
    pub detail: String,
    /// SES's code, when that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl StopView {
    fn new(stop: &Stop) -> Self {
        Self {
            reason: stop.reason.as_str().to_owned(),
            detail: stop.reason.explain().to_owned(),
            code: stop.code.clone(),
            at: stop.at,
        }
    }
}

/// A campaign.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CampaignAnswer {
    /// The identifier.
    #[schema(example = "cmp_0197b3f2a4c87d0e9b61f2c35a7e4d18")]
    pub id: String,
    /// Whose subscribers get it.
    pub newsletter: String,
    /// The subject, a template.
    pub subject: String,
    /// Whom it is for.
    pub segment: SegmentView,
    /// When it goes out.
    pub send: SendView,
    /// `draft`, `scheduled`, `freezing`, `sending`, `paused`, `finished`, `cancelled` or `halted`.
    /// The letter as it was written. Only with `include=letter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<LetterView>,
    /// `draft`, `scheduled`, `freezing`, `sending` or `finished`.
    #[schema(example = "draft")]
    pub state: String,
    /// Whether the audience is complete. Until then `total` grows.
    pub frozen: bool,
    /// The recipients.
    pub total: u64,
    /// The recipients by state. They add up to `total`.
    pub counts: CountsView,
    /// Readers who opened it, each counted once: here alone, and only when its newsletter said `tracking` at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<HitsView>,
    /// The same for clicks on its links. Who clicks has opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clicks: Option<HitsView>,
    /// Mails that SES is known to have accepted beyond a recipient's first.
    pub repeated: u64,
    /// The most mails a second that it sends, when it has a rate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// While it is paused or halted: why, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StopView>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When its audience is put down, and the first letters may go out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens_at: Option<Timestamp>,
    /// When every recipient had come to a final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

impl CampaignAnswer {
    /// The answer with its readers' opens and clicks.
    #[must_use]
    pub fn with_hits(self, hits: HitCounts) -> Self {
        let view = |people, machines| HitsView {
            people: u64::try_from(people).unwrap_or(0),
            machines: u64::try_from(machines).unwrap_or(0),
        };
        Self {
            opens: Some(view(hits.opened_people, hits.opened_machines)),
            clicks: Some(view(hits.clicked_people, hits.clicked_machines)),
            ..self
        }
    }

    /// The campaign as the API shows it.
    #[must_use]
    pub fn new(view: &CampaignView) -> Self {
        let CampaignView { campaign, counts } = view;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        // Whoever was not begun when it was cancelled is skipped; who perhaps has it already is unknown.
        let (pending, cancelled, doubtful) = match campaign.state {
            CampaignState::Cancelled => (0, counts.pending - counts.doubtful, counts.doubtful),
            _ => (counts.pending, 0, 0),
        };
        Self {
            id: campaign.id.to_string(),
            newsletter: campaign.newsletter.to_string(),
            subject: campaign.subject.clone(),
            segment: SegmentView {
                tags_any: campaign.segment.tags_any.clone(),
                tags_all: campaign.segment.tags_all.clone(),
            },
            send: SendView {
                when: match campaign.timing.when {
                    When::Now => "now".to_owned(),
                    When::Next => "next".to_owned(),
                    When::On(date) => date.to_string(),
                },
                zone: match campaign.timing.whose {
                    Whose::Recipient => "recipient".to_owned(),
                    Whose::Newsletter => "newsletter".to_owned(),
                },
            },
            letter: None,
            state: campaign.state.as_str().to_owned(),
            frozen: campaign.frozen,
            // A page of the audience and its counts are two items, which may be read on both sides of a write.
            total: if campaign.frozen { campaign.total } else { count(counts.sum()) },
            opens: None,
            clicks: None,
            repeated: count(counts.repeated),
            rate: campaign.rate.map(SendRate::get),
            stopped: campaign.stopped.as_ref().map(StopView::new),
            counts: CountsView {
                pending: count(pending),
                sending: count(counts.sending),
                sent: count(counts.sent),
                unknown: count(counts.unknown + doubtful),
                delivered: count(counts.delivered),
                bounced: count(counts.soft_bounced + counts.hard_bounced),
                complained: count(counts.complained),
                failed: count(counts.failed + counts.rejected),
                suppressed: count(counts.suppressed),
                skipped: count(counts.skipped + cancelled),
            },
            created_at: campaign.created_at,
            started_at: campaign.started_at,
            opens_at: campaign.opens_at,
            finished_at: campaign.finished_at,
        }
    }
}
