//! SES's events, read into what the mails' ledgers know.

use crate::agent::is_machine;
use jiff::Timestamp;
use millrace::campaigns::{Heard, HeardHit};
use millrace::domain::address::EmailAddress;
use millrace::domain::chunk::{EventKind, MAX_RECIPIENTS, MailEvent};
use millrace::domain::hits::{Hit, HitKind, ReaderPlace};
use millrace::domain::id::{Tenant, digest_hex};
use millrace::single_mail::NAME_TAG;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The SES tag of a single mail that names its tenant.
const TENANT_TAG: &str = "tenant";
/// Soft bounces that are the mail's fault and not the mailbox's.
const FAULTS_OF_THE_MAIL: [&str; 3] = ["ContentRejected", "AttachmentRejected", "MessageTooLarge"];
/// The longest reason that is kept.
const MAX_REASON: usize = 64;

/// What is read of an SES event
/// ([contents](https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html)).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SesEvent {
    pub(crate) event_type: String,
    pub(crate) mail: SesMail,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    reject: Option<Reject>,
    delivery_delay: Option<DeliveryDelay>,
    open: Option<Fetched>,
    click: Option<Fetched>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SesMail {
    pub(crate) message_id: String,
    timestamp: Option<Timestamp>,
    #[serde(default)]
    destination: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Bounce {
    bounce_type: String,
    bounce_sub_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize)]
struct Reject {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryDelay {
    delay_type: Option<String>,
}

/// An open or a click. The address that it came from is not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fetched {
    timestamp: Option<Timestamp>,
    #[serde(default)]
    user_agent: String,
    /// Of a click: where it leads.
    #[serde(default)]
    link: String,
}

/// Which mail an event speaks of.
#[derive(Debug)]
pub(crate) enum Subject {
    /// One recipient of a campaign's chunk.
    Recipient(Heard),
    /// An open or a click of one.
    Hit(HeardHit),
    /// A single mail, by its name in the ledger.
    Single(Single),
    /// A mail that Millrace did not send, or something that no ledger keeps.
    Foreign,
}

/// An event of a single mail.
#[derive(Debug)]
pub(crate) struct Single {
    pub(crate) name: String,
    pub(crate) message_id: String,
    pub(crate) kind: EventKind,
    /// Whose mail, and the address that the event speaks against.
    pub(crate) against: Option<(Tenant, EmailAddress)>,
}

impl SesEvent {
    /// What happened, and why in SES's own words for it.
    fn kind(&self) -> Option<(EventKind, Option<String>)> {
        let words = |text: &Option<String>| text.as_deref().map(word);
        Some(match self.event_type.as_str() {
            "Send" => (EventKind::Send, None),
            "DeliveryDelay" => {
                (EventKind::Delay, self.delivery_delay.as_ref().and_then(|delay| words(&delay.delay_type)))
            }
            "Reject" => (EventKind::Reject, self.reject.as_ref().and_then(|reject| words(&reject.reason))),
            "Rendering Failure" => (EventKind::Reject, Some("RenderingFailure".to_owned())),
            "Delivery" => (EventKind::Delivery, None),
            "Bounce" => {
                let Bounce { bounce_type, bounce_sub_type } = self.bounce.as_ref()?;
                let kind = if bounce_type == "Permanent" { EventKind::HardBounce } else { EventKind::SoftBounce };
                (kind, Some(format!("{}/{}", word(bounce_type), word(bounce_sub_type))))
            }
            "Complaint" => {
                let feedback = self.complaint.as_ref().and_then(|complaint| words(&complaint.complaint_feedback_type));
                if feedback.as_deref() == Some("not-spam") {
                    return None;
                }
                (EventKind::Complaint, feedback)
            }
            _ => return None,
        })
    }

    /// The address that an event of this kind speaks against.
    fn against(&self, kind: EventKind) -> Option<EmailAddress> {
        let sub_type = self.bounce.as_ref().map_or("", |bounce| &bounce.bounce_sub_type);
        if kind < EventKind::SoftBounce || FAULTS_OF_THE_MAIL.contains(&sub_type) {
            return None;
        }
        self.mail.destination.first().and_then(|address| EmailAddress::parse(address.clone()).ok())
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.mail.tags.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    /// The open or click of a campaign's mail, if it is one.
    fn hit(&self) -> Option<HeardHit> {
        let (fetched, kind) = match self.event_type.as_str() {
            "Open" => (self.open.as_ref()?, HitKind::Open),
            "Click" => {
                let click = self.click.as_ref()?;
                let digest = digest_hex(&[&click.link]);
                (click, HitKind::Click(u32::from_str_radix(digest.get(..8)?, 16).ok()?))
            }
            _ => return None,
        };
        let reader = ReaderPlace {
            campaign: self.tag("campaign")?.parse().ok()?,
            chunk: self.tag("chunk")?.parse().ok()?,
            place: self.tag("recipient")?.parse().ok().filter(|place| *place < MAX_RECIPIENTS)?,
        };
        let (at, sent_at) = (fetched.timestamp?, self.mail.timestamp?);
        Some(HeardHit { reader, hit: Hit { kind, at, known_machine: is_machine(&fetched.user_agent), sent_at } })
    }

    /// The mail that it speaks of, found by the mail's tags.
    pub(crate) fn subject(&self, now: Timestamp) -> Subject {
        if let Some(hit) = self.hit() {
            return Subject::Hit(hit);
        }
        let tag = |name| self.tag(name);
        let Some((kind, reason)) = self.kind() else { return Subject::Foreign };
        let message_id = self.mail.message_id.clone();
        let recipient = || {
            let (place, attempt) = (tag("recipient")?.parse().ok()?, tag("attempt")?.parse().ok()?);
            Some(Subject::Recipient(Heard {
                campaign: tag("campaign")?.parse().ok()?,
                chunk: tag("chunk")?.parse().ok()?,
                event: MailEvent { place, attempt, message_id: message_id.clone(), kind, reason: reason.clone() },
                sent_at: self.mail.timestamp.map_or(now, |at| at.min(now)),
                against: self.against(kind),
            }))
        };
        let single = || {
            let tenant = tag(TENANT_TAG).and_then(|tenant| Tenant::parse(tenant).ok());
            let (name, message_id) = (tag(NAME_TAG)?.to_owned(), message_id.clone());
            Some(Subject::Single(Single { name, message_id, kind, against: tenant.zip(self.against(kind)) }))
        };
        recipient().or_else(single).unwrap_or(Subject::Foreign)
    }
}

/// A word of SES's own, fit to be kept: nothing in it may be an address.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_')).take(MAX_REASON).collect()
}
