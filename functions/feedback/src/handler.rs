//! A batch of SES events, joined by their tags to the mails they speak of.

use crate::event::{SesEvent, Single, Subject};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures::future::join;
use jiff::Timestamp;
use millrace::campaigns::{HitCounter, Listener};
use millrace::domain::chunk::EventKind;
use millrace::domain::suppression::Reason;
use millrace::ports::{Clock, MailLedger, PortError, Queue, Suppressions};
use millrace::worker::batch::{Verdict, park};
use std::sync::Arc;

/// Takes in what SES tells.
pub(crate) struct Feedback {
    pub(crate) listener: Listener,
    pub(crate) hits: HitCounter,
    pub(crate) ledger: Arc<dyn MailLedger>,
    pub(crate) suppressions: Arc<dyn Suppressions>,
    pub(crate) dead_letters: Arc<dyn Queue>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Feedback {
    /// Notes what the events tell. Safe to run twice and in any order. Those that could not be noted are named in the answer
    /// and come again; one that is no SES event goes to the dead letters and harms no other.
    pub(crate) async fn batch(&self, event: SqsEvent) -> SqsBatchResponse {
        let now = self.clock.now();
        let mut kept = Vec::new();
        let (mut places, mut heard) = (Vec::new(), Vec::new());
        let (mut hit_places, mut hits) = (Vec::new(), Vec::new());
        for (place, record) in event.records.iter().enumerate() {
            let body = record.body.as_deref().unwrap_or_default();
            let Ok(event) = serde_json::from_str::<SesEvent>(body) else {
                if park(&*self.dead_letters, record, "not an SES event").await == Verdict::Keep {
                    kept.push(place);
                }
                continue;
            };
            match event.subject(now) {
                Subject::Recipient(one) => {
                    places.push(place);
                    heard.push(one);
                }
                Subject::Hit(one) => {
                    hit_places.push(place);
                    hits.push(one);
                }
                Subject::Single(mail) => {
                    if let Err(error) = self.single(&mail, now).await {
                        tracing::warn!(message_id = record.message_id, "an event could not be noted: {error}");
                        kept.push(place);
                    }
                }
                Subject::Foreign => tracing::info!(event_type = event.event_type, "an event that no ledger keeps"),
            }
        }
        let (noted, hits_noted) = join(self.listener.hear(&heard, now), self.hits.take(&hits)).await;
        let outcomes = places.into_iter().chain(hit_places).zip(noted.into_iter().chain(hits_noted));
        kept.extend(outcomes.filter(|(_, noted)| !noted).map(|(place, _)| place));
        tracing::info!(events = event.records.len(), kept = kept.len(), "events");
        let failures = kept.into_iter().map(|place| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = event.records[place].message_id.clone().unwrap_or_default();
            failure
        });
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures.collect();
        response
    }

    /// Any event of a mail proves that SES accepted it.
    async fn single(&self, mail: &Single, now: Timestamp) -> Result<(), PortError> {
        self.ledger.accepted(&mail.name, &mail.message_id, now).await?;
        let Some((tenant, address)) = &mail.against else { return Ok(()) };
        match mail.kind {
            EventKind::HardBounce => self.suppressions.suppress(tenant, address, Reason::HardBounce, now).await,
            EventKind::Complaint => self.suppressions.suppress(tenant, address, Reason::Complaint, now).await,
            EventKind::SoftBounce => self.suppressions.soft_bounce(tenant, address, &mail.name, now).await.map(drop),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
